"""A canary's unit totals and feedback as columns: what every number of the report is computed from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from report.recent import Recent
from report.statistics.types import Bools, Floats, Ints

Codes: TypeAlias = npt.NDArray[Any]
"""Array of any integer type; millions of values need the smallest."""

_AT_ONCE = 250_000


class BadSample(ValueError):
    """A log that cannot be judged; the message names the place and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureTotals:
    """One measure added up by row, (n,) each: how many values, and their sum."""

    count: Floats
    total: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Every single value of a measure, as quantiles need them, in groups of one row each.

    `code` (v,) are places in `scale` (g,), which rises; group i has the next `size[i]` > 0 of them, and
    belongs to `row[i]` of the sample, (m,) each.
    """

    row: Ints
    size: Codes
    code: Codes
    scale: Floats

    @classmethod
    def exact(cls, seconds: Floats, counted: Bools) -> "Values":
        """One value a row, (n,) each, where it is counted and not NaN."""
        row = np.flatnonzero(counted & ~np.isnan(seconds))
        scale, code = np.unique(seconds[row], return_inverse=True)
        return cls(row=row, size=np.ones(len(row), dtype=np.int64), code=code, scale=scale)

    def take(self, kept: Ints) -> "Values":
        """These groups, (k,) places among the m."""
        size = self.size[kept].astype(np.int64)
        code = np.empty(int(size.sum()), dtype=self.code.dtype)
        found = Values(row=self.row[kept], size=size, code=code, scale=self.scale)
        # By how much each group's values move.
        moved = (np.cumsum(self.size) - self.size)[kept] - (np.cumsum(size) - size)
        begin = 0
        for groups, piece in found._pieces():
            place = np.arange(begin, begin + len(piece)) + np.repeat(moved[groups], size[groups])
            piece[:] = self.code[place]
            begin += len(piece)
        return found

    def heights(self, kind: Ints, kinds: int) -> Ints:
        """How many values stand at each place of the scale, (kinds, g), by the groups' kind, (m,)."""
        found = np.zeros(kinds * len(self.scale), dtype=np.int64)
        for groups, code in self._pieces():
            place = np.repeat(kind[groups] * len(self.scale), self.size[groups]) + code
            found += np.bincount(place, minlength=len(found))
        return found.reshape(kinds, len(self.scale))

    def at_or_above(self, place: Ints) -> Ints:
        """How many values of each group stand at or above this place, (m,) each."""
        found = np.zeros(len(self.size), dtype=np.int64)
        for groups, code in self._pieces():
            size = self.size[groups]
            above = np.cumsum(code >= np.repeat(place[groups], size))[np.cumsum(size) - 1]
            found[groups] = np.diff(above, prepend=0)
        return found

    def _pieces(self) -> Iterator[tuple[slice, Codes]]:
        """All groups, so many at a time that what is computed from them does not fill the memory."""
        ends = np.cumsum(self.size)
        first = 0
        while first < len(ends):
            begin = int(ends[first] - self.size[first])
            last = max(first + 1, int(np.searchsorted(ends, begin + _AT_ONCE, side="right")))
            yield slice(first, last), self.code[begin : int(ends[last - 1])]
            first = last


@dataclass(frozen=True, slots=True, kw_only=True)
class TextColumn:
    """One text for each row: `code` (n,) are places in `names`."""

    names: Sequence[str]
    code: Codes

    @classmethod
    def of(cls, texts: Sequence[str]) -> "TextColumn":
        names, code = np.unique(np.array(texts, dtype=np.str_), return_inverse=True)
        return cls(names=tuple(names.tolist()), code=code)

    def texts(self) -> list[str]:
        """The text of each row, (n,)."""
        codes: list[int] = self.code.tolist()
        return [self.names[code] for code in codes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratings:
    """One metric's feedback, (m,) each. `row` is the row it belongs to, `at` UTC seconds."""

    row: Ints
    value: Floats
    at: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the hash assigned, by units, (n,) each, in the order of `first_at`.

    A row is what one unit did in one arm, phase, category and set of tags: from the store, all its exchanges
    there; from a log, a single one. `unit` indexes `units`; times are UTC seconds. `totals` and `values` hold
    measures by name (`report.metrics` says which); what the arm is not to be measured by (the caller's own
    error, an aborted stream) is exposure, and in none of them. `candidate_at` are moments of candidate
    traffic, at least the first and the last of every UTC day that had any. `shares` is the candidate's share
    in each phase, where known; `recent` what failures are told from; `before` each unit's value of a metric
    before the canary, (units,), NaN where there is none.
    """

    units: Sequence[str]
    unit: Ints
    candidate: Bools
    phase: Ints
    first_at: Floats
    last_at: Floats
    candidate_at: Floats
    category: TextColumn
    totals: Mapping[str, MeasureTotals] = field(default_factory=dict)
    values: Mapping[str, Values] = field(default_factory=dict)
    tags: Mapping[str, TextColumn] = field(default_factory=dict)
    feedback: Mapping[str, Ratings] = field(default_factory=dict)
    shares: Mapping[int, float] = field(default_factory=dict)
    recent: Recent | None = None
    before: Mapping[str, Floats] = field(default_factory=dict)

    def first_rows(self) -> Ints:
        """The row of each unit's first exposure, (units,), in the order of `units`."""
        first = np.zeros(len(self.units), dtype=np.int64)
        # Of several rows of a unit the last one assigned stays: backwards, that is its first.
        first[self.unit[::-1]] = np.arange(len(self.unit))[::-1]
        return first

    def exposed_at(self) -> Floats:
        """When each unit was first exposed, (units,), UTC seconds."""
        return np.asarray(self.first_at[self.first_rows()], dtype=np.float64)


def refuse_units_in_both_arms(sample: Sample) -> None:
    """Raise BadSample for a unit that both arms served within one phase: no hash does that.

    Between phases a unit may move into the candidate as its share is raised.
    """
    place = sample.unit * (int(sample.phase.max()) + 1) + sample.phase if len(sample.unit) else sample.unit
    both = np.intersect1d(place[sample.candidate], place[~sample.candidate])
    if len(both):
        unit = sample.units[int(both[0]) // (int(sample.phase.max()) + 1)]
        raise BadSample(
            f"unit {unit!r} is in both arms ({len(both)} such units): a unit must stay in its arm; "
            "if the share was changed meanwhile, add a `phase` column that counts the changes from 0"
        )
