"""The observations of one metric in a sample: its values and their weights, by unit and arm.

An opinion (`per: value`) is observed where it was given, and each unit's opinions are one voice: their mean.
An event is observed in every exposed exchange, session or user: where it did not happen it is 0.

Costs, times and tokens lack abandoned exchanges; costs also lack unpriced ones. A judge's values are a sample
of their own: each category is a stratum, as a ramp's phase is for any other metric.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from judge.figures import NEEDED_LABELS
from records.facts.metric import Metric
from verdict.sample.sample import (
    LABELS,
    SESSIONS,
    TRAFFIC,
    Codes,
    DayTotals,
    DayValues,
    MeasureTotals,
    Ratings,
    Sample,
    Values,
    within,
)
from verdict.statistics.ratio import UnitSums, arms, common_phases, quantile, unit_sums
from verdict.statistics.sequence import GroupCounts, fisher
from verdict.statistics.types import Bools, Floats, Ints
from verdict.terms.measures import CACHE_HITS, MEASURED, Measure, must_be_known, quantile_level
from verdict.terms.plan import DAY_S

DIFFERENT = 0.001

EXPECTED = 5
"""With fewer units than this expected to miss a value in an arm, the test is Fisher's exact one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingShare:
    """The share of exchanges that have no value, by arm, in [0, 1]; the p-value of equal shares."""

    candidate: float
    baseline: float
    p_value: float

    @property
    def different(self) -> bool:
        return self.p_value < DIFFERENT


def abandoned(sample: Sample) -> MissingShare | None:
    """The share that callers abandoned. None if unknown, if there is none, or if only one arm has traffic."""
    known = sample.totals.get("abandoned")
    return None if known is None else _compared(sample, known)


def unpriced(sample: Sample) -> MissingShare | None:
    """The share of answered exchanges without a known cost. None as in `abandoned`.

    Failed exchanges may have a cost or none. A row from the store does not say how many of each it has, so
    this takes the fewest unpriced ones that its counts allow.
    """
    counted, cost = sample.totals.get("errors"), sample.totals.get("cost")
    if counted is None or cost is None:
        return None
    answered = counted.count - counted.total
    return _compared(sample, MeasureTotals(count=answered, total=np.maximum(answered - cost.count, 0.0)))


def cached(sample: Sample) -> MissingShare | None:
    """The share of input tokens that the provider had cached. None as in `abandoned`."""
    known = sample.totals.get(CACHE_HITS)
    return None if known is None else _compared(sample, known)


def _compared(sample: Sample, missing: MeasureTotals) -> MissingShare | None:
    """Compare the arms by units, in the phases in which both had traffic."""
    if not missing.total.any():
        return None
    sums = _sums(sample, missing)
    if not sums.total.any() or not sums.candidate.any() or sums.candidate.all():
        return None
    both = arms(sums)
    exact = _exact(sums)
    return MissingShare(
        candidate=both.candidate.value,
        baseline=both.baseline.value,
        p_value=_normal(both.value(1), both.se(1)) if exact is None else exact,
    )


def _normal(difference: float, se: float) -> float:
    if se == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * special.ndtr(-abs(difference) / se))


def _sums(sample: Sample, missing: MeasureTotals) -> UnitSums:
    counted = missing.count > 0
    common = common_phases(sample.phase[counted], sample.candidate[counted], int(sample.phase.max()) + 1)
    rows: Bools = counted & common[sample.phase]
    return unit_sums(
        sample.unit[rows],
        sample.phase[rows],
        sample.candidate[rows],
        missing.total[rows],
        missing.count[rows],
    )


def _exact(sums: UnitSums) -> float | None:
    """Fisher's p-value for equal shares, within each phase, of units that miss any value; None with enough of
    them."""
    found = tables(sums.phase, sums.candidate, sums.total > 0)
    some = sum(each.events + each.others for each in found)
    arms_ = sum(each.of for each in found), sum(each.of_others for each in found)
    return None if min(arms_) * some / sum(arms_) >= EXPECTED else fisher(found)


