"""Who is in the middle of something, and which units therefore keep an arm through a change of share.

What a unit did last says whether it is held (`routing.holds.hold_of`), so nothing else has to be remembered:
a restarted controller and the next leader learn it from the store's newest outcomes.

a change of share       the states name the hold; every unit at its places keeps its arm
    ↓                   workers tell at once which exchanges are under way, then that they follow these states
all workers follow      the units that are held are published; all others at these places have moved
    ↓                   looked at again every second: a unit that has been idle for `settle` moves
none is held any more   the hold leaves the states, after a few seconds at the earliest

Before its first start a canary is in no outcome: the store says who has asked for its models, in the trial
before it, too.
"""

import asyncio
import time
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import structlog

from common.clock import put_off_without_descriptors
from control.feed.events import WorkerEvents, WorkerKey, WorkerRegistry
from control.settings import ControlSettings
from control.states.rollouts import Rollouts
from records.errors import StoreDown
from records.outcome import InFlight, Outcome
from records.shared.held_units import (
    NOBODY_KNOWN,
    HeldUnits,
    count,
    has_unknown_holds,
    number_of,
    packed,
)
from records.store import Store
from records.store.last_exchanges import fresh_batches
from routing.canary import ArmName
from routing.holds import hold_of, moves
from routing.states import State, States

log = structlog.get_logger()

LOOK_EVERY_S = 0.2
AGAIN_AFTER = 30.0
"""So many times as long as a look took is waited for the next one, or a second, if no share changes."""
KNOWN_WITHIN_S = 5.0
"""Workers that have not followed the states by then are not waited for."""
LINGER_S = 10.0
"""How long a change may still learn of exchanges that began before it."""
MOST_OPEN, OPEN_S = 50_000, 3_600.0
"""Exchanges under way that are remembered, and for how long: the end of one on a lost machine never comes."""
SHARDS = 64
"""A table grows one part at a time, so that the event loop waits for milliseconds."""
_SHARD_BITS = 58
_LEAST = 64
_ARMS: tuple[ArmName, ...] = ("baseline", "candidate")


class LastSeen(NamedTuple):
    """What a unit did last: in which phase it was served by which arm, until UTC second `at`. `place` is None
    where nobody noted it."""

    number: int
    place: int | None
    phase: int
    arm: ArmName
    at: int


class HeldPart(NamedTuple):
    """Some units of a hold, and how many of them will get the other arm."""

    units: bytes
    moving: float


class ActivityTable:
    """What each unit of one canary did last, in 20 bytes a slot (open addressing, at most 60 % full).

    A unit stays in the newest phase in which it was seen: an exchange of an earlier one may end later.
    """

    def __init__(self) -> None:
        self._shards = [_Shard() for _ in range(SHARDS)]

    def __len__(self) -> int:
        return sum(shard.used for shard in self._shards)

    def add(self, seen: LastSeen, *, oldest: int) -> None:
        """Note what a unit did. A full part forgets the units that were last seen before `oldest`."""
        mark = seen.phase << 2 | (seen.place is not None) << 1 | (seen.arm == "candidate")
        self._shards[seen.number >> _SHARD_BITS].add(seen.number, seen.place or 0, mark, seen.at, oldest)

    def parts(self, state: State, oldest: int) -> Iterator[Mapping[int, HeldPart]]:
        """The units seen since `oldest` that the state holds, by the phase that they keep, part by part: the
        numbers of each part are above those of the parts before it."""
        return (shard.held(state, oldest) for shard in self._shards)


