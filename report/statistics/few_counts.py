"""The chance that a group-sequential test of a share passes, when events are too few for a normal z."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import special

from report.statistics.types import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class CountLook:
    """One look: the effective number of trials by then, and the boundary's one-sided level 1 − Φ(c)."""

    trials: float
    level: float


def chance_of_fewer(looks: Sequence[CountLook], bound: float, value: float) -> float:
    """The probability that some look's count of events shows a share below `bound`, if it is `value`.

    A look passes when Clopper and Pearson's upper end is at most `bound`. Counts grow as a Poisson process.
    `bound` and `value` are in [0, 1].
    """
    enough = [_most(look, bound) + 1 for look in looks]
    going, passed = _start(max(enough, default=0)), 0.0
    for look, further in zip(enough, _growth(looks, value), strict=True):
        going = _later(going, further)
        passed += float(np.sum(going[:look]))
        going[:look] = 0.0
    return passed


def chance_of_more(looks: Sequence[CountLook], bound: float, value: float) -> float:
    """As `chance_of_fewer`, for a share above `bound`, by Clopper and Pearson's lower end."""
    least = [_least(look, bound) for look in looks]
    going, passed = _start(max(least, default=0)), 0.0
    for look, further in zip(least, _growth(looks, value), strict=True):
        before = float(np.sum(going))
        going = _later(going, further)
        passed += before - float(np.sum(going[:look]))
        going[look:] = 0.0
    return passed


def _start(size: int) -> Floats:
    going = np.zeros(size)
    going[:1] = 1.0
    return going


def _growth(looks: Sequence[CountLook], value: float) -> list[float]:
    """The events expected between the looks."""
    trials = [0.0, *(look.trials for look in looks)]
    return [max(0.0, now - before) * value for before, now in pairwise(trials)]


def _later(going: Floats, mean: float) -> Floats:
    """The distribution of a count after `mean` further events are expected; counts beyond the array leave."""
    if len(going) == 0:
        return going
    counts = np.arange(len(going))
    further = np.exp(special.xlogy(counts, mean) - mean - special.gammaln(counts + 1))
    return np.asarray(np.convolve(going, further)[: len(going)], dtype=np.float64)


def _most(look: CountLook, bound: float) -> int:
    """The largest count that passes; −1 if not even 0 events do."""
    counts = np.arange(int(np.ceil(look.trials * bound)) + 1, dtype=np.float64)
    counts = counts[counts < look.trials]
    below = special.betainc(look.trials - counts, counts + 1, 1 - bound)
    return int(np.sum(below <= look.level)) - 1


def _least(look: CountLook, bound: float) -> int:
    """The smallest count that passes; above the trials if none does."""
    counts = np.arange(1, int(look.trials) + 1, dtype=np.float64)
    above = special.betainc(counts, look.trials - counts + 1, bound)
    passing = np.flatnonzero(above <= look.level)
    return int(passing[0]) + 1 if len(passing) else int(look.trials) + 1
