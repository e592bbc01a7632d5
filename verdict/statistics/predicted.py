"""A mean of people's labels, of which most are predicted: prediction-powered inference.

Angelopoulos, Bates, Fannjiang, Jordan, Zrnic, "Prediction-powered inference", Science 382, 2023; the part of
the prediction from the data: Angelopoulos, Duchi, Zrnic, "PPI++", arXiv 2311.01453. A prediction only lowers
the variance: however it is biased, the mean is that of the labels, if these were drawn at random.
"""

import math

import numpy as np

from verdict.statistics.types import Bools, Floats, Ints


def slope(predicted: Floats, labels: Floats, group: Ints) -> float:
    """λ, from 0 to 1: the part of the prediction that the labels bear out, their regression on it within the
    groups. `labels` are NaN where there is none; all are (n,)."""
    known = np.isfinite(labels)
    f, y = (_centred(values[known], group[known]) for values in (predicted, labels))
    spread = float(f @ f)
    return min(1.0, max(0.0, float(f @ y) / spread)) if spread > 0 else 0.0


def rectified(
    predicted: Floats,
    labels: Floats,
    weight: Floats,
    drawn: Ints,
    group: Ints,
    *,
    unit: Ints | None = None,
    scale: float = 0.0,
) -> Floats:
    """The predictions, put right by the labels, (n,): their weighted mean within a group estimates that of
    its labels, and their distance from it is their influence.

    A label speaks for the weight of those it was `drawn` from, (n,) numbers of categories: the more labels of
    it there are, the less each. Every group needs a label; its categories without one are taken to be like
    its others. The labels' spread is corrected for their number, for the groups and for λ, and, with the
    `unit` of each value and the `scale` on which labels lie, for labels that hardly differ (`_phantoms`).
    """
    known = np.isfinite(labels)
    part = slope(predicted, labels, group)
    rest = np.where(known, labels - part * predicted, 0.0)
    beside = np.bincount(drawn[known], minlength=int(drawn.max()) + 1)
    speaks = np.where(known, np.bincount(drawn, weights=weight)[drawn] / np.maximum(beside, 1)[drawn], 0.0)
    heard = np.bincount(group, weights=speaks)
    mean = np.bincount(group, weights=speaks * rest) / heard
    apart = np.where(known, rest - mean[group], 0.0)
    if unit is not None and scale > 0:
        lacks = _lacking(apart / scale, known, _own_spread(part * predicted / scale, weight))
        sign = _signs(predicted, known, group, unit)
        sign = np.where(known, sign - (np.bincount(group, weights=speaks * sign) / heard)[group], 0.0)
        if (size := float(sign @ sign)) > 0:
            apart = apart + scale * math.sqrt(lacks / size) * sign
    off = speaks * apart * (np.bincount(group, weights=weight) / heard)[group] / weight
    return np.asarray(part * predicted + mean[group] + _widened(np.bincount(group[known])) * off)


_PHANTOMS, _ENOUGH = 4.0, 10.0
"""The labels at the far end of the scale that are added where all are alike (Agresti, Coull, American
Statistician 1998), and the labels' spread, on a scale of length 1, from which on none is."""


def _lacking(apart: Floats, known: Bools, own: float) -> float:
    """The spread that too few different labels leave out, on a scale of length 1: 54 labels that are all
    alike do not say that all others are. What the predictions' `own` variance adds is not added again."""
    seen = float(apart @ apart)
    return max(0.0, _PHANTOMS * (1 - seen / _ENOUGH) - own * float(known.sum()) ** 2)


def _own_spread(predicted: Floats, weight: Floats) -> float:
    """The variance of the predictions' weighted mean."""
    size = float(weight.sum())
    off = weight * (predicted - float(weight @ predicted) / size)
    return float(off @ off) / size**2


def _signs(predicted: Floats, known: Bools, group: Ints, unit: Ints) -> Floats:
    """1 and −1 for as many labels of each prediction and group, one of them for all labels of a unit; 0
    without a label."""
    places = np.flatnonzero(known)
    places = places[np.lexsort((predicted[places], group[places]))]
    _, first, which = np.unique(unit[places], return_index=True, return_inverse=True)
    turn = np.argsort(np.argsort(first))
    sign = np.zeros(len(predicted))
    sign[places] = np.where(turn[which] % 2 == 0, 1.0, -1.0)
    return sign


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
