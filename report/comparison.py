"""One metric's two arms, compared: intervals of R_T − k·R_C − offset by the method that fits the metric.

A bound is judged on such a contrast: an absolute one with k = 0, so on the candidate's own interval, and one
against the baseline with its factor. All intervals are two-sided, always valid, at 1 − ALPHA.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from report.statistics.phases import Arms
from report.statistics.types import Floats, Interval

ALPHA = 0.05

_SURE = 1000.0
"""Beyond this z there is no doubt left to measure; it stands for a difference without any variance."""

_ROUNDING = 1e-12
"""What a sum of floats may be off by, relative to its size."""


class ArmComparison(Protocol):
    """Both arms of one metric."""

    def contrast(self, factor: float, offset: float) -> Interval:
        """The interval of R_T − factor·R_C − offset, in the metric's unit."""
        ...

    def z(self) -> float:
        """The difference of the arms in standard errors, as its always-valid p-value reads it."""
        ...

    def heaviest(self, factor: float) -> float:
        """The largest part of the variance that one unit holds; 0 where no normal approximation is used."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Ratios of sums, by the delta method; `c` is the sequence's multiplier."""

    arms: Arms
    c: float

    def contrast(self, factor: float, offset: float) -> Interval:
        found = symmetric(self.arms.value(factor) - offset, self.c * self.arms.se(factor))
        return _settled(found, _size(self.arms, factor, offset))

    def z(self) -> float:
        return _standardised(self.contrast(1, 0).estimate, self.arms.se(1))

    def heaviest(self, factor: float) -> float:
        return _largest_part(self.arms.influence(factor))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMeans:
    """Positive, skewed ratios such as cost: compared on the logarithm, told in the metric's unit."""

    arms: Arms
    c: float

    def contrast(self, factor: float, offset: float) -> Interval:
        return _settled(self._contrast(factor, offset), _size(self.arms, factor, offset))

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
    """Arms that each have an interval of their own: few events, and quantiles.

    The contrast's interval is recovered from the arms' (MOVER: Zou, Donner, Statistics in Medicine 2008),
    on the logarithm if `logarithmic`. `arms` are the shares that quantiles' intervals come from; None where
    no normal approximation is used.
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
        """From the distance between the estimate and the end on zero's side, which is c standard errors."""
        difference = self.contrast(1, 0)
        down, up = difference.estimate - difference.low, difference.high - difference.estimate
        return _standardised(difference.estimate, (down if difference.estimate > 0 else up) / self.c)

    def heaviest(self, factor: float) -> float:
        if self.arms is None:
            return 0.0
        # As shares either arm's influence is on the same scale, whatever the bound's factor is.
        return _largest_part(self.arms.influence(0 if factor == 0 else 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracketed:
    """One metric whose response differs between the arms: between the worst and the best it can mean.

    Lee, Review of Economic Studies 2009: the arm that answers more is trimmed once from each end.
    """

    plain: ArmComparison
    trimmed: tuple[ArmComparison, ArmComparison]

    def contrast(self, factor: float, offset: float) -> Interval:
        all_of = [one.contrast(factor, offset) for one in (self.plain, *self.trimmed)]
        return Interval(
            low=min(one.low for one in all_of),
            estimate=all_of[0].estimate,
            high=max(one.high for one in all_of),
        )

    def z(self) -> float:
        low, high = sorted(one.z() for one in (self.plain, *self.trimmed))[::2]
        return low if low > 0 else high if high < 0 else 0.0

    def heaviest(self, factor: float) -> float:
        return max(one.heaviest(factor) for one in (self.plain, *self.trimmed))


def symmetric(estimate: float, half: float) -> Interval:
    """estimate ± half."""
    return Interval(low=estimate - half, estimate=estimate, high=estimate + half)


def _size(arms: Arms, factor: float, offset: float) -> float:
    return abs(arms.candidate.value) + abs(factor * arms.baseline.value) + abs(offset)


def _settled(found: Interval, size: float) -> Interval:
    """Ends that differ from 0 by rounding only are 0: what costs the same in both arms is no miss."""
    low, estimate, high = (
        0.0 if abs(end) <= _ROUNDING * size else end for end in (found.low, found.estimate, found.high)
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
