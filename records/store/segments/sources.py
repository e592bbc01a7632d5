"""Reads stored outcomes as Arrow tables, wherever they lie.

    segments        Parquet, a source each
    fresh rows      a source for up to 50 shipped batches

All are read in the caller's transaction, so that an outcome is in exactly one of them. Arrow takes 80 MiB: it
is loaded with the first table.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, select

from records.errors import StoreDown
from records.outcome import Outcome
from records.shared.segment_folder import FOLDER, SegmentFolder, one_line, sound
from records.store.segments.columns import COLUMNS, outcome_of, unpack, unpack_with
from records.store.tables import fresh_outcomes, segments

ALL = tuple(COLUMNS)
FRESH_ROWS = 50
"""Read at once: each has up to 5,000 outcomes, and often only one."""
FEW_VALUES = frozenset(
    {"canary", "arm", "reason", "category", "tags", "provider", "model_requested", "outcome", "error_type"}
)
"""Text columns that read several times faster as codes, each with the distinct values beside it."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One Parquet file, in the folder or in the database. `first_at`: the time of its first outcome, UTC
    seconds; `last_at`: of its last one. Every method may raise StoreDown."""

    connection: Connection
    id: int
    path: str
    first_at: float
    last_at: float

    def outcomes(self, *, ended_after: float = -math.inf) -> list[Outcome]:
        """Those that ended after a UTC second, without their monotonic times."""
        from pyarrow import array

        from records.store.segments.arrow import latencies, micros

        table = self.read()
        ended = micros(table["at"]) / 1e6 + latencies(table) > ended_after
        return [outcome_of(row) for row in table.filter(array(ended)).to_pylist()]

    def read(self, columns: Sequence[str] = ALL, where: Any = None) -> Any:
        """The columns as an Arrow table, of the outcomes that fulfil `where`, an expression of
        `pyarrow.compute`."""
        from pyarrow.parquet import read_table

        with self._open() as file:
            return read_table(file, columns=list(columns), filters=where, use_threads=False)

    def read_coded(self, columns: Sequence[str]) -> Any:
        """The columns of all outcomes, in a third of the time: a text column with few values may have Arrow's
        dictionary type."""
        from pyarrow.parquet import ParquetFile

        coded = [name for name in columns if name in FEW_VALUES]
        with self._open() as file:
            parquet = ParquetFile(file, read_dictionary=coded, pre_buffer=True)
            return parquet.read(list(columns), use_threads=False)

    def outcomes_with(self, column: str, texts: Collection[str]) -> list[Outcome]:
        """Those that have one of these texts in the column, without their monotonic times. Of row groups that
        have none only this column is read."""
        from pyarrow import array, string
        from pyarrow.compute import SetLookupOptions, call_function
        from pyarrow.parquet import ParquetFile

        wanted, found = SetLookupOptions(array(texts, string())), list[Outcome]()
        with self._open() as file:
            parquet = ParquetFile(file)
            for group in range(parquet.num_row_groups):
                values = parquet.read_row_group(group, [column], use_threads=False)[column]
                named = call_function("is_in", [values], wanted)
                if call_function("any", [named]).as_py():
                    rows = parquet.read_row_group(group, list(ALL), use_threads=False).filter(named)
                    found += map(outcome_of, rows.to_pylist())
        return found

    @contextmanager
    def _open(self) -> Iterator[Any]:
        """The file, to be read in the block."""
        from pyarrow import ArrowException, BufferReader

        query = select(segments.c.content).where(segments.c.id == self.id)
        content = self.connection.execute(query).scalar_one()
        try:
            if content is not None:
                with sound(self.path, "the database"):
                    yield BufferReader(content)
                return
            with folder_of(self.connection, self.path).open(self.path) as file:
                yield file
        except ArrowException as problem:
            raise StoreDown(f"the segment {self.path} cannot be read: {one_line(problem)}") from problem


@dataclass(frozen=True, slots=True)
class FreshRows:
    """Some shipped batches, which are read as a `Segment` is."""

    connection: Connection
    ids: Sequence[int]
    first_at: float
    last_at: float

    def outcomes(self, *, ended_after: float = -math.inf) -> list[Outcome]:
        """As of a segment."""
        query = select(fresh_outcomes.c.outcomes).where(fresh_outcomes.c.id.in_(self.ids))
        packed = self.connection.execute(query.order_by(fresh_outcomes.c.id)).scalars()
        return [each for batch in packed for each in unpack(batch) if each.ended_at > ended_after]

    def outcomes_with(self, column: str, texts: Collection[str]) -> list[Outcome]:
        """As of a segment. A batch without these texts is not decoded."""
        query = select(fresh_outcomes.c.outcomes).where(fresh_outcomes.c.id.in_(self.ids))
        packed = self.connection.execute(query.order_by(fresh_outcomes.c.id)).scalars()
        of, wanted = attrgetter(column), frozenset(texts)
        return [each for batch in packed for each in unpack_with(batch, wanted) if of(each) in wanted]

    def read(self, columns: Sequence[str] = ALL, where: Any = None) -> Any:
        """As of a segment."""
        from records.store.segments.arrow import table_of

        if where is None:
            return table_of(self.outcomes(), columns)
        return table_of(self.outcomes()).filter(where).select(list(columns))

    def read_coded(self, columns: Sequence[str]) -> Any:
        """As of a segment."""
        return self.read(columns)


OutcomeSource = Segment | FreshRows
"""Some of the stored outcomes."""


def just_ended(connection: Connection, moment: float) -> Iterator[Outcome]:
    """The outcomes of exchanges that ended after UTC second `moment`, which is seconds ago, without their
    monotonic times.

    May raise StoreDown.
    """
    ended = math.nextafter(moment, math.inf)
    found = [
        *_segments(connection, segments.c.ended_at >= ended),
        *_fresh(connection, fresh_outcomes.c.ended_at >= ended),
    ]
    for each in found:
        yield from each.outcomes(ended_after=moment)


def sources(
    connection: Connection, *, since: float = -math.inf, until: float = math.inf
) -> list[OutcomeSource]:
    """The sources of all outcomes with `since` ≤ at ≤ `until`, oldest first; they may have others, too."""
    found = [
        *_segments(connection, _within(segments, since, until)),
        *_fresh(connection, _within(fresh_outcomes, since, until)),
    ]
    found = [each for each in found if each.last_at >= since and each.first_at <= until]
    return sorted(found, key=lambda each: (each.first_at, each.last_at))


def folder_of(connection: Connection, path: str) -> SegmentFolder:
    """The folder of this store's segments."""
    folder: SegmentFolder | None = connection.get_execution_options().get(FOLDER)
    if folder is None:
        raise StoreDown(f"the segment {path} lies in a folder: name it as `outcomes` in the config")
    return folder


def _within(table: Table, since: float, until: float) -> ColumnElement[bool]:
    within: ColumnElement[bool] = (table.c.last_at >= since) & (table.c.first_at <= until)
    return within


def _segments(connection: Connection, wanted: ColumnElement[bool]) -> Sequence[OutcomeSource]:
    columns = segments.c
    query = select(columns.id, columns.path, columns.first_at, columns.last_at).where(
        columns.state == "whole", wanted
    )
    return [Segment(connection, *row) for row in connection.execute(query)]


def _fresh(connection: Connection, wanted: ColumnElement[bool]) -> Sequence[OutcomeSource]:
    columns = fresh_outcomes.c
    query = select(columns.id, columns.first_at, columns.last_at).where(wanted)
    rows = connection.execute(query.order_by(columns.last_at, columns.id)).all()
    parts = [rows[start : start + FRESH_ROWS] for start in range(0, len(rows), FRESH_ROWS)]
    return [
        FreshRows(
            connection,
            [row.id for row in part],
            min(row.first_at for row in part),
            max(row.last_at for row in part),
        )
        for part in parts
    ]
