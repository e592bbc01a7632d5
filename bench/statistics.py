"""The benchmark's own statistics: shares, pairs, quantiles. Pure.

Examples of one document, or one id, are no independent evidence (Miller, "Adding Error Bars to Evals", arXiv
2411.00640): everything here takes each example's cluster. With a cluster an example they are the plain forms.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

SEED = 20_240_611
RESAMPLES = 2_000
FLIPS = 20_000
Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Interval:
    """low ≤ estimate ≤ high, of 95 %."""

    low: float
    estimate: float
    high: float


def wilson(correct: float, n: float) -> tuple[float, float]:
    """Wilson's interval (JASA 1927) for `correct` of `n` > 0; both may be effective, so fractional."""
    share, z2 = correct / n, Z * Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def share(correct: Sequence[bool], clusters: Sequence[str]) -> Interval | None:
    """The share of true ones of (n,) with Wilson's interval, n being what it is worth with these clusters:
    n / max(1, clustered variance / p(1−p)/n), and never less than the clusters. None for n = 0."""
    n = len(correct)
    if n == 0:
        return None
    values = np.asarray(correct, dtype=np.float64)
    p = float(values.mean())
    effective = float(n)
    groups = _groups(clusters)
    count = int(groups.max()) + 1
    plain = p * (1 - p) / n
    if count < n and plain > 0:
        sums = np.bincount(groups, weights=values - p, minlength=count)
        clustered = float(np.sum(sums**2)) / n**2
        effective = max(float(count), n / max(1.0, clustered / plain))
    elif count < n:  # all right, or all wrong: nothing tells how alike a cluster's examples are
        effective = float(count)
    low, high = wilson(p * effective, effective)
    return Interval(low, p, high)


def paired_p(baseline: Sequence[bool], candidate: Sequence[bool], clusters: Sequence[str]) -> float | None:
    """Two-sided p of "both are right equally often", from the pairs that differ; None where none does.

    Exact McNemar, binomtest(b, b+c). Where clusters hold several pairs that differ: the sign-flip test of the
    clusters' sums, `FLIPS` flips of a fixed seed (exact McNemar would take each pair for evidence).
    """
    change = np.asarray(candidate, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    differing = change != 0
    if not differing.any():
        return None
    groups = _groups([each for each, differs in zip(clusters, differing, strict=True) if differs])
    change = change[differing]
    if int(groups.max()) + 1 == len(change):
        return float(stats.binomtest(int((change > 0).sum()), len(change)).pvalue)
    sums = np.bincount(groups, weights=change)
    signs = np.random.default_rng(SEED).integers(0, 2, size=(FLIPS, len(sums))) * 2 - 1
    as_far = int((np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9).sum())
    return (as_far + 1) / (FLIPS + 1)


Statistic = Callable[[Floats], float]


def mean(values: Floats) -> float:
    """The arithmetic mean."""
    return float(values.mean())


def p95(values: Floats) -> float:
    """The 95th per cent quantile, inverted CDF."""
    return float(np.quantile(values, 0.95, method="inverted_cdf"))


def paired_ratio(
    baseline: Sequence[float], candidate: Sequence[float], clusters: Sequence[str], of: Statistic
) -> Interval | None:
    """of(candidate) / of(baseline) of (n,) pairs of positive numbers; a paired bootstrap over clusters,
    percentile interval, `RESAMPLES` of a fixed seed. None below two clusters."""
    theirs, ours = np.asarray(baseline, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    if len(set(clusters)) < 2:
        return None
    groups = _groups(clusters)
    members = [np.flatnonzero(groups == group) for group in range(int(groups.max()) + 1)]
    random = np.random.default_rng(SEED)
    found = []
    for _ in range(RESAMPLES):
        drawn = random.integers(0, len(members), size=len(members))
        rows = np.concatenate([members[group] for group in drawn])
        found.append(of(ours[rows]) / of(theirs[rows]))
    low, high = np.quantile(found, (0.025, 0.975))
    return Interval(float(low), of(ours) / of(theirs), float(high))


def quantile(values: Sequence[float], level: float) -> float | None:
    """The inverted CDF: the smallest value with at least `level` of them at or below it. None for none."""
    return float(np.quantile(values, level, method="inverted_cdf")) if values else None


def _groups(clusters: Sequence[str]) -> NDArray[np.int64]:
    """(n,) the number of each one's cluster, from 0."""
    found: NDArray[np.int64] = np.unique(np.asarray(clusters), return_inverse=True)[1]
    return found.reshape(-1).astype(np.int64)
