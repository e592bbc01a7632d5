"""The clock: what is done again and again as long as its task runs, and moments in text."""

import asyncio
import errno
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NewType

import structlog

log = structlog.get_logger()

Utc = NewType("Utc", float)
"""A moment of the wall clock in UTC seconds. What people read as a date wants one, so that CLOCK_MONOTONIC's
seconds, which are plain numbers, cannot be read as one by mistake."""


def utc_now() -> Utc:
    """This moment."""
    return Utc(time.time())


async def every(seconds: float, job: Callable[[], Awaitable[object]], *, at_once: bool = False) -> None:
    """Wait so long, do the job, and so on without end; `at_once`: the first time without waiting. What the
    job raises ends the loop, and so does a cancellation. Without a descriptor it waits for its next turn."""
    if not at_once:
        await asyncio.sleep(seconds)
    while True:
        with put_off_without_descriptors():
            await job()
        await asyncio.sleep(seconds)


WRONG_S = 2.0
"""A clock that is off by more is told to people."""


def wrong_clock(whose: str, offset_s: float | None) -> str | None:
    """A sentence for a clock that is fast by so much, negative where it is slow; None where it is right, or
    where that is not known."""
    if offset_s is None or abs(offset_s) <= WRONG_S:
        return None
    way = "fast" if offset_s > 0 else "slow"
    return f"{whose} is {abs(offset_s):,.0f} s {way} by Redis's clock, which dates its records: set it (NTP)"


@contextmanager
def put_off_without_descriptors() -> Iterator[None]:
    """End the block, and log it, where the process has no file descriptor left: callers took them all, and
    leave some again. What is done again and again is done the next time."""
    try:
        yield
    except Exception as problem:
        if not is_without_descriptors(problem):
            raise
        log.warning("descriptors.none", problem=str(problem))


def is_without_descriptors(problem: Exception) -> bool:
    """True where the process had no file descriptor left, also for a library that was to be loaded."""
    if isinstance(problem, OSError):
        return problem.errno in (errno.EMFILE, errno.ENFILE)
    return isinstance(problem, ImportError) and _OF_AN_IMPORT in str(problem)


_OF_AN_IMPORT = "Too many open files"
"""What the loader of a library that is not found says."""


def rfc3339(at: float, to: str = "seconds") -> str:
    """UTC seconds as text, for example 2026-11-26T09:00:00Z; `to`: down to `seconds`, `milliseconds` or
    `microseconds`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec=to).replace("+00:00", "Z")


def retry_after_s(header: str | None, now: float) -> float | None:
    """The seconds to wait from a Retry-After header (RFC 9110 §10.2.3: seconds or a date), or None. `now` is
    in UTC seconds."""
    if header is None or len(header) > _LONGEST_MOMENT:
        return None
    header = header.strip()
    if header.isascii() and header.isdigit():
        return float(header)
    try:
        at = parsedate_to_datetime(header)
        return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError):
        return None


_LONGEST_MOMENT = 64
