"""Counts a run's errors, answer faults and abandoned requests: all of them, from the totals of its days."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import sqlalchemy as sa

from records.facts.exchange_id import time_and_serial
from records.outcome import INVALID_OUTPUT, blames_arm
from records.store.segments.columns import faults_of
from records.store.tables import failure_days
from report.details import EXAMPLES, CountedKind, FailureMode
from report.run_window import RunWindow
from report.sample import ArmTotal

Name: TypeAlias = tuple[CountedKind, str]
"""A failure mode: its kind, and the error type or fault."""


def read_modes(
    connection: sa.Connection, window: RunWindow, totals: Mapping[str, ArmTotal]
) -> tuple[FailureMode, ...]:
    """The failure modes of all exchanges in the window, with the newest of the candidate as examples.

    `totals` are the exchanges that could have failed so, by measure (`measure_of`).
    """
    rows = _failures(connection, window)
    found, examples = _counts(rows), _examples(rows)
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


def _failures(connection: sa.Connection, window: RunWindow) -> Sequence[sa.Row[Any]]:
    """The totals of the run's days: a row for each day, arm and way to fail, of which there are few."""
    columns = failure_days.c
    of_run = sa.and_(columns.canary == window.canary, columns.run == window.run)
    return connection.execute(sa.select(failure_days).where(of_run, columns.day.between(*window.days))).all()


def _counts(rows: Iterable[sa.Row[Any]]) -> Mapping[Name, Counter[str]]:
    """The exchanges of each mode by arm."""
    found: dict[Name, Counter[str]] = defaultdict(Counter)
    for row in rows:
        for name in _names(row):
            found[name][row.arm] += row.exchanges
    return found


def _examples(rows: Iterable[sa.Row[Any]]) -> Mapping[Name, tuple[str, ...]]:
    """The ids of each mode's newest exchanges of the candidate, newest first."""
    found: dict[Name, set[str]] = defaultdict(set)
    for row in rows:
        if row.arm == "candidate":
            for name in _names(row):
                found[name].update(row.newest.split(" ")[:EXAMPLES])
    return {name: tuple(sorted(ids, key=_time, reverse=True)[:EXAMPLES]) for name, ids in found.items()}


def _time(exchange_id: str) -> tuple[int, int]:
    """What orders exchanges by their time."""
    return time_and_serial(exchange_id) or (0, 0)


def _names(row: Any) -> Iterator[Name]:
    """The modes of a row's exchanges."""
    if row.outcome == "aborted":
        if row.silent or not row.stream:
            yield "abandoned", "abandoned"
        return
    if row.outcome != "ok" and blames_arm(row.error_type):
        yield "error", row.error_type
    for fault in faults_of(row.faults) if row.finish else ():
        if fault not in INVALID_OUTPUT or row.output_check == "judged":
            yield "fault", fault
