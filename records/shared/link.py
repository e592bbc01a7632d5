"""A connection to Redis that never makes anybody wait for long."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from records.errors import SharedDown

ANSWER_WITHIN_S = 0.3
"""Redis answers in well under a millisecond; what takes this long is not there."""


def connect(url: str) -> Redis:
    """A client for `redis://…` or `rediss://…`; nothing is sent before its first use.

    No retries: whoever asks asks again soon, and knows best what to do meanwhile.
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
    """Whatever goes wrong with Redis inside is SharedDown."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as exc:
        raise SharedDown(f"Redis does not answer: {exc or type(exc).__name__}") from exc
