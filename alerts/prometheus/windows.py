"""Each guardrail computed anew from a window of the families: its recording rules and its alert.

Prometheus has no categories, no segments and no users, so a rule about a part of the traffic has no such
form.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

from alerts.prometheus import recording
from alerts.prometheus.failing import error_rate, error_rate_vs_baseline, escalated, outage
from alerts.prometheus.names import severity
from alerts.prometheus.parts import duration, number
from alerts.prometheus.place import Place, Windowed, every, percent, place
from alerts.rule import Rule, RuleName
from records.meters import LLM_BOUNDS


def windowed(canary: str, rules: Sequence[Rule]) -> list[Windowed]:
    """The forms of the rules about all of the canary's traffic, in their order; the outage's too."""
    whole = [rule for rule in rules if rule.category is None and not rule.segment]
    forms = [build(place(canary, rule, rules)) for rule in whole for build in _FORMS[rule.rule]]
    return [form for form in forms if form is not None]


def _latency_p95(place: Place) -> Windowed:
    """Only a warning where the limit lies within a bucket, for then the p95 is a guess."""
    rule, w = place.rule, place.w
    p95 = f"canary_arm:canary_request_duration_seconds:p95_{w}"
    count = f"canary_arm:canary_request_duration_seconds_count:increase{w}"
    return Windowed(
        shared=tuple(recording.latency(place.seconds)),
        alert=place.alert(
            every(
                f"{place.arm(p95, 'candidate')} > {number(rule.limit)}",
                f"{place.arm(count, 'candidate')} >= {rule.minimum}",
            )
            + f"\nunless on (canary) {place.arm(p95, 'baseline')} > {number(rule.limit)}",
            f"The candidate's p95 latency in the last {w} is about {{{{ $value | humanizeDuration }}}} "
            f"(limit {rule.limit:g}s), the baseline's is under it. {_between(rule.limit)}",
            name="latency_p95",
            severity=severity(rule.action) if rule.limit in LLM_BOUNDS else "warning",
        ),
    )


def _cost_per_request(place: Place) -> Windowed:
    rule, w = place.rule, place.w
    dollars = f"canary_arm:canary_cost_usd_per_priced_requests:ratio_increase{w}"
    priced = f"canary_arm:canary_priced_requests:increase{w}"
    return Windowed(
        shared=tuple(recording.cost(place.seconds)),
        alert=place.alert(
            every(
                f"{place.arm(dollars, 'candidate')} / on (canary) {place.arm(dollars, 'baseline')}"
                f" > {number(rule.limit)}",
                f"{place.arm(priced, 'candidate')} >= {rule.minimum}",
                f"{place.arm(priced, 'baseline')} >= {rule.minimum}",
            ),
            f"A priced request of the candidate's cost {{{{ $value | humanize }}}} times one of the "
            f"baseline's in the last {w} (limit {rule.limit:g}).",
            name="cost_per_request",
            severity=severity(rule.action),
        ),
    )


def _rating(place: Place) -> Windowed:
    rule, w = place.rule, place.w
    metric = f',metric="{rule.rule}"'
    mean = f"canary_arm_metric:canary_feedback_value:mean_increase{w}"
    count = f"canary_arm_metric:canary_feedback_value_count:increase{w}"
    return Windowed(
        shared=tuple(recording.ratings(place.seconds)),
        alert=place.alert(
            every(
                f"{place.arm(mean, 'candidate', metric)}"
                f" < on (canary) {number(rule.limit)} * {place.arm(mean, 'baseline', metric)}",
                f"{place.arm(count, 'candidate', metric)} >= {rule.minimum}",
                f"{place.arm(count, 'baseline', metric)} >= {rule.minimum}",
            ),
            f"The candidate's mean {rule.rule} in the last {w} is {{{{ $value | humanize }}}}, under "
            f"{percent(rule.limit)} of the baseline's. Ratings are counted, not raters.",
            name=rule.rule,
            severity=severity(rule.action),
        ),
    )


def _telemetry(place: Place) -> Windowed:
    """No exchange is longer than ten minutes: what was in flight before the last two thirds has ended by
    now."""
    limit_s = place.rule.limit
    early, since = duration(limit_s / 3.0), duration(limit_s * 2.0 / 3.0)
    whole = duration(limit_s)
    return Windowed(
        shared=(),
        alert=place.alert(
            f"sum(max_over_time(canary_inflight_requests[{early}] offset {since})) > 0"
            f"\nand sum(increase(canary_requests_total[{whole}])) == 0",
            f"{{{{ $value | humanize }}}} requests were in flight {since} ago, and not one outcome of any "
            f"canary has come in {whole}.",
            name="telemetry",
            severity=severity(place.rule.action),
        ),
    )


def _between(limit_s: float) -> str:
    """How coarse Prometheus' p95 is at a limit: it guesses within a bucket."""
    if limit_s in LLM_BOUNDS:
        return f"Prometheus counts what is over {limit_s:g} s exactly."
    upper = bisect_left(LLM_BOUNDS, limit_s)
    if upper == len(LLM_BOUNDS):
        return f"Beyond {LLM_BOUNDS[-1]:g} s Prometheus tells no two latencies apart."
    lower = LLM_BOUNDS[upper - 1] if upper else 0.0
    return (
        f"Between {lower:g} and {LLM_BOUNDS[upper]:g} s Prometheus guesses, for these are its buckets' ends."
    )


_FORMS: Mapping[RuleName, Sequence[Callable[[Place], Windowed | None]]] = {
    "error_rate": (error_rate, outage),
    "error_rate_vs_baseline": (error_rate_vs_baseline,),
    "latency_p95": (_latency_p95,),
    "cost_per_request": (_cost_per_request,),
    "csat": (_rating,),
    "thumbs": (_rating,),
    "escalated": (escalated,),
    "telemetry": (_telemetry,),
}
