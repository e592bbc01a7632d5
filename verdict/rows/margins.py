"""The distance to a bound with one-sided ends at a plan's boundaries, by the method for each kind of metric.

A margin is R_T − k·R_C − offset, oriented so that 0 or more keeps the bound, in the metric's unit. Its lower
end at the boundary c of the looks that ship, and its upper end at that of the looks that refuse, rule out the
values beyond them at the one-sided level 1 − Φ(c).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from common.interval import Interval
from verdict.rows.comparison import (
    GATE,
    ArmSums,
    HeavyUnit,
    Quantiles,
    RecoveredComparison,
    arm_sums,
    unit_totals,
)
from verdict.rows.reading import OpinionRate, enough_events, enough_units, opinion_rate, trimmings
from verdict.rows.shares import exact_share, shares_by_phase
from verdict.sample.observations import Observations
from verdict.sample.sample import Sample
from verdict.statistics.boundaries import (
    EstimateSpread,
    Shape,
    at_least,
    effective_units,
    lent_skewness,
    skewness,
    spreads,
)
from verdict.statistics.ratio import Arms
from verdict.statistics.types import Floats
from verdict.terms.rubric import Bound

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
    """The highest boundary at which the lower end keeps the bound, and at all below it, from −8 to 8."""
    low, high = -_FAR, _FAR
    if margin.low(high) >= 0:
        return high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if margin.low(middle) >= 0 else (low, middle)
    return low


def z_to_refuse(margin: Margin) -> float:
    """The highest boundary up to 8 at which the upper end misses the bound, and at all below it; 0 without
    one."""
    low, high = 0.0, _FAR
    if margin.high(low) >= 0:
        return low
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if margin.high(middle) < 0 else (low, middle)
    return low


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
    """A margin from the arms' own ends (as in `RecoveredComparison`)."""

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
        arms = RecoveredComparison(
            candidate=self.candidate.ends(boundary),
            baseline=self.baseline.ends(boundary) if self.factor else _NOTHING,
            c=boundary,
            logarithmic=self.logarithmic,
        )
        contrast = arms.contrast(self.factor, self.offset)
        return contrast if self.higher_is_better else contrast.scaled(-1)


