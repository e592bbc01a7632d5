"""One quantile of both arms, from the counts of values at each place of the scale."""

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
    """One arm's values: `weight` (g,) at each place of the scale; `middle` is their quantile.

    Values from place `slow` on count as slower than it.
    """

    scale: Floats
    weight: Floats
    level: float
    middle: float
    slow: int

    @classmethod
    def of(cls, scale: Floats, weight: Floats, values: Floats, level: float) -> "_Arm":
        """`values` (g,) are the numbers of values, unweighted. An arm without any has the middle 0.

        Slower is what lies above the quantile. Where many values are equal to it (a timeout, say) hardly any
        lie above and the share would seem to be known without error; there the equal ones count too, unless
        that leaves hardly any below.
        """
        if not values.any():
            return cls(scale=scale, weight=weight, level=level, middle=0.0, slow=len(scale))
        middle = quantile(scale, level, weight)
        place = int(np.searchsorted(scale, middle))
        above, from_it = (float(values[start:].sum() / values.sum()) for start in (place + 1, place))
        equal_too = above < (1 - level) / 2 and from_it * (1 - from_it) > above * (1 - above)
        return cls(scale=scale, weight=weight, level=level, middle=middle, slow=place + (not equal_too))

    def interval(self, half_width: float) -> Interval:
        if not self.weight.any():
            return Interval(low=-np.inf, estimate=0.0, high=np.inf)
        return woodruff(self.scale, self.level, half_width=half_width, weights=self.weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Both arms' quantile; the baseline's phases are weighed as the candidate's values fell."""

    candidate: _Arm
    baseline: _Arm
    mine: Bools
    """The groups of values, (m,), that are the candidate's."""

    @classmethod
    def of(cls, sample: Sample, values: Values, level: float) -> "Quantiles":
        phase, mine = sample.phase[values.row], sample.candidate[values.row]
        phases = int(phase.max()) + 1
        heights = values.heights(phase * 2 + mine, 2 * phases).reshape(phases, 2, -1)
        theirs, ours = heights[:, 0], heights[:, 1]
        sizes = theirs.sum(axis=1), ours.sum(axis=1)
        # Without a candidate there is nothing to weigh by.
        weight = sizes[1] / np.maximum(sizes[0], 1) if mine.any() else np.ones(phases)
        own = ours.sum(axis=0).astype(np.float64)
        return cls(
            candidate=_Arm.of(values.scale, own, own, level),
            baseline=_Arm.of(values.scale, weight @ theirs, theirs.sum(axis=0).astype(np.float64), level),
            mine=mine,
        )

    def slower(self, values: Values) -> Floats:
        """How many values of each group are slower than its arm's quantile, (m,)."""
        places = np.where(self.mine, self.candidate.slow, self.baseline.slow)
        return values.at_or_above(places).astype(np.float64)

    def compare(self, slower: Arms, c: float) -> Recovered:
        """The arms' intervals, given the clustered shares of what was slower."""

        def interval(arm: _Arm, share: Ratio) -> Interval:
            return arm.interval(c * share.se)

        return Recovered(
            candidate=interval(self.candidate, slower.candidate),
            baseline=interval(self.baseline, slower.baseline),
            c=c,
            arms=slower,
            logarithmic=True,
        )
