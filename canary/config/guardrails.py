"""Converts the config's guardrails into rules: limits in each rule's unit, windows in seconds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from alerts.rules.failures import TOO_HIGH
from alerts.rules.relative import FACTOR
from alerts.rules.rule import (
    DEFAULT_RULES,
    FAULT_RULES,
    FAULTS,
    FURTHER_RULES,
    OF_METRICS,
    OF_SESSIONS,
    RATINGS,
    SESSION_METRICS,
    Rule,
    RuleName,
)
from canary.config.quantity import parse_duration, parse_share, suggestion
from canary.config.sections import GuardrailSection
from records.facts.metric import BUILT_IN, Metric

_DEFAULTS: Mapping[str, Rule] = {rule.rule: rule for rule in (*DEFAULT_RULES, *FURTHER_RULES)}
WHOLE_ONLY: tuple[RuleName, ...] = (*OF_METRICS, *OF_SESSIONS, "telemetry")
"""Rules that cannot be narrowed to a category or segment; no metric can. A session may have several."""
_DAY_S = 86_400.0
FEW_EVENTS, MANY_EVENTS = 3, 30
"""The fewest units with an event that should not happen; with one that should, and with amounts."""
OF_PARTS: tuple[RuleName, ...] = (
    "error_rate",
    "error_rate_vs_baseline",
    "abandoned",
    *(each.rule for each in FAULTS if each.action == "rollback"),
)
"""Rules that each critical category and segment has of its own."""
MOST_PARTS = 20
"""Critical categories and segments with rules of their own; the config check names a longer list."""

MOST_TIMES = 100.0
SHORTEST_WINDOW_S = 10.0


def rules(
    sections: Sequence[GuardrailSection] | None,
    *,
    metrics: Mapping[str, Metric] = BUILT_IN,
    categories: Sequence[str] = (),
    segments: Sequence[tuple[str, str]] = (),
) -> tuple[Rule, ...]:
    """The rules of a canary's `guardrails`; None is the default set. Raises ValueError.

    Each critical category and segment (tag, value) gets its own of the rules that can have one, unless the
    list has that rule for it. All of one name share one error budget.
    """
    listed = DEFAULT_RULES if sections is None else tuple(_rule(section, metrics) for section in sections)
    parts: list[Mapping[str, Any]] = [{"category": each} for each in categories]
    parts += [{"segment": {tag: value}} for tag, value in segments]
    return (*listed, *_of_parts(listed, parts[:MOST_PARTS]))


def _of_parts(listed: Sequence[Rule], parts: Sequence[Mapping[str, Any]]) -> Iterator[Rule]:
    whole = [each for each in listed if each.rule in OF_PARTS and each.category is None and not each.segment]
    known = {each.key for each in listed}
    for part in parts:
        for rule in whole:
            own = replace(rule, parts=len(parts), **part)
            if own.key not in known:
                yield own


def limit(section: GuardrailSection, metrics: Mapping[str, Metric] = BUILT_IN) -> float:
    """The limit in the rule's own unit (`alerts.rules.rule.Rule`).

    Raises ValueError, also for a limit that would decide nothing."""
    if section.limit is None:
        return _default(section, metrics).limit
    if section.metric in metrics or section.rule in RATINGS:
        return _metric_limit(metrics[section.name], section.limit)
    return _LIMITS[section.name](section.limit)


def window_s(section: GuardrailSection, metrics: Mapping[str, Metric] = BUILT_IN) -> float | None:
    """The rule's window in seconds, None for the whole run. Raises ValueError."""
    if section.window is None:
        return _default(section, metrics).window_s
    if section.window.strip() == "run":
        return None
    window = _positive(parse_duration(section.window))
    if window < SHORTEST_WINDOW_S:
        raise ValueError(f"{section.window} holds too little to judge by; write at least 10s, or run")
    return window


def ignored(section: GuardrailSection) -> Iterator[tuple[str, str]]:
    """Keys of a rule that would decide nothing, each with what is wrong and what would be right."""
    if section.name in SESSION_METRICS and section.window not in (None, "run"):
        yield "window", f"{section.name} is about the whole run; remove it"
    if section.rule == "telemetry":
        if section.minimum not in (None, _DEFAULTS["telemetry"].minimum):
            yield "minimum", "telemetry counts no exchanges, so it has no minimum; remove it"
        if section.action == "rollback":
            yield "action", "telemetry says nothing about the candidate, so it never rolls back; write hold"


def wrong_with_subject(section: GuardrailSection, metrics: Mapping[str, Metric]) -> str:
    """What is wrong with a guardrail's `rule` or `metric`; "" if nothing."""
    name, metric = section.metric, metrics.get(section.metric or "")
    if (name is None) is (section.rule is None):
        return "give either `rule` or `metric`"
    if name is None:
        return ""
    if metric is None and name in SESSION_METRICS:
        return ""
    if metric is None:
        computed = f"; write rule: {name}" if name in _DEFAULTS else suggestion(name, metrics)
        return f'"{name}" is not a built-in or declared metric{computed}'
    if metric.cost_per:
        return f"nobody sends values of {name}; write a guardrail on {metric.cost_per} or cost_per_request"
    if name in _DEFAULTS and name not in OF_METRICS:
        return f"a rule has the name {name}, too; rename the metric"
    return ""


