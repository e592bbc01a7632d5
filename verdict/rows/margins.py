"""The distance to a bound with one-sided ends at a plan's boundaries, by the method for each kind of metric.

A margin is R_T − k·R_C − offset, oriented so that 0 or more keeps the bound, in the metric's unit. Its lower
end at the boundary c of the looks that ship, and its upper end at that of the looks that refuse, rule out the
values beyond them at the one-sided level 1 − Φ(c).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import special

from verdict.rows.comparison import Recovered, unit_totals
from verdict.statistics.ratio import UnitSums
from verdict.statistics.skewness import Shape
from verdict.statistics.types import Floats, Interval

_ROUNDING = 1e-12
"""The rounding error of a sum of floats, relative to its size."""

_FAR = 8.0
"""A z that no evidence exceeds."""

_STEPS = 32


class Margin(Protocol):
    """One margin with its ends. `se` is in the metric's unit."""

    @property
    def estimate(self) -> float: ...
    @property
    def se(self) -> float: ...

    def low(self, boundary: float) -> float:
        """The lower end at this boundary; −∞ if it is open. Falls as the boundary rises."""
        ...

    def high(self, boundary: float) -> float:
        """The upper end at this boundary; ∞ if it is open. Rises with the boundary."""
        ...


def z_to_ship(margin: Margin) -> float:
    """The highest boundary at which the lower end keeps the bound, from −8 to 8."""
    return _highest(lambda boundary: margin.low(boundary) >= 0)


