"""One coarse clock per worker for all deadlines, instead of a timer per request or a `wait_for` per read."""

import asyncio
from time import monotonic
from typing import Protocol

import structlog

log = structlog.get_logger()

PERIOD_S = 0.1
"""The delay with which a deadline may be noticed. A tick costs about 40 ns per watched connection."""

AGAIN_S = 1.0
"""Delay before an object is checked again after its check raised."""


class Watched(Protocol):
    """An object with deadlines. `check` is not called before the monotonic second `check_at`."""

    check_at: float

    def check(self, now: float) -> None:
        """Act on deadlines reached at `now` and move `check_at` to the next one."""


class Ticker:
    """Calls `check` of each watched object that is due; stops while nothing is watched.

    A timer that fires late on a busy loop runs before the bytes that have arrived meanwhile are read. Each
    tick therefore lets the sockets be read once before it checks deadlines. `looks` counts these checks.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.looks = 0
        self._watched: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, watched: Watched) -> None:
        """Start checking an object. Idempotent."""
        self._watched.add(watched)
        if self._timer is None:
            self._timer = self._loop.call_later(PERIOD_S, self._tick)

    def forget(self, watched: Watched) -> None:
        """Stop checking an object. Idempotent."""
        self._watched.discard(watched)

    def tick(self, now: float) -> None:
        """Check every object due at the monotonic second `now`. An exception affects no other object."""
        for watched in [each for each in self._watched if each.check_at <= now]:
            try:
                watched.check(now)
            except Exception:
                log.exception("deadline.crashed", of=type(watched).__name__)
                watched.check_at = now + AGAIN_S

    def stop(self) -> None:
        """Forget all objects and stop the clock."""
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = self._loop.call_later(PERIOD_S, self._tick) if self._watched else None
        # Two turns later: uvloop runs timers and call_soon callbacks before the sockets of their turn.
        self._loop.call_soon(self._loop.call_soon, self._look, monotonic())

    def _look(self, now: float) -> None:
        self.looks += 1
        self.tick(now)
