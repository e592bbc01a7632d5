"""Deletes records and captures past their retention, once an hour. Outcomes are `control/rolling.py`'s."""

import asyncio
import time
from collections.abc import Callable

import structlog

from records.capture_store import CaptureStore
from records.errors import StoreDown
from records.store import Store

log = structlog.get_logger()

EVERY_S = 3600.0


async def expiring(store: Store, retention_s: Callable[[], float | None]) -> None:
    """Delete once an hour, without end. `retention_s` returns how long records are kept, or None while
    another process is responsible."""
    while True:
        kept_s = retention_s()
        if kept_s is not None:
            await asyncio.to_thread(_expire, store, kept_s)
        await asyncio.sleep(EVERY_S)


def _expire(store: Store, kept_s: float) -> None:
    now = time.time()
    try:
        log.info("records.expired", count=store.expire(now - kept_s))
        log.info("captures.expired", count=CaptureStore(store).expire(now))
    except StoreDown as problem:
        log.error("records.not_expired", problem=str(problem))
