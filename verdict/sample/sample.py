"""A canary's traffic as arrays: units, measures, single values and ratings, with its newest failures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import repeat
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from judge.judgements import NOT_JUDGED, RunJudgements
from records.facts.metric import Metric
from verdict.details import FailureMode
from verdict.statistics.types import Bools, Floats, Ints, picked
from verdict.terms.plan import DAY_S

HOUR_S = 3600.0

NEWEST = 20_000
"""The number of a run's newest exchanges read."""

RATINGS = 5_000
"""The number of newest ratings read per metric and arm."""


TRAFFIC, SESSIONS = "exchanges", "sessions"
"""The measures of a sample that count exchanges, and sessions (with each exchange without one)."""

LABELS = "labels"
"""The measure of a sample of a judge's pairs, or of its marks, that counts those with a label or a rating,
from which the rest are estimated."""


def within(measure: str, seconds: float) -> str:
    """The name of the part of a measure that lies within this time from the unit's first exposure, which
    totals by day have beside the whole."""
    return f"{measure} within {seconds:g} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenExchange:
    """One counted exchange."""

    name: str
    candidate: bool
    latency_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentRating:
    """One rating of an exchange; `bad` as in `displeased`."""

    name: str
    metric: str
    candidate: bool
    category: str
    bad: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentFailures:
    """A run's failures between two UTC seconds.

    `baseline` and `candidate` are the counted exchanges of each arm. `modes` count errors, answer faults and
    abandoned requests among all exchanges; `exchanges` and `ratings` are only the newest, newest first.
    """

    since: float
    until: float
    baseline: int
    candidate: int
    modes: tuple[FailureMode, ...] = ()
    exchanges: tuple[SeenExchange, ...] = ()
    ratings: tuple[RecentRating, ...] = ()


def displeased(metric: Metric, value: float) -> bool:
    """True for a no where yes is better, for a rating in the worst quarter of its scale, for a detractor."""
    if metric.kind == "nps":
        return value <= 6
    if metric.low is None or metric.high is None or metric.kind not in ("bool", "rating"):
        return False
    part = (value - metric.low) / (metric.high - metric.low)
    return part <= 0.25 if metric.higher_is_better else part >= 0.75


# A canary's unit totals and feedback as columns: the data behind every figure of a report.


Codes: TypeAlias = npt.NDArray[Any]
"""An array of any integer type, so that millions of values can use the smallest."""

_Measure = TypeVar("_Measure")

_AT_ONCE = 250_000

MOST_FLIPPED = 0.01
"""The part of the units that may have had both arms without a caveat, as in GrowthBook."""


