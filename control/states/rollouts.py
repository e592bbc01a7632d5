"""Every canary's state and its changes. The store is the truth, what is published its copy for the workers.

Two things do not wait for the store. A rollback is in force at once and stored when the store answers
(`settle`). Until the store has answered for the first time, the last states stay in force.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog

from alerts.incidents.rollback import RollbackEvidence, RolledBack, rolled_back, to_document
from alerts.quota import QuotaStatus
from common.clock import put_off_without_descriptors
from common.whole_file import sync_whole, write_whole
from control.settings import CanarySettings, ControlSettings
from records.errors import StoreDown
from records.facts.standing import Standing
from records.store import Act, FixedRubric, Store, VersionedState
from records.store.arm_texts import ArmTextsInStore
from records.store.last_exchanges import has_fresh_outcomes
from records.store.releases import Releases
from records.store.standing import Standings
from routing import transitions
from routing.canary import Canary, arm_names, definition
from routing.holds import keep, release
from routing.lanes import LaneAllotment, allot
from routing.states import NO_STATES, Lane, State, States, states_of
from verdict.terms.fixed_terms import terms_of


@dataclass(frozen=True, slots=True)
class PendingRollback:
    """One rollback: of which run, who ordered it, when and why, its evidence, the state before it, and
    whether it is `hard`.

    `why` is a `RollbackEvidence` as JSON: a rollback must survive a shape that this version does not know.
    """

    run: int
    act: Act
    why: Mapping[str, Any] | None = None
    before: State | None = None
    hard: bool = False

    def over(self, state: State) -> State:
        """The state under this rollback; unchanged if that run is over, or the state has no way there."""
        if state.run != self.run or "rollback" not in transitions.legal(state):
            return state
        return transitions.rollback(state, reason=self.act.reason, now=self.act.at, hard=self.hard)


class PendingRollbacks:
    """The rollbacks that are in force and not stored yet, by canary. Without a file, a restart forgets them.

    Safe for several threads. No lock is held during an fsync: `put` is on a rollback's way.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._changing = threading.Lock()
        self._waiting: dict[str, PendingRollback] = _read(file) if file is not None else {}

    def __iter__(self) -> Iterator[tuple[str, PendingRollback]]:
        return iter(list(self._waiting.items()))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def over(self, name: str, state: State) -> State:
        """The canary's state with its rollback, if one waits."""
        waiting = self._waiting.get(name)
        return state if waiting is None else waiting.over(state)

    def of(self, name: str) -> PendingRollback | None:
        """The canary's rollback that waits; None for none."""
        return self._waiting.get(name)

    def put(self, name: str, pending: PendingRollback) -> None:
        """Take in a rollback. When this returns it survives `kill -9`; a power cut, after `sync`."""
        with self._changing:
            self._waiting[name] = pending
            self._write()

    def settled(self, name: str, pending: PendingRollback) -> None:
        """The store knows of this one."""
        with self._changing:
            if self._waiting.get(name) is pending:
                del self._waiting[name]
                self._write()

    def sync(self) -> None:
        """Make what was put survive a power cut. Waits for the disk."""
        if self._file is not None and self._waiting and self._file.exists():  # a full disk may have refused
            self._log_refusal(sync_whole)

    def _write(self) -> None:
        if self._file is not None:
            data = msgspec.json.encode(self._waiting)
            self._log_refusal(lambda file: write_whole(file, data, durable=False))

    def _log_refusal(self, act: Callable[[Path], None]) -> None:
        assert self._file is not None  # noqa: S101
        try:
            act(self._file)
        except OSError as error:
            log.error("rollback.not_on_disk", file=str(self._file), problem=str(error))


def _read(file: Path) -> dict[str, PendingRollback]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, PendingRollback])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        log.error("rollback.unreadable", file=str(file), problem=str(error))
        return {}


def redefinitions(canaries: Mapping[str, CanarySettings], states: Mapping[str, VersionedState]) -> list[str]:
    """A sentence for each. Such a canary serves its baseline."""
    known = (
        transitions.redefinition(each.canary, states[name].state)
        for name, each in canaries.items()
        if name in states
    )
    return [sentence for sentence in known if sentence is not None]


def laneless(
    canaries: Mapping[str, CanarySettings], states: Mapping[str, VersionedState]
) -> Mapping[str, str]:
    """A sentence for each canary that must not start, because no lane is left for it, by name."""
    return allotment(canaries, states).refused


