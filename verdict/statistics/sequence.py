"""Always-valid intervals and evidence, and exact tests of few units.

Asymptotic confidence sequences: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit
theory and asymptotic confidence sequences", arXiv 2103.06476. τ = n·ρ² is the information so far in units of
the prior's.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import special

from common.interval import Interval
from verdict.statistics.types import Bools, Floats, Ints

POWER_Z = float(special.ndtri(0.8))
"""z_β of the 80 % power behind the detectable difference and the units needed."""


def tuning(*, alpha: float, planned: float) -> float:
    """ρ² that makes the two-sided sequence tightest at n* = `planned` units: (−W₋₁(−α²/e) − 1)/n*."""
    return (-float(special.lambertw(-(alpha**2) / math.e, k=-1).real) - 1) / planned


def multiplier(tau: float, alpha: float) -> float:
    """c of the two-sided interval estimate ± c·SE at level 1 − α, always valid."""
    return math.sqrt(2 * (tau + 1) / tau * math.log(math.sqrt(tau + 1) / alpha))


def log_evidence(z: float, tau: float) -> float:
    """ln E₂ against "no difference" at z = estimate/SE: z²τ/(2(1+τ)) − ½ ln(1+τ)."""
    return z * z * tau / (2 * (1 + tau)) - 0.5 * math.log1p(tau)


def one_sided_evidence(z: float, tau: float) -> float:
    """E₁ = 2·E₂·Φ(z√(τ/(1+τ))), the evidence for a positive difference."""
    tail = float(special.log_ndtr(z * math.sqrt(tau / (1 + tau))))
    return _exp(math.log(2) + log_evidence(z, tau) + tail)


def p_value(z: float, tau: float) -> float:
    """min(1, 1/E₂): below α exactly when the interval at α excludes 0."""
    return min(1.0, _exp(-log_evidence(z, tau)))


def units_needed(*, sigma: float, delta: float, share: float | None, alpha: float, rho2: float) -> float:
    """The candidate units at which a true distance `delta` from the bound is detected with 80 % power.

    (c+z_β)²·σ²·(1 + w/(1−w))/δ², iterated because c depends on the τ of the result. `sigma` is the standard
    deviation of one unit's value, in delta's unit. `share` w is the candidate's share for a relative bound,
    None for an absolute bound. Raises ValueError if delta is not positive.
    """
    if delta <= 0:
        raise ValueError("delta must be positive: no number of units detects a distance of 0")
    spread = (sigma / delta) ** 2 * (1 if share is None else 1 + share / (1 - share))
    units = max(1.0, (multiplier(1.0, alpha) + POWER_Z) ** 2 * spread)
    for _ in range(50):
        step = max(1.0, (multiplier(rho2 * units, alpha) + POWER_Z) ** 2 * spread)
        if abs(step - units) < 0.5:
            return step
        units = step
    return units


def _exp(log: float) -> float:
    try:
        return math.exp(log)
    except OverflowError:
        return math.inf


# Intervals for a share from few events, without a normal approximation.


def log_mixture(successes: float, trials: float, p: float) -> float:
    """ln E(p) = ln B(½+s, ½+n−s) − ln B(½,½) − s·ln p − (n−s)·ln(1−p), evidence against a mean of p.

    `successes` is the sum of one value in [0, 1] for each of `trials` units (fractions are fine), p in
    (0, 1). Robbins' method of mixtures with a Beta(½, ½) prior.
    """
    failures = trials - successes
    return float(
        special.betaln(0.5 + successes, 0.5 + failures)
        - special.betaln(0.5, 0.5)
        - successes * math.log(p)
        - failures * math.log1p(-p)
    )


def mixture_interval(successes: float, trials: float, *, alpha: float) -> Interval:
    """{p : E(p) < 1/α}, always valid. E is convex in p, lowest at s/n, so one root lies on each side."""
    mean = successes / trials

    def excess(p: float) -> float:
        return log_mixture(successes, trials, p) + math.log(alpha)

    edge = 1e-15
    centre = min(max(mean, edge), 1 - edge)
    return Interval(
        low=0.0 if mean <= edge else _crossing(excess, inside=centre, outside=edge),
        estimate=mean,
        high=1.0 if mean >= 1 - edge else _crossing(excess, inside=centre, outside=1 - edge),
    )


def _crossing(excess: Callable[[float], float], *, inside: float, outside: float) -> float:
    """The point between `inside` and `outside` where excess turns positive, by bisection; the end if none."""
    if excess(outside) <= 0:
        return float(round(outside))
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if excess(middle) <= 0 else (inside, middle)
    return outside


# Multiple testing: which of many e-values are discoveries.


def e_bh(evidence: Floats, *, alpha: float) -> Bools:
    """The e-BH procedure: reject the k largest e-values, with k the largest such that k·e_(k)/K ≥ 1/α.

    The false discovery rate is at most α under any dependence (Wang, Ramdas, arXiv 2009.02824). With e = 1/p
    it is the Benjamini-Hochberg procedure. Returns (K,) booleans in the order given.
    """
    tests = len(evidence)
    rejected = np.zeros(tests, dtype=np.bool_)
    order = np.argsort(-evidence, kind="stable")
    enough = np.arange(1, tests + 1) * evidence[order] / max(tests, 1) >= 1 / alpha - 1e-9
    if enough.any():
        rejected[order[: int(np.flatnonzero(enough)[-1]) + 1]] = True
    return rejected


# The sample-ratio check: does the number of units in each arm match the share?


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


def split_evidence(splits: Sequence[Split]) -> float:
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


# The exact test of few units: how often chance alone puts units this bad into the candidate.


GROUPS = 5
"""Groups keep 1 − 1/GROUPS² of the variance of the ranks, 96 %, and bound the time."""

MOST = 200
"""The largest smaller arm for which the exact distribution is computed."""

_NONE = 1e-18

_SAME = 1e-7
"""Relative rounding error below which two tables are equally likely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """Units with one value each, higher is worse, and whether chance gave them to the candidate, (units,)."""

    badness: Floats
    candidate: Bools


