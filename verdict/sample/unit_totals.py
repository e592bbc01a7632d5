"""The store's unit totals as columns: one row per unit, phase, arm, category and set of tags.

Texts are numbers, to save memory: there may be half a million units.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from records.outcome import BLAMED, UNREACHED
from records.store.database import rows_of
from records.store.sums import unpack
from records.store.tables import sessions, unit_days
from verdict.sample.sample import (
    FEW_SESSIONS,
    SESSIONS,
    Codes,
    MeasureTotals,
    Numbered,
    Outage,
    TextColumn,
    UnitsBehind,
    Values,
    within,
)
from verdict.statistics.types import Bools, Floats, Ints
from verdict.terms.measures import CACHE_HITS
from verdict.terms.plan import DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPart:
    """The part of a run in the phases from the first up to the last, without it (None: to the end), from this
    UTC day number on."""

    first: int = 0
    before: int | None = None
    from_day: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TotalsScope:
    """The query: one run of a canary, the tags to separate, and the measures by `metrics.source` name.

    No row lies on both sides of one of the `cuts`, UTC midnights in seconds. `early` are the measures to be
    summed also within a time in seconds from their unit's first exposure, to the day. `part`: which of the
    run's traffic. `outage`: the hours of which nothing counts.
    """

    canary: str
    run: int
    segments: Sequence[str] = ()
    sources: Collection[str] = ()
    cuts: Sequence[float] = ()
    early: Collection[tuple[str, float]] = ()
    part: "RunPart | None" = None
    outage: Outage | None = None

    def grouped(self, columns: Any) -> list[Any]:
        """The key columns of a row, from `unit_days` or `sessions`: with cuts, the last one numbers the
        times between them.

        The unit comes first: it differs between most rows, and PostgreSQL sorts three times faster that way.
        """
        tags = [sa.cast(columns.tags, sa.Text)] if self.segments else []
        return [columns.unit, columns.category, columns.phase, columns.arm, *tags, *self._piece(columns)]

    def _piece(self, columns: Any) -> list[Any]:
        if not self.cuts:
            return []
        # A session belongs to the day on which it was last seen.
        moment, of_s = (columns.day, DAY_S) if "day" in columns else (columns.last_at, 1.0)
        before = [
            (moment < _number(cut / of_s), _number(place)) for place, cut in enumerate(sorted(self.cuts))
        ]
        return [sa.case(*before, else_=_number(len(before)))]

    def pieces(self, day: Ints) -> Ints:
        """The time between the cuts in which each UTC day number is, as `grouped` numbers them."""
        return np.searchsorted(np.sort(self.cuts), day * DAY_S, side="right")

    def place(self, tags: str) -> tuple[str, ...]:
        """The values of the segments' tags in a JSON object of tags; "" for a missing tag."""
        found: Mapping[str, str] = msgspec.json.decode(tags) if tags else {}
        return tuple(found.get(name, "") for name in self.segments)


def _number(value: float) -> sa.ColumnElement[Any]:
    """A number in the SQL text: PostgreSQL takes two expressions with parameters for different ones, and
    groups by neither."""
    return sa.literal_column(f"{value!r}")


class _PlaceCache(dict[str, tuple[str, ...]]):
    """`TotalsScope.place` of each distinct text, parsed once."""

    def __init__(self, scope: TotalsScope) -> None:
        super().__init__()
        self._scope = scope

    def __missing__(self, tags: str) -> tuple[str, ...]:
        self[tags] = place = self._scope.place(tags)
        return place