class BadSample(ValueError):
    """A log that cannot be judged; the message names the place and what is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureTotals:
    """One measure by row, (n,) each: the number of values, and their sum."""

    count: Floats
    total: Floats

    def take(self, rows: Ints) -> "MeasureTotals":
        return picked(self, rows)

    def plus(self, other: "MeasureTotals") -> "MeasureTotals":
        return MeasureTotals(count=self.count + other.count, total=self.total + other.total)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayTotals:
    """One measure by UTC day number and arm, (n,) each: the number of values, and their sum."""

    day: Ints
    candidate: Bools
    count: Floats
    total: Floats

    def until(self, moment: float) -> "DayTotals":
        """The days before the one of this moment."""
        return picked(self, (self.day + 1) * DAY_S <= moment)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmTotal:
    """A number of exchanges in each arm."""

    baseline: int
    candidate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """The hours in which the baseline had an outage, UTC seconds // 3600, rising. Of the users' first
    requests in each, `failed` of `of` failed; `usual` is the baseline's share at other times."""

    hours: tuple[int, ...]
    usual: float
    failed: ArmTotal
    of: ArmTotal

    def covers(self, at: Floats) -> Bools:
        """True for the UTC seconds in these hours; not for NaN, (n,)."""
        return np.isin(np.floor(at / HOUR_S), self.hours)

    @property
    def spans(self) -> tuple[tuple[float, float], ...]:
        """Begin and end of the hours that follow each other, UTC seconds."""
        hours = np.array(self.hours)
        last = np.append(np.diff(hours) > 1, True)
        first = np.append(True, last[:-1])
        ends = zip((hours[first] * HOUR_S).tolist(), ((hours[last] + 1) * HOUR_S).tolist(), strict=True)
        return tuple(ends)

    def outside(self, said: "Ratings") -> "Ratings":
        """What was not said in these hours, nor about an exchange in them."""
        asked = np.zeros(len(said.at), dtype=np.bool_) if said.asked is None else self.covers(said.asked)
        return said.only(~self.covers(said.at) & ~asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Every single value of a measure, for quantiles, in groups of one row each.

    `code` (v,) indexes the rising `scale` (g,). Group i has the `size[i]` > 0 codes from `begin[i]` on, which
    rise, and belongs to `row[i]` of the sample, (m,) each; `begin` rises. A part of the groups shares the
    codes.
    """

    row: Ints
    begin: Codes
    size: Codes
    code: Codes
    scale: Floats

    @classmethod
    def grouped(cls, *, row: Ints, size: Codes, code: Codes, scale: Floats) -> "Values":
        """From the codes of one group after the other, in any order within a group. Sorts `code` in place."""
        begin = (np.cumsum(size, dtype=np.int64) - size).astype(np.min_scalar_type(len(code)))
        found = cls(row=row, begin=begin, size=size, code=code, scale=scale)
        for groups, piece in found._pieces():
            key = np.repeat(np.arange(groups.stop - groups.start, dtype=np.uint64) << 32, size[groups])
            key |= piece.astype(np.uint64)
            key.sort()
            piece[:] = key & 0xFFFFFFFF
        return found

    @classmethod
    def exact(cls, seconds: Floats, counted: Bools) -> "Values":
        """One value per row, (n,) each, if counted and not NaN."""
        row = np.flatnonzero(counted & ~np.isnan(seconds))
        scale, code = np.unique(seconds[row], return_inverse=True)
        one, begin = np.ones(len(row), dtype=np.int64), np.arange(len(row))
        return cls(row=row, begin=begin, size=one, code=code, scale=scale)

    def take(self, groups: Ints) -> "Values":
        """These groups, (k,) of the m."""
        return replace(self, row=self.row[groups], begin=self.begin[groups], size=self.size[groups])

    def at(self, place: Ints) -> "Values":
        """The groups of the rows that have a new place, (n,), −1 for a row that is left out."""
        found = self.take(np.flatnonzero(place[self.row] >= 0))
        return replace(found, row=place[found.row])

    def without(self, row: Ints, code: Codes) -> "Values":
        """Less a value of each of these rows and codes, (k,), that is there. The groups must follow each
        other."""
        order = np.lexsort((code, row))
        row, code = row[order], code[order].astype(np.int64)
        key = (row << 32) | code
        again = np.arange(len(key)) - np.searchsorted(key, key)
        group = np.full(int(max(row.max(initial=-1), self.row.max(initial=-1))) + 1, -1, dtype=np.int64)
        group[self.row] = np.arange(len(self.row))
        known = group[row] >= 0
        of, code, again = group[row][known], code[known], again[known]
        begin, size = self.begin[of].astype(np.int64), self.size[of].astype(np.int64)
        place = begin + self._below(code, begin, size) + again
        there = place < begin + size
        there[there] = self.code[place[there]] == code[there]
        kept = np.ones(len(self.code), dtype=np.bool_)
        kept[place[there]] = False
        left = self.size - np.bincount(of[there], minlength=len(self.size))
        some = left > 0
        begins = (np.cumsum(left) - left).astype(self.begin.dtype)
        return replace(self, row=self.row[some], begin=begins[some], size=left[some], code=self.code[kept])

    def codes(self) -> Codes:
        """The codes of one group after the other."""
        return np.concatenate([self.code[:0], *(code for _, code in self._pieces())])

    def heights(self, kind: Ints, kinds: int) -> Ints:
        """The number of values at each place of the scale, (kinds, g), by the groups' kind, (m,)."""
        found = np.zeros(kinds * len(self.scale), dtype=np.int64)
        for groups, code in self._pieces():
            place = np.repeat(kind[groups] * len(self.scale), self.size[groups]) + code
            found += np.bincount(place, minlength=len(found))
        return found.reshape(kinds, len(self.scale))

    def at_or_above(self, place: Ints) -> Ints:
        """The number of values in each group at or above the group's `place`, (m,) each."""
        found = np.zeros(len(self.size), dtype=np.int64)
        for first in range(0, len(found), _AT_ONCE):
            some = slice(first, first + _AT_ONCE)
            found[some] = self.size[some] - self._below(place[some], self.begin[some], self.size[some])
        return found

    def _below(self, place: Ints, begin: Codes, size: Codes) -> Ints:
        """The number of codes below each group's `place`, by a binary search in all groups at once."""
        below = np.zeros(len(size), dtype=np.int64)
        step = (1 << int(size.max(initial=0)).bit_length()) >> 1
        while step:
            upto = np.minimum(below + step, size)
            lower = (self.code[begin + upto - 1] < place) & (upto == below + step)
            below[lower] += step
            step >>= 1
        return below

    def _pieces(self) -> Iterator[tuple[slice, Codes]]:
        """All groups in batches, to bound the memory of the arrays computed from them."""
        ends = np.cumsum(self.size, dtype=np.int64)
        first = 0
        while first < len(ends):
            begin = int(ends[first] - self.size[first])
            last = max(first + 1, int(np.searchsorted(ends, begin + _AT_ONCE, side="right")))
            yield slice(first, last), self._codes(self.begin[first:last], ends[first:last] - begin)
            first = last

    def _codes(self, begin: Codes, ends: Ints) -> Codes:
        """The codes of the groups with these begins; `ends` are those in the result, (k,) each."""
        sizes = np.diff(ends, prepend=0)
        offset = begin - (ends - sizes)
        if offset[-1] == offset[0]:  # nothing lies between the groups
            return self.code[int(begin[0]) : int(begin[0] + ends[-1])]
        return self.code[np.arange(int(ends[-1])) + np.repeat(offset, sizes)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayValues:
    """The single values of a measure by UTC day number and arm, (d,) each: `heights` (d, g) are their numbers
    at the places of the rising `scale` (g,)."""

    day: Ints
    candidate: Bools
    heights: Ints
    scale: Floats

    def until(self, moment: float) -> "DayValues":
        """The days before the one of this moment."""
        rows = (self.day + 1) * DAY_S <= moment
        return replace(self, day=self.day[rows], candidate=self.candidate[rows], heights=self.heights[rows])

    def above(self, theirs: float, ours: float) -> DayTotals:
        """The number of values, and of those above the baseline's and the candidate's limit."""
        first = np.searchsorted(self.scale, np.where(self.candidate, ours, theirs), side="right")
        above = self.heights * (np.arange(len(self.scale)) >= first[:, None])
        count, total = (each.sum(axis=1).astype(np.float64) for each in (self.heights, above))
        return DayTotals(day=self.day, candidate=self.candidate, count=count, total=total)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TextColumn:
    """One text per row: `code` (n,) indexes `names`."""

    names: Sequence[str]
    code: Codes

    @classmethod
    def of(cls, texts: Sequence[str]) -> "TextColumn":
        names, code = np.unique(np.array(texts, dtype=np.str_), return_inverse=True)
        return cls(names=tuple(names.tolist()), code=code)

    def take(self, rows: Ints) -> "TextColumn":
        return TextColumn(names=self.names, code=self.code[rows])

    def texts(self) -> list[str]:
        """The text of each row, (n,)."""
        codes: list[int] = self.code.tolist()
        return [self.names[code] for code in codes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratings:
    """One metric's feedback, (m,) each. `row` is a row of the sample, `at` is in UTC seconds.

    `subject` is the same number for values about one exchange, or session; None: each is about another.
    `asked` is the time of the exchange that each is about, NaN where it is about none; None: unknown."""

    row: Ints
    value: Floats
    at: Floats
    subject: Ints | None = None
    asked: Floats | None = None

    def until(self, moment: float, place: Ints) -> "Ratings":
        """Those that came before the moment, about the rows that have a new place, (n,), −1 for one left
        out."""
        found = self.only((self.at < moment) & (place[self.row] >= 0))
        return replace(found, row=place[found.row])

    def only(self, values: Bools) -> "Ratings":
        """Those of the values that are marked, (m,)."""
        return picked(self, values)


class _Later(Mapping[str, _Measure]):
    """Measures of which a part is taken when it is asked for, so that only one metric's are in memory."""

    def __init__(self, whole: Mapping[str, _Measure], take: Callable[[_Measure], _Measure]) -> None:
        self._whole = whole
        self._take = take

    def __getitem__(self, name: str) -> _Measure:
        return self._take(self._whole[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole)

    def __len__(self) -> int:
        return len(self._whole)


FEW_SESSIONS = 0.05
"""Up to this part of the units may be sessions without a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitsBehind:
    """The units that are sessions or requests, of which so many have `known` users: `users` of them.
    `single`: each has one exchange. `fleeting`: that they are sessions shows only by none coming back."""

    units: int
    known: int
    users: int
    single: bool
    fleeting: bool = False


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The hash-assigned traffic, in rows (n,) in the order of `first_at`.

    A row covers one unit in one arm, phase, category and set of tags: all its exchanges there (from the
    store), or one exchange (from a log). `unit` indexes `units`. Times are UTC seconds. `totals` and `values`
    hold measures by name (see `verdict.sample.observations`). Exchanges by which an arm is not measured (the
    caller's own error, an aborted stream) count as exposure only. `candidate_at` holds times of candidate
    traffic, at least the first and last of every UTC day with any. `shares` is the candidate's share in each
    phase, if known. `recent` holds the exchanges behind the failure modes. `before` holds each unit's values
    of a metric before the canary, (units, values), NaN without one. `possible` has, by measure of failures,
    the exchanges that could have failed so, from the store. `unreached` counts, by error type, the exchanges
    of the candidate's `candidate_exchanges` that did not reach it though it is not to blame: no measure
    includes them; nor `baseline_throttled` of the baseline's `baseline_exchanges`, which were over its
    provider's rate or quota. `judged` is what a judge said of the run's answers. `flipped` is the number of
    units that a flag system gave both arms in one phase, which are left out. `by_day` and `values_by_day`
    hold measures whose rows span days, from the store. What lies in the hours of the baseline's `outage` is
    exposure only. `behind` says whose units they are; None where they may well be users. `labels` is how many
    labels, or ratings of the arm with fewer, put a judge's words right; None: the values are nobody's words.
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
    recent: RecentFailures | None = None
    before: Mapping[str, Floats] = field(default_factory=dict)
    possible: Mapping[str, ArmTotal] = field(default_factory=dict)
    unreached: Mapping[str, int] = field(default_factory=dict)
    candidate_exchanges: int = 0
    baseline_throttled: int = 0
    baseline_exchanges: int = 0
    judged: RunJudgements = NOT_JUDGED
    flipped: int = 0
    by_day: Mapping[str, DayTotals] = field(default_factory=dict)
    values_by_day: Mapping[str, DayValues] = field(default_factory=dict)
    outage: Outage | None = None
    behind: UnitsBehind | None = None
    labels: int | None = None

    @cached_property
    def derived(self) -> dict[object, "Sample"]:
        """What is made of this sample once, by what it is about."""
        return {}

    @cached_property
    def first_rows(self) -> Ints:
        """The row of each unit's first exposure, (units,), in the order of `units`."""
        first = np.zeros(len(self.units), dtype=np.int64)
        # The last assignment to an index wins: in reverse order, that is the unit's first row.
        first[self.unit[::-1]] = np.arange(len(self.unit))[::-1]
        return first

    def until(self, moment: float) -> "Sample":
        """What had been seen before `moment`, UTC seconds, for judging; without the details that are only
        shown. This sample itself if nothing came later.

        No row may lie on both sides of the moment: rows of a log are single exchanges, those of the store are
        split where they are read.
        """
        rows, judged = np.flatnonzero(self.last_at < moment), self.judged.until(moment)
        known = all((each.at < moment).all() for each in self.feedback.values())
        if len(rows) == len(self.unit) and known and judged == self.judged:
            return self
        return replace(self._part(rows, moment), judged=judged)

    def without(self, units: Ints) -> "Sample":
        """All rows but those of these units."""
        rows = np.flatnonzero(~np.isin(self.unit, units))
        numbers: list[int] = units.tolist()
        return replace(
            self._part(rows, np.inf),
            judged=self.judged.without(self.units[number] for number in numbers),
            recent=self.recent,
            possible=self.possible,
            unreached=self.unreached,
            candidate_exchanges=self.candidate_exchanges,
            baseline_throttled=self.baseline_throttled,
            baseline_exchanges=self.baseline_exchanges,
            flipped=len(units),
        )

    def outside(self, outage: Outage) -> "Sample":
        """The sample, whose rows each lie within one hour, without what lies in those of the outage."""
        kept = ~outage.covers(self.first_at)
        place = np.where(kept, np.arange(len(kept)), -1)
        totals = {
            name: MeasureTotals(count=each.count * kept, total=each.total * kept)
            for name, each in self.totals.items()
        }
        return replace(
            self,
            totals=totals,
            values={name: each.at(place) for name, each in self.values.items()},
            feedback={
                name: outage.outside(each.only(kept[each.row])) for name, each in self.feedback.items()
            },
            outage=outage,
        )

    def _part(self, rows: Ints, moment: float) -> "Sample":
        """These rows, and the feedback before the moment about them."""
        seen = np.zeros(len(self.units), dtype=np.bool_)
        seen[self.unit[rows]] = True
        kept, number = np.flatnonzero(seen), np.cumsum(seen) - 1
        place = np.full(len(self.unit), -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        return Sample(
            units=[self.units[unit] for unit in kept.tolist()],
            unit=number[self.unit[rows]],
            candidate=self.candidate[rows],
            phase=self.phase[rows],
            first_at=self.first_at[rows],
            last_at=self.last_at[rows],
            candidate_at=self.candidate_at[self.candidate_at < moment],
            category=self.category.take(rows),
            totals=_Later(self.totals, lambda each: each.take(rows)),
            values=_Later(self.values, lambda each: each.at(place)),
            tags={name: each.take(rows) for name, each in self.tags.items()},
            feedback={name: each.until(moment, place) for name, each in self.feedback.items()},
            shares=self.shares,
            before={name: each[kept] for name, each in self.before.items()},
            by_day={name: each.until(moment) for name, each in self.by_day.items()},
            values_by_day={name: each.until(moment) for name, each in self.values_by_day.items()},
            outage=self.outage,
        )

    @property
    def had_candidate(self) -> int:
        """The number of units that had the candidate, those that are left out among them."""
        return len(np.unique(self.unit[self.candidate])) + self.flipped

    @property
    def too_many_flipped(self) -> bool:
        """True when more than 1 % of the units that had the candidate were given both arms.

        Of all units, a small share would hide that users are taken away from a bad candidate.
        """
        return self.flipped > MOST_FLIPPED * self.had_candidate

    def exposed_at(self) -> Floats:
        """The time of each unit's first exposure, (units,), UTC seconds."""
        return np.asarray(self.first_at[self.first_rows], dtype=np.float64)


def units_in_both_arms(sample: Sample) -> Ints:
    """The units in both arms within one phase, by index, rising.

    Between phases, a unit may move to the candidate when the share rises.
    """
    if not len(sample.unit):
        return sample.unit
    phases = int(sample.phase.max()) + 1
    place = sample.unit * phases + sample.phase
    both = np.intersect1d(place[sample.candidate], place[~sample.candidate])
    return np.unique(both // phases).astype(np.int64)


def in_one_arm(sample: Sample, *, assigned_outside: bool) -> Sample:
    """The sample of units that were in one arm within every phase.

    A flag system (`assigned_outside`) can give a unit both: it is left out. A hash cannot: BadSample.
    """
    both = units_in_both_arms(sample)
    if not len(both):
        return sample
    if assigned_outside:
        return sample.without(both)
    unit = sample.units[int(both[0])]
    raise BadSample(
        f"unit {unit!r} is in both arms ({len(both)} such units): a unit must stay in its arm; "
        "if the share was changed meanwhile, add a `phase` column that counts the changes from 0"
    )
