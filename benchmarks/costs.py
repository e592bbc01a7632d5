"""Measures the CPU time of each part of a request: the real worker between two fake transports.

    .venv/bin/python -m benchmarks.costs

Each part is timed within whole requests, by wrapping its function, so that caches are realistic; nested parts
count once. The cost of the wrapper is measured and subtracted, so parts of a few microseconds are imprecise.
No socket is used; `make bench` includes the kernel's part.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from time import process_time, thread_time
from typing import Any

import uvloop

from benchmarks.lone_worker import LoneWorker, lone_worker
from benchmarks.shapes import PLAIN
from proxy import exchange
from proxy.attempts.attempt import Attempt
from proxy.attempts.record import ExchangeRecord
from proxy.calls import reader
from proxy.calls.routes import Routes
from proxy.network.server.caller_connection import TrafficProtocol
from proxy.network.server.caller_request import CallerRequest
from proxy.network.upstream.connection import Connection
from proxy.providers.headers import Address

EXCHANGES, ROUNDS = 400, 15


class CostParts:
    """The seconds spent in each part, without nested parts, and the number of calls."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._inner = [0.0]
        self._wrapped: list[tuple[Any, str, Callable[..., Any], Callable[..., Any]]] = []

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Time every call of the function `owner.name` as this part, while `timing`."""
        whole: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **named: Any) -> Any:
            self._inner.append(0.0)
            began = thread_time()
            try:
                return whole(*args, **named)
            finally:
                took = thread_time() - began
                self.spent[part] = self.spent.get(part, 0.0) + took - self._inner.pop()
                self._inner[-1] += took

        self._wrapped.append((owner, name, whole, timed))

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Time what has been wrapped."""
        for owner, name, _, timed in self._wrapped:
            setattr(owner, name, timed)
        try:
            yield
        finally:
            for owner, name, whole, _ in self._wrapped:
                setattr(owner, name, whole)

    def take(self) -> dict[str, float]:
        """The seconds since the last call of this method."""
        spent, self.spent = self.spent, {}
        return spent


def _wrap(parts: CostParts) -> None:
    parts.wrap(TrafficProtocol, "data_received", "parse the request (llhttp, checks, CallerRequest)")
    parts.wrap(Routes, "route", "find the route")
    parts.wrap(reader, "facts_of", "read its JSON")
    parts.wrap(Routes, "trial", "find the canary")
    parts.wrap(exchange, "assign", "assign (HMAC)")
    parts.wrap(ExchangeRecord, "assign", "unit hash and signed id")
    parts.wrap(exchange, "upstream_request", "write the upstream request (splice, headers)")
    parts.wrap(Address, "head", "write its head")
    parts.wrap(Connection, "start", "hand it to the connection")
    parts.wrap(Connection, "buffer_updated", "parse the answer (llhttp, checks)")
    parts.wrap(Attempt, "opened", "judge its head, choose a reader")
    parts.wrap(Attempt, "_finished", "read its JSON, usage")
    parts.wrap(exchange, "to_caller", "headers for the caller")
    parts.wrap(CallerRequest, "start", "write the response head")
    parts.wrap(CallerRequest, "end", "write the response, next turn")
    parts.wrap(ExchangeRecord, "_outcome", "build the Outcome, cost")
    parts.wrap(ExchangeRecord, "_close", "encode and spool it (one write)")


async def main() -> None:
    """Measure whole requests and then the parts, and print both."""
    with lone_worker() as worker:
        await worker.warm_up(PLAIN)
        parts = CostParts()
        empty = _overhead_us()
        _wrap(parts)
        wholes, rounds = [], []
        for _ in range(ROUNDS):  # in turns, since the machine may be as busy as it likes
            wholes.append(await _round_us(worker))
            with parts.timing():
                await _round_us(worker)
            rounds.append(parts.take())
    whole = median(wholes)
    middle = {part: median([spent[part] for spent in rounds]) for part in rounds[0]}
    shown = {part: max(0.0, spent / EXCHANGES * 1e6 - empty) for part, spent in middle.items()}
    for part, cost in shown.items():
        sys.stdout.write(f"{cost:6.1f}  {part}\n")
    sys.stdout.write(f"{whole - sum(shown.values()):6.1f}  the rest: event loop, task, coroutines, pool\n")
    sys.stdout.write(f"{whole:6.1f}  µs per exchange, no sockets; Python {sys.version.split()[0]}\n")


async def _round_us(worker: LoneWorker) -> float:
    """CPU microseconds per plain chat."""
    before = process_time()
    await worker.serve(PLAIN, EXCHANGES)
    return (process_time() - before) / EXCHANGES * 1e6


def _overhead_us() -> float:
    """The overhead of timing one call."""

    class Empty:
        @staticmethod
        def call() -> None:
            """Nothing."""

    parts = CostParts()
    parts.wrap(Empty, "call", "empty")
    with parts.timing():
        for _ in range(20_000):
            Empty.call()
    return parts.take()["empty"] / 20_000 * 1e6


if __name__ == "__main__":
    uvloop.run(main())