def _default(section: GuardrailSection, metrics: Mapping[str, Metric]) -> Rule:
    """The default rule of that name, unless it is about a metric that the config defines."""
    metric = metrics.get(section.name) if section.metric or section.rule in OF_METRICS else None
    if metric is None or (section.name in _DEFAULTS and metric == BUILT_IN.get(section.name)):
        return _DEFAULTS[section.name]
    return _default_of(metric)


def _default_of(metric: Metric) -> Rule:
    """The default rule about a metric."""
    event, higher = metric.is_event, metric.higher_is_better
    below = 0.9 if event else 0.95
    few = event and metric.kind == "bool" and not higher
    return Rule(
        rule=metric.name,
        limit=below if higher else FACTOR,
        window_s=None if event else _DAY_S,
        minimum=FEW_EVENTS if few else MANY_EVENTS,
        action="page",
    )


def _rule(section: GuardrailSection, metrics: Mapping[str, Metric]) -> Rule:
    default = _default(section, metrics)
    return Rule(
        rule=section.name,
        metric=metrics.get(section.metric or ""),
        limit=limit(section, metrics),
        window_s=window_s(section, metrics),
        minimum=default.minimum if section.minimum is None else section.minimum,
        action=default.action if section.action is None else section.action,
        category=section.category,
        segment=section.segment,
    )


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be above 0")
    return value


def _share(text: str) -> float:
    share = _positive(parse_share(text))
    if share >= TOO_HIGH:
        raise ValueError(f"{text} is never judged: an outage looks the same; write less than 50%")
    return share


def _duration(text: str) -> float:
    return _positive(parse_duration(text))


def _metric_limit(metric: Metric, text: str) -> float:
    """A factor of the baseline's mean, which a worse candidate is beyond."""
    if metric.higher_is_better:
        return _below(text)
    if text.strip().endswith("%"):
        raise ValueError(f"lower is better for {metric.name}; write a factor of the baseline, say 1.5x")
    factor = _times(text)
    if metric.low and metric.high and factor * metric.low >= metric.high:
        raise ValueError(f"{text} is never reached: {metric.name} ends at {metric.high:g}; write less")
    return factor


def _below(text: str) -> float:
    """A factor of the baseline's mean, from "5%" (below it) or "0.95x"."""
    if text.strip().endswith("%"):
        below = _positive(parse_share(text))
        if below >= 0.5:
            raise ValueError(f"{text} means {text} below the baseline; for a factor of it write, say, 0.95x")
        return 1.0 - below
    factor = _factor(text)
    if not 0.5 < factor <= 1.0:
        raise ValueError(
            f"{text} is {factor:g} times the baseline's; write how far below it is too much, say 5%,"
            " or a factor between 0.5x and 1x"
        )
    return factor


def _times(text: str) -> float:
    """A factor of at least 1: with less, a candidate as good as the baseline is over the limit."""
    factor = _factor(text)
    if factor < 1.0:
        raise ValueError(
            f"{text} blames a candidate that is as good as the baseline; write 1x or more, for example 1.5x"
        )
    return factor


def _factor(text: str) -> float:
    try:
        factor = float(text.strip().removesuffix("x"))
    except ValueError:
        raise ValueError(f'"{text}" is not a factor of the baseline; write, for example, 1.5x') from None
    if not 0 < factor < float("inf"):
        raise ValueError("a factor of the baseline must be a number above 0")
    if factor > MOST_TIMES:
        raise ValueError(f"{text} is never reached; write at most {MOST_TIMES:g}x, for example 1.5x")
    return factor


def _fixed(text: str) -> float:
    """The one factor that the rule has; another would decide nothing."""
    if text.strip() not in (f"{FACTOR:g}x", f"{FACTOR:g}"):
        raise ValueError(
            f'"{text}" would decide nothing: the rule always compares with {FACTOR:g} times the baseline;'
            " write metric in place of rule to set a limit, or remove limit"
        )
    return FACTOR


_LIMITS: Mapping[str, Callable[[str], float]] = {
    "error_rate": _share,
    "latency_p95": _duration,
    "telemetry": _duration,
    "cost_per_request": _factor,
    "escalated": _fixed,
    "repeat_question": _fixed,
    **dict.fromkeys(
        ("error_rate_vs_baseline", "latency_vs_baseline", "abandoned", *FAULT_RULES, *OF_SESSIONS), _times
    ),
    "session_cache_hits": _below,
}
"""How each rule's limit is read."""
