"""Did the split work: does the count of units in each arm fit the share they were drawn with?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special, stats

CONCENTRATION = 100.0
"""k of the Dirichlet prior around the planned split (Lindon, Malek, arXiv 2011.03567)."""

ALARM = math.log(1000)
LEAST_EXPECTED = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Units first seen in one phase: how many in each arm, and the candidate's share while it lasted."""

    candidate: int
    baseline: int
    share: float

    @property
    def least_expected(self) -> float:
        """Units expected in the smaller arm."""
        return (self.candidate + self.baseline) * min(self.share, 1 - self.share)


def chi_square(splits: Sequence[Split]) -> float | None:
    """The p-value of Pearson's χ², summed over phases; None when none has units enough.

    A phase counts from 5 expected units in each arm on: below, χ² is far from its distribution, and a single
    user who happens to meet a 5 % candidate would already look like a broken split (p = 1e-5).
    """
    seen = [split for split in splits if split.least_expected >= LEAST_EXPECTED]
    if not seen:
        return None
    return float(stats.chi2.sf(sum(_pearson(split) for split in seen), df=len(seen)))


def _pearson(split: Split) -> float:
    units = split.candidate + split.baseline
    expected = units * split.share
    return (split.candidate - expected) ** 2 / (units * split.share * (1 - split.share))


def log_evidence(splits: Sequence[Split]) -> float:
    """ln E of the sequential multinomial test, the phases' E multiplied; an alarm from `ALARM` on."""
    return sum(_log_evidence(split) for split in splits)


def _log_evidence(split: Split) -> float:
    prior = (CONCENTRATION * split.share, CONCENTRATION * (1 - split.share))
    counts = (split.candidate, split.baseline)
    return float(
        special.betaln(prior[0] + counts[0], prior[1] + counts[1])
        - special.betaln(*prior)
        - counts[0] * math.log(split.share)
        - counts[1] * math.log1p(-split.share)
    )
