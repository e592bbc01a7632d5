"""The rubric, fixed before the run: criteria, and its hash."""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from records.facts.metric import (
    BUILT_IN,
    JUDGED,
    THROUGHPUT,
    BadBound,
    Bound,
    Metric,
    class_measure,
    parse_bound,
)
from verdict.terms.measures import MEASURED, Better, quantile_level, share, source

__all__ = ["DEFAULT_PLANNED_UNITS", "BadBound", "Bound", "Criterion", "check", "parse_bound", "sha256"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One row of the rubric. `weight` counts only in the score; it cannot outvote a failed criterion. `risk`
    is how often a candidate exactly at `acceptable` may ship; None: as in the plan. `assisted`: a judge's
    marks stand for the ratings that users did not give."""

    metric: str
    acceptable: Bound
    ideal: Bound
    weight: float
    question: str
    risk: float | None = None
    assisted: bool = False


def check(criterion: Criterion) -> None:
    """Raise BadBound unless both bounds have one direction and one kind, and ideal is strictly better."""
    acceptable, ideal = criterion.acceptable, criterion.ideal
    pair = f"{criterion.metric}: acceptable {acceptable.text!r} and ideal {ideal.text!r}"
    if criterion.weight <= 0:
        raise BadBound(f"{criterion.metric}: the weight must be above 0, got {criterion.weight:g}")
    if acceptable.higher_is_better != ideal.higher_is_better:
        raise BadBound(f"{pair} have opposite directions; use < for both or > for both")
    if acceptable.relative != ideal.relative:
        raise BadBound(f"{pair} are of different kinds; make both absolute or both relative to the baseline")
    if not _strictly_better(acceptable, ideal):
        raise BadBound(f"{pair}: ideal must be strictly better than acceptable")


def _strictly_better(acceptable: Bound, ideal: Bound) -> bool:
    sign = 1 if ideal.higher_is_better else -1
    if not ideal.relative:
        return sign * (ideal.value - acceptable.value) > 0
    factor, offset = sign * (ideal.factor - acceptable.factor), sign * (ideal.offset - acceptable.offset)
    # Both must agree: otherwise the baseline's value decides which of the two bounds is stricter.
    return factor >= 0 and offset >= 0 and (factor > 0 or offset > 0)


DEFAULT_PLANNED_UNITS = 500


def sha256(
    criteria: Sequence[Criterion],
    *,
    planned_units: int = DEFAULT_PLANNED_UNITS,
    planned: Mapping[str, float] | None = None,
    judge: str = "",
    metrics: Mapping[str, Metric] | None = None,
) -> str:
    """SHA-256, in hex, of the canonical JSON of everything that affects the verdict.

    It covers metrics, with the definition of those in `metrics`, bounds, weights, the planned units and, with
    a plan, its terms and the rows' risks, and the judge of rows on a judge's word. It does not cover the
    questions or the spelling of bounds.
    """
    document: dict[str, object] = {
        "criteria": [_canonical(criterion) for criterion in criteria],
        "planned_units": planned_units,
    }
    if planned is not None:
        document |= {**planned, "risks": {row.metric: row.risk for row in criteria if row.risk is not None}}
    if judge:
        document["judge"] = judge
    if used := metrics_of(criteria, metrics or {}):
        document["metrics"] = {name: _definition(metric) for name, metric in used.items()}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(criterion: Criterion) -> dict[str, object]:
    return {
        "metric": criterion.metric,
        "acceptable": _canonical_bound(criterion.acceptable),
        "ideal": _canonical_bound(criterion.ideal),
        "weight": float(criterion.weight),
        **({"assisted": "judge"} if criterion.assisted else {}),
    }


def metrics_of(criteria: Sequence[Criterion], metrics: Mapping[str, Metric]) -> Mapping[str, Metric]:
    """The declared metrics that the rows use: their own, and those by whose events a cost is divided."""
    own = {row.metric: metrics[row.metric] for row in criteria if row.metric in metrics}
    counted = {each.cost_per: metrics[each.cost_per] for each in own.values() if each.cost_per in metrics}
    return {**counted, **own}


def _definition(metric: Metric) -> dict[str, object]:
    """What a metric is, without its question."""
    return {
        "kind": metric.kind,
        "per": metric.per,
        "low": None if metric.low is None else float(metric.low),
        "high": None if metric.high is None else float(metric.high),
        "higher_is_better": metric.higher_is_better,
        "matures_after_s": float(metric.matures_after_s),
        "cost_per": metric.cost_per,
    }


def _canonical_bound(bound: Bound) -> dict[str, object]:
    if bound.relative:
        return {"comparison": bound.comparison, "factor": bound.factor, "offset": bound.offset}
    return {"comparison": bound.comparison, "value": bound.value}


# Checks the bounds of a rubric against its metrics: direction, unit, and the values that can occur.


_UNIT = re.compile(r"(?<![a-z])(%|pp|ms|s)\s*$")
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_SHARE_UNITS, _TIME_UNITS = frozenset({"%", "pp"}), frozenset({"s", "ms"})
_COUNTS = frozenset({"tokens", "session_tokens", "session_exchanges", "session_tool_calls"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRange:
    """A metric's values, from `low` to `high`, and which of them are better.

    `units` are the units that a bound may have (None: any). `example` is a bound's value as people write it.
    """

    better: Better
    low: float = -math.inf
    high: float = math.inf
    units: frozenset[str] | None = frozenset()
    example: str

    @property
    def bounded(self) -> bool:
        return math.isfinite(self.width)

    @property
    def width(self) -> float:
        return self.high - self.low

    def place(self, value: float) -> float:
        """Where the value lies, from 0 at the low end to 1; for a bounded metric."""
        return (value - self.low) / self.width

    @property
    def words(self) -> str:
        """The values in words: 0% to 100%, 1 to 5, 0 or more."""
        if self.units == _SHARE_UNITS:
            return f"{self.low:.0%} to {self.high:.0%}"
        return f"{self.low:g} or more" if math.isinf(self.high) else f"{self.low:g} to {self.high:g}"


def scale_of(name: str, metrics: Mapping[str, Metric]) -> MetricRange | None:
    """The scale of a declared or measured metric, also by a benchmark only; None for an unknown one."""
    if name in metrics or name in JUDGED:
        return _declared(metrics[name] if name in metrics else JUDGED[name])
    if source(name) is None:
        return _offline(name)
    better = MEASURED[name].better if name in MEASURED else "lower"
    if share(name):
        example = "60%" if better == "higher" else "5%"
        return MetricRange(better=better, low=0, high=1, units=_SHARE_UNITS, example=example)
    if quantile_level(name) is not None:
        return MetricRange(better="lower", low=0, units=_TIME_UNITS, example="2s")
    if name == "session_length_s":
        return MetricRange(better=better, low=0, units=_TIME_UNITS, example="300s")
    if name in _COUNTS:
        return MetricRange(better=better, low=0, example="3")
    return MetricRange(better="lower", low=0, example="0.12")


def _offline(name: str) -> MetricRange | None:
    """The scale of a metric that only a benchmark measures."""
    if name == THROUGHPUT:
        return MetricRange(better="higher", low=0, example="10000")
    if (found := class_measure(name)) is None:
        return None
    better: Better = "lower" if found[0] == "false_positive_rate" else "higher"
    example = "2%" if better == "lower" else "98%"
    return MetricRange(better=better, low=0, high=1, units=_SHARE_UNITS, example=example)


def _declared(metric: Metric) -> MetricRange:
    better: Better = "higher" if metric.higher_is_better else "lower"
    if metric.kind == "nps":
        return MetricRange(better=better, low=-100, high=100, example="30")
    if metric.cost_per:
        return MetricRange(better="lower", low=0, example="0.12")
    low = -math.inf if metric.low is None else metric.low
    high = math.inf if metric.high is None else metric.high
    if metric.kind == "bool":
        return MetricRange(better=better, low=low, high=high, units=_SHARE_UNITS, example="85%")
    if metric.kind == "rating":
        middle = f"{(low + high) / 2:g}"
        units = _SHARE_UNITS if high <= 1 else frozenset[str]()
        return MetricRange(better=better, low=low, high=high, units=units, example=middle)
    return MetricRange(better=better, low=low, high=high, units=None, example="10")


def twice(bound: Bound, scale: MetricRange | None) -> Bound | None:
    """The bound with twice its room: what it allows beyond the baseline, or beyond the best value; beyond
    none, half of the bound. None without room, or where no value misses it."""
    towards = -1.0 if bound.higher_is_better else 1.0
    if bound.relative:
        factor = bound.factor + towards * abs(bound.factor - 1)
        offset = bound.offset + towards * abs(bound.offset)
        same = (factor, offset) == (bound.factor, bound.offset)
        return None if same or factor <= 0 else replace(bound, factor=factor, offset=offset)
    low, high = (-math.inf, math.inf) if scale is None else (scale.low, scale.high)
    best = high if bound.higher_is_better else low
    room = abs(best - bound.value) if math.isfinite(best) else abs(bound.value) / 2
    value = bound.value + towards * room
    return replace(bound, value=value) if room and low < value < high else None


def wrong_with(row: Criterion, metrics: Mapping[str, Metric]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every mistake in the row's weight and bounds: its key, () for the whole row, and a message.

    The message names the metric and the bound, and says what is right.
    """
    try:
        check(row)
    except BadBound as error:
        yield (), str(error)
        return
    scale = scale_of(row.metric, metrics)
    if scale is None:
        return
    if scale.better not in ("either", _better(row.acceptable)):
        yield ("acceptable",), _said(row, "acceptable", row.acceptable, _turned(row, scale, metrics))
        return
    for key, bound in (("acceptable", row.acceptable), ("ideal", row.ideal)):
        wrong = _wrong_unit(bound, scale) or _beyond(bound, scale) or _empty(key, bound, scale)
        if wrong:
            yield (key,), _said(row, key, bound, wrong)


def _said(row: Criterion, key: str, bound: Bound, wrong: str) -> str:
    return f'{row.metric}: {key} "{bound.text}" {wrong}'


def _better(bound: Bound) -> Better:
    return "higher" if bound.higher_is_better else "lower"


def _turned(row: Criterion, scale: MetricRange, metrics: Mapping[str, Metric]) -> str:
    bound = row.acceptable
    wanted, flipped = ("high", "low")[scale.better == "higher"], _FLIPPED[bound.comparison]
    right = f'write "{flipped} {_flipped_rest(bound)}"'
    metric = metrics.get(row.metric)
    if metric is not None and not metric.cost_per and metric != BUILT_IN.get(row.metric):
        declared = "false" if metric.higher_is_better else "true"
        right += f", or declare `higher_is_better: {declared}` under metrics.{row.metric}"
    return f"asks for a {wanted} value, but {scale.better} is better; {right}"


def _flipped_rest(bound: Bound) -> str:
    """The bound without its comparison, on the other side of the baseline."""
    rest = bound.text.strip().removeprefix(bound.comparison).strip()
    if not bound.relative:
        return rest
    if "x" in rest or "×" in rest or "*" in rest:
        return f"{2 - bound.factor:.4g}x baseline" if bound.factor < 2 else "1x baseline"
    return rest.translate(str.maketrans("+-", "-+"))


def _wrong_unit(bound: Bound, scale: MetricRange) -> str | None:
    found = _UNIT.search(bound.text)
    unit = found[1] if found else ""
    if not unit or scale.units is None or unit in scale.units or (bound.relative and unit == "%"):
        return None
    return f"has the unit {unit}, which this metric does not have; {_for_example(bound, scale)}"


def _beyond(bound: Bound, scale: MetricRange) -> str | None:
    """A value, or a distance from the baseline, that no value can have."""
    if bound.relative:
        if abs(bound.offset) < scale.high - scale.low:
            return None
        far = f"is further from the baseline than any value of {scale.words}"
        return f"{far}; {_for_example(bound, scale)}"
    if scale.low <= bound.value <= scale.high:
        return None
    wrong = f"is outside its values, {scale.words}"
    if scale.units == _SHARE_UNITS and 1 < bound.value <= 100:
        return f'{wrong}; did you mean "{bound.comparison} {bound.value:g}%"?'
    return f"{wrong}; {_for_example(bound, scale)}"


def _empty(key: str, bound: Bound, scale: MetricRange) -> str | None:
    """A bound that every value keeps, or that none does. One that is only ideal may be the best value."""
    if bound.relative:
        return None
    best, worst = (scale.high, scale.low) if bound.higher_is_better else (scale.low, scale.high)
    if bound.value == best and bound.comparison in ("<", ">"):
        equal = f"{bound.comparison}= {bound.text.strip().removeprefix(bound.comparison).strip()}"
        return f'can be kept by no value of {scale.words}; write "{equal}" at most'
    if bound.value == worst and key == "acceptable":
        return f"is kept by every value of {scale.words}; {_for_example(bound, scale)}"
    return None


def _for_example(bound: Bound, scale: MetricRange) -> str:
    if bound.relative:
        sign = "-" if bound.higher_is_better else "+"
        return f'write, for example, "{bound.comparison} baseline {sign} 2%"'
    return f'write, for example, "{bound.comparison} {scale.example}"'
