"""The rubric's rows on a benchmark: each decided on the layer nearest to users that has a value for it.

    the whole interval keeps the ideal bound         → IDEAL
    the whole interval keeps the acceptable bound    → PASS
    none of it does                                  → FAIL: don't ship
    part of it does, or something is missing         → INCONCLUSIVE: extend
    no value                                         → NODATA: extend

A row that lacks something, for example prices, never passes. An absolute bound of `cost_total` is a user's
total: it is NODATA, and does not decide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.benchmark.figures import ResultPair, Stratum, marked, strata
from bench.benchmark.metrics import Lack, Measurement, RunConditions, completion_by_traffic, measurement
from bench.benchmark.statistics import ShareInterval
from bench.dataset.weights import TrafficWeights
from bench.settings import COMPLETION, Layer, RubricRow
from records.facts.metric import Bound

RowState = Literal["IDEAL", "PASS", "FAIL", "INCONCLUSIVE", "NODATA"]
Severity = Literal["fails", "open"]

WeighedPairs = tuple[TrafficWeights | None, Sequence[ResultPair]]
"""A dataset's weights, if it has any, and its examples."""

_NEAREST: tuple[Layer, ...] = ("real", "synthetic")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """One row as decided.

    layer    where it was measured, or looked for
    lack     why it cannot pass, though it may keep its bound; why it has no value
    decides  False for a row that only a canary can decide
    """

    row: RubricRow
    layer: Layer
    measurement: Measurement
    state: RowState
    lack: Lack | None = None
    decides: bool = True

    @property
    def severity(self) -> Severity | None:
        """How the row bears on the verdict; None if it keeps its bound."""
        if not self.decides or self.state in ("IDEAL", "PASS"):
            return None
        return "fails" if self.state == "FAIL" else "open"


def decided(
    rows: Sequence[RubricRow],
    layers: Mapping[Layer, Sequence[WeighedPairs]],
    conditions: RunConditions,
) -> tuple[RowResult, ...]:
    """Every row, on the layer nearest to users that has a value for it; at least one layer is given."""
    near: list[Layer] = [layer for layer in _NEAREST if layer in layers]
    return tuple(
        _first([_decided(row, _measured(row, layers[layer], conditions), layer) for layer in near])
        for row in rows
    )


def _first(found: Sequence[RowResult]) -> RowResult:
    return next((each for each in found if each.state != "NODATA"), found[0])


def _measured(row: RubricRow, datasets: Sequence[WeighedPairs], conditions: RunConditions) -> Measurement:
    """The row's metric on a layer's examples; completion by the traffic's weights where they are known."""
    if row.metric == COMPLETION and (parts := _strata(datasets)):
        return completion_by_traffic(parts)
    pairs = marked([pair for _, listed in datasets for pair in listed])
    return measurement(row.metric, [(a, b) for a, b in pairs if b is not None], conditions)


def _strata(datasets: Sequence[WeighedPairs]) -> list[Stratum]:
    """The datasets' strata: each dataset counts by its examples, its categories by their traffic. Empty if no
    dataset has weights for its categories."""
    known = [(marked(pairs), [] if of is None else strata(of, pairs)) for of, pairs in datasets]
    if not any(parts for _, parts in known):
        return []
    whole = sum(len(pairs) for pairs, _ in known)
    return [
        (len(pairs) / whole * weight, group)
        for pairs, parts in known
        if pairs
        for weight, group in (parts or [(1.0, pairs)])
    ]


def _decided(row: RubricRow, found: Measurement, layer: Layer) -> RowResult:
    """The row's state by this measurement on a layer."""
    absolute = not row.acceptable.relative
    acceptable, ideal = _margin(found, row.acceptable), _margin(found, row.ideal)
    lack = found.lacks or (None if absolute else found.baseline_lacks)
    elsewhere = found.only_relative and absolute and lack is None
    state: RowState = "NODATA"
    if elsewhere:
        lack = Lack(kind="users")
    elif acceptable is None or ideal is None:
        lack = lack or Lack(kind="examples")
    else:
        state = _state(acceptable, ideal, lack)
    return RowResult(row=row, layer=layer, measurement=found, state=state, lack=lack, decides=not elsewhere)


def _state(acceptable: ShareInterval, ideal: ShareInterval, lack: Lack | None) -> RowState:
    if acceptable.high < 0:
        return "FAIL"
    if lack is not None or acceptable.low < 0:
        return "INCONCLUSIVE"
    return "IDEAL" if ideal.low >= 0 else "PASS"


def _margin(found: Measurement, bound: Bound) -> ShareInterval | None:
    """The distance to the bound, negative on the wrong side."""
    if not bound.relative:
        value, at = found.candidate, bound.value
    elif found.ratio is not None and bound.offset == 0:
        value, at = found.ratio, bound.factor
    else:
        value, at = found.contrast(bound.factor), bound.offset
    if value is None:
        return None
    low, middle, high = value.low - at, value.estimate - at, value.high - at
    return ShareInterval(low, middle, high) if bound.higher_is_better else ShareInterval(-high, -middle, -low)
