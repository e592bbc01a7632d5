"""A guardrail from its status document: words, bar lengths, how much evidence there is, its chart. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from alerts.evidence.statistics import PAGE_CUSUM, PAGE_MIXTURE, ROLLBACK_CUSUM, ROLLBACK_MIXTURE
from alerts.incidents.rollback import LIMITS, EvidencePoint
from alerts.rules.rule import SESSION_SIZES
from alerts.wording import capitalized
from common.numbers import decimal, percent, seconds, times
from pages.words import status


def needed(found: Mapping[str, Any]) -> tuple[float, float]:
    """The evidence that the rule needs to act, as logarithms: (whole run, since it last looked healthy).

    A rule that shares its error budget with those of other parts of the traffic needs more."""
    more = math.log(found["evidence"].get("parts", 1.0))
    rolls_back = found.get("action", "rollback") == "rollback"
    whole, since = (ROLLBACK_MIXTURE, ROLLBACK_CUSUM) if rolls_back else (PAGE_MIXTURE, PAGE_CUSUM)
    return whole + more, since + more


def proved(found: Mapping[str, Any]) -> float | None:
    """The evidence as a part of what the rule needs, in [0, 1]; None before the first observation."""
    evidence = found["evidence"]
    if not evidence.get("observations"):
        return None
    whole, since = needed(found)
    part: float = max(evidence["ln_mixture"] / whole, evidence["ln_cusum"] / since)
    return min(1.0, max(0.0, part))


def proof(found: Mapping[str, Any]) -> str:
    """The evidence of one rule of a status document in numbers."""
    return proof_of(found["evidence"], *needed(found))


def proof_of(
    evidence: Mapping[str, float], whole: float = ROLLBACK_MIXTURE, since: float = ROLLBACK_CUSUM
) -> str:
    """The evidence in numbers, for the statistic nearer to its limit: `12 of 1,000`. "" for none."""
    mixture, cusum = evidence.get("ln_mixture", 0.0), evidence.get("ln_cusum", 0.0)
    reached, limit = (mixture, whole) if mixture / whole >= cusum / since else (cusum, since)
    return f"{_odds(reached)} of {_odds(limit)}" if reached > 0 else ""


def _odds(logarithm: float) -> str:
    if logarithm > math.log(1e6):
        return "over 1,000,000"
    odds = math.exp(logarithm)
    return f"{odds:.2g}" if odds < 10 else f"{odds:,.0f}"


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
    "session_cost": "Cost per session",
    "session_exchanges": "Exchanges per session",
    "session_tokens": "Tokens per session",
    "session_tool_calls": "Tool calls per session",
    "session_length_s": "Length of a session",
    "session_faults": "Sessions with a faulty answer",
    "session_abandoned": "Sessions that break off",
    "session_cache_hits": "Cache hits per session",
    "stuck": "Repeated tool calls",
    "csat": "Satisfaction",
    "thumbs": "Thumbs up",
    "helped": "Answers that helped",
    "nps": "Net promoter score",
    "escalated": "Escalations",
    "repeat_question": "Questions asked again",
    "telemetry": "Missing records",
    "outage": "Outage",
}
_UNITS: Mapping[str, Callable[[float | None], str]] = {
    "error_rate": percent,
    "outage": percent,
    "latency_p95": seconds,
    "telemetry": status.span,
    "csat": decimal,
    "thumbs": decimal,
    "helped": decimal,
    "nps": decimal,
    "session_cache_hits": percent,
}
_OF_VALUES = ("cost_per_request", "latency_vs_baseline", *SESSION_SIZES)
"""Multiples of the baseline's cost, size or latency; others are of how often its users have an event."""
SHARES_SINCE = ("error_rate", "outage")
"""Rules whose value is of an incident while there is one; that of others is of the rule's own time."""
_LOW_IS_BAD = ("csat", "thumbs", "helped", "nps")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleView:
    """One guardrail, `found` in the status document. `filled` and `proved` are bar lengths in [0, 1]; None
    draws no bar. An `empty` one has seen nothing.

    `filled` is the value, with the limit at LIMIT_AT. `proved` is the evidence as a part of the evidence that
    the rule needs to act, on a logarithmic scale; `proof` is the same in words. Words are made when they are
    asked for: an overview of a hundred canaries shows few of them.
    """

    found: Mapping[str, Any]
    rule: str
    scope: str
    waits: str
    filled: float | None
    proved: float | None
    near: bool

    @property
    def key(self) -> str:
        """The rule and its part of the traffic, as the status has it."""
        return str(self.found["rule"])

    @property
    def name(self) -> str:
        """The rule as a title."""
        return _title(self.rule)

    @property
    def word(self) -> str:
        """Its state."""
        if self.near:
            return "over its limit, unproven" if (self.filled or 0.0) > LIMIT_AT else "near its limit"
        return self.waits or rule_word(self.found["state"])

    @property
    def restraint(self) -> str:
        """Why it pages nobody though it is over its limit."""
        if self.found["state"] != "warn":
            return ""
        return (
            ", a rule that only warns"
            if self.found["action"] == "warn"
            else ", but not enough evidence to page"
        )

    @property
    def tone(self) -> Tone:
        """The tone of its state."""
        return "warn" if self.near else rule_tone(self.found["state"])

    @property
    def value(self) -> str:
        """The value; of a time that was cut where the measure stops, that it was longer."""
        if _is_without_ratio(self.rule, self.found):
            return "baseline has none"
        over = "over " if self.found["evidence"].get("cut") and self.found["value"] is not None else ""
        return f"{over}{self._unit(self.found['value'])}"

    @property
    def limit(self) -> str:
        """The limit, and on which side of it a value is bad."""
        bound = "at least" if _low_is_bad(self.rule, self.found) else "limit"
        return f"{bound} {self._unit(self.found['threshold'])}"

    @property
    def window(self) -> str:
        """The time that the value is of: last 30 min; this run; since a time; "" where no config sets it."""
        if self.found["value"] is None:
            return ""
        since = self.found["evidence"].get("since")
        if since is not None and self.rule in SHARES_SINCE:
            return f"since {status.minute(since)} UTC"
        if self.found.get("action") is None:
            return ""
        window_s: float | None = self.found.get("window_s")
        return "this run" if window_s is None else f"last {status.span(window_s)}"

    @property
    def proof(self) -> str:
        """The evidence in numbers; "" for none."""
        return proof(self.found) if self.proved else ""

    @property
    def sentence(self) -> str:
        """What it found."""
        return str(self.found["sentence"])

    @property
    def empty(self) -> bool:
        """True before it has seen anything."""
        blank = self.filled is None and not self.proved and not self.waits
        return blank and self.found["state"] in ("not_enough_data", "not_applicable")

    @property
    def _unit(self) -> Callable[[float | None], str]:
        return _UNITS.get(self.rule) or (decimal if _is_mean(self.found) else times)


