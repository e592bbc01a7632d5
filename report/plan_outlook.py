"""What is to be expected of a plan: whether it gets there, and what its risk lets pass."""

from collections.abc import Sequence
from typing import Any

from scipy import optimize

from report.document import MetricLine, PlanLine
from report.judged_canary import JudgedCanary
from report.plan import LIGHT_RISK, VerdictPlan, log_end
from report.reasons import LogEnds, NotExpected, PlanUsedUp, Reason, RiskTaken
from report.row import Row
from report.statistics.boundaries import boundaries, crossings

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


def outlook(plan: PlanLine | None, lines: Sequence[MetricLine]) -> list[Reason]:
    """That the plan is used up, or that it is not expected to get there; nothing otherwise."""
    open_ = [line for line in lines if line.state in ("INCONCLUSIVE", "NODATA")]
    if plan is None or not open_:
        return []
    if plan.looks and plan.looks[-1] >= 2 * plan.planned_days:
        return [PlanUsedUp(open=tuple(line.metric for line in open_))]
    chances = [
        (line.look.chance, line.metric) for line in open_ if line.look and line.look.chance is not None
    ]
    if not chances or not may_ship(plan):
        return []
    least, metric = min(chances)
    return [NotExpected(metric=metric, chance=least)] if least < HOPELESS else []


def look_left_out(plan: PlanLine | None, whole_days: int, last_at: float) -> list[Reason]:
    """Of a log: that a day is over, but not the UTC day of its look, because the log ends before; nothing
    otherwise. `last_at` is the log's last exchange, UTC seconds."""
    due = None if plan is None else plan.next_look
    if due is None or whole_days < due or log_end(last_at) > last_at:
        return []
    return [LogEnds(at=last_at, day=due)]


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


def taken_risk(canary: JudgedCanary, rows: Sequence[Row] = ()) -> list[Reason]:
    """The caveat of rows whose risk is high: what was accepted beforehand. `rows` give the misses in the
    metrics' units, as far as they have data."""
    plan = canary.plan
    if plan is None:
        return []
    by_risk: dict[float, list[str]] = {}
    for row in canary.criteria:
        risk = plan.risk if row.risk is None else row.risk
        if risk >= LIGHT_RISK:
            by_risk.setdefault(risk, []).append(row.metric)
    return [_taken(plan, risk, metrics, rows) for risk, metrics in by_risk.items()]


def _taken(plan: VerdictPlan, risk: float, metrics: Sequence[str], rows: Sequence[Row]) -> RiskTaken:
    miss = often_missed(plan, risk)
    misses = tuple(
        (row.metric, row.criterion.acceptable.text, miss * row.standing.planned_se)
        for row in rows
        if row.metric in metrics and row.standing and row.standing.planned_se is not None
    )
    return RiskTaken(risk=risk, metrics=tuple(metrics), miss=miss, day=plan.days, misses=misses)
