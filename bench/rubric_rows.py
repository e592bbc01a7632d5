"""Judges the rubric's rows on a benchmark.

    the whole interval keeps the ideal bound         → IDEAL
    the whole interval keeps the acceptable bound    → PASS
    none of it does                                  → FAIL: don't ship
    part of it does, or something is missing         → INCONCLUSIVE: extend
    no value                                         → NODATA: extend

A row that lacks something, for example prices, never passes. An absolute bound of `cost_total` is a user's
total: it is NODATA, and does not decide.
"""

from dataclasses import dataclass
from typing import Literal

from bench.measurement import Measurement
from bench.row_words import RowState, sentence
from bench.settings import Layer, RubricRow
from bench.statistics import ShareInterval
from records.bound import Bound


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """One row's state, as a sentence too. `layer` is where it was measured, or looked for. `decides`:
    False for a row that only a canary can judge."""

    row: RubricRow
    layer: Layer
    measurement: Measurement
    state: RowState
    says: str
    decides: bool = True

    @property
    def severity(self) -> Literal["fails", "open"] | None:
        """How the row bears on the verdict; None if it keeps its bound."""
        if not self.decides or self.state in ("IDEAL", "PASS"):
            return None
        return "fails" if self.state == "FAIL" else "open"


def judged(row: RubricRow, found: Measurement, layer: Layer) -> RowResult:
    """The row's state by this measurement on a layer."""
    bound = row.acceptable
    acceptable, ideal = _margin(found, bound), _margin(found, row.ideal)
    lacks = found.lacks or (found.baseline_lacks if bound.relative else "")
    elsewhere = found.only_relative if not bound.relative and not lacks else ""
    if acceptable is None or ideal is None or elsewhere:
        why = lacks or elsewhere or "too few examples"
        says = f'{row.metric} "{bound.text}" cannot be judged: {why}'
        decides = not elsewhere
        return RowResult(row=row, layer=layer, measurement=found, state="NODATA", says=says, decides=decides)
    state = _state(acceptable, ideal, lacks)
    says = sentence(row, found, state, lacks)
    return RowResult(row=row, layer=layer, measurement=found, state=state, says=says)


def _state(acceptable: ShareInterval, ideal: ShareInterval, lacks: str) -> RowState:
    if acceptable.high < 0:
        return "FAIL"
    if lacks or acceptable.low < 0:
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
