"""Alerts about canary itself: is it up, does it judge, do workers follow the plan, are records stored.

Prometheus must raise them, although the admin process pages for some of them too: a dead admin process cannot
page, and with several replicas the leader cannot see the other machines' spools.
"""

from alerts.prometheus.parts import Alert
from alerts.record_alarm import MANY_WAITING
from records.meters import GUARDRAIL_VALUES

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
        description="More than ten thousand records have waited for 15 minutes: the database cannot keep up. "
        "When the spool is full, new records are dropped.",
    ),
    Alert(
        alert="CanaryRecordsDropped",
        expr='sum(increase(canary_records_total{state="dropped"}[10m])) > 0',
        severity="critical",
        summary="Records are dropped",
        description="{{ $value | humanize }} records were dropped in the last ten minutes because the spool "
        "is full. Traffic continues. Feedback is refused. Guardrails and reports miss those records.",
    ),
    Alert(
        alert="CanaryRecordsQuarantined",
        expr='sum(increase(canary_records_total{state="quarantined"}[1h])) > 0',
        severity="warning",
        summary="Records were quarantined",
        description="{{ $value | humanize }} records in the last hour were damaged on disk or refused by the "
        "database. Their files stay on disk; no report counts them.",
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
        description="{{ $value | humanize }} exchanges in the last 15 minutes have no recorded outcome.",
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
