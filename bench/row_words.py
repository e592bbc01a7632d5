"""A judged row as a sentence: both models' values, and how the candidate stands to the bound."""

import math
from typing import Literal

from bench.measurement import Measurement, Unit
from bench.settings import RubricRow
from bench.statistics import ShareInterval

RowState = Literal["IDEAL", "PASS", "FAIL", "INCONCLUSIVE", "NODATA"]

_VERBS = {"IDEAL": "is ideal,", "PASS": "keeps", "FAIL": "misses", "INCONCLUSIVE": "is not clearly within"}
_FORMS: dict[Unit, str] = {"share": "{:.1f}", "seconds": "{:.3g}", "dollars": "{:.4g}"}


def sentence(row: RubricRow, found: Measurement, state: RowState, lacks: str) -> str:
    """For example: recall:fraud 98.0 % (93.0 to 99.4) is not clearly within ">= 98%".

    `lacks`: why the row cannot pass, though it may keep its bound.
    """
    value = _value(found.candidate, found.unit)
    if row.acceptable.relative and found.baseline is not None:
        value = f"{value}, {_against(found, found.baseline)},"
    if found.note:
        value = f"{value} {found.note}"
    if found.at_once is not None:
        value = f"{value} with --at-once {found.at_once}"
    if lacks and state == "INCONCLUSIVE":
        return f'{row.metric} {value} cannot pass "{row.acceptable.text}": {lacks}'
    bound = row.ideal if state == "IDEAL" else row.acceptable
    return f'{row.metric} {value} {_VERBS[state]} "{bound.text}"{_more_at_once(row, found, state)}'


def against(found: Measurement) -> tuple[Literal["ratio", "difference"], ShareInterval | None]:
    """The candidate's ratio to the current model; of a share the difference."""
    return ("difference", found.contrast(1.0)) if found.unit == "share" else ("ratio", found.ratio)


def _more_at_once(row: RubricRow, found: Measurement, state: RowState) -> str:
    """The concurrency that this pace would need."""
    if found.at_once is None or found.candidate is None or state in ("IDEAL", "PASS"):
        return ""
    if row.acceptable.relative or found.candidate.estimate <= 0:
        return ""
    needed = math.ceil(found.at_once * row.acceptable.value / found.candidate.estimate)
    return f"; at this latency it would take --at-once {max(needed, found.at_once + 1)}"


def _against(found: Measurement, baseline: ShareInterval) -> str:
    kind, interval = against(found)
    theirs = f"the current model's {number(baseline.estimate, found.unit)}"
    if interval is None:
        return f"against {theirs}"
    if kind == "ratio":
        return f"{interval.estimate:.3g} times ({_ends(interval, '{:.3g}')}) {theirs}"
    points = _percent(interval)
    return f"{points.estimate:+.1f} points ({_ends(points, '{:+.1f}')}) against {theirs}".replace("-", "−")


def _value(found: ShareInterval | None, unit: Unit) -> str:
    if found is None:
        return "unknown"
    scaled = _percent(found) if unit == "share" else found
    return f"{number(found.estimate, unit)} ({_ends(scaled, _FORMS.get(unit, '{:,.0f}'))})"


def _ends(found: ShareInterval, form: str) -> str:
    return f"{form.format(found.low)} to {form.format(found.high)}"


def _percent(found: ShareInterval) -> ShareInterval:
    return ShareInterval(100 * found.low, 100 * found.estimate, 100 * found.high)


def number(value: float, unit: Unit) -> str:
    """A value with its unit: 98.0 %, 1.25 s, $0.0125, 12,400 an hour."""
    match unit:
        case "share":
            return f"{100 * value:.1f} %"
        case "seconds":
            return f"{value:.3g} s"
        case "dollars":
            return f"${value:.4g}"
        case "tokens":
            return f"{value:,.0f}"
    return f"{value:,.0f} an hour"