def rule_view(found: Mapping[str, Any]) -> RuleView:
    """The view of one guardrail of the status document."""
    rule, scope = _parted(found["rule"])
    filled, reached = _filled(rule, found), proved(found)
    doubted = (reached or 0.0) >= NEAR_EVIDENCE and not _is_better(rule, found, filled)
    near = found["state"] == "ok" and ((filled or 0.0) >= NEAR_LIMIT * LIMIT_AT or doubted)
    return RuleView(
        found=found,
        rule=rule,
        scope=scope,
        waits=_waits_for(found),
        filled=filled,
        proved=reached,
        near=near,
    )


def _is_better(name: str, found: Mapping[str, Any], filled: float | None) -> bool:
    """True when the candidate's value is no worse than the baseline's: whatever the evidence began with, it
    is not on its way to the limit."""
    if name in _UNITS or _is_mean(found):
        return filled == 0.0
    return found["value"] is not None and found["value"] <= 1.0


def _is_without_ratio(name: str, found: Mapping[str, Any]) -> bool:
    """True when the candidate's users have the event and none of the baseline's: there is no multiple."""
    multiple = name not in _UNITS and name not in _OF_VALUES and not _is_mean(found)
    return multiple and found["value"] is None and bool(found["evidence"].get("adverse_units"))


