"""A config's guardrails and canary's own alerts as one Prometheus rules file. Pure: guardrails in, YAML out.

A guardrail's alert reads `canary_guardrail_state` and does not recompute the guardrail in PromQL: Prometheus
counts exchanges in a window, where canary counts users over the whole run. Each alert has a page of its name
in docs/runbooks/.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from alerts.incidents.incident import LEAST_ROOM_BYTES, MANY_WAITING, RESOLVE_AFTER_S
from alerts.rules.rule import Action, Rule, rule_key
from records.exports.prometheus import GUARDRAIL_VALUES

Severity = Literal["critical", "warning", "info"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alerting rule. `after` is how long `expr` must hold, as a Prometheus duration."""

    alert: str
    expr: str
    severity: Severity
    summary: str
    description: str
    after: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def document(self, runbooks: str) -> dict[str, Any]:
        """The rule as a rules file holds it. `runbooks` is a folder or URL without a trailing slash."""
        return {
            "alert": self.alert,
            "expr": self.expr,
            **({"for": self.after} if self.after else {}),
            "labels": {**self.labels, "severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{runbooks}/{self.alert}.md",
            },
        }


def quoted(text: str) -> str:
    """A label value as PromQL writes it."""
    return json.dumps(text, ensure_ascii=False)


_FIRING = f"{GUARDRAIL_VALUES['firing']:g}"
_LATCHED = f"{GUARDRAIL_VALUES['latched']:g}"

_MEANING: Mapping[str, str] = {
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
    "session_cost": "The candidate's sessions cost too many times the baseline's.",
    "session_exchanges": "The candidate's sessions take too many times the baseline's exchanges.",
    "stuck": "The candidate's sessions repeat one tool call more often than the baseline's.",
    "csat": "Users rate the candidate lower than the baseline.",
    "thumbs": "Users give the candidate fewer thumbs up than the baseline.",
    "helped": "Users say less often that the candidate helped them.",
    "nps": "Users would recommend the candidate less than the baseline.",
    "escalated": "The candidate's users ask for a human more often.",
    "repeat_question": "The candidate's users have to ask again more often.",
    "telemetry": "Requests are routed, but no outcome arrives.",
    "outage": "The baseline itself fails more than the candidate may.",
}
GUARDRAILS: Mapping[str, str] = {
    name: f"Canary{''.join(part.capitalize() for part in name.split('_'))}" for name in _MEANING
}
"""The name of each guardrail's alert, as `CanaryErrorRate`."""
METRIC_ALERT = "CanaryMetric"
"""The alert of guardrails about any other metric, which its label `rule` names."""
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


def _alert(canary: str, rule: Rule, name: str, action: Action) -> Alert:
    key = rule_key(name, rule.category, rule.segment)
    state = f"canary_guardrail_state{{canary={quoted(canary)},rule={quoted(key)}}}"
    return Alert(
        alert=GUARDRAILS.get(name, METRIC_ALERT),
        expr=f"{state} == {_FIRING}" + (_or_latched(state) if action == "rollback" else ""),
        severity="critical",
        summary=f"{canary}: {key} fires",
        description=f"{_MEANING.get(name, _worse(name))} {_DONE[action]}",
        labels={"canary": canary, "rule": key},
    )


def _worse(metric: str) -> str:
    return f"The candidate's users have a worse {metric} than the baseline's."


def _or_latched(state: str) -> str:
    """Matches for as long as canary's own incident stays open after a rollback, whichever admin leads.
    `CanaryRolledBack` takes over then."""
    before = f"{state} offset {RESOLVE_AFTER_S:.0f}s == {_LATCHED}"
    return f"\nor ({state} == {_LATCHED} unless on (canary, rule) {before})"


_UNPRICED = 'sum by (canary, arm) (increase(canary_unpriced_requests_total{canary!=""}[1h]))'
_ANSWERED = 'sum by (canary, arm) (increase(canary_requests_total{canary!="",outcome=~"ok|fallback"}[1h]))'

