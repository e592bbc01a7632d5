"""Compares one metric's arms: intervals of R_T − k·R_C − offset, by the method for that kind of metric.

A bound is judged on such a contrast: an absolute bound with k = 0, on the candidate's own interval; a
relative bound with its factor. All intervals are two-sided and always valid, at 1 − ALPHA.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from common.interval import Interval, recovered
from verdict.sample.observations import Observations
from verdict.sample.sample import Sample, Values
from verdict.statistics.ratio import (
    Arms,
    Ratio,
    UnitSums,
    arms,
    counted_phases,
    narrower,
    quantile,
    renumbered,
    woodruff,
)
from verdict.statistics.types import Bools, Floats

ALPHA = 0.05

_SURE = 1000.0
"""The largest z; a difference without any variance gets it too."""

_ROUNDING = 1e-12
"""The rounding error of a sum of floats, relative to its size."""


class ArmComparison(Protocol):
    """Both arms of one metric."""

    def contrast(self, factor: float, offset: float) -> Interval:
        """The interval of R_T − factor·R_C − offset, in the metric's unit."""
        ...

    def z(self) -> float:
        """The arms' difference in standard errors, the input of its always-valid p-value."""
        ...

    def heaviest(self, factor: float) -> float:
        """The largest share of the variance from one unit; 0 without a normal approximation."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanComparison:
    """Ratios of sums, by the delta method; `c` is the sequence's multiplier."""

    arms: Arms
    c: float

    def contrast(self, factor: float, offset: float) -> Interval:
        interval = symmetric(self.arms.value(factor) - offset, self.c * self.arms.se(factor))
        return _without_rounding(interval, _size(self.arms, factor, offset))

    def z(self) -> float:
        return _standardised(self.contrast(1, 0).estimate, self.arms.se(1))

    def heaviest(self, factor: float) -> float:
        return _largest_part(self.arms.influence(factor))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMeanComparison:
    """Positive, skewed ratios such as cost: compared on the logarithm, returned in the metric's unit."""

    arms: Arms
    c: float

    def contrast(self, factor: float, offset: float) -> Interval:
        return _without_rounding(self._contrast(factor, offset), _size(self.arms, factor, offset))

    def _contrast(self, factor: float, offset: float) -> Interval:
        candidate, baseline = self.arms.candidate, self.arms.baseline
        if factor == 0:
            own = self.c * candidate.se / candidate.value
            return _exponential(math.log(candidate.value), own).shifted(-offset)
        if offset != 0:
            return symmetric(self.arms.value(factor) - offset, self.c * self.arms.se(factor))
        ratio = _exponential(math.log(candidate.value / baseline.value), self.c * self._se())
        return ratio.shifted(-factor).scaled(baseline.value)

    def z(self) -> float:
        if self.contrast(1, 0).estimate == 0:
            return 0.0
        return _standardised(math.log(self.arms.candidate.value / self.arms.baseline.value), self._se())

    def heaviest(self, factor: float) -> float:
        return _largest_part(self.arms.influence(0) if factor == 0 else self.arms.log_influence())

    def _se(self) -> float:
        return math.sqrt(float(np.sum(self.arms.log_influence() ** 2)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveredComparison:
    """Arms with an interval each: few events, and quantiles.

    The contrast's interval is recovered from the arms' intervals, on the logarithm if `logarithmic`. `arms`
    are the shares behind a quantile's intervals; None without a normal approximation.
    """

    candidate: Interval
    baseline: Interval
    c: float
    arms: Arms | None = None
    logarithmic: bool = False

    def contrast(self, factor: float, offset: float) -> Interval:
        if factor == 0:
            return self.candidate.shifted(-offset)
        if self.logarithmic and offset == 0 and self.candidate.estimate > 0 and self.baseline.estimate > 0:
            ratio = recovered([(1, _logarithm(self.candidate)), (-1, _logarithm(self.baseline))])
            return _exponentiated(ratio).shifted(-factor).scaled(self.baseline.estimate)
        return recovered([(1, self.candidate), (-factor, self.baseline)]).shifted(-offset)

    def z(self) -> float:
        """The distance from the estimate to the interval's end towards zero is c standard errors."""
        difference = self.contrast(1, 0)
        down, up = difference.estimate - difference.low, difference.high - difference.estimate
        return _standardised(difference.estimate, (down if difference.estimate > 0 else up) / self.c)

    def heaviest(self, factor: float) -> float:
        if self.arms is None:
            return 0.0
        # The arms are shares, so their influences have the same scale whatever the bound's factor is.
        return _largest_part(self.arms.influence(0 if factor == 0 else 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class BracketedComparison:
    """A metric whose response rate differs between the arms: bounds from the worst to the best case.

    Lee, Review of Economic Studies 2009: the arm that responds more is trimmed once at each end.
    """

    plain: ArmComparison
    trimmed: tuple[ArmComparison, ArmComparison]

    def contrast(self, factor: float, offset: float) -> Interval:
        intervals = [arm.contrast(factor, offset) for arm in (self.plain, *self.trimmed)]
        return Interval(
            low=min(interval.low for interval in intervals),
            estimate=intervals[0].estimate,
            high=max(interval.high for interval in intervals),
        )

    def z(self) -> float:
        low, high = sorted(case.z() for case in (self.plain, *self.trimmed))[::2]
        return low if low > 0 else high if high < 0 else 0.0

    def heaviest(self, factor: float) -> float:
        return max(case.heaviest(factor) for case in (self.plain, *self.trimmed))


def symmetric(estimate: float, half: float) -> Interval:
    """estimate ± half."""
    return Interval(low=estimate - half, estimate=estimate, high=estimate + half)


def _size(arms: Arms, factor: float, offset: float) -> float:
    return abs(arms.candidate.value) + abs(factor * arms.baseline.value) + abs(offset)


def _without_rounding(interval: Interval, size: float) -> Interval:
    """Ends within rounding of 0 become 0, so that equal arms are not a miss."""
    low, estimate, high = (
        0.0 if abs(end) <= _ROUNDING * size else end
        for end in (interval.low, interval.estimate, interval.high)
    )
    return Interval(low=low, estimate=estimate, high=high)


def of_phases(weights: Floats, parts: Sequence[Interval]) -> Interval:
    """The interval of the phases' weighted sum, as `recovered` has it, but summed as numpy does: stored looks
    have those last digits."""
    middle = float(weights @ [part.estimate for part in parts])
    down = float(np.linalg.norm(weights * [part.estimate - part.low for part in parts]))
    up = float(np.linalg.norm(weights * [part.high - part.estimate for part in parts]))
    return Interval(low=middle - down, estimate=middle, high=middle + up)


def _exponential(log: float, half: float) -> Interval:
    return _exponentiated(symmetric(log, half))


def _exponentiated(log: Interval) -> Interval:
    return Interval(
        low=math.exp(log.low),
        estimate=math.exp(log.estimate),
        high=math.exp(log.high) if log.high < 700 else math.inf,
    )


def _logarithm(interval: Interval) -> Interval:
    return Interval(
        low=math.log(interval.low) if interval.low > 0 else -math.inf,
        estimate=math.log(interval.estimate),
        high=math.log(interval.high),
    )


def _standardised(value: float, se: float) -> float:
    if se > 0:
        return max(-_SURE, min(_SURE, value / se))
    return 0.0 if value == 0 else math.copysign(_SURE, value)


def _largest_part(influence: Floats) -> float:
    total = float(np.sum(influence**2))
    return float(np.max(influence**2)) / total if total > 0 else 0.0


# A quantile in both arms, from the counts of values at each place of the scale.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arm:
    """One arm's values: `weight` (g,) at each place of the scale, and their quantile, `middle`.

    Values from place `slow` on count as slower than the quantile.
    """

    scale: Floats
    weight: Floats
    level: float
    middle: float
    slow: int

    @classmethod
    def of(cls, scale: Floats, weight: Floats, values: Floats, level: float) -> "_Arm":
        """`values` (g,) are the unweighted counts. An arm without values has the middle 0.

        Values above the quantile are slower. If many values equal the quantile (a timeout, for example), few
        are above it and the share would seem to have no error; then equal values count as slower too, unless
        that leaves few below.
        """
        if not values.any():
            return cls(scale=scale, weight=weight, level=level, middle=0.0, slow=len(scale))
        middle = quantile(scale, level, weight)
        place = int(np.searchsorted(scale, middle))
        above, from_it = (float(values[start:].sum() / values.sum()) for start in (place + 1, place))
        equal_too = above < (1 - level) / 2 and from_it * (1 - from_it) > above * (1 - above)
        return cls(scale=scale, weight=weight, level=level, middle=middle, slow=place + (not equal_too))

    def reached(self) -> Floats:
        """The part of the weight up to each place of the scale, (g,)."""
        weight = np.cumsum(self.weight)
        return np.asarray(weight / max(float(weight[-1]), 1e-300), dtype=np.float64)

    def interval(self, half_width: float, moved: float) -> Interval:
        """`moved`: by how much an adjustment changed the share of slower values, and so the level to read."""
        if not self.weight.any():
            return Interval(low=-np.inf, estimate=0.0, high=np.inf)
        return woodruff(self.scale, self.level + moved, half_width=half_width, weights=self.weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Both arms' quantile. The baseline's phases are weighted by the candidate's values in them."""

    candidate: _Arm
    baseline: _Arm
    mine: Bools
    """Marks the candidate's groups of values, (m,)."""

    @classmethod
    def of(cls, sample: Sample, values: Values, level: float) -> "Quantiles":
        phase, mine = sample.phase[values.row], sample.candidate[values.row]
        phases = int(phase.max()) + 1
        heights = values.heights(phase * 2 + mine, 2 * phases).reshape(phases, 2, -1)
        theirs, ours = heights[:, 0], heights[:, 1]
        sizes = theirs.sum(axis=1), ours.sum(axis=1)
        # Without candidate values there are no weights.
        weight = sizes[1] / np.maximum(sizes[0], 1) if mine.any() else np.ones(phases)
        own = ours.sum(axis=0).astype(np.float64)
        return cls(
            candidate=_Arm.of(values.scale, own, own, level),
            baseline=_Arm.of(values.scale, weight @ theirs, theirs.sum(axis=0).astype(np.float64), level),
            mine=mine,
        )

    def slower(self, values: Values) -> Floats:
        """The number of values in each group that are slower than the arm's quantile, (m,)."""
        places = np.where(self.mine, self.candidate.slow, self.baseline.slow)
        return values.at_or_above(places).astype(np.float64)

    def compare(self, slower: Arms, c: float) -> RecoveredComparison:
        """The arms' intervals, from the clustered shares of slower values."""

        def interval(arm: _Arm, share: Ratio) -> Interval:
            return arm.interval(c * share.se, share.moved)

        return RecoveredComparison(
            candidate=interval(self.candidate, slower.candidate),
            baseline=interval(self.baseline, slower.baseline),
            c=c,
            arms=slower,
            logarithmic=True,
        )


# One metric's unit sums by arm, and the ratios made of them.


GATE = 100
"""No interval before so many candidate units have a value: earlier looks gave 9 to 18 % false alarms."""

FEW = 20
"""With fewer candidate units than this above the lowest value, below the highest (with the event, or without
it), or away from the value that most have, the normal approximation is not used."""


FEWEST_EVENTS = 30
"""A cost is divided by so many events in each arm, or not judged."""

A_FIFTH = 0.2
"""One unit with more than this part of an arm's values, or of the variance, decides no row alone."""

_MOST_HEAVY = 3
"""So many units are left out, one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeavyUnit:
    """One unit of an arm with its shares of the arm's values and of the row's variance, the larger over
    A_FIFTH. `unit` is its number in the sample."""

    candidate: bool
    values: float
    variance: float
    unit: int


@dataclass(frozen=True, kw_only=True)
class ArmSums:
    """A metric's values, and their sums by unit and phase."""

    sample: Sample
    observed: Observations
    sums: UnitSums

    @property
    def carrying(self) -> tuple[int, int]:
        """The effective number of units behind the candidate's and the baseline's value."""
        return _carrying(self.sums, candidate=True), _carrying(self.sums, candidate=False)

    @property
    def events(self) -> tuple[int, int] | None:
        """The candidate's and the baseline's events by which a cost is divided; None for another metric."""
        if not self.observed.events:
            return None
        ours = self.sums.candidate
        return int(self.sums.count[ours].sum()), int(self.sums.count[~ours].sum())

    @property
    def few(self) -> bool:
        """True for a bounded metric with too few units that differ for a normal approximation."""
        bounds = self.observed.bounds
        if bounds is None:
            return False
        means = unit_means(self.sums, candidate=True)
        # A value that most units have is their median.
        differing = (means > bounds[0], means < bounds[1], means != np.median(means))
        return min(int(np.sum(units)) for units in differing) < FEW

    @cached_property
    def by_users(self) -> "ArmSums | None":
        """The same with one voice for each unit, its mean; None where each has one already, and for
        quantiles."""
        observed, sums = self.observed, self.sums
        others = observed.feedback or observed.per_unit or observed.strata or observed.events
        if others or observed.level is not None or (sums.count == 1).all():
            return None
        voices = replace(sums, total=sums.total / sums.count, count=np.ones(len(sums.unit)))
        return ArmSums(sample=self.sample, observed=replace(observed, feedback=True), sums=voices)

    def arms(self, *, by_category: bool) -> Arms:
        """Both arms, without what the units' past explains of their difference, and with `by_category` their
        first category."""
        return self._adjusted(self.sums, by_category=by_category)

    def quantiles(self, *, by_category: bool) -> tuple[Quantiles, Arms] | None:
        """Both arms' quantile with their shares of slower values; None for another kind of metric. The shares
        are adjusted as in `arms`."""
        if self._slower is None:
            return None
        found, slower = self._slower
        return found, self._adjusted(slower, by_category=by_category)

    def heaviest(self) -> HeavyUnit | None:
        """The unit with the largest share of an arm's values, or of the variance; None up to a fifth."""
        sums = self.sums if self._slower is None else self._slower[1]
        both, units = self._plain, np.flatnonzero(np.bincount(sums.unit))
        place = 2 * renumbered(sums.unit) + sums.candidate
        counts = np.bincount(place, weights=sums.count, minlength=2 * len(units)).reshape(-1, 2)
        squares = [both.influence(factor) ** 2 for factor in (0, 1)]
        wholes = [max(float(square.sum()), 1e-300) for square in squares]
        parts = [square.max() / whole for square, whole in zip(squares, wholes, strict=True)]
        if max(*parts, *(counts.max(axis=0) / np.maximum(counts.sum(axis=0), 1e-300))) <= A_FIFTH:
            return None
        values = counts / np.maximum(counts.sum(axis=0), 1e-300)
        variance = np.max([square / whole for square, whole in zip(squares, wholes, strict=True)], axis=0)
        worst = int(np.argmax(np.maximum(values.max(axis=1), variance)))
        theirs, ours = values[worst].tolist()
        return HeavyUnit(
            candidate=ours >= theirs,
            values=max(ours, theirs),
            variance=float(variance[worst]),
            unit=int(units[worst]),
        )

    def without_heavy(self) -> tuple[HeavyUnit | None, list["ArmSums | None"]]:
        """The heaviest unit, and the sums without it, without the next one too, and so on; None up to a
        fifth. A None among the sums: nothing is left that compares the same arms."""
        first = heavy = self.heaviest()
        found: list[ArmSums | None] = []
        rest = self
        while heavy is not None and len(found) < _MOST_HEAVY:
            rest = arm_sums(self.sample, rest.observed.only(self.sample.unit != heavy.unit))
            units = rest.sums.units(candidate=True), rest.sums.units(candidate=False)
            if units[0] < 2 or (not units[1] and not self.sums.candidate.all()):
                return first, [*found, None]
            found.append(rest)
            heavy = rest.heaviest()
        return first, found

    def _adjusted(self, sums: UnitSums, *, by_category: bool) -> Arms:
        enough = min(sums.units(candidate=True), sums.units(candidate=False)) >= GATE
        if self.observed.strata or not enough:
            return self._plain
        category = self.observed.category if by_category else None
        return narrower(sums, self._plain, self.observed.before, category)

    @cached_property
    def _plain(self) -> Arms:
        """Both arms of the sums, or of the slower values, as they are."""
        sums = self.sums if self._slower is None else self._slower[1]
        return arms(sums, strata=self.observed.strata)

    @cached_property
    def _slower(self) -> tuple[Quantiles, UnitSums] | None:
        observed = self.observed
        if observed.values is None or observed.level is None:
            return None
        found = Quantiles.of(self.sample, observed.values, observed.level)
        return found, observed.sums(self.sample, found.slower(observed.values))


def arm_sums(sample: Sample, observed: Observations) -> ArmSums:
    """Only the phases in which both arms have values, or events to divide a cost by. Without such a phase,
    only the values of the candidate (without any, of the baseline): no comparison is possible."""
    sums = observed.sums(sample, observed.total)
    phases = int(sample.phase.max(initial=0)) + 1  # the sample's: the newest may have no value yet
    theirs, ours = counted_phases(sums, phases)
    common, arms_ = theirs & ours, np.array([True, True])
    if not common.any():
        common, arms_ = (ours, np.array([False, True])) if ours.any() else (theirs, np.array([True, False]))
    rows = common[sums.phase] & arms_[sums.candidate.astype(np.int64)]
    if rows.all():
        return ArmSums(sample=sample, observed=observed, sums=sums)
    inside = common[sample.phase] & arms_[sample.candidate.astype(np.int64)]
    return ArmSums(sample=sample, observed=observed.only(inside), sums=sums.only(rows))


def unit_means(sums: UnitSums, *, candidate: bool) -> Floats:
    """The mean of each unit of one arm, (units,)."""
    total, count = unit_totals(sums, candidate=candidate)
    return total / count


def unit_totals(sums: UnitSums, *, candidate: bool) -> tuple[Floats, Floats]:
    """The total and the count of each unit of one arm over all phases, (units,) each."""
    mine = sums.only(sums.candidate == candidate)
    if sums.single_phase:
        return mine.total, mine.count
    units, place = np.unique(mine.unit, return_inverse=True)
    total = np.bincount(place, weights=mine.total, minlength=len(units))
    count = np.bincount(place, weights=mine.count, minlength=len(units))
    return total.astype(np.float64), count.astype(np.float64)


def _carrying(sums: UnitSums, *, candidate: bool) -> int:
    """The arm's effective number of units, at most its units: 1/Σ(ω_k²/K_k), the equivalent in one phase.

    Otherwise a heavily weighted ramp phase with few units could pass the gate on another phase's units, with
    little variance to show the uncertainty.
    """
    rows, units = sums.phase[sums.candidate == candidate], sums.units(candidate=candidate)
    if units == 0 or sums.single_phase or not sums.candidate.any():
        return units
    per_phase = np.maximum(np.bincount(rows), 1)
    omega = np.bincount(sums.phase[sums.candidate], weights=sums.count[sums.candidate])
    return min(units, int(1 / float(np.sum((omega / omega.sum()) ** 2 / per_phase)) + 1e-9))
