"""The measured metrics by name: which measure each takes its values from, and what those values are."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from records.facts.metric import BUILT_IN, JUDGED_MARK, JUDGED_PREFERENCE, Metric, parse_bound

_LEVELS = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A measured metric's place in `Sample.totals`. `per_unit`: each unit's total is one value. `ended`: only
    exchanges that ended have a value. `strata`: as in `Observations`."""

    of: str
    logarithmic: bool = False
    bounds: tuple[float, float] | None = None
    per_unit: bool = False
    ended: bool = False
    strata: bool = False


BUSINESS = (
    "revenue",
    "conversion",
    "churn",
    "compliance_violation",
    "cost_per_request",
    "cost_total",
    "tokens",
)
"""What a company counts, beside what its users see."""

_SHARE = (0.0, 1.0)
MEASURED = {
    "error_rate": Measure(of="errors", bounds=_SHARE),
    **{
        name: Measure(of=name, bounds=_SHARE)
        for name in ("refused", "cut_off", "empty", "invalid_output", "answer_faults", "abandoned")
    },
    "cost_per_request": Measure(of="cost", logarithmic=True, ended=True),
    "cost_total": Measure(of="cost", logarithmic=True, per_unit=True, ended=True),
    "tokens": Measure(of="tokens", logarithmic=True, ended=True),
    "session_length_s": Measure(of="session_length_s", logarithmic=True),
    "session_exchanges": Measure(of="session_exchanges", logarithmic=True),
    "session_repeats": Measure(of="session_repeats", bounds=_SHARE),
    JUDGED_PREFERENCE: Measure(of=JUDGED_PREFERENCE, bounds=_SHARE, strata=True),
    JUDGED_MARK: Measure(of=JUDGED_MARK, bounds=(1.0, 5.0), strata=True),
}


class UnknownMetric(ValueError):
    """A rubric's metric that is neither measured nor declared; the message lists the known metrics."""


def quantile_level(name: str) -> float | None:
    """.95 for latency_p95 and ttft_p95; None if the metric is not a quantile."""
    stem, _, level = name.rpartition("_")
    return _LEVELS.get(level) if stem in ("latency", "ttft") else None


def share(name: str) -> bool:
    """True for a measured metric that is a share of exchanges, such as `error_rate`."""
    return name in MEASURED and MEASURED[name].bounds == _SHARE


def per_unit(name: str) -> bool:
    """True for a measured metric of which each unit has one value, its total."""
    return name in MEASURED and MEASURED[name].per_unit


def source(name: str, metrics: Mapping[str, Metric] = BUILT_IN) -> str | None:
    """The name in `Sample.totals` or `Sample.values` of a metric's measure; None for feedback."""
    if name in metrics and metrics[name].cost_per:
        return "cost"
    if name in MEASURED:
        return MEASURED[name].of
    return None if quantile_level(name) is None else name.rpartition("_")[0]


def facts_of(names: Collection[str], metrics: Mapping[str, Metric]) -> Sequence[Metric]:
    """The metrics whose feedback tells these: of a cost, that of the events by which it is divided."""
    needed = {metrics[name].cost_per or name for name in names if name in metrics}
    return [metrics[name] for name in sorted(needed) if name in metrics]


def known(name: str, metrics: Mapping[str, Metric]) -> bool:
    """True for a measured metric and for one declared in `metrics`."""
    return source(name) is not None or name in metrics


def must_be_known(name: str, metrics: Mapping[str, Metric]) -> None:
    """Raises UnknownMetric for one that is neither measured nor declared in `metrics`."""
    if not known(name, metrics):
        raise UnknownMetric(
            f"{name!r} is not a metric: use {', '.join(MEASURED)}, latency_p95 (or p50, p90, p99), "
            f"ttft_p95, or one declared under `metrics:` ({', '.join(sorted(metrics))})"
        )


Unit = Literal["share", "s", "usd", "number"]

_SHARES = (
    "error_rate",
    "refused",
    "cut_off",
    "empty",
    "invalid_output",
    "answer_faults",
    "abandoned",
    "session_repeats",
    JUDGED_PREFERENCE,
)


def unit_of(metric: str, acceptable: str) -> Unit:
    """The metric's unit, from its name and the spelling of its bound."""
    if metric.startswith(("latency_", "ttft_")) or metric == "session_length_s":
        return "s"
    if metric in ("cost_per_request", "cost_total", "revenue") or "$" in acceptable:
        return "usd"
    built_in = BUILT_IN.get(metric)
    share = metric in _SHARES or (built_in is not None and built_in.kind == "bool")
    if share or "pp" in acceptable:
        return "share"
    bound = parse_bound(acceptable)
    return "share" if "%" in acceptable and not bound.relative else "number"
