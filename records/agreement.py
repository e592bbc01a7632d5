"""Cohen's kappa: how far two labellers agree beyond chance, with its interval for a single look. Pure."""

import math
from collections import Counter
from collections.abc import Sequence

from records.wilson import Z, wilson

FEWEST_LABELS = 30
"""No share and no kappa is told below so many labels."""

NEEDED_LABELS, WORTH = 50, 0.4
"""The labels, and the kappa, from which on a judge's word is worth a row of the rubric. Landis and Koch
(Biometrics 33, 1977) call that agreement moderate."""


def kappa(votes: Sequence[tuple[str, str]]) -> tuple[float, float, float] | None:
    """Return the 95 % interval and estimate (low, estimate, high), in [-1, 1], of two labellers' votes.

    None without votes, and where both always give one and the same label: chance alone does that. Cohen,
    Educational and Psychological Measurement 1960; the variance is that of Fleiss, Cohen and Everitt,
    Psychological Bulletin 1969. It is 0 where all votes are alike or none is: there Wilson's interval of the
    share says how far the estimate may be off.
    """
    of = len(votes)
    first, second = Counter(a for a, _ in votes), Counter(b for _, b in votes)
    by_chance = sum(first[label] * second[label] for label in first)
    if by_chance == of * of:
        return None
    alike, chance = sum(a == b for a, b in votes), by_chance / of**2
    estimate = (alike / of - chance) / (1 - chance)
    if alike in (0, of):
        low, high = ((share - chance) / (1 - chance) for share in wilson(alike, of))
    else:
        reach = Z * math.sqrt(_variance(votes, estimate, chance))
        low, high = estimate - reach, estimate + reach
    return max(-1.0, low), estimate, min(1.0, high)


def _variance(votes: Sequence[tuple[str, str]], estimate: float, chance: float) -> float:
    """Equation 13 of Fleiss, Cohen and Everitt, as a mean over the votes."""
    of, apart = len(votes), 1 - estimate
    first, second = Counter(a for a, _ in votes), Counter(b for _, b in votes)
    squares = (
        (1 - (first[a] + second[a]) / of * apart) ** 2
        if a == b
        else ((second[a] + first[b]) / of * apart) ** 2
        for a, b in votes
    )
    spread = sum(squares) / of - (estimate - chance * apart) ** 2
    return max(0.0, spread) / (of * (1 - chance) ** 2)
