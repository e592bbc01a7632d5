"""Benchmarks in the store, their wrong answers, and what became of known issues.

A benchmark and a check are written once and never changed. Wrong answers are redacted like captures, and
deleted when captures would be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, func, insert, select

from records.captures.capture import CaptureRule
from records.captures.redaction import redacted, storable
from records.store import Store, tables
from records.store.releases import entered, is_variant


class Benchmarks:
    """The benchmarks of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, document: Mapping[str, Any], *, baseline: str, candidate: str | None, at: float) -> int:
        """Add a benchmark of models named `provider/model`, and their release, and return its id; `at` is UTC
        seconds.

        `candidate` is None when only the current model was measured.
        """
        row = {"at": at, "baseline": baseline, "candidate": candidate or "", "document": dict(document)}
        with self._store.writing() as connection:
            added = insert(tables.benchmarks).values(row).returning(tables.benchmarks.c.id)
            benchmark = int(connection.execute(added).scalar_one())
            if candidate is not None:
                entered(connection, candidate, baseline, at=at)
            return benchmark

    def first_at(self, candidate: str, baseline: str) -> float | None:
        """When the candidate was first measured against this baseline, UTC seconds; None if it was not."""
        table = tables.benchmarks
        query = select(func.min(table.c.at)).where(
            table.c.candidate == candidate, table.c.baseline == baseline
        )
        with self._store.asking() as connection:
            found: float | None = connection.execute(query).scalar()
        return found

    def refused(self) -> dict[str, float]:
        """The candidates that their newest benchmark refused and no user tried, with its UTC second."""
        table, tried = tables.benchmarks, set()
        verdict = table.c.document["verdict"].as_string().label("verdict")
        query = select(table.c.candidate, table.c.baseline, table.c.at, verdict).order_by(
            table.c.at, table.c.id
        )
        with self._store.asking() as connection:
            newest = {row.candidate: row for row in connection.execute(query)}
            of_runs = select(tables.releases.c.candidate).join(
                tables.runs, tables.runs.c.release == tables.releases.c.id
            )
            tried = {str(row.candidate) for row in connection.execute(of_runs)}
        return {
            name: row.at
            for name, row in newest.items()
            if row.verdict == "dont_ship" and name not in tried and not is_variant(name, row.baseline)
        }

    def latest(self, candidate: str, baseline: str) -> dict[str, Any] | None:
        """Return the newest document of a candidate against this baseline, or None without one."""
        with self._store.asking() as connection:
            found = connection.execute(_newest(tables.benchmarks.c.document, candidate, baseline)).scalar()
        return None if found is None else dict(found)


FailureRow = Mapping[str, str | float | None]
"""One wrong answer, by the columns of `bench.benchmark.comparison`."""

NAMES = frozenset({"layer", "dataset", "category", "id", "new", "task"})
"""Columns that name an example. All other texts are redacted."""

_DEFAULT = CaptureRule(rate=0.0)


class BenchFailures:
    """The wrong answers of one database's benchmarks. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(
        self,
        benchmark: int,
        rows: Sequence[FailureRow],
        rules: Sequence[CaptureRule],
        *,
        now: float,
        redact: Sequence[str] = (),
    ) -> None:
        """Store a benchmark's rows, redacted by the config's patterns `redact` and those of its capture
        `rules`. `now` is UTC seconds."""
        patterns = dict.fromkeys([*redact, *(pattern for rule in rules for pattern in rule.redact)])
        values = {
            "benchmark": benchmark,
            "expires_at": now + min(rule.expires_after_s for rule in rules or [_DEFAULT]),
            "rows": [_redacted(row, [*patterns]) for row in rows],
        }
        with self._store.writing() as connection:
            connection.execute(insert(tables.bench_failures), [values])

    def of(self, benchmark: int, *, now: float) -> list[FailureRow] | None:
        """A benchmark's rows, the new failures first; None if they have expired or were never stored."""
        table = tables.bench_failures.c
        query = select(table.rows).where(table.benchmark == benchmark, table.expires_at > now)
        with self._store.reading() as connection:
            found = connection.execute(query).scalar_one_or_none()
        return None if found is None else [dict(row) for row in found]

    def latest(self, candidate: str, baseline: str, *, now: float) -> list[FailureRow] | None:
        """The rows of the newest benchmark of these models (`provider/model`); None as in `of`, or without a
        benchmark."""
        with self._store.reading() as connection:
            newest = connection.execute(_newest(tables.benchmarks.c.id, candidate, baseline)).scalar()
        return None if newest is None else self.of(newest, now=now)


def _newest(column: ColumnElement[Any], candidate: str, baseline: str) -> Select[Any]:
    """This column of the newest benchmark of these models (`provider/model`)."""
    table = tables.benchmarks.c
    query = select(column).where(table.candidate == candidate, table.baseline == baseline)
    return query.order_by(table.at.desc(), table.id.desc()).limit(1)


def _redacted(row: FailureRow, patterns: Sequence[str]) -> FailureRow:
    def clean(name: str, text: str) -> str:
        return storable(text) if name in NAMES else redacted(storable(text), patterns)

    return {name: clean(name, each) if isinstance(each, str) else each for name, each in row.items()}


IssueState = Literal["still_there", "gone", "unknown"]
"""Whether a model has an issue. `unknown`: not asked, no answer, or no mark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueCheck:
    """One model asked for one issue. `at` is UTC seconds, `model` is `provider/model`, `issue` is the hash of
    the issue's example."""

    at: float
    model: str
    issue: str
    state: IssueState


class IssueHistory:
    """The checks of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, checks: Sequence[IssueCheck]) -> None:
        """Store the checks of one model."""
        if checks:
            self._store.add(tables.issue_checks, *checks)

    def all(self, model: str | None = None) -> list[IssueCheck]:
        """Return all checks, or those of one model, oldest first."""
        table = tables.issue_checks
        query = select(table).order_by(table.c.at, table.c.id)
        return self._store.found(IssueCheck, query if model is None else query.where(table.c.model == model))


def newest_of_each_model(checks: Sequence[IssueCheck]) -> Mapping[str, list[IssueCheck]]:
    """By issue, each model's newest check, the newest last; from checks that are oldest first."""
    found: dict[str, dict[str, IssueCheck]] = {}
    for check in checks:
        of_issue = found.setdefault(check.issue, {})
        of_issue.pop(check.model, None)
        of_issue[check.model] = check
    return {issue: list(models.values()) for issue, models in found.items()}
