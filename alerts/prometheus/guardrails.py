"""One alert per guardrail, on the guardrail's own state (`canary_guardrail_state`)."""

from collections.abc import Mapping, Sequence

from alerts.incident import RESOLVE_AFTER_S
from alerts.prometheus.names import GUARDRAILS
from alerts.prometheus.parts import Alert, quoted
from alerts.rule import Action, Rule
from alerts.status import StatusName, rule_key
from records.meters import GUARDRAIL_VALUES

_FIRING = f"{GUARDRAIL_VALUES['firing']:g}"
_LATCHED = f"{GUARDRAIL_VALUES['latched']:g}"

_MEANING: Mapping[StatusName, str] = {
    "error_rate": "Too many of the candidate's outcomes fail.",
    "error_rate_vs_baseline": "The candidate's users see failures more often than the baseline's users.",
    "latency_p95": "The candidate's p95 latency is over its limit, and the baseline's is not.",
    "latency_vs_baseline": "Too many of the candidate's exchanges are slower than the baseline's.",
    "abandoned": "The candidate's callers leave without an answer more often than the baseline's callers.",
    "answer_faults": "The candidate's answers are refused, cut off, empty or invalid more often.",
    "refused": "The candidate refuses to answer more often than the baseline.",
    "cut_off": "The candidate's answers end at their length limit more often than the baseline's.",
    "empty": "The candidate's answers are empty more often than the baseline's.",
    "invalid_output": "The candidate's tool calls or JSON are invalid more often than the baseline's.",
    "stalled": "The candidate's streams fall silent in their middle more often than the baseline's.",
    "cost_per_request": "A request to the candidate costs too many times a request to the baseline.",
    "csat": "Users rate the candidate lower than the baseline.",
    "thumbs": "Users give the candidate fewer thumbs up than the baseline.",
    "helped": "Users say less often that the candidate helped them.",
    "nps": "Users would recommend the candidate less than the baseline.",
    "escalated": "The candidate's users ask for a human more often.",
    "repeat_question": "The candidate's users have to ask again more often.",
    "telemetry": "Requests are routed, but no outcome arrives.",
    "outage": "The baseline itself fails more than the candidate may. The candidate is not the cause.",
}
_DONE: Mapping[Action, str] = {
    "rollback": "The state is {{ $value }}: at 2 canary pages, at 3 it has rolled the candidate back.",
    "page": "Canary pages and changes nothing.",
    "hold": "The ramp holds.",
}


def guardrail_alerts(canary: str, rules: Sequence[Rule]) -> list[Alert]:
    """An alert for each rule that may page, and an outage alert for each `error_rate`.

    A rule with `action: warn` never fires: `CanaryGuardrailWarns` covers it.
    """
    alerts: list[Alert] = []
    for rule in rules:
        if rule.action == "warn":
            continue
        alerts.append(_alert(canary, rule, rule.rule, rule.action))
        if rule.rule == "error_rate":
            alerts.append(_alert(canary, rule, "outage", "hold"))
    return alerts


def _alert(canary: str, rule: Rule, name: StatusName, action: Action) -> Alert:
    key = rule_key(name, rule.category, rule.segment)
    state = f"canary_guardrail_state{{canary={quoted(canary)},rule={quoted(key)}}}"
    return Alert(
        alert=GUARDRAILS[name],
        expr=f"{state} == {_FIRING}" + (_or_latched(state) if action == "rollback" else ""),
        severity="critical",
        summary=f"{canary}: {key} fires",
        description=f"{_MEANING[name]} {_DONE[action]}",
        labels={"canary": canary, "rule": key},
    )


def _or_latched(state: str) -> str:
    """Matches for as long as canary's own incident stays open after a rollback, whichever admin leads.
    `CanaryRolledBack` takes over then."""
    before = f"{state} offset {RESOLVE_AFTER_S:.0f}s == {_LATCHED}"
    return f"\nor ({state} == {_LATCHED} unless on (canary, rule) {before})"
