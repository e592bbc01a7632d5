"""One metric so far: who gave a value in each arm, and the arms' comparison by the method for its kind.

The candidate itself may cause a different response rate, so the difference never blocks. The metric is then
judged between the worst and the best case of the missing values (Lee, Review of Economic Studies 2009).
Costs, times and tokens lack the exchanges that callers abandoned, and are judged in the same way.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from scipy import special

from common.interval import Interval
from verdict.rows.comparison import (
    ALPHA,
    FEWEST_EVENTS,
    GATE,
    ArmComparison,
    ArmSums,
    BracketedComparison,
    HeavyUnit,
    LogMeanComparison,
    MeanComparison,
    Quantiles,
    RecoveredComparison,
    arm_sums,
)
from verdict.rows.shares import exact_share, shares_by_phase
from verdict.sample.observations import EXPECTED, MissingShare, Observations, tables
from verdict.sample.sample import TRAFFIC, Sample, Values
from verdict.statistics import sequence
from verdict.statistics.ratio import Arms, UnitSums, arms, common_phases, narrower
from verdict.statistics.sequence import GroupCounts, fisher
from verdict.statistics.types import Bools, Ints, NotComputed
from verdict.terms.plan import VerdictPlan
from verdict.terms.rubric import Bound

DIFFERENT = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseRate:
    """(units that could give a value, units that did) per arm, each counted in every phase of a ramp in which
    both arms had traffic.

    `rates` are the candidate's and the baseline's share that did, compared within the phases: those who came
    later had less time to answer, and more of them are the candidate's. `p_value` is that of equal rates,
    None: undefined.
    """

    candidate: tuple[int, int]
    baseline: tuple[int, int]
    rates: tuple[float, float]
    p_value: float | None
    phases: int = 1

    @property
    def different(self) -> bool:
        return self.p_value is not None and self.p_value < DIFFERENT


def response(sample: Sample, observed: Observations) -> ResponseRate:
    """Count exposed and responding units by phase and arm."""
    given = _given(sample, observed)
    sums = replace(given, total=(given.total > 0).astype(np.float64))
    counts = [
        (int(np.sum(mine)), int(np.sum(sums.total[mine]))) for mine in (sums.candidate, ~sums.candidate)
    ]
    (exposed_t, answered_t), (exposed_c, answered_c) = counts
    found = ResponseRate(
        candidate=(exposed_t, answered_t), baseline=(exposed_c, answered_c), rates=(0.0, 0.0), p_value=None
    )
    if not (exposed_t and exposed_c):
        return found
    both = arms(sums)
    rates = both.candidate.value, both.baseline.value
    found = replace(found, rates=rates, phases=len(np.unique(sums.phase)))
    if not 0 < answered_t + answered_c < exposed_t + exposed_c:
        return found
    return replace(found, p_value=_equal_rates(sums, both))


def _given(sample: Sample, observed: Observations) -> UnitSums:
    """One row per exposed unit and phase, with the number of values that it gave there as the total, in the
    phases in which both arms had traffic."""
    phases = int(sample.phase.max(initial=0)) + 1
    place = (sample.unit * phases + sample.phase) * 2 + sample.candidate
    size = 2 * phases * len(sample.units)
    seen = np.flatnonzero(np.bincount(place[observed.exposed[sample.unit]], minlength=size))
    total = np.bincount(place[observed.row], observed.count, minlength=size)[seen]
    unit, phase, candidate = seen // 2 // phases, seen // 2 % phases, seen % 2 == 1
    rows = common_phases(phase, candidate, phases)[phase]
    return UnitSums(
        unit=unit[rows],
        phase=phase[rows],
        candidate=candidate[rows],
        total=total[rows],
        count=np.ones(int(rows.sum())),
    )


SILENT = 2.15
"""Standard errors by which fewer opinions of the candidate's users keep a row open on the planned day. On the
first day that may ship any fewer do, and evenly more between them."""

_EIGHTH, _Z95 = 1 / 8, 1.645
"""Silence of fewer than these opinions, at 95 %, hides nothing that matters."""


def least_silence(plan: VerdictPlan, day: int, se: float) -> float:
    """The standard errors by which fewer opinions keep a row open on this day, one being this part of the
    baseline's."""
    return max(SILENT * plan.past(day), _EIGHTH / se - _Z95)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpinionRate:
    """The opinions that a unit of the candidate and of the baseline gave, as if both had made as many
    requests, with the standard error of their difference, compared in so many phases of a ramp."""

    rates: tuple[float, float]
    se: float
    phases: int

    def fewer(self, plan: VerdictPlan, day: int) -> bool:
        """True if the candidate's are so few that the silent may decide the row on this day."""
        ours, theirs = self.rates
        return theirs - ours > 0 and theirs - ours >= self.se * least_silence(plan, day, self.se / theirs)


