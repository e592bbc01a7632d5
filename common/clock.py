"""Loops over the clock: what is done again and again, as long as its task runs."""

import asyncio
from collections.abc import Awaitable, Callable


async def every(seconds: float, job: Callable[[], Awaitable[object]], *, at_once: bool = False) -> None:
    """Wait so long, do the job, and so on without end; `at_once`: the first time without waiting. What the
    job raises ends the loop, and so does a cancellation."""
    if not at_once:
        await asyncio.sleep(seconds)
    while True:
        await job()
        await asyncio.sleep(seconds)
