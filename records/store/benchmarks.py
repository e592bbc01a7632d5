"""Benchmarks in the store, their marks and wrong answers, known issues, and what became of them.

A benchmark and a check are written once and never changed. Of each model's answers the newest mark of each
example is kept, without texts. Wrong answers are redacted like captures, and deleted when captures would be.
A known issue stays until a person removes it.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, String, cast, delete, insert, or_, select, update

from records.captures.capture import CaptureRule
from records.captures.redaction import redacted, storable
from records.store import Store, tables
from records.store.captures import overwriting
from records.store.database import insert as insert_of
from records.store.database import insert_new
from records.store.releases import entered, is_drift, is_variant


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

    def newest_of_each(
        self, candidates: Collection[str]
    ) -> dict[tuple[str, str], tuple[dict[str, Any], float]]:
        """By (candidate, baseline) of these candidates, the newest document, and when the first was made, UTC
        seconds."""
        table = tables.benchmarks.c
        made = select(table.candidate, table.baseline, table.at, table.id).order_by(table.at, table.id)
        with self._store.asking() as connection:
            known: dict[tuple[str, str], list[tuple[float, int]]] = {}
            for row in connection.execute(made.where(table.candidate.in_(candidates))):
                known.setdefault((row.candidate, row.baseline), []).append((row.at, row.id))
            newest = select(table.id, table.document).where(
                table.id.in_([each[-1][1] for each in known.values()])
            )
            documents = {row.id: dict(row.document) for row in connection.execute(newest)}
        return {pair: (documents[each[-1][1]], each[0][0]) for pair, each in known.items()}

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
            if row.verdict == "dont_ship" and name not in tried and not _is_in_use(name, row.baseline)
        }

    def all_of(self, candidate: str, baseline: str) -> list[dict[str, Any]]:
        """Return the documents of a candidate against this baseline, oldest first."""
        table = tables.benchmarks.c
        query = select(table.document).where(table.candidate == candidate, table.baseline == baseline)
        with self._store.asking() as connection:
            return [dict(each) for each in connection.execute(query.order_by(table.at, table.id)).scalars()]

    def latest(self, candidate: str, baseline: str) -> dict[str, Any] | None:
        """Return the newest document of a candidate against this baseline, or None without one."""
        with self._store.asking() as connection:
            found = connection.execute(_newest(tables.benchmarks.c.document, candidate, baseline)).scalar()
        return None if found is None else dict(found)

    def entries(self, candidate: str, baseline: str) -> list["BenchmarkEntry"]:
        """The benchmarks of a candidate against this baseline, oldest first."""
        table = tables.benchmarks.c
        named = {name: table.document[name].as_string().label(name) for name in ("owner", "verdict")}
        query = select(table.at, *named.values()).order_by(table.at, table.id)
        return self._store.found(
            BenchmarkEntry, query.where(table.candidate == candidate, table.baseline == baseline)
        )


def _is_in_use(candidate: str, baseline: str) -> bool:
    """True for a model that users have already, as a variant or under its name."""
    return is_variant(candidate, baseline) or is_drift(candidate, baseline)


FailureRow = Mapping[str, str | float | None]
"""One wrong answer, by the columns of `bench.benchmark.comparison`."""

NAMES = frozenset(
    {"layer", "dataset", "category", "id", "new", "task", "candidate_request_id", "baseline_request_id"}
)
"""Columns that name an example or a provider's request. All other texts are redacted."""