SERVICE: tuple[Alert, ...] = (
    Alert(
        alert="CanaryGuardrailWarns",
        expr=f"canary_guardrail_state == {GUARDRAIL_VALUES['warn']:g}",
        after="15m",
        severity="warning",
        summary="{{ $labels.canary }}: {{ $labels.rule }} warns",
        description="The guardrail has been over its limit for 15 minutes without enough evidence to page, "
        "or it has `action: warn`. The ramp holds meanwhile.",
    ),
    Alert(
        alert="CanaryRolledBack",
        expr='canary_state{state="rolled_back"} == 1',
        severity="info",
        summary="{{ $labels.canary }} is rolled back",
        description="All users get the baseline until a person resumes the canary or removes it from the "
        "config.",
    ),
    Alert(
        alert="CanaryAbsent",
        expr="absent(canary_inflight_requests)",
        after="2m",
        severity="critical",
        summary="Prometheus gets no metrics from canary",
        description="Prometheus has had no metrics from canary's admin listener for two minutes. Traffic may "
        "continue, but no guardrail is judged. After 15 minutes without an admin process the candidate gets "
        "no traffic.",
    ),
    Alert(
        alert="CanaryPlanNotFollowed",
        expr='sum by (canary) (increase(canary_assignments_total{reason="no_plan"}[5m])) > 0\n'
        'or (sum by (canary) (increase(canary_assignments_total{reason="stopped"}[5m])) > 0\n'
        "  and on (canary) max by (canary) (canary_share_ratio) > 0)",
        after="10m",
        severity="warning",
        summary="{{ $labels.canary }}: workers do not follow its plan",
        description="The candidate has a share, but some workers assign requests as if its share were 0: "
        "their plan is missing or older than 15 minutes.",
    ),
    Alert(
        alert="CanaryNoLeader",
        # If the only admin is down, no target shows canary_leader. Replicas still show canary_shared_up.
        expr="(sum(canary_leader) or 0 * count(canary_shared_up)) != 1",
        after="1m",
        severity="critical",
        summary="{{ $value }} admin processes lead, expected 1",
        description="Without a leader, no guardrail is judged, no ramp continues, and no page is sent. After "
        "15 minutes candidates get no traffic. The baselines keep serving.",
    ),
    Alert(
        alert="CanaryConfigStale",
        expr="canary_config_stale == 1",
        after="10m",
        severity="warning",
        summary="{{ $labels.instance }} does not use the config file as it is",
        description="The file or the certificate is refused, or a change in it needs a restart; `/readyz` "
        "says which. Where other machines use the new one, the same user may get different answers.",
    ),
    Alert(
        alert="CanaryRedisDown",
        expr="canary_shared_up == 0",
        after="5m",
        severity="warning",
        summary="Redis does not answer {{ $labels.instance }}",
        description="Redis only speeds up plans and outcomes. Both go through the store meanwhile, up to a "
        "second later.",
    ),
    Alert(
        alert="CanaryStoreDown",
        expr="sum by (job, instance) (increase(canary_requests_total[5m])) > 0\n"
        'and sum by (job, instance) (increase(canary_records_total{state="stored"}[5m])) == 0',
        after="2m",
        severity="critical",
        summary="{{ $labels.instance }} gets requests and stores no record",
        description="Records wait in the spool. Guardrails, pages and rollbacks continue. Other orders are "
        "refused until the database answers.",
    ),
    Alert(
        alert="CanaryRecordsWaiting",
        expr=f"min_over_time(canary_records_spooled[15m]) > {MANY_WAITING}",
        severity="warning",
        summary="{{ $value | humanize }} records wait to be stored",
        description="More than ten thousand records have waited for 15 minutes: the database takes them more "
        "slowly than they come, or not at all. When the spool is full, new records are dropped.",
    ),
    Alert(
        alert="CanaryRecordsDropped",
        expr=f"count(canary_spool_room_bytes < {LEAST_ROOM_BYTES})\n"
        'or sum(increase(canary_records_total{state="dropped"}[10m])) > 0',
        severity="critical",
        summary="Records are dropped",
        description="The spool or its disk is full, or was in the last ten minutes; `/readyz` of each "
        "machine says where. Traffic continues. Feedback is refused. Guardrails and reports miss those "
        "records, which are counted once there is room.",
    ),
    Alert(
        alert="CanaryRecordsQuarantined",
        expr='sum(increase(canary_records_total{state="quarantined"}[1h])) > 0',
        severity="warning",
        summary="Records were quarantined",
        description='About {{ printf "%.0f" $value }} records in the last hour were damaged on disk or '
        "refused by the database. Their files stay on disk; no report counts them.",
    ),
    Alert(
        alert="CanaryOutcomesNotRolled",
        # While rolling works, the fresh outcomes fall at least once in 62 minutes.
        expr="sum by (job, instance) (increase(canary_rolling_failures_total[15m])) > 0\n"
        "or max by (job, instance) (canary_outcomes_fresh offset 75m > 0"
        " and resets(canary_outcomes_fresh[75m]) == 0)",
        after="20m",
        severity="warning",
        summary="{{ $labels.instance }} does not write outcomes as files",
        description="Turns have failed for 20 minutes, or outcomes older than 75 minutes are in no file. "
        "They wait in the database, which grows. No report misses them.",
    ),
    Alert(
        alert="CanaryOutcomesLost",
        expr='sum(increase(canary_errors_total{error_type="lost_outcome"}[15m])) > 0',
        severity="warning",
        summary="A worker died with requests in flight",
        description='About {{ printf "%.0f" $value }} exchanges in the last 15 minutes have no recorded '
        "outcome.",
    ),
    Alert(
        alert="CanaryRequestsShed",
        expr='sum(increase(canary_requests_total{outcome="shed"}[5m])) > 0',
        severity="warning",
        summary="Canary refuses requests: too many are in flight",
        description="{{ $value | humanize }} requests got a 503 in the last five minutes: more were in "
        "flight than `serve` allows.",
    ),
    Alert(
        alert="CanaryBreakerOpen",
        expr="sum by (canary) (canary_breaker_open) > 0",
        after="5m",
        severity="warning",
        summary="{{ $labels.canary }}: a breaker keeps requests from the candidate",
        description="{{ $value }} workers have found the candidate down for five minutes. The baseline "
        "answers in its place. Guardrails do not count these exchanges.",
    ),
    Alert(
        alert="CanaryCostUnknown",
        expr=f"{_UNPRICED}\n/ {_ANSWERED} > 0.05\nand {_UNPRICED} >= 30",
        severity="warning",
        summary="{{ $labels.canary }}: the {{ $labels.arm }}'s cost is unknown",
        description="{{ $value | humanizePercentage }} of the arm's answers in the last hour have no price. "
        "The cost guardrail and the report leave them out. Add the model to `prices`.",
    ),
    Alert(
        alert="CanaryJudgePaused",
        expr='max by (reason) (canary_judge_paused{reason!="budget"}) == 1',
        after="1h",
        severity="warning",
        summary="The judge pauses: {{ $labels.reason }}",
        description="No answer has been judged for an hour. Requests are not affected. A rubric's row on the "
        "judge stays inconclusive meanwhile.",
    ),
)
"""Every alert about the server. Sums run over all targets that Prometheus scrapes."""
ALERTS: tuple[str, ...] = (*GUARDRAILS.values(), METRIC_ALERT, *(each.alert for each in SERVICE))
"""Every alert that `canary rules` can write."""


