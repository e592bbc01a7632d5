"""A guardrail as words and bar lengths, from its status document. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from console import words
from console.proof import proof, proved

Tone = Literal["good", "warn", "bad", "calm"]

NEAR_LIMIT, NEAR_EVIDENCE = 0.8, 0.5
LIMIT_AT = 0.75
"""The limit's position on a bar; the rest of the bar shows values beyond the limit."""

_RULE_TONES: Mapping[str, Tone] = {"ok": "good", "warn": "warn", "firing": "bad", "latched": "bad"}
_RULE_WORDS = {
    "ok": "ok",
    "warn": "over its limit",
    "firing": "firing",
    "latched": "tripped",
    "not_enough_data": "not enough data",
    "not_applicable": "not applicable",
}
_NAMES = {
    "error_rate": "Error rate",
    "error_rate_vs_baseline": "Error rate vs. baseline",
    "latency_p95": "p95 latency",
    "latency_vs_baseline": "Latency vs. baseline",
    "abandoned": "Callers who left",
    "answer_faults": "Faulty answers",
    "refused": "Refused answers",
    "cut_off": "Answers cut off",
    "empty": "Empty answers",
    "invalid_output": "Invalid output",
    "stalled": "Stalled streams",
    "cost_per_request": "Cost per request",
    "csat": "Satisfaction",
    "thumbs": "Thumbs up",
    "helped": "Answers that helped",
    "nps": "Net promoter score",
    "escalated": "Escalations",
    "repeat_question": "Questions asked again",
    "telemetry": "Missing records",
    "outage": "Baseline's own errors",
}
_UNITS: Mapping[str, Callable[[float | None], str]] = {
    "error_rate": words.percent,
    "outage": words.percent,
    "latency_p95": words.seconds,
    "telemetry": words.span,
    "csat": words.points,
    "thumbs": words.points,
    "helped": words.points,
    "nps": words.points,
}
_OF_VALUES = ("cost_per_request", "latency_vs_baseline")
"""Multiples of the baseline's cost or latency; other multiples are of how often its users have an event."""
_LOW_IS_BAD = ("csat", "thumbs", "helped", "nps")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleView:
    """One guardrail. `filled` and `proved` are bar lengths in [0, 1]; None draws no bar.

    `filled` is the value, with the limit at LIMIT_AT. `proved` is the evidence as a part of the evidence that
    the rule needs to act, on a logarithmic scale; `proof` is the same in words."""

    key: str
    name: str
    scope: str
    word: str
    tone: Tone
    value: str
    limit: str
    filled: float | None
    proved: float | None
    proof: str
    sentence: str
    near: bool
    empty: bool


def rule_view(found: Mapping[str, Any]) -> RuleView:
    """The view of one guardrail of the status document."""
    name, scope = _parted(found["rule"])
    unit = _UNITS.get(name, words.times)
    filled, reached = _filled(name, found), proved(found)
    near = found["state"] == "ok" and (
        (filled or 0.0) >= NEAR_LIMIT * LIMIT_AT or (reached or 0.0) >= NEAR_EVIDENCE
    )
    return RuleView(
        key=found["rule"],
        name=_NAMES.get(name, capitalized(words.plain(name))),
        scope=scope,
        word="near its limit" if near else rule_word(found["state"]),
        tone="warn" if near else rule_tone(found["state"]),
        value="baseline has none" if _is_without_ratio(name, found) else _value(found, unit),
        limit=f"{'at least' if name in _LOW_IS_BAD else 'limit'} {unit(found['threshold'])}",
        filled=filled,
        proved=reached,
        proof=proof(found) if reached else "",
        sentence=found["sentence"],
        near=near,
        empty=filled is None and not reached and found["state"] in ("not_enough_data", "not_applicable"),
    )


def _value(found: Mapping[str, Any], unit: Callable[[float | None], str]) -> str:
    """The value; of a time that was cut where the measure stops, that it was longer."""
    over = "over " if found["evidence"].get("cut") and found["value"] is not None else ""
    return f"{over}{unit(found['value'])}"


def _is_without_ratio(name: str, found: Mapping[str, Any]) -> bool:
    """True when the candidate's users have the event and none of the baseline's: there is no multiple."""
    multiple = name not in _UNITS and name not in _OF_VALUES
    return multiple and found["value"] is None and bool(found["evidence"].get("adverse_units"))


def _filled(name: str, found: Mapping[str, Any]) -> float | None:
    """How much of the way to its limit the value has gone, as a bar's length; None if unknown.

    A rating's way begins at the baseline's mean, any other value's at zero."""
    value: float | None = found["value"]
    limit: float | None = found["threshold"]
    start: float | None = found["evidence"].get("baseline_mean") if name in _LOW_IS_BAD else 0.0
    if value is None or limit is None or start is None or limit == start:
        return None
    return min(1.0, max(0.0, (value - start) / (limit - start) * LIMIT_AT))


def rule_name(key: str) -> str:
    """A rule's key as a title: `error_rate[plan=pro]` is "Error rate (plan pro)"."""
    name, scope = _parted(key)
    title = _NAMES.get(name, capitalized(words.plain(name)))
    return f"{title} ({scope})" if scope else title


def rule_word(state: str) -> str:
    """A guardrail's state in words."""
    return _RULE_WORDS[state]


def rule_tone(state: str) -> Tone:
    """The tone of a guardrail's state."""
    return _RULE_TONES.get(state, "calm")


def _parted(key: str) -> tuple[str, str]:
    name, _, scope = key.partition("[")
    return name, scope.removesuffix("]").replace("=", " ").replace(",", ", ")


def capitalized(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]
