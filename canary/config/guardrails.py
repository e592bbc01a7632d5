"""Converts the config's guardrails into rules: limits in each rule's unit, windows in seconds."""

from collections.abc import Sequence

from alerts.rule import DEFAULT_RULES, LISTED_RULES, RATINGS, Rule, RuleName
from canary.config.quantity import parse_duration, parse_share
from canary.config.sections import GuardrailSection

_DEFAULTS = {rule.rule: rule for rule in (*DEFAULT_RULES, *LISTED_RULES)}
WHOLE_ONLY: tuple[RuleName, ...] = (*RATINGS, "escalated", "repeat_question", "telemetry")
"""Rules that cannot be narrowed to a category or segment."""

_SECONDS: tuple[RuleName, ...] = ("latency_p95", "telemetry")


def rules(sections: Sequence[GuardrailSection] | None) -> tuple[Rule, ...]:
    """The rules of a canary's `guardrails`; None is the default set. Raises ValueError."""
    if sections is None:
        return DEFAULT_RULES
    return tuple(_rule(section) for section in sections)


def limit(section: GuardrailSection) -> float:
    """The limit in the rule's own unit (`alerts.rule.Rule`). Raises ValueError.

    A share for `error_rate`, seconds for `latency_p95` and `telemetry`, otherwise a factor of the baseline.
    For ratings "5%" means 5 % below the baseline, a factor of 0.95.
    """
    text = section.limit
    if text is None:
        return _DEFAULTS[section.rule].limit
    if section.rule == "error_rate":
        return _share(text)
    if section.rule in _SECONDS:
        return _positive(parse_duration(text))
    if section.rule in RATINGS and text.strip().endswith("%"):
        return _below_baseline(text)
    return _factor(text)


def window_s(section: GuardrailSection) -> float | None:
    """The rule's window in seconds, None for the whole run. Raises ValueError."""
    if section.window is None:
        return _DEFAULTS[section.rule].window_s
    if section.window.strip() == "run":
        return None
    return _positive(parse_duration(section.window))


def _rule(section: GuardrailSection) -> Rule:
    default = _DEFAULTS[section.rule]
    return Rule(
        rule=section.rule,
        limit=limit(section),
        window_s=window_s(section),
        minimum=default.minimum if section.minimum is None else section.minimum,
        action=default.action if section.action is None else section.action,
        category=section.category,
        segment=section.segment,
    )


def _share(text: str) -> float:
    return _positive(parse_share(text))


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be above 0")
    return value


def _below_baseline(text: str) -> float:
    below = _share(text)
    if below >= 0.5:
        raise ValueError(f"{text} means {text} below the baseline; for a factor of it write, say, 0.95x")
    return 1.0 - below


def _factor(text: str) -> float:
    try:
        factor = float(text.strip().removesuffix("x"))
    except ValueError:
        raise ValueError(f'"{text}" is not a factor of the baseline; write, for example, 1.5x') from None
    if not 0 < factor < float("inf"):
        raise ValueError("a factor of the baseline must be a number above 0")
    return factor
