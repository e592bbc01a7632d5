"""How often two labellers of the same pairs agree: a judge with people, or one person with another. Pure."""

import math
from collections.abc import Sequence
from typing import get_args

import numpy as np

from records.labels import Better
from records.wilson import Z, wilson
from report.details import Range
from report.judge_figures import LabelAgreement
from report.statistics.types import Floats

Vote = Better
VOTES: tuple[Vote, ...] = get_args(Vote)

LEAST = 30
"""No share and no kappa below so many labels."""


def agreement(votes: Sequence[tuple[Vote, Vote]]) -> LabelAgreement:
    """The share of equal votes with Wilson's 95 % interval, and Cohen's kappa with its own."""
    if len(votes) < LEAST:
        return LabelAgreement(labels=len(votes), share=None, kappa=None)
    equal = sum(first == second for first, second in votes)
    low, high = wilson(equal, len(votes))
    return LabelAgreement(
        labels=len(votes),
        share=Range(low=low, estimate=equal / len(votes), high=high),
        kappa=_kappa(_table(votes)),
    )


def _table(votes: Sequence[tuple[Vote, Vote]]) -> Floats:
    """The counts by the first's and the second's vote, (3, 3)."""
    places = [len(VOTES) * VOTES.index(first) + VOTES.index(second) for first, second in votes]
    counts = np.bincount(places, minlength=len(VOTES) ** 2).astype(np.float64)
    return counts.reshape(len(VOTES), len(VOTES))


def _kappa(table: Floats) -> Range | None:
    """Cohen's kappa with the large-sample 95 % interval of Fleiss, Cohen and Everitt (Psychological Bulletin
    72, 1969).

    None if either gives always the same vote: then nothing shows that the two look at the same thing. Without
    any difference, which leaves that interval no width, its lower end is that of Wilson's share.
    """
    total = float(table.sum())
    share = table / total
    first, second = share.sum(axis=1), share.sum(axis=0)
    if max(first.max(), second.max()) >= 1:
        return None
    seen, chance = float(np.trace(share)), float(first @ second)
    kappa = (seen - chance) / (1 - chance)
    if seen == 1:
        least = (wilson(total, total)[0] - chance) / (1 - chance)
        return Range(low=least, estimate=1.0, high=1.0)
    reach = Z * math.sqrt(_variance(share, kappa) / total)
    return Range(low=max(-1.0, kappa - reach), estimate=kappa, high=min(1.0, kappa + reach))


def _variance(share: Floats, kappa: float) -> float:
    """The variance of kappa times the number of labels."""
    first, second = share.sum(axis=1), share.sum(axis=0)
    chance = float(first @ second)
    equal = float(np.sum(np.diag(share) * (1 - (first + second) * (1 - kappa)) ** 2))
    crossed = share * (second[:, None] + first[None, :]) ** 2
    apart = (1 - kappa) ** 2 * float(crossed.sum() - np.trace(crossed))
    return max(0.0, equal + apart - (kappa - chance * (1 - kappa)) ** 2) / (1 - chance) ** 2
