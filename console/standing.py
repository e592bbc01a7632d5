"""Where a canary stands, in words and lengths of bars. Pure: a status document in, what is shown out."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from alerts.evidence import PAGE_CUSUM, PAGE_MIXTURE, ROLLBACK_CUSUM, ROLLBACK_MIXTURE
from console import words

Tone = Literal["good", "warn", "bad", "calm"]

NEAR_LIMIT, NEAR_EVIDENCE = 0.8, 0.5
LIMIT_AT = 0.75
"""Where a bar has its limit: what is beyond it has room, too."""

_STATE_TONES: Mapping[str, Tone] = {
    "running": "good",
    "promoted": "good",
    "paused": "warn",
    "rolled_back": "bad",
}
_RULE_TONES: Mapping[str, Tone] = {"ok": "good", "warn": "warn", "firing": "bad", "latched": "bad"}
LOUDEST: tuple[Tone, ...] = ("bad", "warn", "good", "calm")
_WORSE = LOUDEST[:2]
_RULE_WORDS = {
    "ok": "ok",
    "warn": "over its limit",
    "firing": "firing",
    "latched": "convicted",
    "not_enough_data": "not enough data",
    "not_applicable": "not applicable",
}
_NAMES = {
    "error_rate": "Error rate",
    "error_rate_vs_baseline": "Error rate vs. baseline",
    "latency_p95": "p95 latency",
    "cost_per_request": "Cost per request",
    "csat": "Satisfaction",
    "thumbs": "Thumbs up",
    "escalated": "Escalations",
    "telemetry": "Telemetry",
    "outage": "Baseline's own errors",
}
_UNITS: Mapping[str, Callable[[float | None], str]] = {
    "error_rate": words.percent,
    "outage": words.percent,
    "latency_p95": words.seconds,
    "telemetry": words.span,
    "csat": words.points,
    "thumbs": words.points,
}
_LOW_IS_BAD = ("csat", "thumbs")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleView:
    """One guardrail. `filled` and `proved` are parts of a bar's length, in [0, 1]; None: nothing to draw.

    `filled` is its value, with the limit at LIMIT_AT; `proved` how far the evidence has come, as a logarithm,
    on the way to what the rule needs to act, told in `proof`."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One canary at a glance. `sentence` alone says where it stands; `unseen` are the rules that have seen
    nothing yet; `watched` is False before the start and after the end; `key` changes when the state does."""

    name: str
    state: str
    word: str
    tone: Tone
    sentence: str
    ramp: str
    rules: Sequence[RuleView]
    unseen: Sequence[str]
    watched: bool
    key: str

    @property
    def icon(self) -> str:
        """The state's own sign, or that of the trouble it is in."""
        return self.state if self.tone == _STATE_TONES.get(self.state, "calm") else self.tone


def standing(canary: Mapping[str, Any]) -> Standing:
    """What to show of one canary of the status document."""
    rules = [_rule(each) for each in canary["guardrails"]]
    watched = canary["state"] not in ("waiting", "ended")
    return Standing(
        name=canary["name"],
        state=canary["state"],
        word=words.plain(canary["state"]),
        tone=_tone(canary["state"], rules),
        sentence=_sentence(canary, rules),
        ramp=_ramp(canary),
        rules=[rule for rule in rules if watched and not rule.empty],
        unseen=[rule.name for rule in rules if watched and rule.empty],
        watched=watched,
        key=key_of(canary),
    )


def _tone(state: str, rules: Sequence[RuleView]) -> Tone:
    """The state's; or its rules', while they are worse and there is a candidate that they speak of."""
    if state in ("running", "paused", "promoted"):
        for tone in _WORSE:
            if any(rule.tone == tone and not rule.near for rule in rules):
                return tone
    return _STATE_TONES.get(state, "calm")


def key_of(canary: Mapping[str, Any]) -> str:
    """The canary's state as one word, by which an order tells that it was given looking at another."""
    return f"{canary['run']}-{canary['state']}-{canary['share']:g}"


def _sentence(canary: Mapping[str, Any], rules: Sequence[RuleView]) -> str:
    share = words.percent(canary["share"])
    match canary["state"]:
        case "waiting":
            return "Waiting to be started. Everybody gets the baseline."
        case "ended":
            return "Ended. Everybody gets the baseline."
        case "rolled_back":
            return _told(f"Rolled back. Everybody gets the baseline. {_begun(canary['reason'])}")
        case "promoted":
            opening = "Promoted: everybody gets the candidate."
        case "paused":
            opening = f"Paused at {share}: the ramp stands still."
        case _:
            opening = f"Running at {share}."
    return " ".join(part for part in (opening, _errors(canary["arms"]), _worst(rules)) if part)


def _errors(arms: Mapping[str, Mapping[str, Any]]) -> str:
    candidate, baseline = (error_rate(arms[arm]) for arm in ("candidate", "baseline"))
    if candidate is None:
        return "The candidate has answered nothing yet."
    against = f" vs {words.percent(baseline)}" if baseline is not None else ""
    return f"Candidate errors {words.percent(candidate)}{against}."


def error_rate(arm: Mapping[str, Any]) -> float | None:
    """The part of an arm's answers and errors that failed, in [0, 1]; None while unknown."""
    counted: int = arm["counted"]
    errors: int = arm["errors"]
    return errors / counted if counted and errors <= counted else None


