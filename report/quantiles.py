"""A quantile in both arms, from the counts of values at each place of the scale."""

from dataclasses import dataclass

import numpy as np

from report.comparison import Recovered
from report.sample import Sample, Values
from report.statistics.phases import Arms
from report.statistics.quantile import quantile, woodruff
from report.statistics.ratio import Ratio
from report.statistics.types import Bools, Floats, Interval


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

    def compare(self, slower: Arms, c: float) -> Recovered:
        """The arms' intervals, from the clustered shares of slower values."""

        def interval(arm: _Arm, share: Ratio) -> Interval:
            return arm.interval(c * share.se, share.moved)

        return Recovered(
            candidate=interval(self.candidate, slower.candidate),
            baseline=interval(self.baseline, slower.baseline),
            c=c,
            arms=slower,
            logarithmic=True,
        )
