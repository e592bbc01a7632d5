"""What a row of unit totals is about, its texts numbered: half a million units are small as numbers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa

from report.sample import Codes, TextColumn
from report.statistics.types import Bools, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class TotalsScope:
    """What is asked for: one run of a canary, the tags to tell apart, and measures as `metrics.source` names
    them."""

    canary: str
    run: int
    segments: Sequence[str] = ()
    sources: Collection[str] = ()

    def grouped(self, columns: Any) -> list[Any]:
        """What makes a row, of the columns of `unit_days`, `sessions` or `outcomes`.

        The unit first: it alone tells most rows apart, and PostgreSQL sorts three times faster by it.
        """
        tags = [sa.cast(columns.tags, sa.Text)] if self.segments else []
        return [columns.unit, columns.category, columns.phase, columns.arm, *tags]

    def place(self, tags: str) -> tuple[str, ...]:
        """The values of the segments' tags ("" where there is none) in a JSON object of tags."""
        found: Mapping[str, str] = msgspec.json.decode(tags) if tags else {}
        return tuple(found.get(name, "") for name in self.segments)


class Numbered(dict[Any, int]):
    """Keys by the order in which they were first seen."""

    def __missing__(self, key: Any) -> int:
        self[key] = number = len(self)
        return number

    def of(self, keys: Sequence[Any]) -> Ints:
        """Each key's number, new ones included."""
        return np.fromiter(map(self.__getitem__, keys), dtype=np.int64, count=len(keys))

    def seen(self, keys: Sequence[Any]) -> Ints:
        """Each key's number, −1 for one that was never seen."""
        return np.fromiter(map(self.get, keys, repeat(-1)), dtype=np.int64, count=len(keys))


class _Read(dict[str, tuple[str, ...]]):
    """Scope.place of each different text, read once."""

    def __init__(self, scope: TotalsScope) -> None:
        super().__init__()
        self._scope = scope

    def __missing__(self, tags: str) -> tuple[str, ...]:
        self[tags] = place = self._scope.place(tags)
        return place


class Names:
    """The texts of the rows, numbered, and the place of each text of tags."""

    def __init__(self, scope: TotalsScope) -> None:
        self._segments = scope.segments
        self.units, self.categories, self.places = Numbered(), Numbered(), Numbered()
        self.place = _Read(scope)

    def labels(self, code: Codes) -> Mapping[str, TextColumn]:
        """Each segment's values, given the rows' places."""
        found: dict[str, TextColumn] = {}
        for position, name in enumerate(self._segments):
            values = Numbered()
            of_place = values.of([place[position] for place in self.places])
            found[name] = TextColumn(names=list(values), code=of_place[code] if len(code) else code)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class RowKeys:
    """What a row is about, (n,) each, numbered; −1 for a text that no row has."""

    unit: Ints
    phase: Ints
    candidate: Bools
    category: Codes
    place: Codes

    @classmethod
    def read(cls, columns: Sequence[Sequence[Any]], names: Names, *, new: bool) -> "RowKeys":
        """From the columns of `TotalsScope.grouped`; `new` adds the texts that were not seen yet."""
        unit, category, phase, arm, *tags = columns

        def number(numbered: Numbered, keys: Sequence[Any]) -> Ints:
            return numbered.of(keys) if new else numbered.seen(keys)

        # Millions of rows: whatever is done for each is done by a method of the interpreter's own.
        places = list(map(names.place.__getitem__, tags[0])) if tags else [()] * len(unit)
        return cls(
            unit=number(names.units, unit),
            phase=np.array(phase, dtype=np.int64),
            candidate=np.fromiter(map("candidate".__eq__, arm), dtype=np.bool_, count=len(arm)),
            category=number(names.categories, category),
            place=number(names.places, places),
        )

    def columns(self) -> tuple[Codes, Codes, Bools, Codes, Codes]:
        """All of them, in the order of the fields."""
        return self.unit, self.phase, self.candidate, self.category, self.place

    def joined(self, names: Names) -> Ints:
        """One number for each row; −1 where a text is unknown."""
        number = (self.phase * 2 + self.candidate) * len(names.units) + self.unit
        number = number * len(names.categories) + self.category
        number = number * len(names.places) + self.place
        unknown = (self.unit < 0) | (self.category < 0) | (self.place < 0)
        return np.where(unknown, -1, number)