def _worst(rules: Sequence[RuleView]) -> str:
    if not rules:
        return "No guardrail watches it."
    for tone in _WORSE:
        found = [rule for rule in rules if rule.tone == tone and not rule.near]
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            calming = ", without the evidence to page" if tone == "warn" else ""
            return f"{_titled(found[0])}: {found[0].word}{calming}{more}."
    near = [rule for rule in rules if rule.near]
    if near:
        return f"Near its limit: {', '.join(_titled(rule) for rule in near)}."
    if all(rule.tone == "calm" for rule in rules):
        return "Too little traffic to judge yet."
    return "No rule near its limit."


def rule_name(key: str) -> str:
    """A rule's key as a person calls it: `error_rate[plan=pro]` is "Error rate (plan pro)"."""
    name, scope = _parted(key)
    called = _NAMES.get(name, _begun(words.plain(name)))
    return f"{called} ({scope})" if scope else called


def rule_word(state: str) -> str:
    """A guardrail's state as a person calls it."""
    return _RULE_WORDS[state]


def rule_tone(state: str) -> Tone:
    """How loud a guardrail's state is."""
    return _RULE_TONES.get(state, "calm")


def _parted(key: str) -> tuple[str, str]:
    name, _, scope = key.partition("[")
    return name, scope.removesuffix("]").replace("=", " ").replace(",", ", ")


def _titled(rule: RuleView) -> str:
    return rule_name(rule.key)


def _begun(text: str) -> str:
    return text[:1].upper() + text[1:]


def _told(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _ramp(canary: Mapping[str, Any]) -> str:
    """Which step of the ramp, how long still, and what stops its clock."""
    ramp, state = canary["ramp"], canary["state"]
    steps, step = ramp["steps"], ramp["step"]
    if state not in ("running", "paused") or len(steps) < 2:
        return ""
    if step is None:
        return "Off the ramp: the share was set by hand and stays."
    if step + 1 == len(steps):
        return f"Last step of {len(steps)}: {words.percent(steps[step]['share'])} until a person decides."
    left = f", {words.span(ramp['left_s'])} left" if ramp["left_s"] is not None else ""
    stands = " The clock stands still: a rule is over its limit." if ramp["held"] else ""
    if ramp.get("too_few_users") and ramp["left_s"] == 0 and not stands:
        stands = " It stays until more of the candidate's users have been seen."
    if state == "paused":
        stands = " The clock stands still: paused."
    return f"Step {step + 1} of {len(steps)}{left}, then {words.percent(steps[step + 1]['share'])}.{stands}"


def _rule(found: Mapping[str, Any]) -> RuleView:
    name, scope = _parted(found["rule"])
    unit = _UNITS.get(name, words.times)
    filled, proved = _filled(name, found["value"], found["threshold"]), _proved(found)
    near = found["state"] == "ok" and (
        (filled or 0.0) >= NEAR_LIMIT * LIMIT_AT or (proved or 0.0) >= NEAR_EVIDENCE
    )
    return RuleView(
        key=found["rule"],
        name=_NAMES.get(name, _begun(words.plain(name))),
        scope=scope,
        word="near its limit" if near else rule_word(found["state"]),
        tone="warn" if near else rule_tone(found["state"]),
        value=unit(found["value"]),
        limit=f"{'at least' if name in _LOW_IS_BAD else 'limit'} {unit(found['threshold'])}",
        filled=filled,
        proved=proved,
        proof=_proof(found) if proved else "",
        sentence=found["sentence"],
        near=near,
        empty=filled is None and not proved and found["state"] in ("not_enough_data", "not_applicable"),
    )


def _filled(name: str, value: float | None, limit: float | None) -> float | None:
    if value is None or not limit or (name in _LOW_IS_BAD and not value):
        return None
    part = limit / value if name in _LOW_IS_BAD else value / limit
    return min(1.0, max(0.0, part * LIMIT_AT))


def _needed(found: Mapping[str, Any]) -> tuple[float, float]:
    """(over the whole run, since it last looked healthy), logarithms: what the rule acts on."""
    rolls_back = found.get("action", "rollback") == "rollback"
    return (ROLLBACK_MIXTURE, ROLLBACK_CUSUM) if rolls_back else (PAGE_MIXTURE, PAGE_CUSUM)


def _proved(found: Mapping[str, Any]) -> float | None:
    evidence = found["evidence"]
    if not evidence.get("observations"):
        return None
    whole, since = _needed(found)
    part: float = max(evidence["ln_mixture"] / whole, evidence["ln_cusum"] / since)
    return min(1.0, max(0.0, part))


def _proof(found: Mapping[str, Any]) -> str:
    return proof_of(found["evidence"], *_needed(found))


def proof_of(
    evidence: Mapping[str, float], whole: float = ROLLBACK_MIXTURE, since: float = ROLLBACK_CUSUM
) -> str:
    """The evidence in numbers, by the statistic that has come further: `12 of 1,000`. "" for none."""
    mixture, cusum = evidence.get("ln_mixture", 0.0), evidence.get("ln_cusum", 0.0)
    reached, needed = (mixture, whole) if mixture / whole >= cusum / since else (cusum, since)
    return f"{_odds(reached)} of {_odds(needed)}" if reached > 0 else ""


def _odds(logarithm: float) -> str:
    if logarithm > math.log(1e6):
        return "over 1,000,000"
    odds = math.exp(logarithm)
    return f"{odds:.2g}" if odds < 10 else f"{odds:,.0f}"