class TextNumbers:
    """The numbers of the rows' texts, the parsed tags, and how often time is `cut`."""

    def __init__(self, scope: TotalsScope) -> None:
        self._segments = scope.segments
        self.cut = len(scope.cuts)
        self.units, self.categories, self.places = Numbered(), Numbered(), Numbered()
        self.place = _PlaceCache(scope)

    def labels(self, code: Codes) -> Mapping[str, TextColumn]:
        """Each segment's column of values. `code` holds the rows' places."""
        found: dict[str, TextColumn] = {}
        for position, name in enumerate(self._segments):
            values = Numbered()
            of_place = values.of([place[position] for place in self.places])
            found[name] = TextColumn(names=list(values), code=of_place[code] if len(code) else code)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class RowKeys:
    """The rows' keys as numbers, (n,) each; −1 for a text that no row has."""

    unit: Ints
    phase: Ints
    candidate: Bools
    category: Codes
    place: Codes
    piece: Codes

    @classmethod
    def read(cls, columns: Sequence[Sequence[Any]], names: TextNumbers, *, new: bool) -> "RowKeys":
        """From the columns of `TotalsScope.grouped`. With `new`, unknown texts get a number."""
        unit, category, phase, arm, *rest = columns
        tags, pieces = (rest[:-1], rest[-1]) if names.cut else (rest, np.zeros(len(unit)))

        def number(numbered: Numbered, keys: Sequence[Any]) -> Ints:
            return numbered.of(keys) if new else numbered.known(keys)

        # There may be millions of rows, so each step per row is a C function.
        places = list(map(names.place.__getitem__, tags[0])) if tags else [()] * len(unit)
        return cls(
            unit=number(names.units, unit),
            phase=np.array(phase, dtype=np.int64),
            candidate=np.fromiter(map("candidate".__eq__, arm), dtype=np.bool_, count=len(arm)),
            category=number(names.categories, category),
            place=number(names.places, places),
            piece=np.asarray(pieces, dtype=np.int64),
        )

    def columns(self) -> tuple[Codes, Codes, Bools, Codes, Codes, Codes]:
        """All columns, in the order of the fields."""
        return self.unit, self.phase, self.candidate, self.category, self.place, self.piece

    def joined(self, names: TextNumbers) -> Ints:
        """The keys combined into one number per row; −1 for an unknown text."""
        number = (self.phase * 2 + self.candidate) * len(names.units) + self.unit
        number = number * len(names.categories) + self.category
        number = number * len(names.places) + self.place
        number = number * (names.cut + 1) + self.piece
        unknown = (self.unit < 0) | (self.category < 0) | (self.place < 0)
        return np.where(unknown, -1, number)


# The store's unit totals as columns: one row per unit, phase, arm, category and set of tags.


Sum: TypeAlias = sa.ColumnElement[Any]

AT_ONCE = 20_000
"""Rows that exist as Python objects at a time."""

_DAYS = unit_days.c
SUMS = {
    "errors": (_DAYS.counted, _DAYS.failed),
    "refused": (_DAYS.finished, _DAYS.refused),
    "cut_off": (_DAYS.finished, _DAYS.cut_off),
    "empty": (_DAYS.finished, _DAYS.empty),
    "answer_faults": (_DAYS.finished, _DAYS.answer_faults),
    "invalid_output": (_DAYS.output_judged, _DAYS.invalid_output),
    "abandoned": (_DAYS.ended, _DAYS.abandoned),
    "cost": (_DAYS.cost_n, _DAYS.cost_sum),
    "tokens": (_DAYS.tokens_n, _DAYS.tokens_sum),
    "exchanges": (_DAYS.exchanges, _DAYS.exchanges),
    CACHE_HITS: (_DAYS.input_tokens, _DAYS.cached_tokens),
}
SESSIONLESS = {
    SESSIONS: (_DAYS.sessionless, _DAYS.sessionless),
    "session_exchanges": (_DAYS.sessionless, _DAYS.sessionless),
    "session_cost": (_DAYS.sessionless_cost_n, _DAYS.sessionless_cost_sum),
    "session_tokens": (_DAYS.sessionless_tokens_n, _DAYS.sessionless_tokens_sum),
    "session_tool_calls": (_DAYS.sessionless, _DAYS.sessionless_tool_calls),
    "session_faults": (_DAYS.sessionless, _DAYS.sessionless_faulty),
    "session_abandoned": (_DAYS.sessionless, _DAYS.sessionless_abandoned),
}
"""What exchanges without a session add to the measures of sessions: each is a session of its own."""

_OWN = sessions.c


