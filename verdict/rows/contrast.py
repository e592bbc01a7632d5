"""One metric at a look: its margins to the rubric's bounds, and how much the look tells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from verdict.rows.comparison import GATE, ArmComparison, ArmSums, HeavyUnit, Quantiles, arm_sums, unit_totals
from verdict.rows.margins import (
    LinearMargin,
    Margin,
    OpenMargin,
    OutermostMargin,
    QuantileEnds,
    RecoveredMargin,
    SlowerShare,
    exact_share,
    shares_by_phase,
)
from verdict.rows.reading import trimmings
from verdict.sample.arrays import Sample
from verdict.sample.metrics import Observations
from verdict.statistics.ratio import Arms
from verdict.statistics.skewness import Shape, at_least, effective_units, lent_skewness, skewness, spreads
from verdict.statistics.types import Floats
from verdict.terms.rubric import Bound

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
    the next ones."""

    units: int
    carrying: tuple[int, int]
    cases: Sequence[Case]
    heavy: HeavyUnit | None = None
    without: Sequence[Case] = ()

    def enough(self, bound: Bound) -> bool:
        """True if the candidate, and for a relative bound the baseline, has enough units with a value."""
        return (min(self.carrying) if bound.relative else self.carrying[0]) >= GATE

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


def contrast(sample: Sample, observed: Observations, sums: ArmSums | None = None) -> Contrast | None:
    """The metric's data with its cases; None without a value of the candidate. `sums` are those of the
    observations, if they are known."""
    found = arm_sums(sample, observed) if sums is None else sums
    if not found.sums.candidate.any():
        return None
    trimmed = trimmings(sample, observed)
    others = [arm_sums(sample, case) for case in trimmed or ()]
    heavy, without = found.without_heavy()
    return Contrast(
        units=found.sums.units(candidate=True),
        carrying=found.carrying,
        cases=[_case(each) for each in (found, *others)],
        heavy=heavy if without else None,
        without=[_case(each) for each in without],
    )


def estimates(
    found: ArmSums, comparison: ArmComparison, bounds: Sequence[Bound], *, categories: bool
) -> list[float]:
    """The estimates of the margins of these sums, as `Contrast.margin` has them.

    Without `categories` the comparison of the same sums has them.
    """
    if categories or (found.observed.bounds is not None and found.few):
        # The comparison weighs units alike, a margin their exchanges.
        case = _case(found)
        return [case.margin(bound).estimate for bound in bounds]
    return [_sign(bound) * comparison.contrast(*bound.terms).estimate for bound in bounds]


def _case(found: ArmSums) -> Case:
    quantiles = found.quantiles(by_category=True)
    if quantiles is not None:
        return _Slower(found=found, quantiles=quantiles[0], slower=quantiles[1])
    if found.observed.bounds is not None and found.few:
        return _Few(found=found, bounds=found.observed.bounds)
    return _Sums(found=found, arms=found.arms(by_category=True))


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
        return observed.feedback and observed.bounds is None and self.arms.candidate.se == 0

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
            baseline=shares_by_phase(self.found.sums, self.bounds) if factor else own,
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
        units = _busy(self.found, candidate=candidate)
        return QuantileEnds(
            scale=arm.scale,
            reached=arm.reached(),
            level=arm.level + slower.moved,
            cases=[
                SlowerShare(off=case.off, se=case.se, shape=Shape(skewness=case.skewness, units=units))
                for case in spreads(influence)
            ],
        )


def _busy(found: ArmSums, *, candidate: bool = True) -> float:
    """ν of one arm."""
    return effective_units(unit_totals(found.sums, candidate=candidate)[1])


def _sign(bound: Bound) -> float:
    return 1.0 if bound.higher_is_better else -1.0