def _filled(name: str, found: Mapping[str, Any]) -> float | None:
    """How much of the way to its limit the value has gone, as a bar's length; None if unknown.

    A mean's way begins at the baseline's, that of events that should happen at once as often, any other at
    zero."""
    value: float | None = found["value"]
    limit: float | None = found["threshold"]
    start: float = found["evidence"].get("baseline_mean", 1.0 if _low_is_bad(name, found) else 0.0)
    if value is None or limit is None or limit == start:
        return None
    return min(1.0, max(0.0, (value - start) / (limit - start) * LIMIT_AT))


def _waits_for(found: Mapping[str, Any]) -> str:
    """What a rule that has begun to count waits for, `12 of 30 baseline values`; "" if for nothing. One about
    sessions says where there are none."""
    if found["evidence"].get("sessions") == found["evidence"].get("baseline_sessions") == 0.0:
        return "no sessions"
    waits = found.get("waits")
    if not waits or not waits["have"] or found["state"] != "not_enough_data":
        return ""
    return f"{waits['have']} of {waits['need']} {waits['of']}"


def _is_mean(found: Mapping[str, Any]) -> bool:
    return "baseline_mean" in found["evidence"]


def _low_is_bad(name: str, found: Mapping[str, Any]) -> bool:
    return name in _LOW_IS_BAD or bool(found["evidence"].get("higher_is_better"))


def rule_name(key: str) -> str:
    """A rule's key as a title: `error_rate[plan=pro]` is "Error rate (plan pro)"."""
    name, scope = _parted(key)
    return f"{_title(name)} ({scope})" if scope else _title(name)


def _title(name: str) -> str:
    return _NAMES.get(name, capitalized(status.plain(name)))


def rule_word(state: str) -> str:
    """A guardrail's state in words."""
    return _RULE_WORDS[state]


def rule_tone(state: str) -> Tone:
    """The tone of a guardrail's state."""
    return _RULE_TONES.get(state, "calm")


def _parted(key: str) -> tuple[str, str]:
    name, _, scope = key.partition("[")
    if not scope:
        return name, ""
    return name, scope.removesuffix("]").replace("=", " ").replace(",", ", ")


WIDTH, HEIGHT = 600.0, 180.0
_ROOM = 1.1


@dataclass(frozen=True, slots=True)
class EvidenceLine:
    """One statistic: a polyline's points, and the position and label of its limit."""

    points: str
    limit_y: float
    limit: str


@dataclass(frozen=True, slots=True)
class EvidenceCourse:
    """Both statistics in an area of WIDTH × HEIGHT, from `start` to `end` in UTC seconds."""

    whole: EvidenceLine
    since: EvidenceLine
    start: float
    end: float


def reach(path: Sequence[EvidencePoint], limits: Mapping[str, float] = LIMITS) -> EvidenceCourse | None:
    """The chart, on a logarithmic scale; None for fewer than two points. `limits` as in RollbackEvidence."""
    if len(path) < 2:
        return None
    start, end = path[0].at, path[-1].at
    top = _ROOM * max(limits["ln_cusum"], *(max(each.ln_mixture, each.ln_cusum) for each in path))

    def y(value: float) -> float:
        return round(HEIGHT * (1 - max(0.0, value) / top), 1)

    def line(values: Sequence[float], limit: float) -> EvidenceLine:
        across = [WIDTH * (each.at - start) / ((end - start) or 1.0) for each in path]
        points = " ".join(f"{x:.1f},{y(value)}" for x, value in zip(across, values, strict=True))
        return EvidenceLine(points, y(limit), f"{math.exp(limit):,.0f}")

    return EvidenceCourse(
        whole=line([each.ln_mixture for each in path], limits["ln_mixture"]),
        since=line([each.ln_cusum for each in path], limits["ln_cusum"]),
        start=start,
        end=end,
    )