def session_units(connection: sa.Connection, canary: str, run: int, units: int) -> UnitsBehind | None:
    """Those of the run's units that are sessions, because their callers named no user; None for few of so
    many units."""
    own = _OWN.unit == _OWN.session  # one text has one hash, whatever it names
    of_run = (_OWN.canary == canary) & (_OWN.run == run)
    found = connection.scalar(sa.select(sa.func.count(sa.distinct(_OWN.unit))).where(of_run & own)) or 0
    if found <= FEW_SESSIONS * units:
        return None
    return UnitsBehind(units=found, known=0, users=0, single=False)


_ONE: Sum = sa.literal_column("1.0")
BY_SESSION: Mapping[str, tuple[Sum, Sum]] = {
    SESSIONS: (_ONE, _ONE),
    "session_length_s": (_ONE, _OWN.last_at - _OWN.first_at),
    "session_exchanges": (_ONE, _OWN.exchanges),
    "session_repeats": (_OWN.exchanges, _OWN.repeats),
    "session_cost": (sa.case((_OWN.cost_n > 0, _ONE)), _OWN.cost_sum),
    "session_tokens": (sa.case((_OWN.tokens_n > 0, _ONE)), _OWN.tokens_sum),
    "session_tool_calls": (_ONE, _OWN.tool_calls),
    "session_faults": (_ONE, sa.case((_OWN.faulty > 0, _ONE))),
    "session_abandoned": (_ONE, sa.case((_OWN.abandoned, _ONE))),
}
"""The number of values of one session, and their sum."""
_KEYS = ("i4", "i4", "?", "i4", "i4", "i2")
"""The numpy types of `RowKeys.columns`."""

VALUES = {"latency": _DAYS.latency, "ttft": _DAYS.ttft}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The rows in the order of `first_at`, (n,) each, with their keys."""

    names: TextNumbers
    keys: RowKeys
    first_at: Floats
    last_at: Floats
    share: Floats
    totals: Mapping[str, MeasureTotals]
    values: Mapping[str, Values]


def read_cells(connection: sa.Connection, scope: TotalsScope) -> Cells:
    """All cells of the run from the time when both arms had a share."""
    names, keys = TextNumbers(scope), [GrowingColumn(kind) for kind in _KEYS]
    first_at, every = first_exposures(scope), {**SUMS, **SESSIONLESS}
    sums: dict[str, Sequence[Sum]] = {name: every[name] for name in every if name in scope.sources}
    sums |= {
        within(name, seconds): [in_time(column, _DAYS, first_at, seconds) for column in every[name]]
        for name, seconds in scope.early
    }
    numbers = [GrowingColumn("f8") for _ in range(3 + 2 * len(sums))]
    packs = {name: _Packs() for name in VALUES if name in scope.sources}
    receivers: list[GrowingColumn | _Packs] = [*numbers, *packs.values()]
    statement = (
        sa.select(
            *scope.grouped(_DAYS),
            sa.func.min(_DAYS.first_at),
            sa.func.max(_DAYS.last_at),
            sa.func.max(_DAYS.share),
            *(sa.func.sum(sa.cast(column, sa.Double)) for columns in sums.values() for column in columns),
            *(joined(connection, VALUES[name]) for name in packs),
        )
        .where(*concurrent(scope))
        .group_by(*scope.grouped(_DAYS))
    )
    if scope.early:
        statement = statement.join_from(unit_days, first_at, first_at.c.unit == _DAYS.unit)
    width = len(scope.grouped(_DAYS))
    for columns in stream(connection, statement):
        for growing, found in zip(
            keys, RowKeys.read(columns[:width], names, new=True).columns(), strict=True
        ):
            growing.add(found)
        for receiver, column in zip(receivers, columns[width:], strict=True):
            receiver.add(column)
    return _assembled(names, keys, numbers, packs, list(sums))


def first_exposures(scope: TotalsScope) -> sa.Subquery:
    """Each unit's first exposure."""
    first_at = sa.func.min(_DAYS.first_at).label("first_at")
    return sa.select(_DAYS.unit, first_at).where(*concurrent(scope)).group_by(_DAYS.unit).subquery()


def in_time(column: Sum, columns: Any, first_at: sa.Subquery, seconds: float) -> Sum:
    """The column where the row begins within these seconds from its unit's first exposure, else 0."""
    return sa.case((columns.first_at <= first_at.c.first_at + seconds, column), else_=0)