def tables(phase: Ints, candidate: Bools, event: Bools) -> list[GroupCounts]:
    """The candidate's and the baseline's units, and those of them with the event, by phase; (n,) each."""
    kinds = 2 * phase + candidate
    size = 2 * (int(phase.max()) + 1)
    units, events = (np.bincount(kinds[rows], minlength=size) for rows in (event | True, event))
    return [
        GroupCounts(
            events=int(events[2 * k + 1]),
            of=int(units[2 * k + 1]),
            others=int(events[2 * k]),
            of_others=int(units[2 * k]),
        )
        for k in np.unique(phase).tolist()
    ]


# A metric's values in a sample.


_CAPPED_FROM, _FROZEN_BY = 1_000, 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """One metric's values by row of the sample, (m,) each: `count` values with the sum `total`.

    A quantile metric has a `level`, and `values` with one group per row. `logarithmic`: arms compare as a
    ratio. `bounds`: no value lies outside. `per_unit`: a unit's total is one value. `feedback`: not every
    unit gives a value, and its mean is one; `exposed` (units,) marks the units that could. `reported`: the
    values are sent, so that all may be equal for want of data. `events`: the counts are events by which a
    cost is divided, and a row may have none. `before` (units,) is each unit's value
    before the canary, if known. `abandoned`: the values lack these shares of the arms' exchanges.
    `capped_at`: larger values were cut to this one. `carried`: how many of the values are known, from which
    the others are estimated, `labels`: those of the arm with fewer. `strata`: the sample's phases are strata
    of one time, and `count` holds weights. `at` is when each opinion was given, UTC seconds; `by_day` or
    `day_values` the measure by day where a row spans several. `waits`: only values about exchanges of so many
    days ago are in it.
    """

    row: Ints
    total: Floats
    count: Floats
    exposed: Bools
    values: Values | None = None
    level: float | None = None
    logarithmic: bool = False
    bounds: tuple[float, float] | None = None
    per_unit: bool = False
    feedback: bool = False
    reported: bool = False
    events: bool = False
    before: Floats | None = None
    abandoned: MissingShare | None = None
    capped_at: float | None = None
    carried: Floats | None = None
    labels: int | None = None
    category: Codes | None = None
    strata: bool = False
    at: Floats | None = None
    by_day: DayTotals | None = None
    day_values: DayValues | None = None
    waits: int = 0

    @property
    def known(self) -> bool:
        """False while too few values are known to estimate the others."""
        return self.labels is None or self.labels >= NEEDED_LABELS

    def sums(self, sample: Sample, total: Floats) -> UnitSums:
        """The values by unit, phase and arm, with this `total` of each, (m,). One unit has one voice: where
        each unit's total, or its mean, is one value, it counts once."""
        row = self.row
        found = unit_sums(sample.unit[row], sample.phase[row], sample.candidate[row], total, self.count)
        if self.feedback:
            return replace(found, total=found.total / found.count, count=np.ones(len(found.unit)))
        return replace(found, count=np.ones(len(found.unit))) if self.per_unit else found

    def only(self, rows: Bools) -> "Observations":
        """The values of the rows marked in `rows`, (n,)."""
        return self.take(np.flatnonzero(rows[self.row]))

    def take(self, places: Ints) -> "Observations":
        """The values at these places, (k,) rising."""
        if len(places) == len(self.row):
            return self
        return replace(
            self,
            row=self.row[places],
            total=self.total[places],
            count=self.count[places],
            carried=None if self.carried is None else self.carried[places],
            at=None if self.at is None else self.at[places],
            values=None if self.values is None else self.values.take(places),
        )


def observe(sample: Sample, name: str, metrics: Mapping[str, Metric], *, now: float) -> Observations:
    """The metric's values in the sample as of `now`, UTC seconds. Raises UnknownMetric."""
    category = sample.category.code[sample.first_rows]
    return replace(_values(sample, name, metrics, now), before=sample.before.get(name), category=category)


