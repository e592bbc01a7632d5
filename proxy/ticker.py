"""One coarse clock per worker for every deadline: no timer per request and no `wait_for` per read."""

import asyncio
from time import monotonic
from typing import Protocol

import structlog

log = structlog.get_logger()

PERIOD_S = 0.1
"""How late a deadline may be noticed. A tick costs some 40 ns per watched connection."""

AGAIN_S = 1.0
"""After a check that raised."""


class Watched(Protocol):
    """Something with deadlines. `check_at` is the monotonic second before which there is nothing to check."""

    check_at: float

    def check(self, now: float) -> None:
        """Act on deadlines reached at `now`, and move `check_at` to the next one."""


class Ticker:
    """Calls `check` of everything watched whose time has come; stands still while nothing is watched.

    A timer that goes off late (the loop was busy) is told before what has come in the meantime has been read.
    So the sockets are read first, once, and judged then. `looks` counts how often that was.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, period_s: float = PERIOD_S) -> None:
        self._loop = loop
        self._period_s = period_s
        self.looks = 0
        self._watched: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, watched: Watched) -> None:
        """Start checking; an object is watched once, however often it is asked."""
        self._watched.add(watched)
        if self._timer is None:
            self._timer = self._loop.call_later(self._period_s, self._tick)

    def forget(self, watched: Watched) -> None:
        """Stop checking; fine when it was not watched."""
        self._watched.discard(watched)

    def tick(self, now: float) -> None:
        """Check whatever is due at the monotonic second `now`. One that raises takes no other one's turn."""
        for watched in [each for each in self._watched if each.check_at <= now]:
            try:
                watched.check(now)
            except Exception:
                log.exception("deadline.crashed", of=type(watched).__name__)
                watched.check_at = now + AGAIN_S

    def stop(self) -> None:
        """Forget everything and end the clock."""
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self._period_s, self._tick) if self._watched else None
        # Two turns on: uvloop's timers and what is called soon both come before the sockets of their turn.
        self._loop.call_soon(self._loop.call_soon, self._look, monotonic())

    def _look(self, now: float) -> None:
        self.looks += 1
        self.tick(now)
