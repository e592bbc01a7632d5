"""What a row that would pass owes to single days, and whether it still holds in the last ones.

A look's standard error is that of users. Days differ too: the provider has incidents, the baseline an outage,
the candidate changes under its name. Each test works on the daily distances from the bound, with the variance
that users give so many values, and only ever keeps a row open.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from scipy import special

from verdict.rows.comparison import ArmSums, arm_sums
from verdict.sample.observations import Observations
from verdict.sample.sample import DayTotals, Sample
from verdict.statistics.types import Bools, Floats, Ints, picked
from verdict.terms.plan import DAY_S
from verdict.terms.rubric import Bound

LEVEL = 0.01
"""The level at which days are told to differ, shared by the rows of a rubric."""

_AGAIN = 0.05
"""The level at which a change also shows without its worst day."""

FEWEST = 4
"""With fewer days than this, nothing is told of them."""

_MOST_LEFT_OUT = 3

_LATE = 2.15
"""Standard errors by which users' later days alone miss the bound on the planned day to keep a row open. On
the first day that may ship any miss does, and evenly more between them: waiting costs days, and little
power."""

DayKind: TypeAlias = Literal["one_day", "since", "fades", "uneven", "late", "weekdays"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFinding:
    """Why a row that would pass stays open: `one_day`, without which it would not; it is worse `since` a day;
    it `fades` from a user's day on; its days are too `uneven`, most of all this one; it does not pass by
    the `late` half of users' days; or not by `weekdays` that count as the traffic has them. `day` is a UTC
    day number, of a fading or a late row the number of days since a user's first exposure. `there` are the
    candidate's and the baseline's value on that day, since it, or by weekdays; `others` those on the other
    days, before, or as counted. The baseline's are None for a bound that does not need it. Of a percentile
    the values are shares of what is `above` these seconds of each arm."""

    kind: DayKind
    day: int
    there: tuple[float, float | None]
    others: tuple[float, float | None]
    above: tuple[float, float | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Days:
    """Days in order, (days,) each: the arms' values, the distance from the bound, its variance by users, the
    candidate's values as weights, and the `traffic` of both arms."""

    day: Ints
    ours: Floats
    theirs: Floats
    margin: Floats
    variance: Floats
    weight: Floats
    traffic: Floats
    relative: bool

    def only(self, days: Bools) -> "_Days":
        return picked(self, days)

    def mean(self, values: Floats) -> float:
        return float(self.weight @ values / self.weight.sum())

    @property
    def estimate(self) -> float:
        return self.mean(self.margin)

    @property
    def se(self) -> float:
        return math.sqrt(float(self.weight**2 @ self.variance)) / float(self.weight.sum())

    @property
    def values(self) -> tuple[float, float | None]:
        return self.mean(self.ours), self.mean(self.theirs) if self.relative else None


def by_day(sample: Sample, observed: Observations, *, of_user: bool = False) -> DayTotals | None:
    """The values by UTC day and arm, or by the day `of_user`: since the unit's first exposure. An opinion
    belongs to the day on which it was given, as each user's mean of that day; others to that of the request.
    None where it is not known: totals by user, a judge's values; from the store also sessions, events, and
    all but opinions of a user's days."""
    if observed.per_unit or observed.strata or observed.carried is not None:
        return None
    unit = sample.unit[observed.row]
    from_ = sample.exposed_at()[unit] if of_user else 0.0
    if observed.at is not None:
        return _opinions(sample, observed, _day(observed.at, from_))
    first, last = (_day(at[observed.row], from_) for at in (sample.first_at, sample.last_at))
    if not np.array_equal(first, last):
        return None if of_user else observed.by_day
    return _summed(first, sample.candidate[observed.row], observed.total, observed.count)


def _day(at: Floats, from_: Floats | float) -> Ints:
    return np.maximum(np.floor((at - from_) / DAY_S), 0).astype(np.int64)


