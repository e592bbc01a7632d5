"""A Redis connection with short timeouts."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from records.errors import SharedDown

ANSWER_WITHIN_S = 0.3
"""Timeout. Redis normally answers in well under a millisecond."""


def connect(url: str) -> Redis:
    """Create a client for `redis://…` or `rediss://…`, which connects on first use and does not retry.

    All callers poll and have a fallback of their own.
    """
    return Redis.from_url(
        url,
        socket_timeout=ANSWER_WITHIN_S,
        socket_connect_timeout=ANSWER_WITHIN_S,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )


@contextmanager
def answering() -> Iterator[None]:
    """Convert Redis errors inside this block to SharedDown."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as exc:
        raise SharedDown(f"Redis does not answer: {exc or type(exc).__name__}") from exc
