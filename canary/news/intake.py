"""Where an admin's news comes from: of all replicas' records while it leads, else only who lives.

The stream brings it at once. The store is searched for what the stream lacks: now and then, and often while
there is no stream.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from redis.asyncio import Redis

from canary.news.gathering import Gathering, Position, signs_of_life
from canary.news.listener import News
from canary.states.reach import Reach
from records.errors import SharedDown, StoreDown
from records.outcome import Outcome
from records.shared.stream import Incoming
from records.store import Store, tail

SEARCH_EVERY_S = 5.0
SEARCH_OFTEN_S = 0.5
AGAIN_S = 0.5


class Intake:
    """Tells the news to `tell`. Belongs to the event loop's thread."""

    def __init__(
        self,
        redis: Redis,
        store: Store,
        reach: Reach,
        *,
        canaries: Callable[[], Collection[str]],
        tell: Callable[[News], None],
    ) -> None:
        self._redis, self._store, self._reach = redis, store, reach
        self._canaries, self._tell = canaries, tell
        self.lag_s: float | None = None
        """How long after its end the latest-known of the last exchanges was told; None before any."""
        self._incoming = Incoming(redis)
        self._gathering: Gathering | None = None

    @property
    def position(self) -> Position | None:
        """How far everything was told; None while only signs of life are."""
        return self._gathering.position if self._gathering is not None else None

    def begin(self, document: Mapping[str, Any]) -> None:
        """Tell everything from now on, from the place where the last leader was."""
        self._gathering = Gathering(document)
        self._incoming = Incoming(self._redis, self._gathering.position.place)

    def end(self) -> None:
        """Tell only who lives."""
        self._gathering = None

    async def hear(self) -> None:
        """Follow the stream, without end: from what is new, unless `begin` says otherwise."""
        try:
            await self._incoming.skip()
        except SharedDown as problem:
            self._reach.failed(problem)
        while True:
            try:
                await self._hear()
                self._reach.answered()
            except SharedDown as problem:
                self._reach.failed(problem)
                await asyncio.sleep(AGAIN_S)

    async def _hear(self) -> None:
        incoming = self._incoming
        dispatches = await incoming.read()
        if incoming is not self._incoming:
            return  # meanwhile this admin began to lead: it reads again, from where the last one was
        if self._gathering is not None:
            self._pass_on(self._gathering.hear(dispatches, incoming.place))
        else:
            self._tell(signs_of_life(dispatches))

    async def search(self) -> None:
        """Search the store, without end."""
        while True:
            await asyncio.sleep(SEARCH_OFTEN_S if self._reach.down else SEARCH_EVERY_S)
            if self._gathering is not None:
                await self._search(self._gathering)

    async def _search(self, gathering: Gathering) -> None:
        asked_at, moment = time.time(), gathering.position.searched_until
        try:
            found = await asyncio.to_thread(tail.since, self._store, self._canaries(), moment)
        except StoreDown:
            gathering.not_found(asked_at)
            return
        if gathering is self._gathering:
            self._pass_on(gathering.found(found, asked_at))

    def _pass_on(self, news: News) -> None:
        now = time.monotonic()
        lags = [now - each.mono - (each.latency_s or 0.0) for each in news.records if type(each) is Outcome]
        if lags:
            self.lag_s = max(0.0, *lags)
        self._tell(news)
