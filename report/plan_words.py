"""What a plan's looks say, in words that need no statistics."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from scipy import optimize

from report.document import MetricLine, PlanLine
from report.judged_canary import JudgedCanary
from report.plan import LIGHT_RISK, ShareChange, VerdictPlan
from report.statistics.boundaries import boundaries, crossings
from report.wording import amount, distance, joined, label, unit_of

HOPELESS = 0.1
"""Below this chance, a plan is not expected to get there."""


_SELDOM = 0.05


def outlook(plan: PlanLine | None, lines: Sequence[MetricLine]) -> list[str]:
    """That the plan is used up, or that it is not expected to get there; nothing otherwise."""
    open_ = [line for line in lines if line.state in ("INCONCLUSIVE", "NODATA")]
    if plan is None or not open_:
        return []
    if plan.looks and plan.looks[-1] >= 2 * plan.planned_days:
        return [
            f"The plan of {plan.planned_days} days and its extension are used up: nothing more is decided. "
            "Start again under a new name, with a larger share."
        ]
    chances = [
        (line.look.chance, line.metric) for line in open_ if line.look and line.look.chance is not None
    ]
    if not chances or not plan.looks or plan.looks[-1] < plan.first_look:
        return []
    least, metric = min(chances)
    end = plan.planned_days if plan.looks[-1] < plan.planned_days else 2 * plan.planned_days
    if least >= HOPELESS:
        return []
    return [
        f"Not expected to get there by day {end}: the chance is {least:.0%}, because of {label(metric)}. "
        "A larger share or more days, under a new name, would help if the bound is right."
    ]


def often_missed(plan: VerdictPlan, risk: float) -> float:
    """The miss of a bound, in standard errors of day D, at which a candidate still ships 1 time in 20."""
    days = [float(day) for day in plan.looks("ship") if day <= plan.days]
    bounds = boundaries([plan.spent("ship", int(day), risk) for day in days], days)

    def beyond(miss: float) -> float:
        return sum(crossings(bounds, days, -miss)) - _SELDOM

    if beyond(0.0) <= 0:
        return 0.0
    root: Any = optimize.brentq(beyond, 0.0, 5.0, xtol=1e-4)
    return float(root)


def taken_risk(canary: JudgedCanary) -> list[str]:
    """The caveat of rows whose risk is high: what was accepted beforehand."""
    plan = canary.plan
    if plan is None:
        return []
    by_risk: dict[float, list[str]] = {}
    for row in canary.criteria:
        risk = plan.risk if row.risk is None else row.risk
        if risk >= LIGHT_RISK:
            by_risk.setdefault(risk, []).append(label(row.metric))
    return [
        f"Fixed beforehand for {joined(rows)}: a candidate exactly at the bound ships {10 * risk:.2g} times "
        f"in 10; one that misses it by {often_missed(plan, risk):.2f} standard errors of day {plan.days} "
        "ships 1 time in 20."
        for risk, rows in by_risk.items()
    ]


def late_change(change: ShareChange) -> str:
    """The caveat of a share that was changed by hand when results could be seen."""
    date = datetime.fromtimestamp(change.at, UTC).date().isoformat()
    share = f"from {100 * change.before:.3g} % to {100 * change.after:.3g} %"
    return (
        f"{change.who} changed the share {share} by hand on {date}, when the verdict could already be to "
        "ship. If the results were the reason, the stated risk does not hold."
    )


def margin_in_words(line: MetricLine) -> str:
    """The candidate's value, and how far from the bound it may be as of the latest look."""
    unit = unit_of(line.metric, line.acceptable)
    value = amount(line.candidate, unit)
    look = line.look
    if look is None or look.day is None:
        return f"{value}, before the first look"
    ends = [
        None if end is None else f"{distance(abs(end), unit)} {'inside' if end >= 0 else 'beyond'}"
        for end in (look.low, look.high)
    ]
    low, high = ends
    if low is None and high is None:
        return f"{value}; as of day {look.day} nothing is ruled out"
    if low is None:
        return f"{value}; as of day {look.day} at best {high} the bound"
    if high is None:
        return f"{value}; as of day {look.day} at worst {low} the bound"
    return f"{value}; as of day {look.day} between {low} and {high} the bound"