def concurrent(scope: TotalsScope) -> list[Sum]:
    """Conditions for the cells of real traffic while both arms had a share."""
    return [*of_run(scope), _DAYS.mirror.is_(False), _DAYS.share > 0, _DAYS.share < 1, *_of_part(scope.part)]


def _of_part(part: RunPart | None) -> list[Sum]:
    if part is None:
        return []
    before = [] if part.before is None else [_DAYS.phase < part.before]
    return [_DAYS.phase >= part.first, _DAYS.day >= part.from_day, *before]


def of_run(scope: TotalsScope) -> list[Sum]:
    """Conditions for all cells of the run, mirror copies included."""
    return [_DAYS.canary == scope.canary, _DAYS.run == scope.run]


def stream(
    connection: sa.Connection, statement: sa.Select[*tuple[Any, ...]]
) -> Iterator[Sequence[Sequence[Any]]]:
    """The result's columns in batches of AT_ONCE rows. The whole result is never in memory."""
    for rows in _partitions(connection, statement):
        yield list(zip(*rows, strict=True))


def _partitions(
    connection: sa.Connection, statement: sa.Select[*tuple[Any, ...]]
) -> Iterator[Sequence[Sequence[Any]]]:
    if connection.dialect.name == "postgresql":
        yield from rows_of(connection, statement, at_once=AT_ONCE)
    else:
        result = connection.execute(statement, execution_options={"yield_per": AT_ONCE})
        yield from result.partitions()


class GrowingColumn:
    """A growing column in one buffer. Many small arrays would fragment memory."""

    def __init__(self, kind: str) -> None:
        self._kind = np.dtype(kind)
        self._bytes = bytearray()

    def add(self, values: Any) -> None:
        """Append a sequence of numbers, or an array."""
        self._bytes += np.asarray(values, dtype=self._kind).tobytes()

    def array(self) -> np.ndarray:
        return np.frombuffer(self._bytes, dtype=self._kind)

    def ordered(self, order: Ints) -> np.ndarray:
        """The column in this order. Empties the buffer, to save its memory."""
        column, self._bytes = self.array()[order], bytearray()
        return column


