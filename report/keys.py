"""The keys of unit total rows, with texts as numbers to save memory: there may be half a million units."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa

from report.plan import DAY_S
from report.sample import Codes, TextColumn
from report.statistics.types import Bools, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class TotalsScope:
    """The query: one run of a canary, the tags to separate, and the measures by `metrics.source` name.

    No row lies on both sides of one of the `cuts`, UTC midnights in seconds.
    """

    canary: str
    run: int
    segments: Sequence[str] = ()
    sources: Collection[str] = ()
    cuts: Sequence[float] = ()

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


class Numbered(dict[Any, int]):
    """Numbers keys from 0 in the order of their first appearance."""

    def __missing__(self, key: Any) -> int:
        self[key] = number = len(self)
        return number

    def of(self, keys: Sequence[Any]) -> Ints:
        """Each key's number; new keys get one."""
        return np.fromiter(map(self.__getitem__, keys), dtype=np.int64, count=len(keys))

    def known(self, keys: Sequence[Any]) -> Ints:
        """Each key's number; −1 for an unknown key."""
        return np.fromiter(map(self.get, keys, repeat(-1)), dtype=np.int64, count=len(keys))


class _PlaceCache(dict[str, tuple[str, ...]]):
    """`TotalsScope.place` of each distinct text, parsed once."""

    def __init__(self, scope: TotalsScope) -> None:
        super().__init__()
        self._scope = scope

    def __missing__(self, tags: str) -> tuple[str, ...]:
        self[tags] = place = self._scope.place(tags)
        return place


class Names:
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
    def read(cls, columns: Sequence[Sequence[Any]], names: Names, *, new: bool) -> "RowKeys":
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

    def joined(self, names: Names) -> Ints:
        """The keys combined into one number per row; −1 for an unknown text."""
        number = (self.phase * 2 + self.candidate) * len(names.units) + self.unit
        number = number * len(names.categories) + self.category
        number = number * len(names.places) + self.place
        number = number * (names.cut + 1) + self.piece
        unknown = (self.unit < 0) | (self.category < 0) | (self.place < 0)
        return np.where(unknown, -1, number)
