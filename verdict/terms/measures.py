"""The measured metrics by name: which measure each takes its values from, and what those values are."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from records.facts.metric import BUILT_IN, JUDGED_MARK, JUDGED_PREFERENCE, Metric, parse_bound

Better = Literal["lower", "higher", "either"]

_LEVELS = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A measured metric's place in `Sample.totals`. `per_unit`: each unit's total is one value. `ended`: only
    exchanges that ended have a value. `strata`: as in `Observations`. `better`: which values are."""

    of: str
    better: Better = "lower"
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
    "session_cost",
    "tokens",
)
"""What a company counts, beside what its users see."""

CACHE_HITS = "cache_hits"
"""The measure of cached input tokens, of the input tokens."""

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
    "session_cost": Measure(of="session_cost", logarithmic=True),
    "session_tokens": Measure(of="session_tokens", logarithmic=True),
    **{
        name: Measure(of=name, logarithmic=True, better="either")
        for name in ("session_length_s", "session_exchanges", "session_tool_calls")
    },
    **{
        name: Measure(of=name, bounds=_SHARE)
        for name in ("session_repeats", "session_faults", "session_abandoned")
    },
    "session_cache_hits": Measure(of=CACHE_HITS, bounds=_SHARE, better="higher"),
    JUDGED_PREFERENCE: Measure(of=JUDGED_PREFERENCE, bounds=_SHARE, strata=True, better="higher"),
    JUDGED_MARK: Measure(of=JUDGED_MARK, bounds=(1.0, 5.0), strata=True, better="higher"),
}


END_EARLY: tuple[Literal["session_exchanges"], Literal["session_tokens"]] = (
    "session_exchanges",
    "session_tokens",
)
"""The metrics of sessions that are small, too, where a model gives up early."""

_BY_EXCHANGE = frozenset({"session_repeats", CACHE_HITS})


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


def per_session(name: str, metrics: Mapping[str, Metric]) -> bool:
    """True for a metric of which each session is one observation."""
    if name in metrics:
        return metrics[name].per == "session"
    return name in MEASURED and name.startswith("session_") and MEASURED[name].of not in _BY_EXCHANGE


def is_cost(name: str, metrics: Mapping[str, Metric] = BUILT_IN) -> bool:
    """True for dollars that requests cost, which an unknown price leaves open."""
    return source(name, metrics) in ("cost", "session_cost")


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


def unit_of(metric: str, acceptable: str) -> Unit:
    """The metric's unit, from its name and the spelling of its bound."""
    if metric.startswith(("latency_", "ttft_")) or metric == "session_length_s":
        return "s"
    if metric in ("cost_per_request", "cost_total", "session_cost", "revenue") or "$" in acceptable:
        return "usd"
    built_in = BUILT_IN.get(metric)
    if share(metric) or (built_in is not None and built_in.kind == "bool") or "pp" in acceptable:
        return "share"
    bound = parse_bound(acceptable)
    return "share" if "%" in acceptable and not bound.relative else "number"