def _values(sample: Sample, name: str, metrics: Mapping[str, Metric], now: float) -> Observations:
    if sample.labels is not None:
        return measured(sample, MEASURED.get(name, Measure(of=name, strata=True)))
    if name in metrics and metrics[name].cost_per:
        return _cost_per(sample, metrics[metrics[name].cost_per], now)
    if name in metrics:
        return (_events if metrics[name].is_event else _opinions)(sample, metrics[name], now)
    if name in MEASURED:
        return measured(sample, MEASURED[name])
    must_be_known(name, metrics)
    return _quantile(sample, name)


def measured(sample: Sample, measure: Measure) -> Observations:
    """The sample's totals of this measure."""
    nothing = MeasureTotals(count=np.zeros(0), total=np.zeros(0))
    totals = sample.totals.get(measure.of, nothing)
    row = np.flatnonzero(totals.count)
    # Most measures have a value in every row; then a million numbers need no copy.
    every = len(row) == len(totals.count)
    labels = sample.totals.get(LABELS)
    return Observations(
        row=row,
        total=totals.total if every else totals.total[row],
        count=totals.count if every else totals.count[row],
        exposed=_everyone(sample),
        logarithmic=measure.logarithmic,
        bounds=measure.bounds if labels is None else None,
        per_unit=measure.per_unit,
        abandoned=abandoned(sample) if measure.ended else None,
        carried=None if labels is None else labels.count[row],
        labels=sample.labels,
        strata=measure.strata,
        by_day=sample.by_day.get(measure.of),
    )


def _quantile(sample: Sample, name: str) -> Observations:
    values = sample.values.get(name.rpartition("_")[0])
    if values is None:
        values = Values.grouped(row=_none(), size=_none(), code=_none(), scale=np.zeros(0))
    return Observations(
        row=values.row,
        total=np.zeros(len(values.row)),
        count=values.size.astype(np.float64),
        exposed=_everyone(sample),
        values=values,
        level=quantile_level(name),
        logarithmic=True,
        abandoned=abandoned(sample),
        day_values=sample.values_by_day.get(name.rpartition("_")[0]),
    )


def _none() -> Ints:
    return np.zeros(0, dtype=np.int64)


def _everyone(sample: Sample) -> Bools:
    return np.ones(len(sample.units), dtype=np.bool_)


def _opinions(sample: Sample, metric: Metric, now: float) -> Observations:
    """What somebody said: who said nothing has no value."""
    matured, ratings = _counting(sample, metric, now)
    waits = lateness(sample, ratings, now) if metric.matures_after_s == 0 else 0
    if waits:
        ratings = ratings.only(_had_time(ratings, waits, now))
    every = sample.feedback.get(metric.name, ratings)
    theirs = every.only(~sample.candidate[every.row] & (every.at <= now))
    cap = _cap(metric, theirs.value, theirs.at)
    return Observations(
        row=ratings.row,
        total=points_of(metric, np.minimum(ratings.value, cap)),
        count=np.ones(len(ratings.row)),
        exposed=matured,
        bounds=_bounds(metric),
        feedback=True,
        reported=True,
        at=ratings.at,
        capped_at=cap if (ratings.value > cap).any() else None,
        waits=waits,
    )


LATE = 0.05
"""Feedback counts from so many days on that less than this part of it is still to come."""

_FEWEST_LATE = 5
"""Fewer late values may be chance."""


def lateness(sample: Sample, ratings: Ratings, now: float) -> int:
    """The whole days after which less than LATE of either arm's values about an exchange come; 0 where none
    comes late, or nothing is known of it."""
    if ratings.asked is None:
        return 0
    known = ~np.isnan(ratings.asked)
    came, asked = np.maximum(ratings.at[known], ratings.asked[known]), ratings.asked[known]
    late = np.floor((came - asked) / DAY_S).astype(np.int64)
    if not late.any():
        return 0
    age = np.floor((now - asked) / DAY_S).astype(np.int64)
    candidate = sample.candidate[ratings.row[known]]
    return max(_waited(late[candidate == arm], age[candidate == arm]) for arm in (True, False))


