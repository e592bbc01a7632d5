"""A bound on the exchanges in flight for one arm, so that a hanging candidate cannot starve the baseline."""

import asyncio
from collections import deque
from contextlib import suppress


class ConnectionLimit:
    """Counted slots with waiters served first in, first out. Take a slot, then release it exactly once."""

    __slots__ = ("_free", "_loop", "_waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        self._loop = loop
        self._free = limit
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def free(self) -> int:
        """Slots that nobody holds or has been promised."""
        return self._free

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._waiters)

    def take(self) -> bool:
        """Take a slot if one is free now. Nobody waits while one is: a released slot goes to a waiter."""
        if self._free == 0:
            return False
        self._free -= 1
        return True

    async def wait(self) -> None:
        """Take a slot as soon as it is this waiter's turn. A cancelled waiter leaves no slot behind."""
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):  # `release` may have come across it already
                    self._waiters.remove(turn)
            else:  # the slot had been handed over before the cancellation came
                self.release()
            raise

    def release(self) -> None:
        """Give the slot to the first waiter, or back."""
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
