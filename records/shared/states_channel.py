"""Redis: a connection with short timeouts, and the states through it, for machines that share no file."""

from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import aclosing, contextmanager
from typing import cast

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from common.text import readable
from records.errors import SharedDown
from records.shared import held_units
from records.shared.held_units import HeldUnits
from routing.states import States

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


KEY = "canary:plan"
"""Holds the states; a channel of the same name announces changes."""

_LISTEN_S = 5.0
_DECODER = msgspec.json.Decoder(States)

_SET_UNLESS_NEWER = """
local stored = redis.call('GET', KEYS[1])
if stored then
  local good, plan = pcall(cjson.decode, stored)
  if good and type(plan) == 'table' and (tonumber(plan.version) or 0) > tonumber(ARGV[2]) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('PUBLISH', KEYS[1], ARGV[2])
return 1
"""
"""Two admins may publish at once; the older states must not overwrite the newer ones."""

HELD_KEY = "canary:held"
"""Holds the units that keep an earlier state, and the UTC second of that."""

_SET_HELD_UNLESS_NEWER = """
if (tonumber(redis.call('HGET', KEYS[1], 'at') or 0) or 0) < tonumber(ARGV[1]) then
  redis.call('HSET', KEYS[1], 'at', ARGV[1], 'units', ARGV[2])
end
"""


class StatesChannel:
    """Publishes and reads the states. Every method may raise SharedDown."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._set = redis.register_script(_SET_UNLESS_NEWER)
        self._set_held = redis.register_script(_SET_HELD_UNLESS_NEWER)

    async def publish(self, states: States) -> bool:
        """Store and announce the states. False when Redis already has newer ones."""
        with answering():
            return bool(await self._set(keys=[KEY], args=[msgspec.json.encode(states), states.version]))

    async def read(self) -> States | None:
        """Read the states; None when they are missing or unreadable."""
        with answering():
            stored = await self._redis.get(KEY)
        return readable(_DECODER.decode, cast(bytes, stored or b""))

    async def publish_held(self, units: HeldUnits) -> None:
        """Store the units that keep an earlier state, unless Redis has newer ones."""
        with answering():
            await self._set_held(keys=[HELD_KEY], args=[repr(units.at), held_units.encode(units)])

    async def read_held(self, newer_than: float) -> HeldUnits | None:
        """Read these units; None when Redis has none, or none of after this UTC second."""
        with answering():
            at = await cast(Awaitable[bytes | None], self._redis.hget(HELD_KEY, "at"))
            if at is None or float(at) <= newer_than:
                return None
            return held_units.decode(await cast(Awaitable[bytes | None], self._redis.hget(HELD_KEY, "units")))

    async def listen(self) -> AsyncIterator[States]:
        """Yield the newest states after every announcement, for ever.

        The announcement carries no states, because all databases of a Redis server share their channels.
        """
        with answering():
            pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
            async with aclosing(pubsub):
                await pubsub.subscribe(KEY)
                while True:
                    if await pubsub.get_message(timeout=_LISTEN_S) is None:
                        continue
                    states = await self.read()
                    if states is not None:
                        yield states
