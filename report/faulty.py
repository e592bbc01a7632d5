"""Counts a run's errors, answer faults and abandoned requests in the database: all of them, none by a scan.

An index holds only the exchanges with an error type or a fault (`records.tables.FAULTY`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import sqlalchemy as sa

from records.outcome import INVALID_OUTPUT, blames_arm
from records.rows import faults_of
from records.tables import FAULTY, outcomes
from report.details import EXAMPLES, CountedKind, FailureMode
from report.run_window import RunWindow
from report.sample import ArmTotal

Name: TypeAlias = tuple[CountedKind, str]
"""A failure mode: its kind, and the error type or fault."""

_ENDED = ("ok", "fallback", "error", "aborted")


def read_modes(
    connection: sa.Connection, window: RunWindow, totals: Mapping[str, ArmTotal]
) -> tuple[FailureMode, ...]:
    """The failure modes of all exchanges in the window, with the newest of the candidate as examples.

    `totals` are the exchanges that could have failed so, by measure (`measure_of`).
    """
    found = _counts(connection, window)
    examples = _examples(connection, window)
    return tuple(_mode(name, count, totals[measure_of(name)], examples) for name, count in found.items())


def measure_of(name: Name) -> str:
    """The measure in `Sample.possible` that counts the exchanges in which this mode was possible."""
    kind, fault = name
    if kind != "fault":
        return "errors" if kind == "error" else "abandoned"
    return "invalid_output" if fault in INVALID_OUTPUT else "answer_faults"


def _mode(
    name: Name, found: Counter[str], of: ArmTotal, examples: Mapping[Name, tuple[str, ...]]
) -> FailureMode:
    return FailureMode(
        kind=name[0],
        name=name[1],
        category="",
        baseline=found["baseline"],
        baseline_of=of.baseline,
        candidate=found["candidate"],
        candidate_of=of.candidate,
        examples=examples.get(name, ()),
    )


def _counts(connection: sa.Connection, window: RunWindow) -> Mapping[Name, Counter[str]]:
    """The exchanges of each mode by arm."""
    found: dict[Name, Counter[str]] = defaultdict(Counter)
    kinds = _kinds()
    query = sa.select(outcomes.c.arm, sa.func.count().label("exchanges"), *kinds)
    for row in connection.execute(query.where(*_faulty(window)).group_by(outcomes.c.arm, *kinds)):
        for name in _names(row):
            found[name][row.arm] += row.exchanges
    return found


def _examples(connection: sa.Connection, window: RunWindow) -> Mapping[Name, tuple[str, ...]]:
    """The ids of each mode's newest exchanges of the candidate, newest first."""
    columns, kinds = outcomes.c, _kinds()
    place = sa.func.row_number().over(partition_by=kinds, order_by=columns.at.desc()).label("place")
    query = sa.select(columns.exchange_id, columns.at, place, *kinds)
    ranked = query.where(*_faulty(window), columns.arm == "candidate").subquery()
    newest = sa.select(ranked).where(ranked.c.place <= EXAMPLES).order_by(ranked.c.at.desc())
    found: dict[Name, list[str]] = defaultdict(list)
    for row in connection.execute(newest):
        for name in _names(row):
            found[name].append(row.exchange_id)
    return {name: tuple(ids[:EXAMPLES]) for name, ids in found.items()}


def _kinds() -> list[sa.ColumnElement[Any]]:
    """The columns that tell how an exchange failed. Their values have few combinations."""
    columns = outcomes.c
    silent = columns.ttfb_s.is_(None).label("silent")
    return [
        columns.outcome, columns.error_type, columns.finish, columns.faults, columns.output_check,
        columns.stream, silent,
    ]  # fmt: skip


def _faulty(window: RunWindow) -> list[Any]:
    return [*window.conditions(), FAULTY, outcomes.c.outcome.in_(_ENDED)]


def _names(row: Any) -> Iterator[Name]:
    """The modes of an exchange, from the columns of `_kinds`."""
    if row.outcome == "aborted":
        if row.silent or not row.stream:
            yield "abandoned", "abandoned"
        return
    if row.outcome != "ok" and blames_arm(row.error_type):
        yield "error", row.error_type
    for fault in faults_of(row.faults) if row.finish is not None else ():
        if fault not in INVALID_OUTPUT or row.output_check == "judged":
            yield "fault", fault
