"""One turn of rolling: writes due outcomes as segments, deletes expired ones, and ends. The admin starts it.

A program of its own, because Arrow takes 80 MiB. The turn is the first line of stdin, since the store's URL
may have a password; the result goes to stdout. It ends at once when stdin ends, that is with the admin.
"""

import os
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import msgspec
import structlog

from canary.programs.process import log_to_stderr
from records.errors import RecordError
from records.store import Store
from records.store.segment_writer import (
    TIMEOUTS,
    SegmentsWritten,
    SegmentTurn,
    SegmentTurnResult,
    expire,
    roll,
)

log = structlog.get_logger()

NICE = 10
"""Whoever serves requests comes first."""


def turn(told: SegmentTurn) -> SegmentTurnResult:
    """Roll, then expire. A failure is in the result."""
    rolled, expired = SegmentsWritten(), 0
    try:
        with closing(Store.at(told.url, Path(told.data), TIMEOUTS, outcomes=told.outcomes)) as store:
            rolled = roll(store, time.time())
            expired = expire(store, told.before)
    except (RecordError, ValueError, OSError) as problem:
        return SegmentTurnResult(rolled=rolled.outcomes, segments=rolled.segments, problem=str(problem))
    return SegmentTurnResult(rolled=rolled.outcomes, segments=rolled.segments, expired=expired)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> None:
    """Entry point of `python -m canary.programs.roller`."""
    log_to_stderr()
    os.nice(NICE)
    told = msgspec.json.decode(sys.stdin.buffer.readline(), type=SegmentTurn)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    result = turn(told)
    log.info("outcomes.rolled", count=result.rolled, segments=result.segments)
    if result.expired:
        log.info("outcomes.expired", count=result.expired)
    sys.stdout.buffer.write(msgspec.json.encode(result))
    sys.stdout.buffer.flush()
    os._exit(0)  # its thread waits for the admin


if __name__ == "__main__":
    main()
