"""Converts the config's guardrails into rules: limits in each rule's unit, windows in seconds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from alerts.rule import DEFAULT_RULES, FAULTS, RATINGS, Rule, RuleName
from alerts.status import rule_key
from canary.config.quantity import parse_duration, parse_share
from canary.config.sections import GuardrailSection

_DEFAULTS = {rule.rule: rule for rule in DEFAULT_RULES}
WHOLE_ONLY: tuple[RuleName, ...] = (*RATINGS, "escalated", "repeat_question", "telemetry")
"""Rules that cannot be narrowed to a category or segment."""
OF_PARTS: tuple[RuleName, ...] = (
    "error_rate",
    "error_rate_vs_baseline",
    "abandoned",
    *(each.rule for each in FAULTS if each.action == "rollback"),
)
"""Rules that each critical category and segment has of its own."""
MOST_PARTS = 20
"""Critical categories and segments with rules of their own; the config check names a longer list."""

_SECONDS: tuple[RuleName, ...] = ("latency_p95", "telemetry")


def rules(
    sections: Sequence[GuardrailSection] | None,
    *,
    categories: Sequence[str] = (),
    segments: Sequence[tuple[str, str]] = (),
) -> tuple[Rule, ...]:
    """The rules of a canary's `guardrails`; None is the default set. Raises ValueError.

    Each critical category and segment (tag, value) gets its own of the rules that can have one, unless the
    list has that rule for it. All of one name share one error budget.
    """
    listed = DEFAULT_RULES if sections is None else tuple(_rule(section) for section in sections)
    parts: list[Mapping[str, Any]] = [{"category": each} for each in categories]
    parts += [{"segment": {tag: value}} for tag, value in segments]
    return (*listed, *_of_parts(listed, parts[:MOST_PARTS]))


def _of_parts(listed: Sequence[Rule], parts: Sequence[Mapping[str, Any]]) -> Iterator[Rule]:
    whole = [each for each in listed if each.rule in OF_PARTS and each.category is None and not each.segment]
    known = {_key(each) for each in listed}
    for part in parts:
        for rule in whole:
            own = replace(rule, parts=len(parts), **part)
            if _key(own) not in known:
                yield own


def _key(rule: Rule) -> str:
    return rule_key(rule.rule, rule.category, rule.segment)


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
