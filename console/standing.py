"""A canary's state as sentences and bar lengths, from its status document. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from console import words
from console.proof import proof, proved
from records import unreached

Tone = Literal["good", "warn", "bad", "calm"]

NEAR_LIMIT, NEAR_EVIDENCE = 0.8, 0.5
LIMIT_AT = 0.75
"""The limit's position on a bar; the rest of the bar shows values beyond the limit."""

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
    "cost_per_request": "Cost per request",
    "csat": "Satisfaction",
    "thumbs": "Thumbs up",
    "helped": "Helped",
    "nps": "NPS",
    "escalated": "Escalations",
    "repeat_question": "Questions asked again",
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
    "helped": words.points,
    "nps": words.points,
}
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One canary at a glance. `sentence` sums up its state. `where` says where the failing exchanges lie, ""
    if the sentence does. `said` is what the candidate's provider said last, None for nothing. `unseen` are
    the rules without data. `watched` is False before the start and after the end. `key` changes with the
    state."""

    name: str
    state: str
    word: str
    tone: Tone
    sentence: str
    where: str
    said: Mapping[str, Any] | None
    ramp: str
    rules: Sequence[RuleView]
    unseen: Sequence[str]
    watched: bool
    key: str

    @property
    def icon(self) -> str:
        """The state's icon, or the icon of the tone if a guardrail warns or fires."""
        return self.state if self.tone == _STATE_TONES.get(self.state, "calm") else self.tone


def standing(canary: Mapping[str, Any]) -> Standing:
    """The view of one canary of the status document."""
    rules = [_rule(each) for each in canary["guardrails"]]
    watched = canary["state"] not in ("waiting", "ended")
    sentence = _sentence(canary, rules)
    return Standing(
        name=canary["name"],
        state=canary["state"],
        word="refused" if _hides(canary) else words.plain(canary["state"]),
        tone="bad" if _refused(canary) else _tone(canary, rules),
        sentence=sentence,
        where=_where(canary, sentence) if watched else "",
        said=canary.get("provider_error") if watched else None,
        ramp=_ramp(canary),
        rules=[rule for rule in rules if watched and not rule.empty],
        unseen=_unseen(rules) if watched else [],
        watched=watched,
        key=key_of(canary),
    )


def _where(canary: Mapping[str, Any], sentence: str) -> str:
    """Where the failing exchanges lie; "" if nowhere in particular, or if `sentence` names each of them."""
    places = [f"{part['by']} {part['value']} (" for part in canary.get("where", ())]
    named = all(place in sentence for place in places)
    return "" if named else _ended(_capitalized(canary["where_sentence"]))


def _unseen(rules: Sequence[RuleView]) -> list[str]:
    """The rules without data by name, each with the parts of the traffic that it has none of."""
    scopes: dict[str, list[str]] = {}
    for rule in rules:
        if rule.empty:
            scopes.setdefault(rule.name, []).append(rule.scope)
    whole = [name for name, parts in scopes.items() if "" in parts]
    return whole + [f"{name} ({'; '.join(parts)})" for name, parts in scopes.items() if name not in whole]


def _tone(canary: Mapping[str, Any], rules: Sequence[RuleView]) -> Tone:
    """The tone of the state, or of its worst rule while the candidate has users; at least `warn` while
    exchanges do not reach the candidate though it is not to blame."""
    state: str = canary["state"]
    if state in ("running", "paused", "promoted"):
        for tone in _WORSE:
            if any(rule.tone == tone and not rule.near for rule in rules):
                return tone
        if not_evidence(canary["arms"]):
            return "warn"
    return _STATE_TONES.get(state, "calm")


def key_of(canary: Mapping[str, Any]) -> str:
    """Identifies the canary's state. An order carries the key, so one from an outdated page is refused."""
    refused = "-refused" if _refused(canary) else ""
    asked = "-asked" if canary.get("promote_asked") else ""
    return f"{canary['run']}-{canary['state']}-{canary['share']:g}{refused}{asked}"


def _refused(canary: Mapping[str, Any]) -> str:
    """Why no worker serves the candidate, whatever the state says; "" if they do. An ended canary says so
    itself."""
    return "" if canary["state"] == "ended" else canary.get("refused") or ""


def _hides(canary: Mapping[str, Any]) -> bool:
    """True when the state would say that users get the candidate, and none does."""
    return bool(_refused(canary)) and canary["state"] != "rolled_back"


def _sentence(canary: Mapping[str, Any], rules: Sequence[RuleView]) -> str:
    share = words.percent(canary["share"])
    refused = _ended(f"Refused: {_refused(canary)}") if _refused(canary) else ""
    if _hides(canary):
        return refused
    match canary["state"]:
        case "waiting":
            return _ended(f"Not started yet. Everybody gets the baseline. {_capitalized(canary['reason'])}")
        case "ended":
            return "Ended. Everybody gets the baseline."
        case "rolled_back":
            why = _ended(f"Rolled back. Everybody gets the baseline. {_capitalized(canary['reason'])}")
            return f"{why} {refused}".strip()
        case "promoted":
            whom = "everybody" if canary.get("lane") is None else "everybody in its lane"
            opening = f"Promoted: {whom} gets the candidate."
        case "paused":
            opening = f"Paused at {share}: the ramp's clock is stopped."
        case _:
            opening = f"Running at {share}."
    said = (opening, _errors(canary["arms"]), not_evidence(canary["arms"]), _worst(rules))
    return " ".join(part for part in said if part)


