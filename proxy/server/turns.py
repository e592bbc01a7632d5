"""Counts turns of the event loop, to detect events that arrive together."""

import asyncio


class Turns:
    """Counts turns after a `mark`: `since(mark()) <= 1` holds in this turn and the next."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._turn = 0
        self._marked = -2

    def mark(self) -> int:
        """Return the current turn and count from here."""
        if self._marked < self._turn - 1:
            self._loop.call_soon(self._next)
        self._marked = self._turn
        return self._turn

    def since(self, mark: int) -> int:
        """Return the turns since `mark`; not exact above 2."""
        return self._turn - mark

    def _next(self) -> None:
        self._turn += 1
        if self._marked >= self._turn - 1:
            self._loop.call_soon(self._next)
