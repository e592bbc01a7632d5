"""The evidence of a fleet: every replica's outcomes while this admin leads, else only heartbeats.

The Redis stream brings outcomes at once. The store is searched for what the stream lacks: every few seconds,
and twice a second while there is no stream.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any

from redis.asyncio import Redis

from control.availability import Availability
from control.checkpoint import SharedCheckpoint
from control.deduplicator import Deduplicator, Position, heartbeats
from control.events import Listener, StatefulListener, WorkerEvents
from control.leadership import Leadership
from control.workers import WorkerRegistry
from records.errors import SharedDown, StoreDown
from records.outcome import Outcome
from records.shared.stream import StreamCursor
from records.store import Store, tail

SEARCH_EVERY_S = 5.0
SEARCH_OFTEN_S = 0.5
AGAIN_S = 0.5


class EvidenceSource:
    """A controller's `Source` where there are several replicas. Belongs to the event loop's thread."""

    save_every_s = 5.0

    def __init__(
        self,
        redis: Redis,
        store: Store,
        *,
        availability: Availability,
        checkpoint: SharedCheckpoint,
        leadership: Leadership,
        canaries: Callable[[], Collection[str]],
    ) -> None:
        self._redis, self._store, self._availability = redis, store, availability
        self._checkpoint, self._leadership, self._canaries = checkpoint, leadership, canaries
        self._workers = WorkerRegistry()
        self._listeners: Sequence[Listener] = ()
        self.lag_s: float | None = None
        """How late the latest-known of the last exchanges was told after its end; None before any."""
        self._cursor = StreamCursor(redis)
        self._deduplicator: Deduplicator | None = None

    def attach(self, workers: WorkerRegistry, metrics: StatefulListener, monitor: StatefulListener) -> None:
        """Tell `workers` every heartbeat, and `monitor` everything while this admin leads.

        The agents count requests; here `metrics` only keeps the count of rollbacks over a change of leader.
        """
        self._workers, self._listeners = workers, [monitor]
        self._checkpoint.listeners = [metrics, monitor]

    @property
    def position(self) -> Position | None:
        """How far everything was told; None while only heartbeats are."""
        return self._deduplicator.position if self._deduplicator is not None else None

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """What has to run, without end."""
        return [self.follow(), self.search()]

    async def begin(self) -> None:
        """Go on where the last leader was. May raise StoreDown."""
        document = await self._checkpoint.recall(again=True)
        self._deduplicator = Deduplicator(document)
        self._cursor = StreamCursor(self._redis, self._deduplicator.position.place)

    async def stand_by(self) -> None:
        """Tell only heartbeats; the listeners know what the leader last stored. May raise StoreDown."""
        self._deduplicator = None
        await self._checkpoint.recall(again=False)

    async def save(self) -> None:
        """Store what is known, under our term; nothing while the store is silent, for pages must not wait."""
        lease, position = self._leadership.lease, self.position
        if lease is not None and position is not None and self._leadership.standing() == "leading":
            await self._checkpoint.save(lease.term, position)

    def drain(self) -> None:
        """Nothing: what is left on the stream is the next leader's."""

    async def follow(self) -> None:
        """Follow the stream, without end: from its newest entry, unless `begin` says otherwise."""
        try:
            await self._cursor.skip()
        except SharedDown as problem:
            self._availability.failed(problem)
        while True:
            try:
                await self._read()
                self._availability.answered()
            except SharedDown as problem:
                self._availability.failed(problem)
                await asyncio.sleep(AGAIN_S)

    async def _read(self) -> None:
        cursor = self._cursor
        dispatches = await cursor.read()
        if cursor is not self._cursor:
            return  # this admin began to lead meanwhile: it reads again, from where the last leader was
        if self._deduplicator is None:
            self._workers.take(heartbeats(dispatches))
        else:
            self._tell(self._deduplicator.hear(dispatches, cursor.place))

    async def search(self) -> None:
        """Search the store, without end."""
        while True:
            await asyncio.sleep(SEARCH_OFTEN_S if self._availability.down else SEARCH_EVERY_S)
            if self._deduplicator is not None:
                await self._search(self._deduplicator)

    async def _search(self, deduplicator: Deduplicator) -> None:
        asked_at, moment = time.time(), deduplicator.position.searched_until
        try:
            found = await asyncio.to_thread(tail.since, self._store, self._canaries(), moment)
        except StoreDown:
            deduplicator.not_found(asked_at)
            return
        if deduplicator is self._deduplicator:
            self._tell(deduplicator.found(found, asked_at))

    def _tell(self, events: WorkerEvents) -> None:
        now = time.monotonic()
        lags = [now - each.mono - (each.latency_s or 0.0) for each in events.records if type(each) is Outcome]
        if lags:
            self.lag_s = max(0.0, *lags)
        self._workers.take(events)
        if self._leadership.standing() != "standby":
            for listener in self._listeners:
                listener.take(events)
