"""The evidence of a fleet: every replica's outcomes while this admin leads, else only heartbeats.

The Redis stream brings outcomes at once. The store is searched for what the stream lacks: every few seconds,
and twice a second while there is no stream. What the leader knows is stored for the next leader.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from msgspec import structs
from redis.asyncio import Redis

from control.feed.deduplicator import Deduplicator, Position, heartbeats
from control.feed.events import Listener, StatefulListener, WorkerEvents, WorkerRegistry
from control.fleet.leadership import Leadership
from control.fleet.publisher import Availability
from records.errors import SharedDown, StoreDown
from records.outcome import Feedback, Heartbeat, Outcome
from records.shared.stream import RECORDS_A_DISPATCH, Dispatch, Outgoing, StreamCursor, brief
from records.store import Store
from records.store.leader import Checkpoints, StoredCheckpoint, records_since

log = structlog.get_logger()


class SharedCheckpoint:
    """One admin's access to the checkpoint that all admins share."""

    def __init__(self, checkpoints: Checkpoints, *, boot: str) -> None:
        self._checkpoints, self._boot = checkpoints, boot
        self._recalled: StoredCheckpoint | None = None
        self._listeners: Sequence[StatefulListener] = ()

    def attach(self, listeners: Sequence[StatefulListener]) -> None:
        """Restore and save the memory of these."""
        self._listeners = listeners

    async def recall(self, *, again: bool) -> Mapping[str, Any]:
        """Restore the listeners from the stored checkpoint, and return it whole.

        An unchanged checkpoint is restored only with `again`. An unreadable one (of a newer version, say) is
        logged and counts as empty. May raise StoreDown.
        """
        stored = await asyncio.to_thread(self._checkpoints.load)
        if stored == self._recalled and not again:
            return {}
        self._recalled = stored
        try:
            return self._restore(stored.document)
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as problem:
            log.error("checkpoint.unreadable", problem=str(problem), term=stored.term)
            return {}

    async def save(self, term: int, position: Position) -> None:
        """Store what the listeners know now. A store that is down, or a later leader, leaves it unstored."""
        document: dict[str, Any] = {"boot": self._boot, "position": position}
        for listener in self._listeners:
            document.update(listener.snapshot())
        stored = StoredCheckpoint(term, msgspec.json.encode(document))
        try:
            if not await asyncio.to_thread(self._checkpoints.save, stored, time.time()):
                log.error("checkpoint.outrun", term=term)  # the next look at the lease says more
        except StoreDown as problem:
            log.error("checkpoint.not_kept", problem=str(problem))

    def _restore(self, data: bytes) -> Mapping[str, Any]:
        document: Mapping[str, Any] = msgspec.json.decode(data) if data else {}
        if document:
            new_boot = None if document["boot"] == self._boot else time.time() - time.monotonic()
            for listener in self._listeners:
                listener.restore(document, new_boot=new_boot)
        return document


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
        self._checkpoint.attach([metrics, monitor])

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
            found = await asyncio.to_thread(records_since, self._store, self._canaries(), moment)
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


class StreamPublisher:
    """The listener that publishes events. It never blocks."""

    def __init__(self, outgoing: Outgoing, *, replica: str) -> None:
        self._outgoing, self._replica = outgoing, replica

    def take(self, events: WorkerEvents) -> None:
        """Publish outcomes and feedback of canaries, and each worker's last heartbeat. Exchanges in flight go
        before the outcomes that may end them."""
        self._put_in_flight(events)
        outcomes = [brief(each) for each in events.records if type(each) is Outcome and each.canary]
        feedback = [each for each in events.records if type(each) is Feedback and each.canary]
        beats = list(_last_of_each(events).values())
        if not (events.heard or outcomes or feedback or beats):
            return
        for start in range(0, max(len(outcomes), len(feedback), 1), RECORDS_A_DISPATCH):
            part = slice(start, start + RECORDS_A_DISPATCH)
            first = start == 0
            self._outgoing.put(
                Dispatch(
                    replica=self._replica,
                    heard=events.heard if first else 0,
                    outcomes=outcomes[part],
                    feedback=feedback[part],
                    beats=beats if first else (),
                    unmatched=events.unmatched if first else (),
                    callers=events.callers if first else (),
                )
            )

    def _put_in_flight(self, events: WorkerEvents) -> None:
        told = [(slot, pid, record) for (_, slot, pid), record in events.in_flight]
        for start in range(0, len(told), RECORDS_A_DISPATCH):
            part = told[start : start + RECORDS_A_DISPATCH]
            self._outgoing.put(Dispatch(replica=self._replica, in_flight=part))


def _last_of_each(events: WorkerEvents) -> dict[object, Heartbeat]:
    """Each worker's last heartbeat, with the dropped mirror copies of all its heartbeats added up."""
    last: dict[object, Heartbeat] = {}
    for key, beat in events.beats:
        before = last.get(key)
        last[key] = beat if before is None else _together(before, beat)
    return last


def _together(before: Heartbeat, beat: Heartbeat) -> Heartbeat:
    if not before.mirrors_dropped:
        return beat
    dropped = dict(before.mirrors_dropped)
    for name, count in beat.mirrors_dropped.items():
        dropped[name] = dropped.get(name, 0) + count
    return structs.replace(beat, mirrors_dropped=dropped)
