"""Judges one criterion: its state, the distance to both bounds, and the evidence still missing."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from judge.agreement import LabelAgreement
from records.facts.metric import Bound
from report.comparison import ALPHA, ArmComparison
from report.look import Look, OneUnit, Outcome, RowPlan, only_by
from report.missing_exchanges import MissingShare
from report.reading import MetricReading
from report.row_standing import RowStanding, standing, unknown
from report.rubric import Criterion
from report.statistics import sequence
from report.statistics.types import Interval

State = Literal["IDEAL", "PASS", "FAIL", "INCONCLUSIVE", "NODATA"]

HEAVY = 0.2
"""No PASS while one unit has more of the variance than this: its next visit could reverse the result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One criterion's state. Margins are in the metric's unit; ≥ 0 is within the bound. `by_sequence` is that
    of the acceptable bound by the confidence sequence, with a plan too.

    `heavy`: the criterion would pass, or fail, if one unit had less weight; `one_unit`: that one, if without
    it the criterion would be something else. With a plan, the margins are what its
    `looks` have not ruled out, and `standing` is what they say. `unpriced`: too many costs are not known.
    `waits`: people's labels do not bear out the judge on whose word the row is. `uncomputed`: why nothing can
    be computed of the row, in words.
    """

    criterion: Criterion
    reading: MetricReading
    state: State
    acceptable: Interval | None = None
    ideal: Interval | None = None
    by_sequence: Interval | None = None
    heavy: bool = False
    one_unit: OneUnit | None = None
    looks: tuple[Look, ...] = ()
    standing: RowStanding | None = None
    unpriced: MissingShare | None = None
    waits: LabelAgreement | None = None
    uncomputed: str = ""

    def without_units(self) -> "Judged":
        """A copy without the units' influences, which are not needed after judging."""
        return replace(self, reading=replace(self.reading, comparison=None, without=()))

    @property
    def may_be_ideal(self) -> bool:
        return self.state == "PASS" and self.ideal is not None and self.ideal.high >= 0

    @property
    def open(self) -> bool:
        return self.state in ("INCONCLUSIVE", "NODATA")

    @property
    def held(self) -> bool:
        """True if the row stays open whatever its values say, and more users will not change it."""
        return self.unpriced is not None or self.waits is not None or self.uncomputed != ""


def not_computed(criterion: Criterion, reading: MetricReading, why: str) -> Judged:
    """A row of which nothing can be computed, which is no evidence for or against the candidate."""
    return Judged(criterion=criterion, reading=reading, state="INCONCLUSIVE", uncomputed=why)


def judge(criterion: Criterion, reading: MetricReading) -> Judged:
    """IDEAL: the whole interval keeps the ideal bound. PASS: the acceptable one. FAIL: none of it does."""
    enough = reading.compared if criterion.acceptable.relative else reading.measured
    if not enough:
        return Judged(criterion=criterion, reading=reading, state="NODATA")
    acceptable, ideal = margin(reading, criterion.acceptable), margin(reading, criterion.ideal)
    state: State = "INCONCLUSIVE"
    if ideal.low >= 0:
        state = "IDEAL"
    elif acceptable.low >= 0:
        state = "PASS"
    elif acceptable.high < 0:
        state = "FAIL"
    one_unit = _one_unit(reading, criterion.acceptable, acceptable)
    heavy = state in ("IDEAL", "PASS") and _heaviest(reading, criterion.acceptable) > HEAVY
    heavy = heavy or one_unit is not None
    return Judged(
        criterion=criterion,
        reading=reading,
        state="INCONCLUSIVE" if heavy else state,
        acceptable=acceptable,
        ideal=ideal,
        by_sequence=acceptable,
        heavy=heavy,
        one_unit=one_unit,
    )


def _one_unit(reading: MetricReading, bound: Bound, acceptable: Interval) -> OneUnit | None:
    """The heavy unit, if the row would be something else without it."""
    if reading.heavy is None or not reading.without:
        return None
    rest = [_oriented(each, bound) for each in reading.without]
    low, high = min(each.low for each in rest), max(each.high for each in rest)
    return only_by(reading.heavy, _outcome(acceptable.low, acceptable.high), _outcome(low, high))


def _outcome(low: float, high: float) -> Outcome:
    return "pass" if low >= 0 else "fail" if high < 0 else "open"


def judge_by_plan(
    sequence: Judged, row: RowPlan, looks: tuple[Look, ...], now: tuple[float, float]
) -> Judged:
    """The criterion under the plan, from its state by the sequence. `now` are the estimates of both
    margins."""
    if sequence.state == "NODATA":
        return replace(sequence, looks=looks, standing=unknown(row, looks))
    found = standing(row, looks, now)
    state: State = "INCONCLUSIVE"
    if found.acceptable.low >= 0:
        state = "IDEAL" if found.ideal.low >= 0 else "PASS"
    elif found.acceptable.high < 0:
        state = "FAIL"
    last = next((look.seen for look in reversed(looks) if look.seen is not None), None)
    one_unit = last.one_unit if last is not None and state == "INCONCLUSIVE" else None
    return replace(
        sequence,
        state=state,
        acceptable=found.acceptable,
        ideal=found.ideal,
        heavy=one_unit is not None,
        one_unit=one_unit,
        looks=looks,
        standing=found,
    )


def margin(reading: MetricReading, bound: Bound) -> Interval:
    """The distance to the bound, negative on the wrong side."""
    if reading.comparison is None:
        raise ValueError("a margin needs data of both arms")
    return _oriented(reading.comparison, bound)


def _oriented(comparison: ArmComparison, bound: Bound) -> Interval:
    contrast = comparison.contrast(*_terms(bound)).known()
    return contrast if bound.higher_is_better else contrast.scaled(-1)


def _terms(bound: Bound) -> tuple[float, float]:
    return (bound.factor, bound.offset) if bound.relative else (0.0, bound.value)


def _heaviest(reading: MetricReading, bound: Bound) -> float:
    return reading.comparison.heaviest(_terms(bound)[0]) if reading.comparison else 0.0


def half_width(judged: Judged) -> float | None:
    """Half the width of the acceptable margin's interval by the sequence; None if unbounded."""
    if judged.by_sequence is None:
        return None
    half = (judged.by_sequence.high - judged.by_sequence.low) / 2
    return half if math.isfinite(half) else None


def detectable(judged: Judged) -> float | None:
    """MDE = (c + z_β)·SE: the distance to the bound that is detected with 80 % power at this traffic."""
    half = half_width(judged)
    if half is None:
        return None
    c = sequence.multiplier(judged.reading.tau, ALPHA)
    return (c + sequence.POWER_Z) * half / c


def further_units(judged: Judged, *, gate: int, planned: float) -> int | None:
    """Candidate units still needed until the sequence decides an open criterion with 80 % power; 0 for a
    decided one.

    None if the estimate is too close to the bound, or the interval too wide, for a number.
    """
    if not judged.open:
        return 0
    if judged.held:
        return None
    if judged.by_sequence is None:
        return max(0, gate - judged.reading.candidate_units) or None
    half, delta = half_width(judged), abs(judged.by_sequence.estimate)
    if half is None or delta <= 1e-9 * half or judged.heavy:
        return None
    units = judged.reading.candidate_units
    sigma = half / sequence.multiplier(judged.reading.tau, ALPHA) * math.sqrt(units)
    rho2 = sequence.tuning(alpha=ALPHA, planned=planned)
    total = sequence.units_needed(sigma=sigma, delta=delta, share=None, alpha=ALPHA, rho2=rho2)
    return max(1, math.ceil(total - units))