def opinion_rate(sample: Sample, observed: Observations) -> OpinionRate | None:
    """How many opinions units gave; None without units of both arms in one phase, or if they do not differ.

    Opinions tell sooner than who gave any: with many requests nearly all users give one. What a unit's
    requests explain is taken out, as what is known of it beforehand is.
    """
    sums = _given(sample, observed)
    if not (sums.candidate.any() and not sums.candidate.all()):
        return None
    plain, asked = arms(sums), sample.totals.get(TRAFFIC)
    if asked is not None:
        requests = np.bincount(sample.unit, weights=asked.count, minlength=len(sample.units))
        plain = narrower(sums, plain, requests[:, None], None)
    if plain.se(1) == 0:
        return None
    return OpinionRate(
        rates=(plain.candidate.value, plain.baseline.value),
        se=plain.se(1),
        phases=len(np.unique(sums.phase)),
    )


def _equal_rates(sums: UnitSums, both: Arms) -> float:
    """The p-value of equal rates within the phases: Pearson's χ² of one, the units' influences over several,
    which a unit that stays through all of them has in each; Fisher's exact test where few are expected to
    answer, or not to."""
    answered = sums.total > 0
    found = tables(sums.phase, sums.candidate, answered)
    if _least_expected(found) < EXPECTED:
        rare = answered if 2 * np.sum(answered) <= len(answered) else ~answered
        return fisher(tables(sums.phase, sums.candidate, rare))
    if not sums.single_phase:
        return float(2 * special.ndtr(-abs(both.value(1)) / both.se(1))) if both.se(1) > 0 else 1.0
    (table,) = found
    pooled = (table.events + table.others) / (table.of + table.of_others)
    variance = pooled * (1 - pooled) * (1 / table.of + 1 / table.of_others)
    return float(special.chdtrc(1, both.value(1) ** 2 / variance))


def _least_expected(found: Sequence[GroupCounts]) -> float:
    """The fewest units of an arm that are expected to answer, or not to."""
    cells = np.zeros((2, 2))
    for each in found:
        rate = (each.events + each.others) / (each.of + each.of_others)
        cells += np.outer((each.of, each.of_others), (rate, 1 - rate))
    return float(cells.min())


def trimmings(sample: Sample, observed: Observations) -> tuple[Observations, Observations] | None:
    """The observations without the lowest, and without the highest values of the arm that has more of them.

    Feedback: it drops the share (r_more − r_less)/r_more of that arm's responding units in each phase,
    ordered by their means there. Costs, times and tokens: the same share of exchanges, r being the share that
    callers did not abandon. None if the rates do not differ.
    """
    if not observed.feedback:
        lost = observed.abandoned
        return _without_exchanges(sample, observed, lost) if lost is not None and lost.different else None
    found = response(sample, observed)
    if not found.different:
        return None
    ours, theirs = found.rates
    excess, phase = _excess(ours, theirs), sample.phase[observed.row]
    side = np.flatnonzero(sample.candidate[observed.row] == (ours > theirs))
    key, place = np.unique(
        phase[side] * len(sample.units) + sample.unit[observed.row[side]], return_inverse=True
    )
    means = np.bincount(place, weights=observed.total[side]) / np.bincount(
        place, weights=observed.count[side]
    )
    of = key // len(sample.units)

    def without(*, lowest: bool) -> Observations:
        dropped = np.zeros(len(key), dtype=np.bool_)
        for each in np.unique(of).tolist():
            mine = np.flatnonzero(of == each)
            order = mine[np.argsort(means[mine] if lowest else -means[mine], kind="stable")]
            dropped[order[: min(math.ceil(excess * len(order)), len(order) - 1)]] = True
        kept = np.ones(len(observed.row), dtype=np.bool_)
        kept[side[dropped[place]]] = False
        return observed.take(np.flatnonzero(kept))

    return without(lowest=True), without(lowest=False)


def _excess(ours: float, theirs: float) -> float:
    """The part of its values that the arm with more of them has in excess."""
    return 1 - min(ours, theirs) / max(ours, theirs)


def _without_exchanges(
    sample: Sample, observed: Observations, lost: MissingShare
) -> tuple[Observations, Observations] | None:
    ours, theirs = 1 - lost.candidate, 1 - lost.baseline
    side = sample.candidate[observed.row] == (ours > theirs)
    if not side.any():
        return None
    excess, values, phase = _excess(ours, theirs), observed.values, sample.phase[observed.row]

    def without(*, lowest: bool) -> Observations:
        if values is None:
            return _without_rows(observed, side, phase, excess, lowest=lowest)
        return _without_values(observed, values, side, phase, excess, lowest=lowest)

    return without(lowest=True), without(lowest=False)