OPENTELEMETRY = {
    "canary_request_duration_seconds": "gen_ai_client_operation_duration_seconds",
    "canary_time_to_first_token_seconds": "gen_ai_server_time_to_first_token_seconds",
    "canary_time_per_output_token_seconds": "gen_ai_server_time_per_output_token_seconds",
}
"""Canary's histograms, and their names in OpenTelemetry's conventions for generative AI as Prometheus writes
them."""


def aliases() -> list[dict[str, Any]]:
    """Every series of these histograms under its OpenTelemetry name, with the same labels."""
    return [
        {"record": f"{alias}_{part}", "expr": f"{family}_{part}"}
        for family, alias in OPENTELEMETRY.items()
        for part in ("bucket", "sum", "count")
    ]


RUNBOOKS = "docs/runbooks"

_HEAD = "# Written by `canary rules` from canary.yaml. Do not edit; change the guardrails and run it again.\n"


def rules_text(canaries: Mapping[str, Sequence[Rule]], *, runbooks: str = RUNBOOKS) -> str:
    """The rules file for these canaries' guardrails. `runbooks` is the folder or URL of the runbook pages."""
    folder = runbooks.rstrip("/")
    groups = {"canary-opentelemetry": aliases()}
    for name, rules in canaries.items():
        alerts = guardrail_alerts(name, rules)
        groups[f"canary-guardrails-{name}"] = [each.document(folder) for each in alerts]
    groups["canary-service"] = [each.document(folder) for each in SERVICE]
    document = {"groups": [{"name": name, "rules": found} for name, found in groups.items() if found]}
    return _HEAD + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=4096)


class _Dumper(yaml.SafeDumper):
    """Writes multi-line expressions as literal blocks."""


def _text(dumper: _Dumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
