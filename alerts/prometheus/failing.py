"""The rules that weigh evidence, over a window: failures at the plain limit, and beside the baseline's.

The two that count users (`error_rate_vs_baseline`, `escalated`) only warn: to Prometheus one user in trouble
looks like many.
"""

from alerts.absolute import TOO_HIGH
from alerts.baseline import FEWEST, REACH_S
from alerts.evidence import MINIMUM_UNITS
from alerts.prometheus import evidence, recording
from alerts.prometheus.names import severity
from alerts.prometheus.parts import Recording, number
from alerts.prometheus.place import Place, Windowed, every, percent
from alerts.relative import Escalated


def error_rate(place: Place) -> Windowed | None:
    """The candidate's failures at the plain limit, quiet while the baseline fails nearly as often."""
    rule, w = place.rule, place.w
    if rule.limit >= TOO_HIGH:
        return None  # so does the engine: nothing can be told from a share that may be half
    share = f"canary_arm:canary_failures_per_outcomes:ratio_increase{w}"
    failures = _failures(place, "candidate")
    record = f"canary:canary_error_rate:evidence{w}"
    expr = evidence.absolute(failures, _outcomes(place, "candidate"), rule.limit)
    return Windowed(
        shared=tuple(recording.outcomes(place.seconds)),
        own=(_of_canary(record, expr),),
        alert=place.alert(
            every(
                f"{place.arm(share, 'candidate')} > {number(rule.limit)}",
                f"{failures} >= {max(rule.minimum, MINIMUM_UNITS)}",
                f"{place.mine(record)} >= {evidence.PAGES_AT}",
            )
            + f"\nunless on (canary) {place.arm(share, 'candidate')}"
            + f" <= on (canary) 1.5 * {place.arm(share, 'baseline')}",
            f"{{{{ $value | humanizePercentage }}}} of the candidate's outcomes in the last {w} failed "
            f"(limit {percent(rule.limit)}), and the baseline's did not alike.",
            name="error_rate",
            severity=severity(rule.action),
        ),
    )


def outage(place: Place) -> Windowed | None:
    """Beside `error_rate`, as the engine has it: the baseline's last ten minutes at the same limit."""
    rule = place.rule
    if rule.limit >= TOO_HIGH:
        return None
    ten = Place(canary=place.canary, rule=rule, seconds=REACH_S, least_share=place.least_share)
    share = f"canary_arm:canary_failures_per_outcomes:ratio_increase{ten.w}"
    record = f"canary:canary_outage:evidence{ten.w}"
    expr = evidence.absolute(_failures(ten, "baseline"), _outcomes(ten, "baseline"), rule.limit)
    return Windowed(
        shared=tuple(recording.outcomes(REACH_S)),
        own=(_of_canary(record, expr),),
        alert=ten.alert(
            every(
                f"{ten.arm(share, 'baseline')} > {number(rule.limit)}",
                f"{_outcomes(ten, 'baseline')} >= {FEWEST}",
                f"{_failures(ten, 'baseline')} >= {MINIMUM_UNITS}",
                f"{ten.mine(record)} >= {evidence.PAGES_AT}",
            ),
            f"{{{{ $value | humanizePercentage }}}} of the baseline's outcomes in the last {ten.w} failed "
            f"(limit {percent(rule.limit)}): the provider, and no fault of the candidate.",
            name="outage",
            severity=severity(rule.action),
        ),
    )


def error_rate_vs_baseline(place: Place) -> Windowed:
    """The candidate's part of all failing exchanges, against its part of the traffic."""
    rule, w = place.rule, place.w
    share = f"canary_arm:canary_failures_per_outcomes:ratio_increase{w}"
    record = f"canary:canary_error_rate_vs_baseline:evidence{w}"
    both = f"sum by (canary) ({place.mine(f'canary_arm:canary_failures:increase{w}')})"
    expr = evidence.relative(
        f"sum by (canary) ({_failures(place, 'candidate')})",
        both,
        place.mine(f"canary:canary_candidate_outcomes:ratio_increase{w}"),
        rule.limit,
    )
    return Windowed(
        shared=tuple(recording.outcomes(place.seconds)),
        own=(Recording(record=record, expr=expr),),
        alert=place.alert(
            every(
                f"{place.arm(share, 'candidate')} / on (canary) {place.arm(share, 'baseline')}"
                f" > {number(rule.limit)}",
                f"{place.arm(share, 'candidate')} >= {number(place.least_share)}",
                f"{_failures(place, 'candidate')} >= {max(rule.minimum, MINIMUM_UNITS)}",
                f"{place.mine(record)} >= {evidence.PAGES_AT}",
            ),
            f"The candidate's outcomes in the last {w} failed {{{{ $value | humanize }}}} times as often as "
            f"the baseline's (limit {rule.limit:g}). Prometheus cannot count users, and one alone may be "
            "behind it.",
            name="error_rate_vs_baseline",
            severity="warning",
        ),
    )


def escalated(place: Place) -> Windowed:
    """The candidate's part of all escalations, against its part of the traffic."""
    rule, w = place.rule, place.w
    series, metric = f"canary_arm_metric:canary_feedback_value_sum:increase{w}", ',metric="escalated"'
    of_candidate = f"sum by (canary) ({place.arm(series, 'candidate', metric)})"
    both = f"sum by (canary) ({place.mine(series, metric)})"
    share = place.mine(f"canary:canary_candidate_outcomes:ratio_increase{w}")
    record = f"canary:canary_escalated:evidence{w}"
    return Windowed(
        shared=(*recording.outcomes(place.seconds), *recording.ratings(place.seconds)),
        own=(Recording(record=record, expr=evidence.relative(of_candidate, both, share, Escalated.factor)),),
        alert=place.alert(
            every(
                f"{of_candidate} / {both} > {_odds(Escalated.factor, share)}",
                f"{both} >= {max(rule.minimum, MINIMUM_UNITS)}",
                f"{place.mine(record)} >= {evidence.PAGES_AT}",
            ),
            f"{{{{ $value | humanizePercentage }}}} of the escalations in the last {w} are the candidate's, "
            "more than its part of the traffic allows. Prometheus cannot count users, and one alone may be "
            "behind it.",
            name="escalated",
            severity="warning",
        ),
    )


def _of_canary(record: str, expr: str) -> Recording:
    return Recording(record=record, expr=f"sum by (canary) ({expr})")


def _failures(place: Place, arm: str) -> str:
    return place.arm(f"canary_arm:canary_failures:increase{place.w}", arm)


def _outcomes(place: Place, arm: str) -> str:
    return place.arm(f"canary_arm:canary_outcomes:increase{place.w}", arm)


def _odds(factor: float, share: str) -> str:
    """The candidate's part of the bad ones where it has `factor` times its share of them."""
    return f"{number(factor)} * {share} / (1 + {number(factor - 1.0)} * {share})"
