"""Shares and ratings from few events: ΣS/ΣN with its effective number of trials, and intervals of them.

A user's values are no independent trials, so a share has fewer trials than values. What decides, and what may
be read at any time, are intervals of the same share of the same trials.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from common.interval import Interval
from verdict.rows.comparison import ALPHA, of_phases, unit_totals
from verdict.statistics.ratio import UnitSums
from verdict.statistics.sequence import mixture_interval
from verdict.statistics.types import Floats


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
        return self._scaled(low, high)

    def any_time(self) -> Interval:
        """The interval that may be read at any time, by the Bernoulli mixture; open without a trial."""
        if self.trials == 0:
            return self._scaled(0.0, 1.0)
        found = mixture_interval(self.share * self.trials, self.trials, alpha=ALPHA)
        return self._scaled(found.low, found.high)

    def _scaled(self, low: float, high: float) -> Interval:
        unit = Interval(low=min(low, self.share), estimate=self.share, high=max(high, self.share))
        return unit.scaled(self.bounds[1] - self.bounds[0]).shifted(self.bounds[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedShares:
    """Shares of several phases with weights that sum to 1."""

    shares: Sequence[ExactShare]
    weights: Floats

    def ends(self, boundary: float) -> Interval:
        return of_phases(self.weights, [share.ends(boundary) for share in self.shares])

    def any_time(self) -> Interval:
        """As in `ExactShare.any_time`."""
        return of_phases(self.weights, [share.any_time() for share in self.shares])


def exact_share(sums: UnitSums, bounds: tuple[float, float]) -> ExactShare:
    """The candidate's share of its scale with its effective number of trials."""
    return _share_of(*unit_totals(sums, candidate=True), bounds)


def _share_of(total: Floats, count: Floats, bounds: tuple[float, float]) -> ExactShare:
    """A share and its trials ΣN/deff, from unit totals and counts, (units,) each.

    deff = max(1, (Σf²+m̃²)/(Σf+m̃)), with f a unit's events counted from the rare end, and one more phantom
    unit of m̃ = ΣN²/ΣN events, the size of a usual one: without it, 13 % of bad candidates would pass.
    """
    size = float(np.sum(count))
    if size == 0:
        return ExactShare(share=0.0, trials=0.0, bounds=bounds)
    events = (total - bounds[0] * count) / (bounds[1] - bounds[0])
    share = min(1.0, max(0.0, float(np.sum(events)) / size))
    rare = events if share <= 0.5 else count - events
    usual = float(np.sum(count**2)) / size
    effect = (float(np.sum(rare**2)) + usual**2) / (float(np.sum(rare)) + usual)
    return ExactShare(share=share, trials=size / max(1.0, effect), bounds=bounds)


def shares_by_phase(
    sums: UnitSums, bounds: tuple[float, float], *, candidate: bool, strata: bool = False
) -> WeightedShares:
    """One arm's share, phases weighted by the candidate's counts. The counts of `strata` are weights, so no
    stratum has more trials than units."""
    mine = sums.only(sums.candidate == candidate)
    phases = np.unique(sums.phase[sums.candidate])
    weight = np.array([float(sums.count[sums.candidate & (sums.phase == k)].sum()) for k in phases.tolist()])
    of_phase = [mine.phase == k for k in phases.tolist()]
    shares = [_share_of(mine.total[rows], mine.count[rows], bounds) for rows in of_phase]
    if strata:
        units = [float(np.count_nonzero(rows)) for rows in of_phase]
        shares = [
            replace(share, trials=min(share.trials, most)) for share, most in zip(shares, units, strict=True)
        ]
    return WeightedShares(shares=shares, weights=weight / weight.sum())