def z_to_refuse(margin: Margin) -> float:
    """The highest boundary at which the upper end misses the bound, from −8 to 8."""
    return _highest(lambda boundary: margin.high(boundary) < 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearMargin:
    """A difference of ratios of sums. Each end is the outermost of those by the `shapes`; `size` is that of
    the numbers that were subtracted."""

    estimate: float
    se: float
    shapes: Sequence[Shape]
    size: float = 0.0

    def low(self, boundary: float) -> float:
        return self._rounded(self.estimate - self.se * max(shape.reach(boundary) for shape in self.shapes))

    def high(self, boundary: float) -> float:
        return self._rounded(self.estimate - self.se * min(shape.reach(-boundary) for shape in self.shapes))

    def _rounded(self, end: float) -> float:
        """Ends within rounding of 0 are 0, so that equal arms are not a miss."""
        return 0.0 if abs(end) <= _ROUNDING * self.size else end


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMargin:
    """A margin without any known spread: nothing can be ruled out."""

    estimate: float
    se: float = np.inf

    def low(self, boundary: float) -> float:
        return -np.inf

    def high(self, boundary: float) -> float:
        return np.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class OutermostMargin:
    """The outermost ends of several cases; the estimate is the first one's."""

    cases: Sequence[Margin]

    @property
    def estimate(self) -> float:
        return self.cases[0].estimate

    @property
    def se(self) -> float:
        return max(case.se for case in self.cases)

    def low(self, boundary: float) -> float:
        return min(case.low(boundary) for case in self.cases)

    def high(self, boundary: float) -> float:
        return max(case.high(boundary) for case in self.cases)


class ArmEnds(Protocol):
    """One arm's value with both ends at a boundary of 0 or more."""

    def ends(self, boundary: float) -> Interval: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveredMargin:
    """A margin from the arms' own ends (MOVER, as in `comparison.Recovered`)."""

    candidate: ArmEnds
    baseline: ArmEnds
    factor: float
    offset: float
    higher_is_better: bool
    logarithmic: bool = False

    @property
    def estimate(self) -> float:
        return self._at(0.0).estimate

    @property
    def se(self) -> float:
        one = self._at(1.0)
        return (one.high - one.low) / 2

    def low(self, boundary: float) -> float:
        # Below 0, a lower end lies above the estimate, as far as the upper end at the opposite boundary.
        return self._at(boundary).low if boundary >= 0 else self._at(-boundary).high

    def high(self, boundary: float) -> float:
        return self._at(boundary).high if boundary >= 0 else self._at(-boundary).low

    def _at(self, boundary: float) -> Interval:
        arms = Recovered(
            candidate=self.candidate.ends(boundary),
            baseline=self.baseline.ends(boundary) if self.factor else _NOTHING,
            c=boundary,
            logarithmic=self.logarithmic,
        )
        contrast = arms.contrast(self.factor, self.offset)
        return contrast if self.higher_is_better else contrast.scaled(-1)


_NOTHING = Interval(low=0.0, estimate=0.0, high=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactShare:
    """A share in [0, 1] from few events, on the scale `bounds`: Clopper and Pearson's ends for the effective
    number of trials (Korn, Graubard, Survey Methodology 1998)."""

    share: float
    trials: float
    bounds: tuple[float, float] = (0.0, 1.0)

    def ends(self, boundary: float) -> Interval:
        level = float(special.ndtr(-boundary))
        events = self.share * self.trials
        rest = self.trials - events
        low = float(special.betaincinv(events, rest + 1, level)) if events > 0 else 0.0
        high = float(special.betainccinv(events + 1, rest, level)) if rest > 0 else 1.0
        unit = Interval(low=min(low, self.share), estimate=self.share, high=max(high, self.share))
        return unit.scaled(self.bounds[1] - self.bounds[0]).shifted(self.bounds[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedShares:
    """Shares of several phases with weights that sum to 1; the ends are combined by MOVER."""

    shares: Sequence[ExactShare]
    weights: Floats

    def ends(self, boundary: float) -> Interval:
        parts = [share.ends(boundary) for share in self.shares]
        middle = float(self.weights @ [part.estimate for part in parts])
        down, up = (
            float(np.linalg.norm(self.weights * gaps))
            for gaps in (
                [part.estimate - part.low for part in parts],
                [part.high - part.estimate for part in parts],
            )
        )
        return Interval(low=middle - down, estimate=middle, high=middle + up)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowerShare:
    """A case of the share of values above a quantile: how far it is off, its error, and its shape."""

    off: float
    se: float
    shape: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantileEnds:
    """One arm's quantile at `level` by Woodruff's method: the ends of the share above the quantile, mapped
    back. Each end is the outermost of the `cases`. `reached` (g,) is the part of the weight up to each place
    of the rising `scale` (g,)."""

    scale: Floats
    reached: Floats
    level: float
    cases: Sequence[SlowerShare]

    def ends(self, boundary: float) -> Interval:
        reaches = [(case, *case.shape.quantile_reach(boundary)) for case in self.cases]
        low = min(self.level + case.off - case.se * down for case, down, _ in reaches)
        high = max(self.level + case.off + case.se * up for case, _, up in reaches)
        return Interval(
            low=self._at(min(low, self.level)),
            estimate=self._at(self.level),
            high=self._at(max(high, self.level)) if high < 1 else np.inf,
        )

    def _at(self, level: float) -> float:
        """The inverted CDF; −∞ for a level of 0 or less."""
        if level <= 0 or len(self.scale) == 0:
            return -np.inf
        place = int(np.searchsorted(self.reached, level * (1 - _ROUNDING)))
        return float(self.scale[min(place, len(self.scale) - 1)])


def _highest(holds: Callable[[float], bool]) -> float:
    """The highest boundary for which it holds, if it holds for all below."""
    low, high = -_FAR, _FAR
    if holds(high):
        return high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


# Shares and ratings from few events: one arm's share with its effective number of trials.


def exact_share(sums: UnitSums, bounds: tuple[float, float]) -> ExactShare:
    """The candidate's share of its scale with its effective number of trials."""
    return _share_of(*unit_totals(sums, candidate=True), bounds)


def _share_of(total: Floats, count: Floats, bounds: tuple[float, float]) -> ExactShare:
    """A share and its trials ΣN/deff, from unit totals and counts, (units,) each.

    deff = max(1, (Σf²+m̃²)/(Σf+m̃)), with f a unit's events counted from the rare end, and one more phantom
    unit of m̃ = ΣN²/ΣN events, the size of a usual one: without it, 13 % of bad candidates would pass.
    """
    size = float(np.sum(count))
    events = (total - bounds[0] * count) / (bounds[1] - bounds[0])
    share = min(1.0, max(0.0, float(np.sum(events)) / size))
    rare = events if share <= 0.5 else count - events
    usual = float(np.sum(count**2)) / size
    effect = (float(np.sum(rare**2)) + usual**2) / (float(np.sum(rare)) + usual)
    return ExactShare(share=share, trials=size / max(1.0, effect), bounds=bounds)


def shares_by_phase(sums: UnitSums, bounds: tuple[float, float]) -> WeightedShares:
    """The baseline's share, phases weighted by the candidate's counts."""
    theirs = sums.only(~sums.candidate)
    phases = np.unique(sums.phase[sums.candidate])
    weight = np.array([float(sums.count[sums.candidate & (sums.phase == k)].sum()) for k in phases.tolist()])
    of_phase = [theirs.phase == k for k in phases.tolist()]
    return WeightedShares(
        shares=[_share_of(theirs.total[rows], theirs.count[rows], bounds) for rows in of_phase],
        weights=weight / weight.sum(),
    )