def _without_rows(
    observed: Observations, side: Bools, phase: Ints, excess: float, *, lowest: bool
) -> Observations:
    """Rows hold one exchange (from a log) or a user's (from the store), and are ordered by their means."""
    kept = np.ones(len(side), dtype=np.bool_)
    for each in np.unique(phase[side]).tolist():
        rows = np.flatnonzero(side & (phase == each))
        means = observed.total[rows] / observed.count[rows]
        order = rows[np.argsort(means if lowest else -means, kind="stable")]
        upto = np.cumsum(observed.count[order])
        kept[order[: min(int(np.searchsorted(upto, excess * upto[-1])) + 1, len(order) - 1)]] = False
    return observed.take(np.flatnonzero(kept))


def _without_values(
    observed: Observations, values: Values, side: Bools, phase: Ints, excess: float, *, lowest: bool
) -> Observations:
    size, code = values.size.astype(np.int64), values.codes()
    whose, of = np.repeat(side, size), np.repeat(phase, size)
    kept = np.ones(len(code), dtype=np.bool_)
    for each in np.unique(phase[side]).tolist():
        places = np.flatnonzero(whose & (of == each))
        order = places[np.argsort(code[places], kind="stable")]
        drop = min(math.ceil(excess * len(order)), len(order) - 1)
        kept[order[:drop] if lowest else order[len(order) - drop :]] = False
    left = np.bincount(np.repeat(np.arange(len(size)), size)[kept], minlength=len(size))
    some = left > 0
    fewer = Values.grouped(row=values.row[some], size=left[some], code=code[kept], scale=values.scale)
    return replace(
        observed,
        row=observed.row[some],
        total=observed.total[some],
        count=left[some].astype(np.float64),
        values=fewer,
    )


# Reads one metric: chooses the method of comparison and counts the units behind it.


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricReading:
    """One metric so far. Units are those with a value; an arm without any has the value None.

    `carrying` is the effective number of units behind the candidate's and the baseline's value (`_carrying`),
    `events` those by which a cost is divided, None for another metric.
    `without` compares the arms without the `heavy` unit, and without the next ones; `by_users` as if each
    unit counted once, where it does not in `comparison`.
    """

    candidate_units: int
    baseline_units: int
    carrying: tuple[int, int]
    candidate: float | None
    baseline: float | None
    comparison: ArmComparison | None
    tau: float
    events: tuple[int, int] | None = None
    heavy: HeavyUnit | None = None
    without: Sequence[ArmComparison] = ()
    by_users: ArmComparison | None = None

    def enough(self, bound: Bound) -> bool:
        """True if the candidate, and for a relative bound the baseline, has enough units with a value."""
        return enough_units(self.carrying, bound) and enough_events(self.events)

    @property
    def measured(self) -> bool:
        """True when the candidate has enough units, and events, for its own interval."""
        return self.carrying[0] >= GATE and enough_events(self.events)

    @property
    def compared(self) -> bool:
        """True when both arms have enough units, and events, for the interval against the baseline."""
        return min(self.carrying) >= GATE and enough_events(self.events)


def enough_units(carrying: tuple[int, int], bound: Bound) -> bool:
    """True if the candidate, and for a relative bound the baseline, has GATE units with a value."""
    return (min(carrying) if bound.relative else carrying[0]) >= GATE


def enough_events(events: tuple[int, int] | None) -> bool:
    """True for a cost that each arm divides by FEWEST_EVENTS, and for a metric that is no such cost."""
    return events is None or min(events) >= FEWEST_EVENTS


def unread(candidate_units: int, baseline_units: int) -> MetricReading:
    """A metric of which nothing but the units with a value is known."""
    return MetricReading(
        candidate_units=candidate_units,
        baseline_units=baseline_units,
        carrying=(candidate_units, baseline_units),
        candidate=None,
        baseline=None,
        comparison=None,
        tau=0.0,
    )


