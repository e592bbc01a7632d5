"""A limit on the exchanges in flight of one arm, so that a hanging candidate cannot starve the baseline."""

import asyncio
from collections import deque
from contextlib import suppress


class ConnectionLimit:
    """A number of slots, of which `free` are left, with a FIFO queue of waiters. Release each slot once."""

    __slots__ = ("_loop", "_waiters", "free")

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        self._loop = loop
        self.free = limit
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """The number of waiters."""
        return len(self._waiters)

    def take(self) -> bool:
        """Take a free slot, or return False. A slot is free only when nobody waits."""
        if self.free == 0:
            return False
        self.free -= 1
        return True

    async def wait(self) -> None:
        """Wait in the queue for a slot. Cancellation leaks no slot."""
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):  # `release` may have removed it already
                    self._waiters.remove(turn)
            else:  # the slot was assigned before the cancellation
                self.release()
            raise

    def release(self) -> None:
        """Pass the slot to the first waiter, or free it."""
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1
