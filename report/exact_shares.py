"""Shares and ratings from few events: one arm's share with its effective number of trials."""

import numpy as np

from report.arm_sums import unit_totals
from report.margins import ExactShare, WeightedShares
from report.statistics.phases import UnitSums
from report.statistics.types import Floats


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