def _waited(late: Ints, age: Ints) -> int:
    """Of values that came so many days late, (n,), about exchanges of this age in days: those to wait.

    What is about younger exchanges can only have come early: each day is compared with what came until then
    about exchanges that are older (Lagakos, Barraj, De Gruttola, Biometrika 1988).
    """
    in_time, found = 1.0, 0
    for day in range(int(late.max(initial=0)), 0, -1):
        old = age > day
        then, by_then = int(np.sum(old & (late == day))), int(np.sum(old & (late <= day)))
        in_time *= 1 - then / by_then if by_then else 1.0
        found += then
        if 1 - in_time >= LATE and found >= _FEWEST_LATE:
            return day
    return 0


def _had_time(ratings: Ratings, days: int, now: float) -> Bools:
    """The values about exchanges that have had so many days, and the rest of the last, and came within."""
    whole = (days + 1) * DAY_S
    asked = np.where(np.isnan(ratings.asked), -np.inf, ratings.asked)  # type: ignore[arg-type]
    return (asked + whole <= now) & ((ratings.at < asked + whole) | np.isinf(asked))


def _counting(sample: Sample, metric: Metric, now: float) -> tuple[Bools, Ratings]:
    """The units first exposed at least `matures_after_s` ago, (units,), and their values within that time."""
    first = sample.exposed_at()
    matured = first + metric.matures_after_s <= now
    empty = Ratings(row=_none(), value=np.zeros(0), at=np.zeros(0))
    ratings = sample.feedback.get(metric.name, empty)
    unit = sample.unit[ratings.row]
    valid = matured[unit] & (ratings.at <= now)
    if metric.matures_after_s > 0:
        valid &= ratings.at <= first[unit] + metric.matures_after_s
    return matured, ratings.only(valid)


def _events(sample: Sample, metric: Metric, now: float) -> Observations:
    """What happened in each exposed exchange or session, or to each user: 0 where nothing is known.

    Nothing at all without a single value in either arm: nobody can tell then that it is reported.
    """
    matured, ratings = _counting(sample, metric, now)
    if metric.name not in sample.feedback or not (sample.feedback[metric.name].at <= now).any():
        matured = np.zeros(len(sample.units), dtype=np.bool_)
    row, count, place = _exposed(sample, metric, _in_time(sample, metric, matured))
    ratings = ratings.only(place[ratings.row] >= 0)
    where, sums, at = _by_subject(metric, place[ratings.row], ratings)
    truth = metric.kind == "bool"
    theirs = ~sample.candidate[row[where]] & (sums != 0)
    cap = 1.0 if truth else _cap(metric, sums[theirs], at[theirs])
    total = np.bincount(where, weights=np.minimum(sums, cap), minlength=len(row))
    return Observations(
        row=row,
        # A value that names no exchange, or session, may be about one that another value names.
        total=np.minimum(total, count) if truth else total,
        count=count,
        exposed=matured,
        bounds=(0.0, 1.0) if truth else None,
        per_unit=metric.per == "user",
        reported=True,
        capped_at=cap if not truth and (sums > cap).any() else None,
    )


def _by_subject(metric: Metric, place: Ints, ratings: Ratings) -> tuple[Ints, Floats, Floats]:
    """The sum of the values about each exchange, session or user, with its place and its first value's time;
    `place` is each value's."""
    about = np.arange(len(place)) if ratings.subject is None else ratings.subject
    _, code = np.unique(np.zeros_like(place) if metric.per == "user" else about, return_inverse=True)
    subjects, of = np.unique(place * (len(place) + 1) + code, return_inverse=True)
    at, newest_first = np.zeros(len(subjects)), np.argsort(-ratings.at, kind="stable")
    at[of[newest_first]] = ratings.at[newest_first]  # the last assignment wins
    return subjects // (len(place) + 1), np.bincount(of, weights=ratings.value, minlength=len(subjects)), at