class _Packs:
    """A growing buffer of packed durations, cell by cell."""

    def __init__(self) -> None:
        self._packed = bytearray()
        self._sizes = GrowingColumn("i4")

    def add(self, packed: Sequence[bytes]) -> None:
        self._sizes.add(np.fromiter(map(len, packed), dtype=np.int64, count=len(packed)) // 2)
        self._packed += b"".join(packed)

    def values(self, rank: Ints) -> Values:
        """`rank` (n,) is each cell's row in the sample."""
        size = self._sizes.array()
        return Values.grouped(
            row=rank[size > 0],
            size=size[size > 0],
            code=np.frombuffer(self._packed, dtype="<u2"),
            scale=unpack(np.arange(1 << 16, dtype="<u2").tobytes()),
        )


def joined(connection: sa.Connection, column: Sum) -> Sum:
    """The packed values of several rows, concatenated."""
    if connection.dialect.name == "postgresql":
        return sa.func.string_agg(column, sa.cast(b"", BYTEA), type_=BYTEA())
    # SQLite concatenates blobs as text, byte for byte.
    return sa.cast(sa.func.group_concat(column, ""), sa.LargeBinary)


def _assembled(
    names: TextNumbers,
    keys: Sequence[GrowingColumn],
    numbers: Sequence[GrowingColumn],
    packs: Mapping[str, _Packs],
    sums: Sequence[str],
) -> Cells:
    order = np.argsort(numbers[0].array(), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    first_at, last_at, share, *added = (growing.ordered(order) for growing in numbers)
    unit, phase, candidate, category, place, piece = (growing.ordered(order) for growing in keys)
    return Cells(
        names=names,
        keys=RowKeys(
            unit=unit.astype(np.int64),
            phase=phase.astype(np.int64),
            candidate=candidate,
            category=category,
            place=place,
            piece=piece,
        ),
        first_at=first_at,
        last_at=last_at,
        share=share,
        totals={
            name: MeasureTotals(count=count, total=total)
            for name, count, total in zip(sums, added[::2], added[1::2], strict=True)
        },
        values={name: pack.values(rank) for name, pack in packs.items()},
    )


# Finds rows of a sample: by key, or by unit and time.


class CellIndex:
    """An index over the cells."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        joined = cells.keys.joined(cells.names)
        self._order = np.argsort(joined, kind="stable")
        self._joined = joined[self._order]
        self._by_unit = np.argsort(cells.keys.unit, kind="stable")
        self._first = np.searchsorted(cells.keys.unit[self._by_unit], np.arange(len(cells.names.units) + 1))

    def find(self, keys: RowKeys) -> Ints:
        """The row with each key, (m,); −1 without one."""
        wanted = keys.joined(self.cells.names)
        if len(self._joined) == 0:
            return np.full(len(wanted), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self._joined, wanted), len(self._joined) - 1)
        return np.where(self._joined[place] == wanted, self._order[place], -1)

    def latest(self, unit: Ints, at: Floats) -> Ints:
        """The row in which each unit (−1: unknown) was last seen at or before `at`, (m,); −1 without one.

        A row has only its first and last time, so of two overlapping rows the later-started one is taken.
        Phase and arm are right, because a unit's phases do not overlap.
        """
        found = np.full(len(unit), -1, dtype=np.int64)
        known = np.flatnonzero(unit >= 0)
        begin, end = self._first[unit[known]], self._first[unit[known] + 1]
        query = np.repeat(np.arange(len(known)), end - begin)
        within = np.arange(len(query)) - np.repeat(np.cumsum(end - begin) - (end - begin), end - begin)
        row = self._by_unit[begin[query] + within]
        moment = at[known][query]
        before = self.cells.first_at[row] <= moment
        query, row, moment = query[before], row[before], moment[before]
        seen_at = np.minimum(self.cells.last_at[row], moment)
        # The last assignment wins: the latest seen, and of those the last in the sample.
        best = np.lexsort((row, seen_at))
        found[known[query[best]]] = row[best]
        return found


# The exchanges that one report is about, as conditions on Arrow tables of outcomes.


_FAILED = ["fallback", "error"]
_EXPOSED = ["ok", "fallback", "error", "caller_error", "aborted"]

COHORT = ("reason", "mirror", "share")
MEASURED = ("outcome", "error_type")
EXPOSED = ("reason", "mirror", "outcome", "error_type")
WINDOW = ("canary", "run", "at", *COHORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWindow:
    """One run of a canary, from its first exchange to its last, UTC seconds, while both arms had a share."""

    canary: str
    run: int
    since: float
    until: float

    @property
    def days(self) -> tuple[int, int]:
        """The first and the last UTC day number."""
        return int(self.since // DAY_S), int(self.until // DAY_S)

    def condition(self) -> Any:
        """Of this run, assigned by the hash, without mirror copies; of any outcome. Columns: WINDOW."""
        from pyarrow.compute import field

        from records.store.segments.arrow import moment

        own = (field("canary") == self.canary) & (field("run") == self.run)
        begun = (field("at") >= moment(self.since)) & (field("at") <= moment(self.until))
        return own & begun & concurrent_cohort()


def concurrent_cohort() -> Any:
    """Assigned by the hash while both arms had a share, no mirror copy. Columns: COHORT."""
    from pyarrow.compute import field

    return _cohort() & (field("share") > 0) & (field("share") < 1)


def exposed() -> Any:
    """Assigned by the hash, no mirror copy, and not shed; the arm was asked or is to blame for not being
    asked. Columns: EXPOSED."""
    from pyarrow.compute import field

    unreached = field("outcome").isin(_FAILED) & field("error_type").isin(sorted(map(str, UNREACHED)))
    return _cohort() & field("outcome").isin(_EXPOSED) & ~unreached


def measured() -> Any:
    """The arm answered or failed, as in `Outcome.measured`. Columns: MEASURED."""
    from pyarrow.compute import field

    failed = field("outcome").isin(_FAILED) & field("error_type").isin(list(BLAMED))
    return (field("outcome") == "ok") | failed


def _cohort() -> Any:
    from pyarrow.compute import field

    return (field("reason") == "cohort") & ~field("mirror")