def _opinions(sample: Sample, observed: Observations, day: Ints) -> DayTotals:
    key = (day * 2 + sample.candidate[observed.row]) * len(sample.units) + sample.unit[observed.row]
    voices, place = np.unique(key, return_inverse=True)
    mean = np.bincount(place, weights=observed.total) / np.bincount(place, weights=observed.count)
    arm = voices // len(sample.units)
    return _summed(arm // 2, arm % 2 == 1, mean, np.ones(len(mean)))


def _summed(day: Ints, candidate: Bools, total: Floats, count: Floats) -> DayTotals:
    first = int(day.min()) if len(day) else 0
    place = 2 * (day - first) + candidate
    counts, totals = np.bincount(place, weights=count), np.bincount(place, weights=total)
    some = np.flatnonzero(counts)
    return DayTotals(day=some // 2 + first, candidate=some % 2 == 1, count=counts[some], total=totals[some])


def day_finding(
    found: ArmSums, bound: Bound, *, boundary: float, reach: float, rows: int, past: float, shown: bool
) -> DayFinding | None:
    """What keeps a row open that would pass by these sums at this boundary; None if nothing does. `reach` is
    from the look's lower end to its estimate, `rows` the number of the rubric's rows, `past` the part that
    is over of the time from the first day that may ship to the planned one, `shown` that an earlier look
    passed, and nothing of its days kept it open: by weekdays that stands while the estimate bears it out."""
    weekly = 0.0 if shown else boundary
    share = _as_share(found, bound)
    if share is None:
        return _told(found, bound, boundary, reach, rows, weekly) or _late(found, bound, past)
    found, bound, above = share
    reach = boundary * found.arms(by_category=False).se(bound.terms[0])
    told = _told(found, bound, boundary, reach, rows, weekly) or _late(found, bound, past)
    return None if told is None else replace(told, above=above)


def _as_share(found: ArmSums, bound: Bound) -> tuple[ArmSums, Bound, tuple[float, float | None]] | None:
    """A percentile's row as one on the share of values above the bound; against the baseline, above its own
    percentile. With these limits of the candidate and the baseline; None for another kind of row."""
    observed, both = found.observed, found.quantiles(by_category=False)
    values, level = observed.values, observed.level
    if values is None or level is None or both is None:
        return None
    theirs = both[0].baseline.middle
    ours = bound.at(theirs)
    first = np.searchsorted(values.scale, np.where(both[0].mine, ours, theirs), side="right")
    shares = replace(
        observed,
        total=values.at_or_above(first).astype(np.float64),
        values=None,
        level=None,
        bounds=(0.0, 1.0),
        by_day=None if observed.day_values is None else observed.day_values.above(theirs, ours),
    )
    of = replace(bound, factor=1.0, offset=0.0, value=1 - level)
    return arm_sums(found.sample, shares), of, (ours, theirs if bound.relative else None)


def _told(
    found: ArmSums, bound: Bound, boundary: float, reach: float, rows: int, weekly: float
) -> DayFinding | None:
    fades = _days(found, bound, of_user=True)
    if fades is not None and (told := _since(fades, boundary, rows)) is not None:
        return replace(told, kind="fades")
    days = _days(found, bound)
    if days is None:
        return None
    since = _since(days, boundary, rows)
    if since is not None and since.day < days.day[-1]:
        return since
    rest = _without_lucky(days, rows)
    if len(rest.day) < len(days.day):
        lost = float(days.weight.sum() / rest.weight.sum())
        if rest.estimate < reach * math.sqrt(lost):
            lucky = days.only(~np.isin(days.day, rest.day))
            best = int(np.argmax(lucky.margin))
            return _finding("one_day", int(lucky.day[best]), lucky, rest)
    uneven = None if bound.relative else _uneven(rest, boundary, reach, rows)
    since = since if len(rest.day) == len(days.day) else _since(rest, boundary, rows)
    return uneven or since or _of_a_week(rest, weekly)


def _days(found: ArmSums, bound: Bound, *, of_user: bool = False) -> _Days | None:
    """The days on which the arms that the bound needs have values; None if too few are known."""
    totals = by_day(found.sample, found.observed, of_user=of_user)
    if totals is None or len(totals.day) == 0:
        return None
    factor, offset = bound.terms
    day, place = np.unique(totals.day, return_inverse=True)
    count, total = (_by_arm(place, totals, each) for each in (totals.count, totals.total))
    there = (count[1] > 0) & ((count[0] > 0) | (factor == 0))
    if there.sum() < FEWEST:
        return None
    day, count, total = day[there], count[:, there], total[:, there]
    arms = found.arms(by_category=False)
    spread = [
        _spread(arm.variance, count[place], total[place], found.observed.bounds)
        for place, arm in enumerate((arms.baseline, arms.candidate))
    ]
    if spread[1] <= 0:
        return None
    theirs, ours = total / np.maximum(count, 1e-300)
    sign = 1.0 if bound.higher_is_better else -1.0
    return _Days(
        day=day,
        ours=ours,
        theirs=theirs,
        margin=sign * (ours - factor * theirs - offset),
        variance=spread[1] / count[1] + (factor**2 * spread[0] / count[0] if factor else 0.0),
        weight=count[1],
        traffic=count.sum(axis=0),
        relative=bool(factor),
    )


def _by_arm(place: Ints, totals: DayTotals, values: Floats) -> Floats:
    """(2, days): the baseline's, then the candidate's."""
    found = np.zeros((2, int(np.max(place)) + 1))
    np.add.at(found, (totals.candidate.astype(np.int64), place), values)
    return found


def _spread(variance: float, count: Floats, total: Floats, bounds: tuple[float, float] | None) -> float:
    """The variance that users give one value; of a share at least that of independent ones."""
    values = float(count.sum())
    if bounds != (0.0, 1.0):
        return variance * values
    share = (float(total.sum()) + 1) / (values + 2)
    return max(variance * values, share * (1 - share))


def _without_lucky(days: _Days, rows: int) -> _Days:
    """The days but those that are better than all others by more than chance: the baseline had an outage."""
    level = LEVEL / rows / len(days.day)
    for _ in range(_MOST_LEFT_OUT):
        z = _off(days)
        if len(days.day) <= FEWEST or special.ndtr(-z.max()) >= level:
            break
        days = days.only(np.arange(len(days.day)) != int(np.argmax(z)))
    return days


def _off(days: _Days) -> Floats:
    """By how many standard errors each day is better than all others together."""
    whole, variance = days.estimate, days.se**2
    part = days.weight / days.weight.sum()
    se = np.sqrt(days.variance + (variance - part**2 * days.variance) / (1 - part) ** 2)
    return np.asarray((days.margin - whole) / (1 - part) / se, dtype=np.float64)


def _since(days: _Days, boundary: float, rows: int) -> DayFinding | None:
    """The day since which the row is worse by more than chance, and does not keep the bound by these days
    alone; None without one. One bad day among good ones is no such change, nor is one that stood out as
    better before."""
    place = np.arange(len(days.day))
    splits = [(days.only(place < first), days.only(place >= first)) for first in place[1:].tolist()]
    z = [_worse(before, after) for before, after in splits]
    before, after = splits[int(np.argmax(z))]
    if len(splits) * special.ndtr(-max(z)) >= LEVEL / rows or max(z) < _off(days).max():
        return None
    if after.estimate - max(boundary, 0.0) * after.se >= 0:
        return None
    if len(after.day) > 1:
        rest = after.only(np.arange(len(after.day)) != int(np.argmin(after.margin)))
        if special.ndtr(-_worse(before, rest)) >= _AGAIN:
            return None
    return _finding("since", int(after.day[0]), after, before)


def _late(found: ArmSums, bound: Bound, past: float) -> DayFinding | None:
    """That the later half of users' days misses the bound: few users have been seen for so long, so a change
    that begins then shows last of all."""
    days = _days(found, bound, of_user=True)
    if days is None:
        return None
    late = days.day >= (int(days.day[-1]) + 2) // 2
    if not late.any() or late.all():
        return None
    there = days.only(late)
    if there.estimate >= 0 or there.estimate > -_LATE * past * there.se:
        return None
    return _finding("late", int(there.day[0]), there, days.only(~late))


def _of_a_week(days: _Days, boundary: float) -> DayFinding | None:
    """That an absolute bound's row does not pass once each weekday counts as both arms' traffic has it: a
    share that was raised, and half a week, count some weekdays more than others."""
    if days.relative:
        return None
    _, place = np.unique(days.day % 7, return_inverse=True)
    many, counted, traffic = (np.bincount(place, weights=each) for each in (None, days.weight, days.traffic))
    weekly = replace(days, weight=days.weight * (traffic / many / counted)[place])
    if weekly.estimate >= boundary * weekly.se:
        return None
    return _finding("weekdays", int(days.day[-1]), weekly, days)


def _worse(before: _Days, after: _Days) -> float:
    """By how many standard errors it is worse after."""
    return (before.estimate - after.estimate) / math.hypot(before.se, after.se)


def _uneven(days: _Days, boundary: float, reach: float, rows: int) -> DayFinding | None:
    """That the row does not pass once its variance is that of days, where they differ by more than chance:
    of each look's few days, by Student's t."""
    freedom, whole = len(days.day) - 1, days.estimate
    square = float(np.sum((days.margin - whole) ** 2 / days.variance))
    if special.chdtrc(freedom, square) >= LEVEL / rows:
        return None
    wider = math.sqrt(square / freedom)
    if boundary > 0:
        wider *= float(special.stdtrit(freedom, special.ndtr(boundary))) / boundary
    if whole >= reach * wider:
        return None
    worst = np.arange(len(days.day)) == int(np.argmin(days.margin))
    return _finding("uneven", int(days.day[worst][0]), days.only(worst), days.only(~worst))


def _finding(kind: DayKind, day: int, there: _Days, others: _Days) -> DayFinding:
    return DayFinding(kind=kind, day=day, there=there.values, others=others.values)