_NOTHING = Interval(low=0.0, estimate=0.0, high=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantileEnds:
    """One arm's quantile at `level` by Woodruff's method: the ends of the share above the quantile, mapped
    back. Each end is the outermost of the `cases`, the spreads of that share over so many effective `units`.
    `reached` (g,) is the part of the weight up to each place of the rising `scale` (g,)."""

    scale: Floats
    reached: Floats
    level: float
    cases: Sequence[EstimateSpread]
    units: float

    def ends(self, boundary: float) -> Interval:
        reaches = [
            (case, *Shape(skewness=case.skewness, units=self.units).quantile_reach(boundary))
            for case in self.cases
        ]
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


# One metric at a look: its margins to the rubric's bounds, and how much the look tells.


_SHARE = (0.0, 1.0)


class Case(Protocol):
    """One set of data of one metric."""

    def shape(self, bound: Bound) -> Shape:
        """The skewness of the distance to this bound, and the effective number of units."""
        ...

    def margin(self, bound: Bound) -> Margin:
        """The distance to this bound."""
        ...

    def information(self, bound: Bound) -> float:
        """How much the data tell, above 0, in a unit that is the same at every look of the metric."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """A metric's data at a look. The first of the cases is the data as they are; the others bracket a
    response rate that differs between the arms. `without` are the data without the `heavy` unit, and without
    the next ones; `voices` those in which each unit counts once, where it does not in `cases`. `opinions`:
    how many units gave; None where it is none."""

    units: int
    carrying: tuple[int, int]
    cases: Sequence[Case]
    sums: ArmSums
    heavy: HeavyUnit | None = None
    without: Sequence[Case] = ()
    voices: Case | None = None
    opinions: OpinionRate | None = None

    def enough(self, bound: Bound) -> bool:
        """True if the candidate, and for a relative bound the baseline, has enough units with a value, and a
        cost enough events to be divided by."""
        return enough_units(self.carrying, bound) and enough_events(self.sums.events)

    @property
    def few(self) -> bool:
        """True if the arms have too few units, or events, to be compared but by an exact test."""
        return min(self.carrying) < GATE or not enough_events(self.sums.events)

    def margin(self, bound: Bound) -> Margin:
        """The distance to this bound, as all the data say, with the heavy unit and without. Needs enough
        units."""
        return _outermost([*self.cases, *self.without], bound)

    def with_heavy(self, bound: Bound) -> Margin:
        """The distance as the data say that hold the heavy unit."""
        return _outermost(self.cases, bound)

    def without_heavy(self, bound: Bound) -> Margin:
        """The distance as the data say without the heavy unit, which there is."""
        return _outermost(self.without, bound)

    def shape(self, bound: Bound) -> Shape:
        """The margin's shape, as in `Case.shape`."""
        return self.cases[0].shape(bound)

    def information(self, bound: Bound) -> float:
        """How much the look tells, as in `Case.information`."""
        return self.cases[0].information(bound)


def _outermost(cases: Sequence[Case], bound: Bound) -> Margin:
    margins = [case.margin(bound) for case in cases]
    return margins[0] if len(margins) == 1 else OutermostMargin(cases=margins)


def contrast(
    sample: Sample,
    observed: Observations,
    sums: ArmSums | None = None,
    opinions: tuple[Sample, Observations] | None = None,
) -> Contrast | None:
    """The metric's data with its cases; None without a value of the candidate. `sums` are those of the
    observations, if they are known, `opinions` those that they are estimated from."""
    found = arm_sums(sample, observed) if sums is None else sums
    if not found.sums.candidate.any() or not observed.known:
        return None
    given = opinions if opinions is not None else (sample, observed)
    trimmed = trimmings(sample, observed)
    others = [arm_sums(sample, case) for case in trimmed or ()]
    heavy, without = found.without_heavy()
    voices = found.by_users
    return Contrast(
        units=found.sums.units(candidate=True),
        carrying=found.carrying,
        cases=[_case(each) for each in (found, *others)],
        sums=found,
        heavy=heavy if without else None,
        without=[_Nothing() if each is None else _case(each) for each in without],
        voices=None if voices is None else _case(voices),
        opinions=opinion_rate(*given) if given[1].feedback else None,
    )


def _case(found: ArmSums) -> Case:
    quantiles = found.quantiles(by_category=True)
    if quantiles is not None:
        return _Slower(found=found, quantiles=quantiles[0], slower=quantiles[1])
    if found.observed.bounds is not None and found.few:
        return _Few(found=found, bounds=found.observed.bounds)
    return _Sums(found=found, arms=found.arms(by_category=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Nothing:
    """Arms that do not compare once a unit is left out."""

    def shape(self, bound: Bound) -> Shape:
        return Shape(skewness=0.0, units=0.0)

    def information(self, bound: Bound) -> float:
        return 0.0

    def margin(self, bound: Bound) -> Margin:
        return OpenMargin(estimate=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sums:
    """Ratios of sums with enough units for a normal approximation."""

    found: ArmSums
    arms: Arms

    def shape(self, bound: Bound) -> Shape:
        return Shape(skewness=_sign(bound) * skewness(self._influence(bound)), units=_busy(self.found))

    def information(self, bound: Bound) -> float:
        observed, value = self.found.observed, self.arms.candidate.value
        if observed.bounds == _SHARE:
            return exact_share(self.found.sums, _SHARE).trials
        se = spreads(self._influence(bound))[0].se
        if se == 0:
            return float(self.found.sums.units(candidate=True))
        return se**-2 if observed.bounds is not None else ((value or 1.0) / se) ** 2

    def margin(self, bound: Bound) -> Margin:
        factor, offset = bound.terms
        sign = _sign(bound)
        estimate = sign * (self.arms.value(factor) - offset)
        if self._unspread:
            return OpenMargin(estimate=estimate)
        size = abs(self.arms.candidate.value) + abs(factor * self.arms.baseline.value) + abs(offset)
        influence = sign * self._influence(bound)
        lent = self._lent(factor, sign)
        units = _busy(self.found)
        return OutermostMargin(
            cases=[
                LinearMargin(
                    estimate=estimate + case.off,
                    se=case.se,
                    shapes=[
                        Shape(skewness=kappa, units=units)
                        for kappa in (case.skewness, *(third / case.se**3 for third in lent if case.se > 0))
                    ],
                    size=size,
                )
                for case in spreads(influence)
            ]
        )

    @property
    def _unspread(self) -> bool:
        """All candidate units have the same amount, mostly 0: without a scale the next may be arbitrarily far
        off."""
        observed = self.found.observed
        return observed.reported and observed.bounds is None and self.arms.candidate.se == 0

    def _influence(self, bound: Bound) -> Floats:
        factor, _ = bound.terms
        return self._candidate(factor) - factor * self.arms.baseline.influence

    def _candidate(self, factor: float) -> Floats:
        """The candidate's influences; for a relative bound with at least the variance that the baseline's
        spread gives so many units: heavy users who are absent by chance must not count as a saving."""
        ours, theirs = self.arms.candidate, self.arms.baseline
        if factor == 0:
            return ours.influence
        units = self._units
        expected = float(np.sum(theirs.own**2)) * units[1] / units[0]
        if self.found.observed.logarithmic and ours.value > 0 and theirs.value > 0:
            expected *= (ours.value / theirs.value) ** 2  # the spread of a cost grows with it
        return at_least(ours.own, expected) + ours.shared

    def _lent(self, factor: float, sign: float) -> tuple[float, ...]:
        """Σψ³ with the baseline's skewness in the candidate, for a metric without bounds."""
        theirs = self.arms.baseline.own
        if self.found.observed.bounds is not None or not theirs.any():
            return ()
        ours = lent_skewness(self._candidate(factor), theirs, units=self._units)
        return (sign * (ours - factor**3 * float(np.sum(theirs**3))),)

    @property
    def _units(self) -> tuple[int, int]:
        return self.found.sums.units(candidate=True), self.found.sums.units(candidate=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Few:
    """A share or a rating with few units that differ from one end of the scale."""

    found: ArmSums
    bounds: tuple[float, float]

    def shape(self, bound: Bound) -> Shape:
        return Shape(skewness=0.0, units=_busy(self.found))

    def information(self, bound: Bound) -> float:
        own = exact_share(self.found.sums, self.bounds)
        if self.bounds == _SHARE:
            return own.trials
        # As precise as the rating's variance would have it: a rating with enough units tells 1/SE².
        share = (own.share * own.trials + 1) / (own.trials + 2)
        return own.trials / (share * (1 - share) * (self.bounds[1] - self.bounds[0]) ** 2)

    def margin(self, bound: Bound) -> Margin:
        factor, offset = bound.terms
        own = exact_share(self.found.sums, self.bounds)
        return RecoveredMargin(
            candidate=own,
            baseline=shares_by_phase(self.found.sums, self.bounds, candidate=False) if factor else own,
            factor=factor,
            offset=offset,
            higher_is_better=bound.higher_is_better,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slower:
    """A quantile, by the share of values above it. `slower` holds both arms' shares."""

    found: ArmSums
    quantiles: Quantiles
    slower: Arms

    def shape(self, bound: Bound) -> Shape:
        return Shape(skewness=skewness(self.slower.candidate.influence), units=_busy(self.found))

    def information(self, bound: Bound) -> float:
        own = self.slower.candidate.variance
        return 1 / own if own > 0 else float(self.found.sums.units(candidate=True))

    def margin(self, bound: Bound) -> Margin:
        factor, offset = bound.terms
        ours, theirs = self.slower.candidate.influence, self.slower.baseline.influence
        if factor:
            units = [self.found.sums.units(candidate=arm) for arm in (True, False)]
            theirs = self.slower.baseline.own  # what both arms share cancels
            ours = at_least(self.slower.candidate.own, float(np.sum(theirs**2)) * units[1] / units[0])
        return RecoveredMargin(
            candidate=self._ends(ours, candidate=True),
            baseline=self._ends(theirs, candidate=False),
            factor=factor,
            offset=offset,
            higher_is_better=bound.higher_is_better,
            logarithmic=True,
        )

    def _ends(self, influence: Floats, *, candidate: bool) -> QuantileEnds:
        arm = self.quantiles.candidate if candidate else self.quantiles.baseline
        slower = self.slower.candidate if candidate else self.slower.baseline
        return QuantileEnds(
            scale=arm.scale,
            reached=arm.reached(),
            level=arm.level + slower.moved,
            cases=spreads(influence),
            units=_busy(self.found, candidate=candidate),
        )


def _busy(found: ArmSums, *, candidate: bool = True) -> float:
    """ν of one arm: of its units that carry the estimate."""
    observed, sample = found.observed, found.sample
    if observed.carried is not None:
        mine = sample.candidate[observed.row] == candidate
        return effective_units(np.bincount(sample.unit[observed.row[mine]], weights=observed.carried[mine]))
    return effective_units(unit_totals(found.sums, candidate=candidate)[1])


def _sign(bound: Bound) -> float:
    return 1.0 if bound.higher_is_better else -1.0
