"""A judge's values as a sample of their own, in which every figure of a metric is made as for any other.

A judge is asked evenly over categories, so each category is a stratum with its share of the canary's
concurrent exchanges, both arms together: it stands where a ramp's phase stands. Categories without a value
are left out, and the shares of the others grow in proportion. While the canary has no concurrent traffic,
every value counts alike.
"""

import numpy as np

from judge.judgements import JudgedExchange, Kind
from records.facts.metric import JUDGED, JUDGED_PREFERENCE
from verdict.sample.arrays import MeasureTotals, Sample, TextColumn
from verdict.statistics.types import Bools, Floats

TRAFFIC = "exchanges"
"""The measure of a sample that counts exchanges."""

_GRID = 2.0**20
"""Weights are multiples of 2⁻²⁰, so that the mean of equal values is exactly that value."""


def holding(sample: Sample, metric: str) -> Sample:
    """The sample with this metric's values: the same one, except for what a judge measures."""
    return judged_sample(sample, metric) if metric in JUDGED else sample


def judged_sample(sample: Sample, metric: str) -> Sample:
    """One row per judged pair, or answer. Pairs are the candidate's alone: their preference is a comparison
    already."""
    kind: Kind = "pair" if metric == JUDGED_PREFERENCE else "answer"
    found = [each for each in sample.judged.of(kind) if _value(each) is not None]
    units = TextColumn.of([each.unit or each.exchange_id for each in found])
    category = TextColumn.of([each.category for each in found])
    candidate = np.array([kind == "pair" or each.arm == "candidate" for each in found], dtype=np.bool_)
    at = np.array([each.at for each in found], dtype=np.float64)
    value = np.array([_value(each) for each in found], dtype=np.float64)
    weight = _weights(category, candidate, sample)
    return Sample(
        units=units.names,
        unit=units.code,
        candidate=candidate,
        phase=category.code,
        first_at=at,
        last_at=at,
        candidate_at=at[candidate],
        category=TextColumn(names=("",), code=np.zeros(len(found), dtype=np.int64)),
        totals={metric: MeasureTotals(count=weight, total=weight * value)},
    )


def _value(judged: JudgedExchange) -> float | None:
    return judged.preference if judged.kind == "pair" else judged.mark


def _weights(category: TextColumn, candidate: Bools, sample: Sample) -> Floats:
    """The values' weights, (n,): their category's share of the traffic, divided among the values that their
    arm has there; about 1 on average. 0 in a category without traffic."""
    traffic = _traffic(sample)
    place = 2 * category.code + candidate
    beside = np.bincount(place)[place].astype(np.float64) if len(place) else np.zeros(0)
    share = np.array([traffic.get(name, 0.0) for name in category.names])
    found = share[category.code] / beside if share.any() else np.ones(len(place))
    return np.round(found / _mean_of_arm(found, candidate) * _GRID) / _GRID


def _mean_of_arm(found: Floats, candidate: Bools) -> Floats:
    """The mean of the values' arm, (n,)."""
    arm = candidate.astype(np.int64)
    means = np.bincount(arm, weights=found, minlength=2) / np.maximum(np.bincount(arm, minlength=2), 1)
    return np.where(means > 0, means, 1.0)[arm]


def _traffic(sample: Sample) -> dict[str, float]:
    """The concurrent exchanges of each category."""
    totals = sample.totals.get(TRAFFIC)
    if totals is None:
        return {}
    names = sample.category.names
    counts = np.bincount(sample.category.code, weights=totals.count, minlength=len(names))
    return dict(zip(names, counts.tolist(), strict=True))
