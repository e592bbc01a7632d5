"""Whether the other side takes what one transport writes, and since when it has not. No socket."""

import asyncio
from time import monotonic


class Outflow:
    """`blocked` while the transport holds more than it should. Backlogs are bytes that it holds."""

    __slots__ = ("_backlog", "_freed", "_loop", "_progress_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._freed: asyncio.Future[None] | None = None
        self._backlog = 0
        self._progress_at = 0.0

    @property
    def blocked(self) -> bool:
        """The other side is behind in taking what was written."""
        return self._freed is not None

    def pause(self, backlog: int) -> None:
        """The transport holds too much."""
        self._freed = self._loop.create_future()
        self._backlog = backlog
        self._progress_at = monotonic()

    def resume(self) -> bool:
        """The transport has got rid of it, or of its connection; False when it was not blocked."""
        if self._freed is None:
            return False
        self._freed.set_result(None)
        self._freed = None
        return True

    async def drain(self) -> None:
        """Return once most of what was written has been taken, or nobody will."""
        if self._freed is not None:
            await asyncio.shield(self._freed)

    def stuck_s(self, backlog: int, now: float) -> float:
        """How long nothing of the backlog has been taken."""
        if backlog != self._backlog:
            self._backlog = backlog
            self._progress_at = now
        return now - self._progress_at