def exact_p_value(strata: Sequence[Stratum]) -> float | None:
    """The probability of candidate units at least this bad, one-sided, over all strata together.

    Ranks are those within a stratum, as in van Elteren's test. None without units in both arms of a stratum,
    or with more than MOST in both arms of one.
    """
    both = [one for one in strata if one.candidate.any() and not one.candidate.all()]
    if not both or max(_smaller(one) for one in both) > MOST:
        return None
    found = [_sum_of_scores(one) for one in both]
    chances = found[0][0]
    for more, _ in found[1:]:
        chances = np.convolve(chances, more)
    observed = sum(score for _, score in found)
    return min(1.0, float(np.sum(chances[observed:])))


def groups(values: Floats) -> Ints:
    """Each value's group, 0 to GROUPS − 1, by its mean rank, (units,): equal values share one."""
    _, place, sizes = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(sizes) - sizes / 2
    return np.floor(GROUPS * middle / len(values)).astype(np.int64)[place]


def chances_of_sums(sizes: Ints, drawn: int) -> Floats:
    """The distribution of the sum of the groups' numbers over `drawn` of the units: (drawn·(GROUPS−1)+1,).

    `sizes` are the groups', (GROUPS,). Each group gives a binomial number at the rate drawn / units; given
    that they are `drawn` in all, every choice is equally likely.
    """
    rate = drawn / int(sizes.sum())
    found = np.zeros((drawn + 1, drawn * (len(sizes) - 1) + 1))
    found[:, 0] = _binomial(int(sizes[0]), rate, drawn)
    for score, size in enumerate(sizes[1:].tolist(), start=1):
        found = _with_group(found, score, _binomial(size, rate, drawn))
    chosen = found[drawn]
    return np.asarray(chosen / chosen.sum(), dtype=np.float64)


def _sum_of_scores(stratum: Stratum) -> tuple[Floats, int]:
    """The chances of each sum of the smaller arm's scores, and the sum seen; higher is a worse candidate."""
    score = groups(stratum.badness)
    drawn, fewer = _smaller(stratum), stratum.candidate
    swapped = int(np.sum(fewer)) != drawn
    observed = int(np.sum(score[~fewer if swapped else fewer]))
    chances = chances_of_sums(np.bincount(score, minlength=GROUPS), drawn)
    return (chances[::-1], len(chances) - 1 - observed) if swapped else (chances, observed)


def _smaller(stratum: Stratum) -> int:
    ours = int(np.sum(stratum.candidate))
    return min(ours, len(stratum.candidate) - ours)


def _with_group(found: Floats, score: int, chances: Floats) -> Floats:
    """`found` by units drawn and their sum, with so many units of one more group."""
    drawn, sums = found.shape
    more = np.zeros_like(found)
    for number in np.flatnonzero(chances > _NONE).tolist():
        shift = number * score
        more[number:, shift:] += chances[number] * found[: drawn - number, : sums - shift]
    return more


def _binomial(size: int, rate: float, most: int) -> Floats:
    """The chances of 0 to `most` of `size` units at this rate, in (0, 1); (most + 1,)."""
    number = np.arange(most + 1)
    possible = number <= size
    rest = np.where(possible, size - number, 0)
    ways = special.gammaln(size + 1) - special.gammaln(number + 1) - special.gammaln(rest + 1)
    logs = ways + number * math.log(rate) + rest * math.log1p(-rate)
    return np.asarray(np.where(possible, np.exp(logs), 0.0), dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCounts:
    """Events `of` so many units in one group, and `others` of `of_others` in the other."""

    events: int
    of: int
    others: int
    of_others: int


def fisher(tables: Sequence[GroupCounts]) -> float:
    """The two-sided p-value of Fisher's exact test for equal shares in two groups, within each of the tables:
    the probability of all sums of events in the first group that are no likelier than the one seen.

    With the events rare, the sums are few. Mantel, Haenszel, JNCI 1959; Gart, Biometrika 1970.
    """
    chances, least = np.ones(1), 0
    for table in tables:
        first, found = _chances_of_first(table)
        chances, least = np.convolve(chances, found), least + first
    seen = chances[sum(table.events for table in tables) - least]
    return min(1.0, float(np.sum(chances[chances <= seen * (1 + _SAME)])))


def _chances_of_first(table: GroupCounts) -> tuple[int, Floats]:
    """The fewest events that the first group may have, and the chances of each number from there on."""
    total, drawn = table.of + table.of_others, table.events + table.others
    first = np.arange(max(0, drawn - table.of_others), min(drawn, table.of) + 1)
    found = (
        _log_choose(table.of, first) + _log_choose(table.of_others, drawn - first) - _log_choose(total, drawn)
    )
    return int(first[0]), np.exp(found)


def _log_choose(of: int, number: Ints | int) -> Floats:
    found = (
        special.gammaln(of + 1) - special.gammaln(number + 1) - special.gammaln(of - np.asarray(number) + 1)
    )
    return np.asarray(found, dtype=np.float64)


# The chance that a group-sequential test of a share passes, when events are too few for a normal z.


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
