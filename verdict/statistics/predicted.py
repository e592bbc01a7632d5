"""A mean of people's labels, of which most are predicted: prediction-powered inference.

Angelopoulos, Bates, Fannjiang, Jordan, Zrnic, "Prediction-powered inference", Science 382, 2023; the part of
the prediction from the data: Angelopoulos, Duchi, Zrnic, "PPI++", arXiv 2311.01453. A prediction only lowers
the variance: however it is biased, the mean is that of the labels, if these were drawn at random.
"""

import math

import numpy as np

from verdict.statistics.types import Floats, Ints


def slope(predicted: Floats, labels: Floats, group: Ints) -> float:
    """λ, from 0 to 1: the part of the prediction that the labels bear out, their regression on it within the
    groups. `labels` are NaN where there is none; all are (n,)."""
    known = np.isfinite(labels)
    f, y = (_centred(values[known], group[known]) for values in (predicted, labels))
    spread = float(f @ f)
    return min(1.0, max(0.0, float(f @ y) / spread)) if spread > 0 else 0.0


def rectified(predicted: Floats, labels: Floats, weight: Floats, drawn: Ints, group: Ints) -> Floats:
    """The predictions, put right by the labels, (n,): their weighted mean within a group estimates that of
    its labels, and their distance from it is their influence.

    A label speaks for the weight of those it was `drawn` from, (n,) numbers of categories: the more labels of
    it there are, the less each. Every group needs a label; its categories without one are taken to be like
    its others. The labels' spread is corrected for their number, for the groups and for λ.
    """
    known = np.isfinite(labels)
    part = slope(predicted, labels, group)
    rest = np.where(known, labels - part * predicted, 0.0)
    beside = np.bincount(drawn[known], minlength=int(drawn.max()) + 1)
    speaks = np.where(known, np.bincount(drawn, weights=weight)[drawn] / np.maximum(beside, 1)[drawn], 0.0)
    heard = np.bincount(group, weights=speaks)
    mean = np.bincount(group, weights=speaks * rest) / heard
    off = speaks * (rest - mean[group]) * (np.bincount(group, weights=weight) / heard)[group] / weight
    return np.asarray(part * predicted + mean[group] + _widened(np.bincount(group[known])) * off)


def coarsened(group: Ints, count: Ints, least: int) -> Ints:
    """The groups, (n,), numbered from 0 so that each has at least so many of the labels that `count` has by
    group: those with the fewest are one."""
    order = np.argsort(count, kind="stable")
    few = int(np.searchsorted(count[order], least))
    if few:
        few = max(few, int(np.searchsorted(np.cumsum(count[order]), least)) + 1)
    joined = np.arange(len(count))
    joined[order[:few]] = order[0]
    return np.unique(joined[group], return_inverse=True)[1].astype(np.int64)


def _centred(values: Floats, group: Ints) -> Floats:
    count = np.maximum(np.bincount(group), 1)
    return np.asarray(values - (np.bincount(group, weights=values) / count)[group])


def _widened(count: Ints) -> float:
    """√(n/(n − groups − 1)): what the means of the groups and λ take from the labels' spread."""
    labels = int(count.sum())
    return math.sqrt(labels / max(labels - len(count) - 1, 1))
