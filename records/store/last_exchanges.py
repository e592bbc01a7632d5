"""Finds the last exchange of sessions and units before a moment: what feedback about them belongs to."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from records.outcome import Feedback, Outcome
from records.store.segments.columns import unpack
from records.store.store import Store, states_in
from records.store.sums import EXPOSED
from records.store.tables import fresh_outcomes, unit_days
from records.store.tables import sessions as session_rows
from routing.canary import ArmName

_AT_ONCE = 500
_ARMS: tuple[ArmName, ...] = ("baseline", "candidate")


class LastExchange(NamedTuple):
    """What the last exchange of a session or unit says of it. `at` is UTC seconds."""

    at: float
    canary: str
    run: int
    phase: int
    arm: ArmName
    unit: str


class ArmStretch(NamedTuple):
    """Exchanges of a session or unit in one arm, from UTC second `first_at` to the `last` one."""

    first_at: float
    last: LastExchange


@dataclass(frozen=True, slots=True)
class StoredStretches:
    """What is stored of the sessions and units that were asked about, in the present runs."""

    sessions: dict[str, list[ArmStretch]] = field(default_factory=dict)
    units: dict[str, list[ArmStretch]] = field(default_factory=dict)

    def before(self, feedback: Feedback) -> LastExchange | None:
        """The last exchange of the value's session or unit at or before its `at`; None without one.

        A session is stored with its last arm only. Before its end its unit says which arm it had.
        """
        if not feedback.session:
            return last_before(self.units.get(feedback.unit, ()), feedback.at)
        found = last_before(self.sessions.get(feedback.session, ()), feedback.at)
        if found is None or found.at < feedback.at:
            return found
        of_unit = [each for each in self.units.get(found.unit, ()) if each.last.canary == found.canary]
        return last_before(of_unit, feedback.at) or found


def last_before(stretches: Iterable[ArmStretch], at: float) -> LastExchange | None:
    """The last exchange at or before UTC second `at`; where that is within a stretch, it is as of `at`.

    A stretch has only its two ends. Of two that overlap, those of two canaries, the one that began later is
    taken.
    """
    begun = [each for each in stretches if each.first_at <= at]
    found = max(begun, key=lambda each: (min(each.last.at, at), each.first_at), default=None)
    return found and found.last._replace(at=min(found.last.at, at))


def last_exchange(outcome: Outcome) -> LastExchange | None:
    """This exchange as its unit's last one; None for one that the hash did not assign or nobody saw."""
    seen = outcome.reason == "cohort" and outcome.outcome in EXPOSED and not outcome.mirror
    if not (seen and outcome.canary):
        return None
    return LastExchange(outcome.at, outcome.canary, outcome.run, outcome.phase, outcome.arm, outcome.unit)


def stored_stretches(store: Store, *, sessions: Collection[str], units: Collection[str]) -> StoredStretches:
    """The stretches of these sessions, their units and these units. May raise StoreDown."""
    found = StoredStretches()
    with store.asking() as connection:
        for canary, held in states_in(connection).items():
            run, phases = held.state.run, held.state.phase + 1
            of_sessions = [*_of_sessions(connection, canary, run, sessions)]
            _keep(found.sessions, canary, run, of_sessions)
            asked = {*units, *(unit for _, unit, *_ in of_sessions)}
            _keep(found.units, canary, run, _of_units(connection, canary, run, phases, asked))
    return found


def has_fresh_outcomes(store: Store, since: float) -> bool:
    """True when an exchange of the last hour ended after UTC second `since`. May raise StoreDown."""
    of = fresh_outcomes.c
    with store.asking() as connection:
        return connection.execute(select(of.id).where(of.ended_at > since).limit(1)).first() is not None


def fresh_batches(store: Store, since: float) -> Iterator[Sequence[Outcome]]:
    """The outcomes of the last hour that ended after UTC second `since`, batch by batch. May raise
    StoreDown."""
    of = fresh_outcomes.c
    with store.asking() as connection:
        ids = connection.execute(select(of.id).where(of.ended_at > since).order_by(of.id)).scalars().all()
    for each in ids:
        with store.asking() as connection:
            packed = connection.execute(select(of.outcomes).where(of.id == each)).scalar_one_or_none()
        if packed is not None:  # else it has become a segment meanwhile
            yield [outcome for outcome in unpack(packed) if outcome.ended_at > since]


def _batches(names: Collection[str]) -> Iterator[Sequence[str]]:
    listed = list(names)
    return (listed[first : first + _AT_ONCE] for first in range(0, len(listed), _AT_ONCE))


def _keep(found: dict[str, list[ArmStretch]], canary: str, run: int, rows: Iterable[Any]) -> None:
    for name, unit, phase, arm, first_at, last_at in rows:
        last = LastExchange(last_at, canary, run, phase, arm, unit)
        found.setdefault(name, []).append(ArmStretch(first_at, last))


def _of_sessions(connection: Connection, canary: str, run: int, names: Collection[str]) -> Iterator[Any]:
    of = session_rows.c
    wanted = select(of.session, of.unit, of.phase, of.arm, of.first_at, of.last_at)
    for some in _batches(names):
        yield from connection.execute(wanted.where(of.canary == canary, of.run == run, of.session.in_(some)))


def _of_units(
    connection: Connection, canary: str, run: int, phases: int, names: Collection[str]
) -> Iterator[Any]:
    """Every member of the primary key before the unit is given, so that no row of another is looked at."""
    of = unit_days.c
    ends = func.min(of.first_at), func.max(of.last_at)
    for some in _batches(names):
        wanted = select(of.unit, of.unit, of.phase, of.arm, *ends).where(
            of.canary == canary,
            of.run == run,
            of.phase.in_(range(phases)),
            of.arm.in_(_ARMS),
            of.mirror.is_(False),
            of.unit.in_(some),
        )
        yield from connection.execute(wanted.group_by(of.unit, of.phase, of.arm))
