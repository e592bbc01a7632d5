"""The wrong answers of stored benchmarks: redacted like captures, and deleted when captures would be."""

from collections.abc import Mapping, Sequence

from sqlalchemy import insert, select

from records import tables
from records.capture import CaptureRule
from records.capture_redact import redacted, storable
from records.store import Store

FailureRow = Mapping[str, str | float | None]
"""One wrong answer, by the columns of `bench.benchmark.failures`."""

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
        table = tables.benchmarks.c
        query = (
            select(table.id)
            .where(table.candidate == candidate, table.baseline == baseline)
            .order_by(table.at.desc(), table.id.desc())
            .limit(1)
        )
        with self._store.reading() as connection:
            newest = connection.execute(query).scalar_one_or_none()
        return None if newest is None else self.of(newest, now=now)


def _redacted(row: FailureRow, patterns: Sequence[str]) -> FailureRow:
    def clean(name: str, text: str) -> str:
        return storable(text) if name in NAMES else redacted(storable(text), patterns)

    return {name: clean(name, each) if isinstance(each, str) else each for name, each in row.items()}
