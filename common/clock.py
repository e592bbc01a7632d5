"""The clock: what is done again and again as long as its task runs, and moments as text."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import NewType

Utc = NewType("Utc", float)
"""A moment of the wall clock in UTC seconds. What people read as a date wants one, so that CLOCK_MONOTONIC's
seconds, which are plain numbers, cannot be read as one by mistake."""


def utc_now() -> Utc:
    """This moment."""
    return Utc(time.time())


async def every(seconds: float, job: Callable[[], Awaitable[object]], *, at_once: bool = False) -> None:
    """Wait so long, do the job, and so on without end; `at_once`: the first time without waiting. What the
    job raises ends the loop, and so does a cancellation."""
    if not at_once:
        await asyncio.sleep(seconds)
    while True:
        await job()
        await asyncio.sleep(seconds)


def rfc3339(at: float, to: str = "seconds") -> str:
    """UTC seconds as text, for example 2026-11-26T09:00:00Z; `to`: down to `seconds`, `milliseconds` or
    `microseconds`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec=to).replace("+00:00", "Z")
