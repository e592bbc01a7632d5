"""What a plan's looks say, in words that need no statistics."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from scipy import optimize

from report.document import MetricLine, PlanLine
from report.judge import Judged
from report.judged_canary import JudgedCanary
from report.look_values import ends_in_words, look_ends
from report.plan import LIGHT_RISK, ShareChange, VerdictPlan, log_end
from report.rubric import parse_bound
from report.statistics.boundaries import boundaries, crossings
from report.wording import Unit, amount, chance, distance, joined, label, sooner, title, unit_of

HOPELESS = 0.1
"""Below this chance, a plan is not expected to get there."""


_SELDOM = 0.05


def end_of(plan: PlanLine) -> int:
    """The day of the look that chances are told for: the planned one, and after it the extension's last."""
    last = plan.looks[-1] if plan.looks else 0
    return plan.planned_days if last < plan.planned_days else 2 * plan.planned_days


def may_ship(plan: PlanLine) -> bool:
    """True once a look has been made that may ship."""
    return bool(plan.looks) and plan.looks[-1] >= plan.first_look


def outlook(plan: PlanLine | None, lines: Sequence[MetricLine]) -> list[str]:
    """That the plan is used up, or that it is not expected to get there; nothing otherwise."""
    open_ = [line for line in lines if line.state in ("INCONCLUSIVE", "NODATA")]
    if plan is None or not open_:
        return []
    if plan.looks and plan.looks[-1] >= 2 * plan.planned_days:
        more = sooner([line.metric for line in open_])
        again = f" Start again under a new name, with {more}." if more else ""
        return [
            f"The plan of {plan.planned_days} days and its extension are used up: nothing more is decided."
            f"{again}"
        ]
    chances = [
        (line.look.chance, line.metric) for line in open_ if line.look and line.look.chance is not None
    ]
    if not chances or not may_ship(plan):
        return []
    least, metric = min(chances)
    if least >= HOPELESS:
        return []
    more = sooner([metric])
    return [
        f"Not expected to get there by day {end_of(plan)}: the chance is {chance(least)}, because of "
        f"{label(metric)}. {_extended(plan)}{more[0].upper()}{more[1:]} or more days, under a new name, "
        "would help if the true value is within the bound."
    ]


def look_left_out(plan: PlanLine | None, whole_days: int, last_at: float) -> list[str]:
    """Of a log: that a day is over, but not the UTC day of its look, because the log ends before; nothing
    otherwise. `last_at` is the log's last exchange, UTC seconds."""
    due = None if plan is None else plan.next_look
    if due is None or whole_days < due or log_end(last_at) > last_at:
        return []
    ends = datetime.fromtimestamp(last_at, UTC)
    return [
        f"The log ends on {ends.day} {ends:%b} at {ends:%H:%M} UTC: the look of day {due} needs an exchange "
        "from 23:00 on."
    ]


def _extended(plan: PlanLine) -> str:
    """That the chance told is not that of the extension."""
    end = 2 * plan.planned_days
    return "" if end_of(plan) == end else f"The extension to day {end} is not in this chance. "


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


def taken_risk(canary: JudgedCanary, judged: Sequence[Judged] = ()) -> list[str]:
    """The caveat of rows whose risk is high: what was accepted beforehand. `judged` give the misses in the
    metrics' units, as far as they have data."""
    plan = canary.plan
    if plan is None:
        return []
    by_risk: dict[float, list[str]] = {}
    for row in canary.criteria:
        risk = plan.risk if row.risk is None else row.risk
        if risk >= LIGHT_RISK:
            by_risk.setdefault(risk, []).append(row.metric)
    return [
        _accepted(risk, metrics, missed=often_missed(plan, risk), day=plan.days, judged=judged)
        for risk, metrics in by_risk.items()
    ]


def late_change(change: ShareChange) -> str:
    """The caveat of a share that was changed by hand when results could be seen."""
    date = datetime.fromtimestamp(change.at, UTC).date().isoformat()
    share = f"from {100 * change.before:.3g} % to {100 * change.after:.3g} %"
    return (
        f"{change.who} changed the share {share} by hand on {date}, when the verdict could already be to "
        "ship. If the results were the reason, the stated risk does not hold."
    )


def _accepted(risk: float, metrics: list[str], *, missed: float, day: int, judged: Sequence[Judged]) -> str:
    """One caveat. `missed` is in standard errors of `day`."""
    misses = [
        f"{label(each.criterion.metric)} by {distance(missed * each.standing.planned_se, _unit(each))}"
        for each in judged
        if each.criterion.metric in metrics and each.standing and each.standing.planned_se is not None
    ]
    here = f" (here: {joined(misses)})" if misses else ""
    return (
        f"Fixed beforehand, to decide sooner: a high risk of shipping a candidate that is not good enough in "
        f"{joined([label(metric) for metric in metrics])}. A candidate exactly at the bound ships "
        f"{10 * risk:.2g} times in 10; one that misses it by {missed:.2f} standard errors of day {day}{here} "
        "still ships 1 time in 20."
    )


def _unit(judged: Judged) -> Unit:
    return unit_of(judged.criterion.metric, judged.criterion.acceptable.text)


def still_open(line: MetricLine, plan: PlanLine) -> str:
    """An undecided row of a plan, with its chance."""
    look, name, bound = line.look, title(line.metric), bound_and_value(line)
    by = "" if look is None or look.chance is None else _by(look.chance, plan)
    if may_ship(plan) or plan.next_look is None:
        return f"{name} is undecided against {bound}: {standing_words(line)}.{by}"
    return (
        f"{name} is open until day {plan.first_look}, the first on which a look may ship: "
        f"now {_value(line)}, against {bound}.{by}"
    )


def _by(value: float, plan: PlanLine) -> str:
    return "" if plan.next_look is None else f" Chance to pass by day {end_of(plan)}: {chance(value)}."


def bound_and_value(line: MetricLine) -> str:
    """“< 2s”; of a bound against the baseline, its value too: “>= baseline - 3pp” (now 90.9 %)."""
    bound, unit = parse_bound(line.acceptable), unit_of(line.metric, line.acceptable)
    if not bound.relative or line.baseline is None:
        return f"“{line.acceptable}”"
    return f"“{line.acceptable}” (now {amount(bound.at(line.baseline), unit)})"


def standing_words(line: MetricLine) -> str:
    """The candidate's value, and what the looks leave possible."""
    look, unit = line.look, unit_of(line.metric, line.acceptable)
    if look is None or look.day is None:
        return f"{_value(line)}, before the first look"
    possible = ends_in_words(look_ends(line), unit)
    return f"{_value(line)}; as of the look of day {look.day} it may be {possible}"


def _value(line: MetricLine) -> str:
    return amount(line.candidate, unit_of(line.metric, line.acceptable))