def unready(
    canaries: Mapping[str, CanarySettings], states: Mapping[str, VersionedState]
) -> Mapping[str, str]:
    """As `laneless`, with the waiting canaries that have not been given their lane yet."""
    cut = allotment(canaries, states)
    waiting = {name: lane for name, lane in cut.lanes.items() if name in states}
    late = [name for name, lane in waiting.items() if states[name].state.lane != lane]
    return {
        name: f"canary {name!r} is given its lane at this moment: try again" for name in late
    } | cut.refused


def allotment(canaries: Mapping[str, CanarySettings], states: Mapping[str, VersionedState]) -> LaneAllotment:
    """The lanes of the canaries that wait or are new in the config. A trial that has left has no lane, though
    its state stays while its candidate is the standing baseline."""
    held = {
        name: replace(each.state, state="ended")
        if each.state.state == "promoted" and name not in canaries
        else each.state
        for name, each in states.items()
    }
    return allot([each.canary for each in canaries.values()], held)


NEVER_REFUSED = ("rollback", "pause")
"""Neither raises the exposure, now or when the file is as it was."""


def refusal(order: str, canary: Canary, state: State) -> str | None:
    """Why the order is refused; None if it is not. No order may give users a candidate that no worker serves:
    all but NEVER_REFUSED are alike."""
    if order in NEVER_REFUSED:
        return None
    if state.state == "waiting" and state.definition != definition(canary):
        return f"{order} is refused: canary {canary.name!r} changed in the file a moment ago: order it again"
    problem = transitions.redefinition(canary, state)
    return f"{order} is refused: {problem}" if problem is not None and state.state != "ended" else None


log = structlog.get_logger()

Transition = Callable[[State], State]
Waits = Mapping[str, Mapping[str, float]]
"""Seconds by canary and kind of request."""

_TRIES = 5
_BEHIND = (
    "{} keeps changing under our hands, or the store was set back to an older state: "
    "try again; after restoring a backup, restart the admin process"
)
SETTLE_EVERY_S, SETTLE_AGAIN_S = 0.05, 1.0
CONFIG = "config"
RESTORED = "canary, after a restore"
"""Who rolls back again what the restored store does not know to be rolled back."""
REMOVED, LEFT = "removed from the config", "the next trial began"
PROMOTED = "its promotion ended the trial"


COUNT_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class StepUsers:
    """The candidate's users with an outcome in the step of this run that began with the phase `since`, as
    counted at monotonic `at`."""

    run: int
    since: int
    users: int
    at: float

    def is_fresh(self, least: int, now: float) -> bool:
        """True while it need not be counted again: there are enough, or it was counted a moment ago."""
        return self.users >= least or now - self.at < COUNT_EVERY_S


class OrderOvertaken(Exception):
    """Another operator changed the canary meanwhile. The message says what its state is now."""


