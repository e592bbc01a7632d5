"""Alerts on `canary_guardrail_state`: what canary's own evidence says, users counted, the whole run
remembered."""

from collections.abc import Mapping, Sequence

from alerts.incident import RESOLVE_AFTER_S
from alerts.prometheus.names import GUARDRAILS, severity
from alerts.prometheus.parts import Alert, duration, quoted
from alerts.rule import Action, Rule
from alerts.status import StatusName, rule_key
from records.meters import GUARDRAIL_VALUES

_FIRING = f"{GUARDRAIL_VALUES['firing']:g}"
_LATCHED = f"{GUARDRAIL_VALUES['latched']:g}"

_MEANING: Mapping[StatusName, str] = {
    "error_rate": "too many of the candidate's outcomes fail",
    "error_rate_vs_baseline": "users of the candidate meet failures more often than the baseline's",
    "latency_p95": "the candidate's p95 latency is over its limit, and the baseline's is not",
    "cost_per_request": "a request of the candidate's costs too many times one of the baseline's",
    "csat": "users rate the candidate lower than the baseline",
    "thumbs": "users give the candidate fewer thumbs up than the baseline",
    "escalated": "users of the candidate ask for a human more often",
    "telemetry": "requests are routed, but no outcome arrives",
    "outage": "the baseline itself fails more than the candidate may: the provider, not the candidate",
}
_DONE: Mapping[Action, str] = {
    "rollback": "The state is {{ $value }}: 2 pages, 3 has rolled the candidate back until it is resumed.",
    "page": "Nothing was changed by itself.",
    "hold": "The ramp holds.",
}


def exact(canary: str, rules: Sequence[Rule]) -> list[Alert]:
    """One alert a rule that may page, and one for the outage beside each error rate."""
    alerts: list[Alert] = []
    for rule in rules:
        if rule.action == "warn":
            continue  # it never fires; CanaryGuardrailWarns tells of it
        alerts.append(_alert(canary, rule, rule.rule, rule.action))
        if rule.rule == "error_rate":
            alerts.append(_alert(canary, rule, "outage", "hold"))
    return alerts


def _alert(canary: str, rule: Rule, name: StatusName, action: Action) -> Alert:
    key = rule_key(name, rule.category, rule.segment)
    state = f"canary_guardrail_state{{canary={quoted(canary)},rule={quoted(key)}}}"
    return Alert(
        alert=GUARDRAILS[name],
        expr=f"{state} == {_FIRING}" + (_latched(state) if action == "rollback" else ""),
        severity=severity(action),
        summary=f"{canary}: {key} fires",
        description=f"By canary's own evidence, {_MEANING[name]}. {_DONE[action]}",
        labels={"canary": canary, "rule": key, "source": "guardrail"},
    )


def _latched(state: str) -> str:
    """As long as canary's own incident stays open after a rollback, whichever admin leads by then;
    CanaryRolledBack reminds of it afterwards."""
    before = f"{state} offset {duration(RESOLVE_AFTER_S)} == {_LATCHED}"
    return f"\nor ({state} == {_LATCHED} unless on (canary, rule) {before})"
