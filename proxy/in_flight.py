"""Which canary exchanges have not ended after two seconds, for the guardrails. No I/O."""

from typing import Protocol

from records.outcome import IN_FLIGHT_AFTER_S, ErrorType, InFlight
from routing.assign import Reason

Progress = tuple[bool, ErrorType | None, Reason]
"""What may change in an InFlight: whether a stream's first token has arrived, why the candidate failed (None:
it has not), and the assignment's reason."""


class OpenExchange(Protocol):
    """An exchange that has not ended. `mono` is the CLOCK_MONOTONIC second of its request's last byte."""

    mono: float

    @property
    def progress(self) -> Progress: ...

    def in_flight(self) -> InFlight: ...


class OpenExchanges:
    """The open canary exchanges of one worker.

    There is no timer per exchange: the worker asks for `news` a few times a second. An exchange that has
    ended by then costs one insertion and one deletion.
    """

    __slots__ = ("_told", "_untold")

    def __init__(self) -> None:
        self._untold: dict[OpenExchange, None] = {}  # in the order of `mono`
        self._told: dict[OpenExchange, Progress] = {}

    def opened(self, exchange: OpenExchange) -> None:
        """Add an exchange whose request was read just now."""
        self._untold[exchange] = None

    def ended(self, exchange: OpenExchange) -> None:
        """Remove an exchange, before its Outcome is written. Does nothing when it was never added."""
        self._untold.pop(exchange, None)
        if self._told:
            self._told.pop(exchange, None)

    def news(self, now: float) -> list[InFlight]:
        """The exchanges that made progress since they were told, and those that are slow by the monotonic
        second `now`."""
        told = [exchange for exchange, progress in self._told.items() if exchange.progress != progress]
        told += self._slow(now)
        for exchange in told:
            self._untold.pop(exchange, None)
            self._told[exchange] = exchange.progress
        return [exchange.in_flight() for exchange in told]

    def _slow(self, now: float) -> list[OpenExchange]:
        slow: list[OpenExchange] = []
        for exchange in self._untold:
            if now - exchange.mono < IN_FLIGHT_AFTER_S:
                break
            slow.append(exchange)
        return slow
