"""Deletes what is older than it is kept, hour by hour. How, the store knows."""

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
    """Look once an hour, for as long as this process lives. `retention_s` is how long records are kept; None:
    it is not this process's part now."""
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
