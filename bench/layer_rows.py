"""The rubric's rows on the layers of a benchmark: from users where they give a value, else synthetic."""

from collections.abc import Mapping, Sequence

from bench.dataset.weights import TrafficWeights
from bench.figures import Pair
from bench.measurement import Measurement, RunConditions
from bench.measures import measurement
from bench.rubric_rows import RowResult, judged
from bench.settings import COMPLETION, Layer, RubricRow
from bench.share_measures import of_strata
from bench.weighted import Stratum, strata
from bench.weighted import judged as judged_pairs

WeighedPairs = tuple[TrafficWeights | None, Sequence[Pair]]
"""A dataset's weights, if it has any, and its examples."""

_NEAREST: tuple[Layer, ...] = ("real", "synthetic")


def judged_rows(
    rows: Sequence[RubricRow],
    layers: Mapping[Layer, Sequence[WeighedPairs]],
    conditions: RunConditions,
) -> tuple[RowResult, ...]:
    """Every row, on the layer nearest to users that has a value for it; at least one layer is given."""
    near: list[Layer] = [layer for layer in _NEAREST if layer in layers]
    return tuple(
        _first([judged(row, _measured(row, layers[layer], conditions), layer) for layer in near])
        for row in rows
    )


def _first(found: Sequence[RowResult]) -> RowResult:
    return next((each for each in found if each.state != "NODATA"), found[0])


def _measured(row: RubricRow, datasets: Sequence[WeighedPairs], conditions: RunConditions) -> Measurement:
    """The row's metric on a layer's examples; completion by the traffic's weights where they are known."""
    if row.metric == COMPLETION and (parts := _strata(datasets)):
        return of_strata(parts)
    pairs = judged_pairs([pair for _, listed in datasets for pair in listed])
    return measurement(row.metric, [(a, b) for a, b in pairs if b is not None], conditions)


def _strata(datasets: Sequence[WeighedPairs]) -> list[Stratum]:
    """The datasets' strata: each dataset counts by its examples, its categories by their traffic. Empty if no
    dataset has weights for its categories."""
    known = [(judged_pairs(pairs), _by_traffic(weights, pairs)) for weights, pairs in datasets]
    if not any(parts for _, parts in known):
        return []
    whole = sum(len(pairs) for pairs, _ in known)
    return [
        (len(pairs) / whole * weight, group)
        for pairs, parts in known
        if pairs
        for weight, group in (parts or [(1.0, pairs)])
    ]


def _by_traffic(weights: TrafficWeights | None, pairs: Sequence[Pair]) -> list[Stratum]:
    return [] if weights is None else strata(weights, pairs)