def _in_time(sample: Sample, metric: Metric, matured: Bools) -> Bools:
    """The rows of matured units that begin within the time that the metric takes to mature."""
    if metric.matures_after_s == 0:
        return matured[sample.unit]
    return matured[sample.unit] & (
        sample.first_at <= sample.exposed_at()[sample.unit] + metric.matures_after_s
    )


def _early(sample: Sample, measure: str, metric: Metric) -> MeasureTotals | None:
    """The measure within the time that the metric takes to mature. A log's rows are single exchanges, which
    lie within it or not."""
    whole = sample.totals.get(measure)
    return sample.totals.get(within(measure, metric.matures_after_s), whole)


def _exposed(sample: Sample, metric: Metric, rows: Bools) -> tuple[Ints, Floats, Ints]:
    """Those of the rows, marked (n,), that hold exposed exchanges, sessions or users, their number, and for
    every row of the sample the place of its observation among these, −1 without one."""
    if metric.per == "user":
        return _users(sample, rows)
    totals = _early(sample, TRAFFIC if metric.per == "exchange" else SESSIONS, metric)
    count = np.zeros(len(sample.unit)) if totals is None else totals.count
    row = np.flatnonzero(rows & (count > 0))
    place = np.full(len(sample.unit), -1, dtype=np.int64)
    place[row] = np.arange(len(row))
    return row, count[row], place


def _users(sample: Sample, rows: Bools) -> tuple[Ints, Floats, Ints]:
    """Each unit once in each phase and arm, at its first row there."""
    phases = int(sample.phase.max(initial=0)) + 1
    key = (sample.unit * phases + sample.phase) * 2 + sample.candidate
    first = np.full(2 * phases * len(sample.units), -1, dtype=np.int64)
    first[key[::-1]] = np.arange(len(key))[::-1]  # the last assignment wins
    row = np.sort(first[first >= 0])
    row = row[rows[row]]
    place = np.full(len(key), -1, dtype=np.int64)
    place[row] = np.arange(len(row))
    return row, np.ones(len(row)), place[first[key]]


def _cost_per(sample: Sample, metric: Metric, now: float) -> Observations:
    """What the exposed units cost, over the number of the metric's events."""
    events = _events(sample, metric, now)
    happened, cost = np.zeros(len(sample.unit)), _early(sample, "cost", metric)
    happened[events.row] = events.total
    spent = np.zeros(len(sample.unit)) if cost is None else cost.total
    row = np.flatnonzero(_in_time(sample, metric, events.exposed) & ((happened != 0) | (spent != 0)))
    return Observations(
        row=row,
        total=spent[row],
        count=happened[row],
        exposed=events.exposed,
        logarithmic=True,
        events=True,
    )


def _cap(metric: Metric, values: Floats, at: Floats) -> float:
    """The largest amount of money that counts, the baseline's p99.9, so that one purchase cannot decide.

    `values` are the baseline's, given at `at`. The cap comes from the first 10,000 and is fixed from then on.
    Below 1,000 values, and for other kinds of metrics, there is no cap: infinity.
    """
    if metric.kind != "amount":
        return np.inf
    first = np.argsort(at, kind="stable")[:_FROZEN_BY]
    return quantile(values[first], 0.999) if len(first) >= _CAPPED_FROM else np.inf


def _bounds(metric: Metric) -> tuple[float, float] | None:
    if metric.kind == "nps":
        return -100.0, 100.0
    return None if metric.low is None or metric.high is None else (metric.low, metric.high)


def points_of(metric: Metric, values: Floats) -> Floats:
    """NPS is the share of promoters (9, 10) minus the share of detractors (0 to 6), times 100."""
    if metric.kind != "nps":
        return values
    return np.where(values >= 9, 100.0, np.where(values <= 6, -100.0, 0.0))
