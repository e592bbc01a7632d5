"""Converts the config's guardrails into rules: limits in each rule's unit, windows in seconds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from alerts.rules.failures import TOO_HIGH
from alerts.rules.relative import FACTOR
from alerts.rules.rule import DEFAULT_RULES, FAULT_RULES, FAULTS, RATINGS, Rule, RuleName, rule_key
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

MOST_TIMES = 100.0
SHORTEST_WINDOW_S = 10.0


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
    """The limit in the rule's own unit (`alerts.rules.rule.Rule`).

    Raises ValueError, also for a limit that would decide nothing."""
    if section.limit is None:
        return _DEFAULTS[section.rule].limit
    return _LIMITS[section.rule](section.limit)


def window_s(section: GuardrailSection) -> float | None:
    """The rule's window in seconds, None for the whole run. Raises ValueError."""
    if section.window is None:
        return _DEFAULTS[section.rule].window_s
    if section.window.strip() == "run":
        return None
    window = _positive(parse_duration(section.window))
    if window < SHORTEST_WINDOW_S:
        raise ValueError(f"{section.window} holds too little to judge by; write at least 10s, or run")
    return window


def ignored(section: GuardrailSection) -> Iterator[tuple[str, str]]:
    """Keys of a rule that would decide nothing, each with what is wrong and what would be right."""
    if section.rule == "telemetry":
        if section.minimum not in (None, _DEFAULTS["telemetry"].minimum):
            yield "minimum", "telemetry counts no exchanges, so it has no minimum; remove it"
        if section.action == "rollback":
            yield "action", "telemetry says nothing about the candidate, so it never rolls back; write hold"


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


def _rating(text: str) -> float:
    """A factor of the baseline's mean rating, from "5%" (below it) or "0.95x"."""
    if text.strip().endswith("%"):
        below = _positive(parse_share(text))
        if below >= 0.5:
            raise ValueError(f"{text} means {text} below the baseline; for a factor of it write, say, 0.95x")
        return 1.0 - below
    factor = _factor(text)
    if not 0.5 < factor <= 1.0:
        raise ValueError(
            f"{text} is {factor:g} times the baseline's rating; write how far below it is too much, say 5%,"
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
            " remove limit, and set action or minimum instead"
        )
    return FACTOR


_LIMITS: Mapping[RuleName, Callable[[str], float]] = {
    "error_rate": _share,
    "latency_p95": _duration,
    "telemetry": _duration,
    "cost_per_request": _factor,
    "escalated": _fixed,
    "repeat_question": _fixed,
    **dict.fromkeys(RATINGS, _rating),
    **dict.fromkeys(("error_rate_vs_baseline", "latency_vs_baseline", "abandoned", *FAULT_RULES), _times),
}
"""How each rule's limit is read."""
