"""Alerts about canary itself: is it there, is the plan followed, are the records kept."""

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
        description="It has been over its limit for 15 minutes, without the evidence to page, or may only "
        "warn. The ramp holds meanwhile.",
    ),
    Alert(
        alert="CanaryRolledBack",
        expr='canary_state{state="rolled_back"} == 1',
        severity="info",
        summary="{{ $labels.canary }} is rolled back",
        description="Everybody gets the baseline until somebody resumes the canary or takes it out of the "
        "config.",
    ),
    Alert(
        alert="CanaryAbsent",
        expr="absent(canary_inflight_requests)",
        after="2m",
        severity="critical",
        summary="No canary is scraped",
        description="Prometheus has had no metrics from canary's admin listener for two minutes. Traffic "
        "may well go on, but nobody watches the candidate; after 15 minutes without an admin process it "
        "gets nobody.",
    ),
    Alert(
        alert="CanaryPlanNotFollowed",
        expr='sum by (canary) (increase(canary_assignments_total{reason="no_plan"}[5m])) > 0\n'
        'or (sum by (canary) (increase(canary_assignments_total{reason="stopped"}[5m])) > 0\n'
        "  and on (canary) max by (canary) (canary_share_ratio) > 0)",
        after="10m",
        severity="warning",
        summary="{{ $labels.canary }}: workers do not follow its plan",
        description="The candidate has a share, yet requests are assigned as though it had none: the plan is "
        "missing or has not been refreshed for 15 minutes where they are served.",
    ),
    Alert(
        alert="CanaryNoLeader",
        expr="sum(canary_leader) != 1",
        after="1m",
        severity="critical",
        summary="{{ $value }} admins lead, and it should be one",
        description="Without a leader nobody ramps, rolls back or pages; after 15 minutes the candidates get "
        "nobody. Traffic goes on.",
    ),
    Alert(
        alert="CanaryRedisDown",
        expr="canary_shared_up == 0",
        after="5m",
        severity="warning",
        summary="Redis does not answer {{ $labels.instance }}",
        description="It only carries hints: plans and outcomes go by the store meanwhile, up to a second "
        "later.",
    ),
    Alert(
        alert="CanaryStoreDown",
        expr="sum by (job, instance) (increase(canary_requests_total[5m])) > 0\n"
        'and sum by (job, instance) (increase(canary_records_total{state="stored"}[5m])) == 0',
        after="2m",
        severity="critical",
        summary="{{ $labels.instance }} gets requests and stores no record",
        description="Records wait in the spool. Guardrails, pages and rollbacks go on; other orders are "
        "refused until the database answers.",
    ),
    Alert(
        alert="CanaryRecordsWaiting",
        expr=f"min_over_time(canary_records_spooled[15m]) > {MANY_WAITING}",
        severity="warning",
        summary="{{ $value | humanize }} records wait to be stored",
        description="For 15 minutes there were always more than ten thousand: the database does not keep up. "
        "At the spool's bound new records are dropped.",
    ),
    Alert(
        alert="CanaryRecordsDropped",
        expr='sum(increase(canary_records_total{state="dropped"}[10m])) > 0',
        severity="critical",
        summary="Records are dropped",
        description="{{ $value | humanize }} in the last ten minutes: the spool is full. Traffic goes on; "
        "feedback is refused, and guardrails and reports miss what was dropped.",
    ),
    Alert(
        alert="CanaryRecordsQuarantined",
        expr='sum(increase(canary_records_total{state="quarantined"}[1h])) > 0',
        severity="warning",
        summary="Records were set aside",
        description="{{ $value | humanize }} in the last hour were damaged on disk or refused by the "
        "database. They are kept, but in no report.",
    ),
    Alert(
        alert="CanaryOutcomesLost",
        expr='sum(increase(canary_errors_total{error_type="lost_outcome"}[15m])) > 0',
        severity="warning",
        summary="A worker died over requests in flight",
        description="{{ $value | humanize }} exchanges in the last 15 minutes have no record of how they "
        "ended.",
    ),
    Alert(
        alert="CanaryRequestsShed",
        expr='sum(increase(canary_requests_total{outcome="shed"}[5m])) > 0',
        severity="warning",
        summary="Requests are refused for want of room",
        description="{{ $value | humanize }} got a 503 in the last five minutes: more were in flight than "
        "`serve` allows.",
    ),
    Alert(
        alert="CanaryBreakerOpen",
        expr="sum by (canary) (canary_breaker_open) > 0",
        after="5m",
        severity="warning",
        summary="{{ $labels.canary }}: a breaker keeps requests from the candidate",
        description="{{ $value }} workers have found the candidate down for five minutes; the baseline "
        "answers for it. Such exchanges are no evidence for a guardrail.",
    ),
    Alert(
        alert="CanaryCostUnknown",
        expr=f"{_UNPRICED}\n/ {_ANSWERED} > 0.05\nand {_UNPRICED} >= 30",
        severity="warning",
        summary="{{ $labels.canary }}: the {{ $labels.arm }}'s cost is unknown",
        description="{{ $value | humanizePercentage }} of its answers in the last hour have no price: the "
        "guardrail on cost and the report do not see them. Give the model under `prices`.",
    ),
)
"""Every service alert. Their figures are of all that Prometheus scrapes together."""
