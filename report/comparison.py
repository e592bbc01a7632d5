"""Compares one metric's arms: intervals of R_T − k·R_C − offset, by the method for that kind of metric.

A bound is judged on such a contrast: an absolute bound with k = 0, on the candidate's own interval; a
relative bound with its factor. All intervals are two-sided and always valid, at 1 − ALPHA.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from report.statistics.phases import Arms
from report.statistics.types import Floats, Interval

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
class Means:
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
class LogMeans:
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
class Recovered:
    """Arms with an interval each: few events, and quantiles.

    The contrast's interval is recovered from the arms' intervals (MOVER: Zou, Donner, Statistics in Medicine
    2008), on the logarithm if `logarithmic`. `arms` are the shares behind a quantile's intervals; None
    without a normal approximation.
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
            ratio = _recover(_logarithm(self.candidate), _logarithm(self.baseline), 1.0)
            return _exponentiated(ratio).shifted(-factor).scaled(self.baseline.estimate)
        return _recover(self.candidate, self.baseline, factor).shifted(-offset)

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
class Bracketed:
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


def _recover(candidate: Interval, baseline: Interval, factor: float) -> Interval:
    estimate = candidate.estimate - factor * baseline.estimate
    down = math.hypot(candidate.estimate - candidate.low, factor * (baseline.high - baseline.estimate))
    up = math.hypot(candidate.high - candidate.estimate, factor * (baseline.estimate - baseline.low))
    return Interval(low=estimate - down, estimate=estimate, high=estimate + up)


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