class Rollouts:
    """Reads and changes states by compare-and-set, logs each change, publishes them."""

    def __init__(
        self,
        store: Store,
        publish: Callable[[States], None],
        *,
        last: States = NO_STATES,
        pending: PendingRollbacks | None = None,
        canary: Callable[[str], Canary | None] = lambda name: None,
    ) -> None:
        """`publish` takes states to the workers without blocking; `last` are those in force until the store
        answers; `pending` are rollbacks that an earlier process could not store; `canary` is one of the
        config, whose users in the middle of something are moved by no change of share."""
        self._store = store
        self._publish, self._canary = publish, canary
        self._last, self._heard = last, False
        self._pending = PendingRollbacks() if pending is None else pending
        self._publishing, self._adopting = threading.Lock(), threading.Lock()
        self._unpublished = ""
        self._patience, self._silence = last.patience, last.silence
        self.states: Mapping[str, VersionedState] = {}
        self.known = False
        """True once the store has answered."""
        self._entered: set[tuple[str, int]] = set()
        self._users: dict[str, StepUsers] = {}
        with suppress(StoreDown):
            self._look()

    @property
    def in_force(self) -> States:
        """The states of all canaries, with the pending rollbacks. Each raises the version, as storing it
        will."""
        now = time.time()
        if not self.known or self._is_behind:
            return self._last_in_force(now)
        states = {}
        for name, each in self.states.items():
            state = self._pending.over(name, each.state)
            states[name] = (each.version + (state != each.state), state)
        return states_of(states, now, self._patience, self._silence)

    def state(self, name: str) -> State | None:
        """A canary's state; None if there is none, or none is known."""
        found, last = self.states.get(name), self._last.states.get(name)
        state = last if found is None or (last is not None and self._is_behind) else found.state
        return None if state is None else self._pending.over(name, state)

    def pending_rollback(self, name: str) -> RolledBack | None:
        """The canary's pending rollback; None for none."""
        waiting, state = self._pending.of(name), self.state(name)
        if waiting is None or state is None or (state.state, state.run) != ("rolled_back", waiting.run):
            return None
        before = waiting.before or state
        return rolled_back(waiting.why, before, waiting.over(before), stored=False)

    def wait_for_candidates(self, patience: Waits, silence: Waits) -> None:
        """How long requests wait for a candidate, and how long a stream may be silent, in all states from
        now on."""
        self._patience, self._silence = patience, silence

    def publish(self) -> bool:
        """Publish the states, after a change or to keep them fresh. Without any, nothing.

        From any thread; older states never follow newer ones. False where the disk refuses them, or where no
        descriptor is left: they are to be published again soon.
        """
        with self._publishing:
            states = self.in_force
            if states.version == NO_STATES.version:
                return True
            problem = ""
            try:
                self._publish(states)
            except OSError as error:
                problem = str(error)
                if problem != self._unpublished:
                    log.error("plan.not_published", problem=problem)
            self._unpublished = problem
            return not problem

    def adopt(self, found: Mapping[str, VersionedState]) -> None:
        """Take over stored states that are newer than ours, whoever changed them."""
        with self._adopting:
            states = dict(self.states)  # replaced whole: other threads may be reading it
            for name, each in found.items():
                held = states.get(name)
                if held is None or each.version > held.version:
                    states[name] = each
            self.states = states
            self.known = True

    def hear(self, published: States | None) -> None:
        """Take the states that another admin published, None for none. Newer ones than the store's are in
        force: the store does not answer, or takes no rollback."""
        self._heard = published is not None
        self._last = published or self._last

    @property
    def _is_behind(self) -> bool:
        own = 1 + sum(each.version for each in self.states.values())
        return self._heard and own < self._last.version

    def overtake(self, published: States, version: int, now: float) -> None:
        """Go ahead of workers that follow this `version`, which the store does not have: it was set back to a
        backup, and they would ignore every order until it is as high again. What the `published` states have
        rolled back stays so. May raise StoreDown."""
        self._look()
        behind = version + 1 - self.in_force.version
        if behind <= 1 or not self.states:
            return
        log.error("store.set_back", versions=behind)
        for name, state in published.states.items():
            mine = self.state(name)
            lost = state.state == "rolled_back" and mine is not None and mine.run <= state.run
            if lost and mine is not None and "rollback" in transitions.legal(mine):
                act = Act(at=now, action="rollback", who=RESTORED, reason=state.reason)
                rollback = partial(transitions.rollback, reason=state.reason, now=now, hard=state.hard)
                self.change(name, act, rollback)
        self.settle()
        name, held = next(iter(self.states.items()))
        if self._store.skip_versions(name, held.version, behind):
            self.adopt({name: replace(held, version=held.version + behind)})
            self.publish()

    def change(
        self,
        name: str,
        act: Act,
        transition: Transition,
        *,
        yields: bool = False,
        why: RollbackEvidence | None = None,
    ) -> State:
        """Apply one transition, store and publish it. Raises IllegalTransition, KeyError and StoreDown.

        A rollback is published at once and stored, with `why`, by the next `settle`. It never raises
        StoreDown.

        With `yields` it gives way, by OrderOvertaken, to somebody who changed the canary meanwhile: whoever
        ordered this did not know. Without, it is applied to what they made of it.
        """
        seen = self.state(name)
        if seen is not None:
            after = transition(seen)
            if after == seen:
                return after
            if after.state == "rolled_back":
                return self._roll_back(name, seen, after, act, why)
        self.settle()
        for _ in range(_TRIES):
            held = self.states[name]
            after = transition(held.state)
            if after == held.state:
                return after
            if self._swap(name, held, after, act):
                self.publish()
                log.info("canary.changed", canary=name, action=act.action, who=act.who, state=after.state)
                return after
            self._look()  # somebody else was faster: look at what they made of it
            if yields and not _alike(held.state, self.states[name].state):
                raise OrderOvertaken(_outrun(name, self.states[name].state))
        raise StoreDown(_BEHIND.format(name))

    @property
    def unsettled(self) -> bool:
        """True while a rollback waits to be stored."""
        return bool(self._pending)

    def settle(self) -> None:
        """Store the pending rollbacks. May raise StoreDown; they stay in force."""
        self._pending.sync()
        if not self.known:
            self._look()
        for name, rollback in self._pending:
            if name in self.states and not self._is_stored(name, rollback):
                raise StoreDown(_BEHIND.format(name))
            self._pending.settled(name, rollback)

    async def settling(self) -> None:
        """Settle pending rollbacks as soon as the store answers, without end."""
        while True:
            await asyncio.sleep(SETTLE_EVERY_S)
            if self.unsettled:
                try:
                    with put_off_without_descriptors():
                        await asyncio.to_thread(self.settle)
                except StoreDown:
                    await asyncio.sleep(SETTLE_AGAIN_S)

    def _is_stored(self, name: str, rollback: PendingRollback) -> bool:
        """Store the rollback unless a newer order overtook it. False if the store refused it."""
        for _ in range(_TRIES):
            held = self.states[name]
            after = rollback.over(held.state)
            if after == held.state:
                log.info("rollback.overtaken", canary=name, state=held.state.state, run=held.state.run)
                return True
            if self._swap(name, held, after, rollback.act, rollback.why):
                return True
            self._look()
        return False

    def _roll_back(
        self, name: str, seen: State, after: State, act: Act, why: RollbackEvidence | None
    ) -> State:
        waiting = self._pending.of(name)
        if waiting is not None and seen.state == "rolled_back":
            rollback = replace(waiting, hard=after.hard)  # its evidence is not stored yet
        else:
            document = None if why is None else to_document(why)
            rollback = PendingRollback(seen.run, act, document, seen, after.hard)
        self._pending.put(name, rollback)
        self.publish()
        log.info("canary.changed", canary=name, action=act.action, who=act.who, state="rolled_back")
        return rollback.over(seen)

    def _swap(
        self,
        name: str,
        held: VersionedState,
        after: State,
        act: Act | None,
        why: Mapping[str, Any] | None = None,
    ) -> bool:
        """Store a state in place of the one that is held, with the units that it does not move yet. False if
        somebody else was faster."""
        after = self._kept(name, held.state, after)
        done = self._store.swap(name, held.version, after, act, why)
        if done:
            self.adopt({name: VersionedState(held.version + 1, after)})
        return done

    def _kept(self, name: str, before: State, after: State) -> State:
        """The state after a change, with the units that it does not move yet. Where nobody has asked for
        anything lately, a start holds nobody. May raise StoreDown."""
        canary = self._canary(name)
        if canary is None or before.phase == after.phase:
            return after
        since = (after.changed_at or 0.0) - canary.settle_s
        if before.effective_share == 0.0 and not has_fresh_outcomes(self._store, since):
            return after
        return keep(canary, before, after)

    def _look(self) -> None:
        self.adopt(self._store.states())

    def _last_in_force(self, now: float) -> States:
        states = {name: self._pending.over(name, state) for name, state in self._last.states.items()}
        changed = sum(states[name] != state for name, state in self._last.states.items())
        return replace(
            self._last,
            version=self._last.version + changed,
            states=states,
            refreshed_at=now,
            patience=self._patience,
            silence=self._silence,
        )

    def reconcile(
        self,
        settings: ControlSettings,
        now: float,
        *,
        awaits: Callable[[CanarySettings], str] = lambda wanted: "",
    ) -> list[str]:
        """Bring the states to what the config wants. Returns a sentence for each change that is refused.

        `awaits` says what a new canary that starts by itself waits for, "" for nothing.
        """
        self.settle()
        begun = self._begun(settings)
        self._end_gone(settings, begun, now)
        self._give_lanes(settings, now)
        cut = allotment(settings.canaries, self.states)  # who has just been started keeps what it has
        problems = [*redefinitions(settings.canaries, self.states), *cut.refused.values()]
        for name, wanted in settings.canaries.items():
            if any(name in each.trials and name not in each.open for each in begun):
                continue  # it has left, and our config does not know yet
            self._keep_texts(settings, wanted)
            if name not in self.states:
                awaited = cut.refused.get(name) or awaits(wanted)
                self._begin(wanted, now, awaited, cut.lanes.get(name))
            elif transitions.redefinition(wanted.canary, self.state(name)) is None:
                self._redefine(wanted, now)
                act = Act(at=now, action="configure", who=CONFIG, reason="the share in the config changed")
                self.change(name, act, partial(transitions.configure, steps=wanted.canary.steps, now=now))
            self.enter(wanted, now)
        self.publish()
        return problems

    def count_users(self, settings: ControlSettings, now_mono: float) -> None:
        """Count the candidate's users in each step of a ramp that some users end, every few seconds. May
        raise StoreDown."""
        for name, wanted in settings.canaries.items():
            state = self.state(name)
            runs = state is not None and state.state in ("running", "paused")
            if state is None or not runs or state.step + 1 >= len(wanted.canary.steps):
                continue  # its last step ends by nothing
            least, known = wanted.canary.steps[state.step].users, self._users.get(name)
            same = known is not None and (known.run, known.since) == (state.run, state.step_phase)
            if least is None or (same and known is not None and known.is_fresh(least, now_mono)):
                continue
            found = self._store.candidate_users(name, state.run, state.step_phase)
            self._users[name] = StepUsers(state.run, state.step_phase, found, now_mono)

    def step_users(self, name: str) -> int | None:
        """How many of the candidate's users have had an outcome in the present step; None if not counted."""
        state, known = self.state(name), self._users.get(name)
        if state is None or known is None or (known.run, known.since) != (state.run, state.step_phase):
            return None
        return known.users

    def _keep_texts(self, settings: ControlSettings, wanted: CanarySettings) -> None:
        """Store the texts of the arms of a canary that has not started. May raise StoreDown."""
        state = self.states.get(wanted.canary.name)
        if wanted.texts and (state is None or state.state.state == "waiting"):
            texts = {file: settings.texts[digest] for file, digest in wanted.texts.items()}
            ArmTextsInStore(self._store).keep(wanted.canary.name, definition(wanted.canary), texts)

    def tick(
        self,
        settings: ControlSettings,
        *,
        passed_s: float,
        held: Iterable[str],
        now: float,
        thin: Iterable[str] = (),
    ) -> None:
        """Advance every ramp's clock by `passed_s`, except for the canaries in `held` and those that the
        config redefines. Those in `thin` stay at their step."""
        holding, staying = frozenset(held), frozenset(thin)
        for name, wanted in settings.canaries.items():
            current = self.states.get(name)
            if current is None or len(wanted.canary.steps) < 2:
                continue
            if self.state(name) != current.state:  # rolled back, and not stored yet
                continue
            after = transitions.tick(
                current.state,
                wanted.canary.steps,
                passed_s=passed_s,
                held=name in holding or transitions.redefinition(wanted.canary, current.state) is not None,
                now=now,
                enough=name not in staying,
                users=self.step_users(name) or 0,
            )
            if after == current.state:
                continue
            moved = after.step != current.state.step
            act = Act(
                at=now, action="ramp", who="ramp", reason=f"step {after.step + 1}: share {after.share:g}"
            )
            if not self._swap(name, current, after, act if moved else None):
                self._look()

    def end_holdbacks(self, now: float) -> None:
        """End the hold-backs whose time is up. May raise StoreDown."""
        for name in self.states:
            state = self.state(name)
            held = state.holdback if state is not None and state.holds_back else None
            if held is not None and held.until <= now:
                act = Act(at=now, action="holdback_end", who="holdback", reason=held.lasted(now))
                self.change(name, act, partial(transitions.end_holdback, now=now))

    def cap(self, name: str, quota: QuotaStatus, now: float) -> None:
        """Cap the candidate's share by the provider's quota, or no longer. May raise StoreDown."""
        current = self.states.get(name)
        if current is None or self.state(name) != current.state:  # rolled back, and not stored yet
            return
        after = transitions.cap(current.state, quota.cap, now=now)
        if after == current.state:
            return
        reason = quota.sentence if quota.cap is not None else f"quota: room for a share of {after.share:g}"
        if self._swap(name, current, after, Act(at=now, action="quota", who="quota", reason=reason)):
            log.info("canary.capped", canary=name, cap=quota.cap, reason=reason)
        else:
            self._look()

    def release(self, name: str, over: frozenset[int], now: float) -> None:
        """End the holds of these phases, which keep no unit any more, and those whose time is up. May raise
        StoreDown."""
        current = self.states.get(name)
        if current is None or self.state(name) != current.state:  # rolled back, and not stored yet
            return
        after = release(current.state, over, now=now)
        if after != current.state and not self._swap(name, current, after, None):
            self._look()

    def _begun(self, settings: ControlSettings) -> Sequence[Standing]:
        """What was begun of the config's standing canaries. A config may be older than the store."""
        if not settings.standing:
            return ()
        return [each for name, each in Standings(self._store).all().items() if name in settings.standing]

    def _end_gone(self, settings: ControlSettings, begun: Sequence[Standing], now: float) -> None:
        """End the canaries that have left the config, but for those that `begun` keeps: trials that it does
        not know yet, and the one whose candidate is a standing baseline. The lanes are cut afterwards.

        A promotion ended its trial then and there, though the state stays until another baseline comes.
        """
        promoted_at = {each.canary: each.at for one in begun for each in one.history}
        kept = {name for each in begun for name in each.kept}
        trials = {name for each in begun for name in each.trials}
        for name, each in self.states.items():
            if name in settings.canaries or name in kept or each.state.state == "ended":
                continue
            if each.state.state == "promoted" and name in promoted_at:
                self._end(name, PROMOTED, promoted_at[name], now)
            else:
                self._end(name, LEFT if name in trials else REMOVED, now, now)

    def _end(self, name: str, reason: str, at: float, now: float) -> None:
        def ended(state: State) -> State:
            if state.state == "ended":  # another admin, or `canary end`, was faster
                return state
            return transitions.end(transitions.end_holdback(state, now=now), reason=reason, now=at)

        self.change(name, Act(at=at, action="end", who=CONFIG, reason=reason), ended)

    def _give_lanes(self, settings: ControlSettings, now: float) -> None:
        """Give the waiting canaries the lanes that the config cuts."""
        for name, lane in allotment(settings.canaries, self.states).lanes.items():
            if name in self.states:
                size = "all units" if lane is None else f"{lane.size:.2%} of the units"
                act = Act(at=now, action="configure", who=CONFIG, reason=f"lane: {size}")
                self.change(name, act, partial(transitions.give_lane, lane=lane))

    def _begin(self, wanted: CanarySettings, now: float, awaited: str, lane: Lane | None) -> None:
        canary = wanted.canary
        waits = canary.start_by_hand or bool(awaited)
        first = transitions.first_seen(canary.steps, by_hand=waits, now=now)
        first = replace(first, definition=definition(canary), lane=lane)
        if not canary.start_by_hand:
            first = transitions.awaiting(first, reason=awaited)
        first = self._kept(canary.name, transitions.first_seen(canary.steps, by_hand=True, now=now), first)
        act = Act(at=now, action="first seen", who=CONFIG, reason=f"{first.state} at share {first.share:g}")
        self._store.swap(canary.name, 0, first, act)
        self._look()

    def _redefine(self, wanted: CanarySettings, now: float) -> None:
        """Take a changed definition of a canary that has not started."""
        act = Act(at=now, action="configure", who=CONFIG, reason="the definition changed before the start")
        fresh = definition(wanted.canary)
        self.change(wanted.canary.name, act, partial(transitions.redefine, definition=fresh))

    def enter(self, wanted: CanarySettings, now: float) -> None:
        """Store the release of the canary's run once it runs, and fix the rubric when the canary first runs.

        Later changes are shown as such. May raise StoreDown.
        """
        canary, state = wanted.canary, self.state(wanted.canary.name)
        if state is None or state.started_at is None or transitions.redefinition(canary, state) is not None:
            return
        if (canary.name, state.run) not in self._entered:
            baseline, candidate = arm_names(canary.baseline, canary.candidate)
            Releases(self._store).enter_run(
                canary.name,
                state.run,
                candidate,
                baseline,
                at=state.started_at,
                fingerprint=canary.candidate.fingerprint,
            )
            self._entered.add((canary.name, state.run))
        if wanted.judged.criteria:
            digest = wanted.judged.sha256
            fixed = FixedRubric(sha256=digest, document=terms_of(wanted.judged), fixed_at=now)
            self._store.fix_rubric(canary.name, fixed)


def _alike(one: State, other: State) -> bool:
    """True if the states differ only by the ramp's clock, and by who has moved since."""
    return replace(one, step_elapsed_s=0.0, holds=()) == replace(other, step_elapsed_s=0.0, holds=())


def _outrun(name: str, state: State) -> str:
    return (
        f"somebody else changed {name} a moment ago: it is {state.state.replace('_', ' ')} at share "
        f"{state.effective_share:.3g} now; look at it, and give the order again if it still holds"
    )
