"""The evidence of a fleet: every replica's outcomes while this admin leads, else only heartbeats.

The Redis stream brings outcomes at once. The store is searched for what the stream lacks: every few seconds,
and twice a second while there is no stream. Each record is passed on once, although it may come both ways.
What the leader knows is stored for the next leader, with the `position`: what was passed on, and up to
where.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import msgspec
import structlog
from msgspec import structs
from redis.asyncio import Redis

from common.clock import every
from control.feed.events import (
    EventListener,
    StatefulListener,
    WorkerEvents,
    WorkerRegistry,
    checkpoint_of,
    here,
    restore,
)
from control.fleet.leadership import Leadership
from control.fleet.publisher import ServiceAvailability
from records.errors import SharedDown, StoreDown
from records.outcome import Feedback, Heartbeat, InFlight, Outcome
from records.shared.fleet_clock import FleetClock
from records.shared.stream import (
    RECORDS_A_DISPATCH,
    START,
    OutgoingQueue,
    ReplicaRecords,
    StreamCursor,
    brief,
)
from records.store import Store
from records.store.leader import Checkpoints, MissedRecords, StoredCheckpoint, records_since

OVERLAP_S = 30.0
"""How long after its end an exchange may still appear in the store: clocks differ, shipping takes time."""

REMEMBERED = 200_000
"""Records that are known to be told. With more, nothing that ended before a forgotten one is told any more:
some that come late are missing, and none counts twice."""

MOST_OPEN = 20_000


class ReadPosition(msgspec.Struct, kw_only=True):
    """How far the leader has read.

    `place` is an entry of the stream; before `searched_until`, UTC seconds, the store holds nothing new;
    `told` maps the hash of each later record that was passed on to when its exchange ended. `set_back_from`:
    what the store has up to then is from before the clock was set back, and was passed on.
    """

    place: str = START
    searched_until: float
    told: dict[int, float]
    set_back_from: float = 0.0


class RecordDeduplicator:
    """Filters out records that were passed on before. Belongs to the event loop's thread."""

    def __init__(
        self, document: Mapping[str, Any] | None = None, *, utc: Callable[[], float] = time.time
    ) -> None:
        """Continue from a position; without a readable one from now, with what the stream still holds.
        `utc`: the clock by which replicas date their records."""
        self._utc = utc
        self.position = _position(document or {}, utc())
        self._failed_at = float("-inf")
        self._open: dict[str, None] = {}

    def hear(self, dispatches: Sequence[ReplicaRecords], place: str) -> WorkerEvents:
        """The new records in entries of the stream, the last of which is `place`.

        A record from before `searched_until` was found in the store.
        """
        self.position.place = place
        now = self._utc()
        in_flight = [
            ((dispatch.replica, slot, pid), structs.replace(each, mono=here(each.at, now)))
            for dispatch in dispatches
            for slot, pid, each in dispatch.in_flight
            if self._is_open(each)
        ]
        outcomes = self._new_outcomes(part for dispatch in dispatches for part in dispatch.outcomes)
        feedback = self._new_feedback(each for dispatch in dispatches for each in dispatch.feedback)
        return replace(
            heartbeats(dispatches),
            records=[*outcomes, *feedback],
            in_flight=in_flight,
            unmatched=[each for dispatch in dispatches for each in dispatch.unmatched],
            callers=[each for dispatch in dispatches for each in dispatch.callers],
        )

    def found(self, tail: MissedRecords, asked_at: float) -> WorkerEvents:
        """The new records in the store's answer to a search that began at UTC second `asked_at`."""
        told_until = self.position.set_back_from
        outcomes = self._new_outcomes(each for each in tail.outcomes if each.ended_at > told_until)
        feedback = self._new_feedback(
            (each for each in tail.feedback if each.at > told_until), asked_at=asked_at
        )
        records: list[Outcome | Feedback] = [*outcomes, *feedback]
        position = self.position
        if asked_at < position.searched_until - OVERLAP_S:
            position.set_back_from = max(told_until, position.searched_until)
            position.searched_until = asked_at - OVERLAP_S
        elif asked_at - self._failed_at > 2 * OVERLAP_S:
            self._search_from(asked_at - OVERLAP_S)
        return WorkerEvents(records=records, heard=len(tail.outcomes))

    def not_found(self, asked_at: float) -> None:
        """The store did not answer. Replicas will ship older records once it does, so `searched_until` stays
        where it is for a while."""
        self._failed_at = asked_at

    def _search_from(self, moment: float) -> None:
        position = self.position
        position.searched_until = max(position.searched_until, moment)
        position.told = {
            key: ended for key, ended in position.told.items() if ended > position.searched_until
        }

    def _new_outcomes(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        late, now, found = self.position.searched_until, self._utc(), []
        for each in outcomes:
            if each.ended_at > late:
                self._open.pop(each.exchange_id, None)
                if self._note(each.exchange_id, each.ended_at):
                    found.append(structs.replace(each, mono=here(each.at, now)))
        return found

    def _new_feedback(
        self, feedback: Iterable[Feedback], *, asked_at: float = float("-inf")
    ) -> list[Feedback]:
        """Those about a session or unit come by the stream alone, and up to a minute later. What was taken
        lately is new, whatever moment it is of; the store, which was asked at `asked_at`, does not say when
        it was."""
        late, now, found = self.position.searched_until, self._utc(), []
        for each in feedback:
            heard = max(each.at, each.taken_at, asked_at)
            is_new = heard > late or not each.exchange_id
            if is_new and self._note(f"{each.key}\0{each.value}\0{each.at}", heard):
                found.append(structs.replace(each, mono=here(each.taken_at, now)))
        return found

    def _is_open(self, exchange: InFlight) -> bool:
        """False for an exchange whose outcome was passed on, or may have been: one that began before
        `searched_until` is known to be open only if it was passed on as such."""
        name = exchange.exchange_id
        if name in self._open:
            return True
        if exchange.at <= self.position.searched_until or _key(name) in self.position.told:
            return False
        self._open[name] = None
        if len(self._open) > MOST_OPEN:
            del self._open[next(iter(self._open))]
        return True

    def _note(self, name: str, ended: float) -> bool:
        key = _key(name)
        told = self.position.told
        if key in told:
            return False
        told[key] = ended
        if len(told) > REMEMBERED:
            self._search_from(sorted(told.values())[REMEMBERED // 10])
        return True


def _key(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "big")


def heartbeats(dispatches: Sequence[ReplicaRecords]) -> WorkerEvents:
    """Only the heartbeats, as of now: all that an admin in standby needs."""
    now = time.monotonic()
    beats = [
        ((dispatch.replica, beat.worker, beat.pid), structs.replace(beat, mono=now))
        for dispatch in dispatches
        for beat in dispatch.beats
    ]
    return WorkerEvents(beats=beats, heard=sum(dispatch.heard for dispatch in dispatches))


def _position(document: Mapping[str, Any], now: float) -> ReadPosition:
    try:
        return msgspec.convert(document["position"], ReadPosition, str_keys=True)
    except (KeyError, msgspec.ValidationError):
        return ReadPosition(searched_until=now - OVERLAP_S, told={})


log = structlog.get_logger()


SEARCH_EVERY_S = 5.0
SEARCH_OFTEN_S = 0.5
AGAIN_S = 0.5
CLOCK_S = 1.0


class StreamSource:
    """Where the controller of several replicas hears what happened, and keeps what was learnt of it. Belongs
    to the event loop's thread."""

    save_every_s = 5.0

    def __init__(
        self,
        redis: Redis,
        store: Store,
        *,
        availability: ServiceAvailability,
        checkpoints: Checkpoints,
        boot: str,
        leadership: Leadership,
        canaries: Callable[[], Collection[str]],
        clock: FleetClock,
    ) -> None:
        self._redis, self._store, self._availability = redis, store, availability
        self._checkpoints, self._boot = checkpoints, boot
        self._leadership, self._canaries, self._clock = leadership, canaries, clock
        self._recalled: StoredCheckpoint | None = None
        self.recalled_at: float | None = None
        """The UTC second when the leader's figures were last new here; None before any."""
        self._stateful: Sequence[StatefulListener] = ()
        self._workers = WorkerRegistry()
        self._listeners: Sequence[EventListener] = ()
        self.lag_s: float | None = None
        """How late the latest-known of the last exchanges was told after its end; None before any."""
        self._cursor = StreamCursor(redis)
        self._deduplicator: RecordDeduplicator | None = None

    def attach(
        self,
        workers: WorkerRegistry,
        metrics: StatefulListener,
        monitor: StatefulListener,
        *,
        also: Sequence[EventListener] = (),
    ) -> None:
        """Tell `workers` every heartbeat, and `monitor` and others everything while this admin leads.

        The agents count requests; here `metrics` only keeps the count of rollbacks over a change of leader.
        """
        self._workers, self._listeners = workers, [*also, monitor]
        self._stateful = [metrics, monitor]

    @property
    def hears(self) -> bool:
        """False while Redis, by which heartbeats come, does not answer."""
        return self._availability.down is None

    @property
    def position(self) -> ReadPosition | None:
        """How far everything was told; None while only heartbeats are."""
        return self._deduplicator.position if self._deduplicator is not None else None

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """What has to run, without end."""
        return [self.follow(), self.search(), every(CLOCK_S, self._ask_time, at_once=True)]

    async def begin(self) -> None:
        """Go on where the last leader was. May raise StoreDown."""
        await self._ask_time()
        document = await self._recall(again=True)
        self._deduplicator = RecordDeduplicator(document, utc=self._clock.now)
        self._cursor = StreamCursor(self._redis, self._deduplicator.position.place)

    async def stand_by(self) -> None:
        """Tell only heartbeats; the listeners know what the leader last stored. May raise StoreDown."""
        self._deduplicator = None
        await self._recall(again=False)

    async def _recall(self, *, again: bool) -> Mapping[str, Any]:
        """Restore the listeners from the stored checkpoint, and return it whole.

        An unchanged checkpoint is restored only with `again`. An unreadable one (of a newer version, say) is
        logged and counts as empty. May raise StoreDown.
        """
        stored = await asyncio.to_thread(self._checkpoints.load)
        if stored == self._recalled and not again:
            return {}
        self._recalled, self.recalled_at = stored, time.time()
        try:
            document: Mapping[str, Any] = msgspec.json.decode(stored.document) if stored.document else {}
            if document:
                restore(self._stateful, document, self._boot)
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as problem:
            log.error("checkpoint.unreadable", problem=str(problem), term=stored.term)
            return {}
        return document

    async def save(self) -> None:
        """Store what is known, under our term; nothing while the store is silent, for pages must not wait. A
        store that is down, or a later leader, leaves it unstored."""
        lease, position = self._leadership.lease, self.position
        if lease is None or position is None or self._leadership.standing() != "leading":
            return
        document = checkpoint_of(self._stateful, self._boot, position=position)
        stored = StoredCheckpoint(lease.term, document)
        try:
            if not await asyncio.to_thread(self._checkpoints.save, stored, time.time()):
                log.error("checkpoint.outrun", term=lease.term)  # the next look at the lease says more
        except StoreDown as problem:
            log.error("checkpoint.not_kept", problem=str(problem))

    def drain(self) -> None:
        """Nothing: what is left on the stream is the next leader's."""

    async def _ask_time(self) -> None:
        with suppress(SharedDown):  # who follows the stream says so
            await self._clock.ask()

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

    async def _search(self, deduplicator: RecordDeduplicator) -> None:
        asked_at, moment = self._clock.now(), deduplicator.position.searched_until
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

    def __init__(
        self,
        outgoing: OutgoingQueue,
        *,
        replica: str,
        clock_offset_s: Callable[[], float | None] = lambda: None,
    ) -> None:
        """`clock_offset_s`: seconds by which this machine's clock is fast; None while that is unknown."""
        self._outgoing, self._replica, self._clock_offset_s = outgoing, replica, clock_offset_s

    def take(self, events: WorkerEvents) -> None:
        """Publish outcomes of canaries, standing ones too, feedback that is about them or joined nothing, and
        each worker's last heartbeat. Exchanges in flight go before the outcomes that may end them."""
        self._put_in_flight(events)
        told = [each for each in events.records if type(each) is Outcome]
        outcomes = [brief(each) for each in told if each.canary or each.reason == "standing"]
        feedback = [each for each in events.records if type(each) is Feedback]
        beats = _last_of_each(events, self._clock_offset_s())
        if not (events.heard or outcomes or feedback or beats):
            return
        for start in range(0, max(len(outcomes), len(feedback), 1), RECORDS_A_DISPATCH):
            part = slice(start, start + RECORDS_A_DISPATCH)
            first = start == 0
            self._outgoing.put(
                ReplicaRecords(
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
            self._outgoing.put(ReplicaRecords(replica=self._replica, in_flight=part))


def _last_of_each(events: WorkerEvents, clock_offset_s: float | None) -> list[Heartbeat]:
    """Each worker's last heartbeat, with the dropped mirror copies of all its heartbeats added up."""
    last: dict[object, Heartbeat] = {}
    dropped: dict[object, Counter[str]] = {}
    for key, beat in events.beats:
        last[key] = beat
        dropped.setdefault(key, Counter()).update(beat.mirrors_dropped)
    return [
        structs.replace(beat, mirrors_dropped=dict(dropped[key]), clock_offset_s=clock_offset_s)
        for key, beat in last.items()
    ]