def read(
    sample: Sample, observed: Observations, *, planned: float, sums: ArmSums | None = None
) -> MetricReading:
    """Compare the arms on these observations. `planned` is n*, the units for which the interval is tuned.
    `sums` are those of the observations, if they are known."""
    found = arm_sums(sample, observed) if sums is None else sums
    by_unit = found.sums
    candidate_units, baseline_units = by_unit.units(candidate=True), by_unit.units(candidate=False)
    if candidate_units == 0:
        baseline = _plain_value(sample, found.observed, by_unit) if baseline_units else None
        return replace(unread(0, baseline_units), baseline=baseline, events=found.events)
    if not observed.known:
        return replace(unread(candidate_units, baseline_units), carrying=found.carrying, events=found.events)
    tau = candidate_units * sequence.tuning(alpha=ALPHA, planned=planned)
    c = sequence.multiplier(tau, ALPHA)
    comparison = _with_response(sample, observed, _compare(found, c), c)
    heavy, without = found.without_heavy()
    voices = found.by_users
    candidate = comparison.contrast(0, 0).estimate
    baseline = candidate - comparison.contrast(1, 0).estimate if baseline_units else None
    return MetricReading(
        candidate_units=candidate_units,
        baseline_units=baseline_units,
        carrying=found.carrying,
        candidate=candidate,
        baseline=baseline,
        comparison=comparison,
        tau=tau,
        events=found.events,
        heavy=heavy,
        without=[_nothing(c) if each is None else _compare(each, c) for each in without],
        by_users=None if voices is None else _compare(voices, c),
    )


def _plain_value(sample: Sample, observed: Observations, sums: UnitSums) -> float:
    """The baseline's value, when it is the only arm."""
    if observed.values is not None and observed.level is not None:
        return Quantiles.of(sample, observed.values, observed.level).baseline.middle
    return float(np.sum(sums.total) / np.sum(sums.count))


def _with_response(sample: Sample, observed: Observations, plain: ArmComparison, c: float) -> ArmComparison:
    trimmed = trimmings(sample, observed)
    if trimmed is None:
        return plain
    fewer, more = (_compare(arm_sums(sample, case), c) for case in trimmed)
    return BracketedComparison(plain=plain, trimmed=(fewer, more))


def _compare(found: ArmSums, c: float) -> ArmComparison:
    """What is shown stays what everybody counts: only a look's margins are compared within categories."""
    observed, sums = found.observed, found.sums
    if (quantiles := found.quantiles(by_category=False)) is not None:
        return quantiles[0].compare(quantiles[1], c)
    if observed.bounds is not None and found.few:
        return _shares(sums, observed.bounds, c, strata=observed.strata)
    both = found.arms(by_category=False)
    if observed.reported and observed.bounds is None and both.candidate.se == 0:
        return _unspread(both, c)
    positive = both.candidate.value > 0 and (both.baseline.value > 0 or sums.candidate.all())
    return (
        LogMeanComparison(arms=both, c=c)
        if observed.logarithmic and positive
        else MeanComparison(arms=both, c=c)
    )


def _unspread(both: Arms, c: float) -> RecoveredComparison:
    """An unbounded interval: all candidate units have the same amount, mostly 0, and without a scale the next
    unit may be arbitrarily far off."""
    return RecoveredComparison(
        candidate=_unbounded(both.candidate.value), baseline=_unbounded(both.baseline.value), c=c
    )


def _nothing(c: float) -> RecoveredComparison:
    """Of arms that do not compare once a unit is left out."""
    return RecoveredComparison(candidate=_unbounded(0.0), baseline=_unbounded(0.0), c=c)


def _unbounded(estimate: float) -> Interval:
    return Interval(low=-np.inf, estimate=estimate, high=np.inf)


def _shares(sums: UnitSums, bounds: tuple[float, float], c: float, *, strata: bool) -> RecoveredComparison:
    """`strata`: the candidate's share is one of its phases, too."""
    own = shares_by_phase(sums, bounds, candidate=True, strata=True) if strata else exact_share(sums, bounds)
    theirs = shares_by_phase(sums, bounds, candidate=False, strata=strata)
    return RecoveredComparison(candidate=own.any_time(), baseline=theirs.any_time(), c=c)


# What a row is by the ends of its margin, and the unit on which that hangs.


Outcome: TypeAlias = Literal["pass", "fail", "open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OneUnit:
    """One unit on which a row depends: what the row `would` be by its acceptable bound, what it would be
    `without` the unit, the unit's arm, and its shares of that arm's values and of the row's variance."""

    would: Outcome
    without: Outcome
    candidate: bool
    values: float
    variance: float


def known(interval: Interval) -> Interval:
    """This interval. Raises NotComputed where an end is no number, which every comparison would take for the
    wrong side or the right one."""
    if any(map(math.isnan, (interval.low, interval.estimate, interval.high))):
        raise NotComputed("their interval is not a number")
    return interval


def outcome(low: float, high: float) -> Outcome:
    """What a row is by the ends of its margin to the acceptable bound."""
    return "pass" if low >= 0 else "fail" if high < 0 else "open"


def only_by(heavy: HeavyUnit, would: Outcome, without: Outcome) -> OneUnit | None:
    """The unit, where a row would have one outcome with it and another without it; None elsewhere."""
    if would == without:
        return None
    return OneUnit(
        would=would,
        without=without,
        candidate=heavy.candidate,
        values=heavy.values,
        variance=heavy.variance,
    )
