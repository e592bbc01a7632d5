"""Tracks whether the other side reads what a transport writes, and since when it has not. No socket."""

import asyncio
from time import monotonic


class Outflow:
    """The write side of a transport. A backlog is the number of bytes in the transport's buffer."""

    __slots__ = ("_backlog", "_freed", "_loop", "_progress_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._freed: asyncio.Future[None] | None = None
        self._backlog = 0
        self._progress_at = 0.0

    @property
    def blocked(self) -> bool:
        """True while the transport's buffer is too full."""
        return self._freed is not None

    def pause(self, backlog: int) -> None:
        """Called when the buffer is too full."""
        self._freed = self._loop.create_future()
        self._backlog = backlog
        self._progress_at = monotonic()

    def resume(self) -> bool:
        """Called when the buffer has drained or the connection is lost; False when it was not blocked."""
        if self._freed is None:
            return False
        self._freed.set_result(None)
        self._freed = None
        return True

    async def drain(self) -> None:
        """Wait until most of the written bytes have been read, or the connection is lost."""
        if self._freed is not None:
            await asyncio.shield(self._freed)

    def stuck_s(self, backlog: int, now: float) -> float:
        """Return for how long the backlog has not changed."""
        if backlog != self._backlog:
            self._backlog = backlog
            self._progress_at = now
        return now - self._progress_at