class _Shard:
    __slots__ = ("_ats", "_marks", "_mask", "_numbers", "_places", "used")

    def __init__(self) -> None:
        self._clear(_LEAST)

    def _clear(self, slots: int) -> None:
        self.used, self._mask = 0, slots - 1
        self._numbers = array("Q", bytes(8 * slots))
        self._places, self._marks, self._ats = (array("I", bytes(4 * slots)) for _ in range(3))

    def add(self, number: int, place: int, mark: int, at: int, oldest: int) -> None:
        numbers, ats, mask = self._numbers, self._ats, self._mask
        slot = number & mask
        while ats[slot] and numbers[slot] != number:
            slot = (slot + 1) & mask
        if not ats[slot]:
            self.used += 1
            numbers[slot] = number
        if mark >> 2 >= self._marks[slot] >> 2:
            self._marks[slot], self._places[slot] = mark, place
        if at > ats[slot]:
            ats[slot] = at
        if 5 * self.used > 3 * (mask + 1):
            self._grow(oldest)

    def since(self, oldest: int) -> list[tuple[int, int, int, int]]:
        rows = zip(self._numbers, self._places, self._marks, self._ats, strict=True)
        return [row for row in rows if row[3] and row[3] >= oldest]

    def held(self, state: State, oldest: int) -> Mapping[int, HeldPart]:
        found: dict[int, list[int]] = {hold.before.phase: [] for hold in state.holds}
        moving = dict.fromkeys(found, 0.0)
        for number, place, mark, _ in self.since(oldest):
            known, arm = place if mark & 2 else None, _ARMS[mark & 1]
            hold = hold_of(state, place=known, phase=mark >> 2, arm=arm)
            if hold is not None:
                phase = hold.before.phase
                found[phase].append(number)
                moving[phase] += (hold.share or 1.0) if known is None else moves(hold, place, arm)
        return {phase: HeldPart(packed(numbers), moving[phase]) for phase, numbers in found.items()}

    def _grow(self, oldest: int) -> None:
        left, slots = self.since(oldest), _LEAST
        while 5 * len(left) > 2 * slots:
            slots *= 2
        self._clear(slots)
        for row in left:
            self.add(*row, oldest)


class HeldPublisher(Protocol):
    """Takes who is held to the workers."""

    def put_held(self, units: HeldUnits) -> None:
        """Publish these in place of the last ones. From any thread; may raise OSError."""
        ...

    async def held(self, newer_than: float) -> HeldUnits | None:
        """Those that were published last, whoever did, if they are of after this UTC second."""
        ...