class BenchFailures:
    """The wrong answers of one database's benchmarks. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, benchmark: int | str, rows: Sequence[FailureRow], kept: CaptureRule, *, now: float) -> None:
        """Add rows to those of a benchmark, by its id, or of a drift's MODEL@DAY, in place of older ones of
        the same examples, redacted and as long as `kept` says. `now` is UTC seconds."""
        table, fresh = tables.bench_failures, [_redacted(row, kept.redact) for row in rows]
        expires = now + kept.expires_after_s
        with self._store.writing() as connection:
            known = connection.execute(
                select(table.c.rows).where(table.c.benchmark == str(benchmark))
            ).scalar()
            if known is None:
                values = {"benchmark": str(benchmark), "expires_at": expires, "rows": fresh}
                connection.execute(insert(table), [values])
            elif fresh:
                again = {(row["dataset"], row["id"]) for row in fresh}
                rest = [row for row in known if (row["dataset"], row["id"]) not in again]
                whole = sorted([*rest, *fresh], key=lambda row: row["new"] != "yes")
                changed = update(table).where(table.c.benchmark == str(benchmark))
                connection.execute(changed.values(rows=whole))

    def of(self, benchmark: int | str, *, now: float) -> list[FailureRow] | None:
        """The rows added for this, the new failures first; None if they have expired or were never stored."""
        table = tables.bench_failures.c
        query = select(table.rows).where(table.benchmark == str(benchmark), table.expires_at > now)
        with self._store.reading() as connection:
            found = connection.execute(query).scalar_one_or_none()
        return None if found is None else [dict(row) for row in found]

    def latest(self, candidate: str, baseline: str, *, now: float) -> list[FailureRow] | None:
        """The rows of the newest benchmark of these models (`provider/model`), or of this drift; None as in
        `of`, or without a benchmark."""
        if is_drift(candidate, baseline):
            return self.of(candidate, now=now)
        with self._store.reading() as connection:
            newest = connection.execute(_newest(tables.benchmarks.c.id, candidate, baseline)).scalar()
        return None if newest is None else self.of(newest, now=now)

    def newest(self, *, now: float) -> dict[str, list[FailureRow]]:
        """The rows of each candidate's newest benchmark (`provider/model`) that has some, the newest last."""
        made, failed = tables.benchmarks.c, tables.bench_failures.c
        query = (
            select(made.candidate, failed.rows)
            .join_from(
                tables.benchmarks,
                tables.bench_failures,
                or_(failed.benchmark == cast(made.id, String), failed.benchmark == made.candidate),
            )
            .where(failed.expires_at > now)
            .order_by(made.at, made.id)
        )
        with self._store.reading() as connection:
            found: dict[str, list[FailureRow]] = {
                row.candidate: [dict(each) for each in row.rows] for row in connection.execute(query)
            }
        return {candidate: rows for candidate, rows in found.items() if candidate and rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkEntry:
    """A benchmark without its document. `at` is UTC seconds, `verdict` None for none."""

    at: float
    owner: str
    verdict: str | None


def _newest(column: ColumnElement[Any], candidate: str, baseline: str) -> Select[Any]:
    """This column of the newest benchmark of these models (`provider/model`)."""
    table = tables.benchmarks.c
    query = select(column).where(table.candidate == candidate, table.baseline == baseline)
    return query.order_by(table.at.desc(), table.id.desc()).limit(1)


def _redacted(row: FailureRow, patterns: Sequence[str]) -> FailureRow:
    def clean(name: str, text: str) -> str:
        return storable(text) if name in NAMES else redacted(storable(text), patterns)

    return {name: clean(name, each) if isinstance(each, str) else each for name, each in row.items()}


Mark = Mapping[str, Any]
"""What an answer was worth, as JSON types (`bench.benchmark.marks`)."""


class BenchMarks:
    """The marks of one database, by model (`provider/model`) and by what was asked. Every method may raise
    StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, model: str, marks: Mapping[str, Mark], *, at: float) -> None:
        """Store a model's marks in place of older ones."""
        table = tables.bench_marks
        rows = [{"model": model, "example": key, "at": at, "mark": dict(marks[key])} for key in sorted(marks)]
        with self._store.writing() as connection:
            for row in rows:
                new = insert_of(connection, table).values(**row)
                changed = {"at": new.excluded.at, "mark": new.excluded.mark}
                connection.execute(
                    new.on_conflict_do_update(index_elements=[*table.primary_key], set_=changed)
                )

    def of(self, model: str, *, until: float = math.inf) -> dict[str, Mark]:
        """A model's marks of before a UTC second, by what was asked."""
        table = tables.bench_marks.c
        query = select(table.example, table.mark).where(table.model == model)
        with self._store.asking() as connection:
            found = connection.execute(query if until == math.inf else query.where(table.at < until))
            return {row.example: dict(row.mark) for row in found}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredIssue:
    """One example of a known issue, which is a failure mode with a name.

    `hash` is the example's, `example` its line as in a dataset. `source` is the id of the exchange that
    it was made of, or `DATASET:ID`. `since` is the model that failed, "" if nobody said.
    `error` is the failure where a model gave no answer, else "". `at` is UTC seconds.
    """

    hash: str
    at: float
    who: str
    mode: str
    source: str
    description: str
    since: str
    error: str
    example: Mapping[str, Any]


class StoredIssues:
    """The known issues of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, issue: StoredIssue, had: IssueCheck | None = None) -> bool:
        """Store an example with the check of the model that `had` the issue; False if the mode has one of
        this source, or any mode the same example."""
        row = asdict(issue) | {"example": dict(issue.example)}
        with self._store.writing() as connection:
            is_new = insert_new(connection, tables.known_issues, [row]) > 0
            if is_new and had is not None:
                connection.execute(insert(tables.issue_checks), [asdict(had)])
        return is_new

    def all(self) -> list[StoredIssue]:
        """Return every example, oldest first."""
        table = tables.known_issues
        return self._store.found(StoredIssue, select(table).order_by(table.c.at, table.c.hash))

    def remove(self, mode: str) -> int:
        """Delete the examples of this name, and return how many they were. Their checks stay. SQLite also
        overwrites their bytes."""
        table = tables.known_issues
        with self._store.writing() as connection, overwriting(connection):
            return connection.execute(delete(table).where(table.c.mode == mode)).rowcount


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