def not_evidence(arms: Mapping[str, Mapping[str, Any]]) -> str:
    """How many of the candidate's exchanges did not reach it though it is not to blame; "": hardly any."""
    candidate = arms["candidate"]
    return unreached.sentence(candidate.get("unreached", {}), candidate["requests"])


def _errors(arms: Mapping[str, Mapping[str, Any]]) -> str:
    candidate, baseline = (error_rate(arms[arm]) for arm in ("candidate", "baseline"))
    if candidate is None:
        return "The candidate has not answered any request yet."
    against = f" vs {words.percent(baseline)}" if baseline is not None else ""
    return f"Candidate errors {words.percent(candidate)}{against}."


def error_rate(arm: Mapping[str, Any]) -> float | None:
    """The arm's error rate in [0, 1]; None if unknown."""
    counted: int = arm["counted"]
    errors: int = arm["errors"]
    return errors / counted if counted and errors <= counted else None


def _worst(rules: Sequence[RuleView]) -> str:
    if not rules:
        return "No guardrail watches this canary."
    for tone in _WORSE:
        found = [rule for rule in rules if rule.tone == tone and not rule.near]
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            unproven = ", but not enough evidence to page" if tone == "warn" else ""
            return f"{_titled(found[0])}: {found[0].word}{unproven}{more}."
    near = [rule for rule in rules if rule.near]
    if near:
        return f"Near its limit: {', '.join(_titled(rule) for rule in near)}."
    if all(rule.tone == "calm" for rule in rules):
        return "Not enough traffic to judge yet."
    return "No guardrail is near its limit."


def rule_name(key: str) -> str:
    """A rule's key as a title: `error_rate[plan=pro]` is "Error rate (plan pro)"."""
    name, scope = _parted(key)
    title = _NAMES.get(name, _capitalized(words.plain(name)))
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


def _titled(rule: RuleView) -> str:
    return rule_name(rule.key)


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _ended(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _ramp(canary: Mapping[str, Any]) -> str:
    """The ramp's step, the time left, and why its clock is stopped."""
    ramp, state = canary["ramp"], canary["state"]
    steps, step = ramp["steps"], ramp["step"]
    if state not in ("running", "paused") or len(steps) < 2 or _refused(canary):
        return ""
    if step is None:
        return "Off the ramp: the share was set by hand and stays."
    if step + 1 == len(steps):
        return f"Last step of {len(steps)}: {words.percent(steps[step]['share'])} until a person decides."
    left = f", {words.span(ramp['left_s'])} left" if ramp["left_s"] is not None else ""
    held = " The clock is stopped: a guardrail is over its limit." if ramp["held"] else ""
    if ramp.get("too_few_users") and ramp["left_s"] == 0 and not held:
        held = " The step continues until the candidate has had enough users."
    if state == "paused":
        held = " The clock is stopped: paused."
    return f"Step {step + 1} of {len(steps)}{left}, then {words.percent(steps[step + 1]['share'])}.{held}"


def _rule(found: Mapping[str, Any]) -> RuleView:
    name, scope = _parted(found["rule"])
    unit = _UNITS.get(name, words.times)
    filled, reached = _filled(name, found), proved(found)
    near = found["state"] == "ok" and (
        (filled or 0.0) >= NEAR_LIMIT * LIMIT_AT or (reached or 0.0) >= NEAR_EVIDENCE
    )
    return RuleView(
        key=found["rule"],
        name=_NAMES.get(name, _capitalized(words.plain(name))),
        scope=scope,
        word="near its limit" if near else rule_word(found["state"]),
        tone="warn" if near else rule_tone(found["state"]),
        value=unit(found["value"]),
        limit=f"{'at least' if name in _LOW_IS_BAD else 'limit'} {unit(found['threshold'])}",
        filled=filled,
        proved=reached,
        proof=proof(found) if reached else "",
        sentence=found["sentence"],
        near=near,
        empty=filled is None and not reached and found["state"] in ("not_enough_data", "not_applicable"),
    )


def _filled(name: str, found: Mapping[str, Any]) -> float | None:
    """How much of the way to its limit the value has gone, as a bar's length; None if unknown.

    A rating's way begins at the baseline's mean, any other value's at zero."""
    value: float | None = found["value"]
    limit: float | None = found["threshold"]
    start: float | None = found["evidence"].get("baseline_mean") if name in _LOW_IS_BAD else 0.0
    if value is None or limit is None or start is None or limit == start:
        return None
    return min(1.0, max(0.0, (value - start) / (limit - start) * LIMIT_AT))