class UnitActivity:
    """A listener, and the publisher of who is held. Belongs to the event loop's thread."""

    def __init__(
        self,
        store: Store,
        rollouts: Rollouts,
        workers: WorkerRegistry,
        publisher: HeldPublisher,
        *,
        settings: Callable[[], ControlSettings],
        works: Callable[[], bool],
        mono: Callable[[], float] = time.monotonic,
    ) -> None:
        """`works` is False while another admin leads."""
        self._store, self._rollouts, self._workers, self._publisher = store, rollouts, workers, publisher
        self._settings, self._works, self._mono = settings, works, mono
        self._published = NOBODY_KNOWN
        self._begin()

    def _begin(self) -> None:
        self._tables: dict[str, ActivityTable] = {}
        self._open: dict[str, tuple[WorkerKey, InFlight]] = {}
        self._since, self._seeded = time.time(), False
        self._holds: dict[tuple[str, int], tuple[int, float]] = {}
        """The version of the states in which a hold was first seen, and the monotonic second of that."""
        self._asked: dict[str, float] = {}
        """When the store was last asked who a starting canary's users are, UTC seconds."""
        self._moving: dict[str, float] = {}
        """How many of the held units will get the other arm. Only at a start others are held, too."""
        self._found: Mapping[str, Mapping[int, bytes]] = {}

    def begin(self) -> None:
        """Lead from now on: what is known is from before, or another's."""
        self._begin()

    def take(self, events: WorkerEvents) -> None:
        """Note who has done what."""
        settles = {
            name: each.canary.settle_s
            for name, each in self._settings().canaries.items()
            if each.canary.settle_s > 0.0
        }
        for worker, record in events.in_flight:
            if record.canary in settles and record.place is not None:
                self._open[record.exchange_id] = worker, record
                if len(self._open) > MOST_OPEN:
                    del self._open[next(iter(self._open))]
        if self._open:
            for outcome in events.outcomes:
                self._open.pop(outcome.exchange_id, None)
        self._note(events.outcomes, settles)
        gone = {worker for worker, _ in events.deaths}
        if gone:
            self._open = {name: each for name, each in self._open.items() if each[0] not in gone}

    def keeps(self, canary: str, phase: int, unit: str) -> bool:
        """True when the unit, by its hash, keeps the state of this phase."""
        return self._published.keeps(canary, phase, unit)

    def document(self, name: str) -> dict[str, Any] | None:
        """How many units of this canary are held, and until which UTC second at most; None for none."""
        state, found = self._rollouts.state(name), self._found.get(name, {})
        if state is None or not state.holds:
            return None
        units = sum(count(found.get(hold.before.phase, b"")) for hold in state.holds)
        if name in self._moving:
            units = round(self._moving[name])
        return {"units": units, "until": max(hold.until for hold in state.holds)}

    async def run(self) -> None:
        """Look who is held, without end."""
        rests_until = 0.0
        while True:
            began = self._mono()
            if began >= rests_until or self._must_look():
                with put_off_without_descriptors():
                    await self._recall()
                    if self._works():
                        await self.look()
                ended = self._mono()
                rests_until = ended + max(1.0, AGAIN_AFTER * (ended - began))
            await asyncio.sleep(LOOK_EVERY_S)

    def _must_look(self) -> bool:
        """True while a change keeps everybody, because nobody has looked whom it may move."""
        return self._works() and has_unknown_holds(self._rollouts.in_force, self._published)

    async def _recall(self) -> None:
        """Take over what an earlier process or another leader has published."""
        if any(state.holds for state in self._rollouts.in_force.states.values()):
            units = await self._publisher.held(self._published.at)
            if units is not None:
                self._published = units
                self._found = units.sets if not self._works() else self._found

    async def look(self) -> None:
        """Find who is held, publish it, and end the holds that keep no unit."""
        states = self._rollouts.in_force
        held = {name: state for name, state in states.states.items() if state.holds}
        ready = self._ready(states, held)
        if not held or not await self._seed(held):
            self._found = {name: found for name, found in self._found.items() if name in held}
            return
        now = time.time()
        self._tables = {name: each for name, each in self._tables.items() if self._settle_s(name)}
        if not all([await self._ask_before_start(name) for name, _ in self._holds.keys() & _first(held)]):
            return
        found = {name: await self._units_of(name, state, now) for name, state in held.items()}
        sets: dict[str, dict[int, bytes]] = {}
        for name, phase in ready:
            if phase in found[name]:
                sets.setdefault(name, {})[phase] = found[name][phase]
        if sets != self._published.sets:
            try:
                await asyncio.to_thread(self._publisher.put_held, HeldUnits(at=now, sets=sets))
            except OSError as error:
                log.error("plan.not_published", problem=str(error))
                return
            self._published = HeldUnits(at=now, sets=sets)
        self._found = found
        await self._release(sets, held, now)

    def _ready(self, states: States, held: Mapping[str, State]) -> Collection[tuple[str, int]]:
        """The holds of which it is known who was active when the share changed: all workers follow it."""
        now = self._mono()
        keys = [(name, hold.before.phase) for name, state in held.items() for hold in state.holds]
        self._holds = {key: self._holds.get(key, (states.version, now)) for key in keys}
        ready = set()
        for key, (version, since) in self._holds.items():
            confirmed, alive = self._workers.confirmed(version, now)
            if 0 < alive == confirmed or now - since >= KNOWN_WITHIN_S or self._published.knows(*key):
                ready.add(key)
        return ready

    async def _units_of(self, name: str, state: State, now: float) -> Mapping[int, bytes]:
        """The held units by the phase that they keep."""
        settle_s = self._settle_s(name)
        for _, record in self._open.values():
            if record.canary == name and now - record.at < OPEN_S:
                self._add(name, last_seen(record, now), settle_s)
        found: dict[int, list[bytes]] = {hold.before.phase: [] for hold in state.holds if now < hold.until}
        table = self._tables.get(name)
        moving = 0.0
        for part in table.parts(state, int(now - settle_s)) if table is not None else ():
            for phase in found.keys() & part.keys():
                found[phase].append(part[phase].units)
                moving += part[phase].moving
            await asyncio.sleep(0)
        self._moving[name] = moving
        return {phase: b"".join(units) for phase, units in found.items()}

    async def _release(
        self, sets: Mapping[str, Mapping[int, bytes]], held: Mapping[str, State], now: float
    ) -> None:
        version = self._rollouts.in_force.version
        for name, state in held.items():
            over = frozenset(
                phase
                for phase, kept in sets.get(name, {}).items()
                if not kept and self._mono() - self._holds[name, phase][1] >= LINGER_S
            )
            if over or any(hold.until <= now for hold in state.holds):
                try:
                    await asyncio.to_thread(self._rollouts.release, name, over, now)
                except StoreDown:
                    return
        if self._rollouts.in_force.version != version:
            self._rollouts.publish()

    async def _seed(self, held: Collection[str]) -> bool:
        """Learn once what was before this controller led, if it is not long enough ago. False while the store
        does not answer."""
        settles = {name: self._settle_s(name) for name in held}
        longest_s = max(settles.values())
        if self._seeded or self._since + longest_s < time.time():
            return True
        batches = fresh_batches(self._store, time.time() - longest_s)
        try:
            while (batch := await asyncio.to_thread(next, batches, None)) is not None:
                self._note(batch, settles)
        except StoreDown:
            return False
        self._seeded = True
        return True

    async def _ask_before_start(self, name: str) -> bool:
        """Learn who asked for a canary's models before its first start, of no canary or of one that has left
        the config: at first, and for a few seconds what has been stored since. False while the store does not
        answer."""
        settings, now, since = self._settings(), time.time(), self._asked.get(name)
        canary = settings.canary(name)
        if canary is None or (since is not None and self._mono() - self._holds[name, 0][1] > LINGER_S):
            return True
        batches = fresh_batches(self._store, now - canary.settle_s if since is None else since - LINGER_S)
        try:
            while (batch := await asyncio.to_thread(next, batches, None)) is not None:
                for each in batch:
                    if (
                        each.canary not in settings.canaries
                        and each.unit
                        and canary.would_take(each.provider, each.model_requested)
                    ):
                        seen = LastSeen(number_of(each.unit), None, 0, "baseline", int(each.ended_at))
                        self._add(name, seen, canary.settle_s)
        except StoreDown:
            return False
        self._asked[name] = now
        return True

    def _note(self, outcomes: Iterable[Outcome], settles: Mapping[str, float]) -> None:
        for outcome in outcomes:
            if outcome.canary in settles and not outcome.mirror and outcome.unit:
                self._add(outcome.canary, last_seen(outcome), settles[outcome.canary])

    def _settle_s(self, name: str) -> float:
        wanted = self._settings().canaries.get(name)
        return 0.0 if wanted is None else wanted.canary.settle_s

    def _add(self, name: str, seen: LastSeen | None, settle_s: float) -> None:
        if seen is not None:
            table = self._tables.get(name)
            if table is None:
                table = self._tables[name] = ActivityTable()
            table.add(seen, oldest=int(time.time() - settle_s))


def _first(held: Mapping[str, State]) -> set[tuple[str, int]]:
    """The holds of first starts."""
    return {(name, 0) for name in held}


def last_seen(exchange: Outcome | InFlight, now: float | None = None) -> LastSeen | None:
    """What this exchange says of its unit; None for one whose arm somebody asked for. `now`: it is under
    way."""
    if exchange.place is None or exchange.reason == "pinned":
        return None
    at = now if now is not None or type(exchange) is not Outcome else exchange.ended_at
    return LastSeen(
        number_of(exchange.unit), exchange.place, exchange.phase, exchange.arm, int(at or exchange.at)
    )
