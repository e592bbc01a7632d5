"""Finds the last exchange of sessions and units: what feedback about them belongs to."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from records.outcome import Outcome
from records.store.store import Store, states_in
from records.store.sums import EXPOSED
from records.store.tables import sessions as session_rows
from records.store.tables import unit_days
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


def last_exchange(outcome: Outcome) -> LastExchange | None:
    """This exchange as its unit's last one; None for one that the hash did not assign or nobody saw."""
    seen = outcome.reason == "cohort" and outcome.outcome in EXPOSED and not outcome.mirror
    if not (seen and outcome.canary):
        return None
    return LastExchange(outcome.at, outcome.canary, outcome.run, outcome.phase, outcome.arm, outcome.unit)


def last_exchanges(
    store: Store, *, sessions: Collection[str], units: Collection[str]
) -> tuple[Mapping[str, LastExchange], Mapping[str, LastExchange]]:
    """The last exchanges in the present runs, by session and by unit. May raise StoreDown."""
    by_session: dict[str, LastExchange] = {}
    by_unit: dict[str, LastExchange] = {}
    with store.asking() as connection:
        for canary, held in states_in(connection).items():
            run, phases = held.state.run, held.state.phase + 1
            for some in _batches(sessions):
                _keep(by_session, canary, run, _of_sessions(connection, canary, run, some))
            for some in _batches(units):
                _keep(by_unit, canary, run, _of_units(connection, canary, run, phases, some))
    return by_session, by_unit


def _batches(names: Collection[str]) -> Iterator[Sequence[str]]:
    listed = list(names)
    return (listed[first : first + _AT_ONCE] for first in range(0, len(listed), _AT_ONCE))


def _keep(found: dict[str, LastExchange], canary: str, run: int, rows: Iterable[Any]) -> None:
    for name, unit, phase, arm, at in rows:
        if name not in found or at >= found[name].at:
            found[name] = LastExchange(at, canary, run, phase, arm, unit)


def _of_sessions(connection: Connection, canary: str, run: int, names: Collection[str]) -> Iterable[Any]:
    of = session_rows.c
    wanted = select(of.session, of.unit, of.phase, of.arm, of.last_at)
    return connection.execute(wanted.where(of.canary == canary, of.run == run, of.session.in_(names)))


def _of_units(
    connection: Connection, canary: str, run: int, phases: int, names: Collection[str]
) -> Iterable[Any]:
    """Every member of the primary key before the unit is given, so that no row of another is looked at."""
    of = unit_days.c
    wanted = select(of.unit, of.unit, of.phase, of.arm, of.last_at).where(
        of.canary == canary,
        of.run == run,
        of.phase.in_(range(phases)),
        of.arm.in_(_ARMS),
        of.mirror.is_(False),
        of.unit.in_(names),
    )
    return connection.execute(wanted)
