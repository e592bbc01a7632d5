"""The sample-ratio check: does the number of units in each arm match the share?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special

CONCENTRATION = 100.0
"""k of the Dirichlet prior around the planned split (Lindon, Malek, arXiv 2011.03567)."""

ALARM = math.log(1000)
LEAST_EXPECTED = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Units first seen in one phase, by arm, and the candidate's share in that phase."""

    candidate: int
    baseline: int
    share: float

    @property
    def least_expected(self) -> float:
        """The number of units expected in the smaller arm."""
        return (self.candidate + self.baseline) * min(self.share, 1 - self.share)


def chi_square(splits: Sequence[Split]) -> float | None:
    """The p-value of Pearson's χ², summed over phases; None if no phase has enough units.

    A phase needs 5 expected units in each arm: below, χ² does not have its distribution, and a single user
    of a 5 % candidate would look like a broken split (p = 1e-5).
    """
    large = [split for split in splits if split.least_expected >= LEAST_EXPECTED]
    if not large:
        return None
    return float(special.chdtrc(len(large), sum(_pearson(split) for split in large)))


def _pearson(split: Split) -> float:
    units = split.candidate + split.baseline
    expected = units * split.share
    return (split.candidate - expected) ** 2 / (units * split.share * (1 - split.share))


def log_evidence(splits: Sequence[Split]) -> float:
    """ln E of the sequential multinomial test, multiplied over phases. An alarm from `ALARM` on."""
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
