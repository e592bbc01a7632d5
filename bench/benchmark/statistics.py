"""The benchmark's statistics: shares, paired tests, quantiles. Pure.

Examples of one document, or one id, are not independent evidence (Miller, "Adding Error Bars to Evals", arXiv
2411.00640), so every function takes the examples' clusters. With one example per cluster they are the plain
forms.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from common.interval import Interval, Z, recovered, wilson

Floats = NDArray[np.float64]

SEED = 20_240_611
RESAMPLES = 2_000
_AT_A_TIME = 200
FLIPS = 20_000


def share(correct: Sequence[bool], clusters: Sequence[str]) -> Interval | None:
    """The share of True among (n,), with Wilson's interval for the effective n given the clusters. None for
    n = 0."""
    if not correct:
        return None
    values = np.asarray(correct, dtype=np.float64)
    p, effective = float(values.mean()), len(values) / _design_effect(values, clusters)
    low, high = wilson(p * effective, effective)
    return Interval(low=low, estimate=p, high=high)


def paired_p(baseline: Sequence[bool], candidate: Sequence[bool], clusters: Sequence[str]) -> float | None:
    """Two-sided p of "both are right equally often", from the discordant pairs; None without any.

    Exact McNemar, binomtest(b, b+c). If a cluster has several discordant pairs: the sign-flip test of the
    clusters' sums, with `FLIPS` flips of a fixed seed (exact McNemar would treat the pairs as independent).
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


def paired_difference(
    baseline: Sequence[bool], candidate: Sequence[bool], clusters: Sequence[str], *, factor: float = 1.0
) -> Interval | None:
    """The candidate's share of right answers minus `factor` times the baseline's, of (n,) pairs. None for
    n = 0.

    Bonett and Price's adjusted interval (BJMSP 2012): it adds two pairs, one right for each model alone, of
    the values 1 and -factor, so that the interval has a width even if all pairs agree. Clusters widen it by
    the design effect.
    """
    n = len(baseline)
    if n == 0:
        return None
    change = np.asarray(candidate, dtype=np.float64) - factor * np.asarray(baseline, dtype=np.float64)
    middle = (float(change.sum()) + 1 - factor) / (n + 2)
    variance = ((float((change**2).sum()) + 1 + factor**2) / (n + 2) - middle**2) / (n + 2)
    half = Z * math.sqrt(variance * _design_effect(change, clusters))
    return Interval(
        low=max(-factor, middle - half), estimate=float(change.mean()), high=min(1.0, middle + half)
    )


def _design_effect(values: Floats, clusters: Sequence[str]) -> float:
    """The variance of the mean of (n,) clustered values over that of independent ones, at least 1. Without
    variance the similarity within clusters is unknown, and it is the mean cluster size."""
    groups = _groups(clusters)
    count, n = int(groups.max()) + 1, len(values)
    centred = values - values.mean()
    plain = float(np.sum(centred**2))
    if count == n:
        return 1.0
    if plain == 0:
        return n / count
    sums = np.bincount(groups, weights=centred, minlength=count)
    return max(1.0, float(np.sum(sums**2)) / plain)


Statistic = Callable[[Floats], Floats]


def mean(values: Floats) -> Floats:
    """The mean along the last axis."""
    found: Floats = values.mean(axis=-1)
    return found


def quantile_of(level: float) -> Statistic:
    """The quantile along the last axis, inverted CDF."""

    def of(values: Floats) -> Floats:
        return np.asarray(np.quantile(values, level, axis=-1, method="inverted_cdf"), dtype=np.float64)

    return of


def paired_ratio(
    baseline: Sequence[float], candidate: Sequence[float], clusters: Sequence[str], of: Statistic
) -> Interval | None:
    """of(candidate) / of(baseline) of (n,) pairs of positive numbers. Percentile interval of a paired
    bootstrap over clusters, `RESAMPLES` of a fixed seed. None below two clusters."""
    values = np.asarray([baseline, candidate], dtype=np.float64)
    return resampled(values, clusters, lambda found: of(found[1]) / of(found[0]))


def resampled(values: Floats, clusters: Sequence[str], of: Callable[[Floats], Floats]) -> Interval | None:
    """of(values), of (k, n) values: k of each example. Percentile interval of a bootstrap over clusters, as
    `paired_ratio` has it. None below two clusters."""
    if len(set(clusters)) < 2:
        return None
    found = np.hstack([of(values[:, rows]) for rows in _resamples(_groups(clusters))])
    low, high = np.quantile(found, (0.025, 0.975))
    return Interval(low=float(low), estimate=float(of(values)), high=float(high))


def quantile_interval(values: Sequence[float], clusters: Sequence[str], level: float) -> Interval | None:
    """The quantile of (n,) values, with the distribution-free interval between two of the values (David and
    Nagaraja, Order Statistics, 7.1). Its upper end needs `least_for(level)` values. None for n = 0."""
    if not values:
        return None
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    above = np.asarray(values, dtype=np.float64) > np.quantile(ordered, level, method="inverted_cdf")
    effective = n / _design_effect(above.astype(np.float64), clusters)
    low, high = stats.binom.ppf((0.025, 0.975), max(1, round(effective)), level)
    first, last = (min(n, max(1, math.ceil(rank * n / effective - 1e-9))) for rank in (low, high + 1))
    middle = float(np.quantile(ordered, level, method="inverted_cdf"))
    return Interval(low=float(ordered[first - 1]), estimate=middle, high=float(ordered[last - 1]))


def least_for(level: float) -> int:
    """The number of values from which the largest is above the quantile with 97.5 % confidence."""
    return math.ceil(math.log(0.025) / math.log(level))


def weighted(parts: Sequence[tuple[float, Interval | None]]) -> Interval:
    """The sum of independent parts' values by their weights; a negative weight subtracts. A part without a
    value is left out; for one part its own interval."""
    return recovered((weight, part) for weight, part in parts if part is not None)


def _resamples(groups: NDArray[np.int64]) -> Iterator[NDArray[np.intp]]:
    """The rows of resampled clusters; many resamples at a time if every cluster is one row."""
    random, count = np.random.default_rng(SEED), int(groups.max()) + 1
    if count == len(groups):
        for _ in range(RESAMPLES // _AT_A_TIME):
            yield random.integers(0, count, size=(_AT_A_TIME, count))
        return
    members = [np.flatnonzero(groups == group) for group in range(count)]
    for _ in range(RESAMPLES):
        yield np.concatenate([members[group] for group in random.integers(0, count, size=count)])


def quantile(values: Sequence[float], level: float) -> float | None:
    """The inverted CDF: the smallest value with at least `level` of all at or below it. None if empty."""
    return float(np.quantile(values, level, method="inverted_cdf")) if values else None


def _groups(clusters: Sequence[str]) -> NDArray[np.int64]:
    """The number of each value's cluster, (n,), from 0."""
    found: NDArray[np.int64] = np.unique(np.asarray(clusters), return_inverse=True)[1]
    return found.reshape(-1).astype(np.int64)
