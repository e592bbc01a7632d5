"""Loops over the clock: what is done again and again, as long as its task runs."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from records.errors import StoreDown

log = structlog.get_logger()

READ_EVERY_S = 60.0
LOOK_EVERY_S = 1.0


async def every(seconds: float, job: Callable[[], Awaitable[object]], *, at_once: bool = False) -> None:
    """Wait so long, do the job, and so on without end; `at_once`: the first time without waiting. What the
    job raises ends the loop, and so does a cancellation."""
    if not at_once:
        await asyncio.sleep(seconds)
    while True:
        await job()
        await asyncio.sleep(seconds)


async def after_scrapes(
    scraped: asyncio.Event, leads: Callable[[], bool], read: Callable[[], Awaitable[None]], event: str
) -> None:
    """Await `read` after `scraped` was set, without end. What cannot be read changes nothing; the log says
    `event`."""
    while True:
        await scraped.wait()
        if not leads():
            await asyncio.sleep(LOOK_EVERY_S)
            continue
        scraped.clear()
        try:
            await read()
        except (StoreDown, ValueError, LookupError, TypeError) as problem:
            log.error(event, problem=repr(problem))
        await asyncio.sleep(READ_EVERY_S)
