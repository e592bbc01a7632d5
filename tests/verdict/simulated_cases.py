"""The worlds on which the promises of a plan are held, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tests.verdict.simulated import (
    Visits,
    World,
    buying,
    completing,
    failing,
    happening,
    lasting,
    paying,
    rating,
    uneven,
    usual,
    visits,
)
from tests.verdict.simulated_looks import row
from verdict.sample.sample import SESSIONS
from verdict.statistics.types import Ints
from verdict.terms.measures import CACHE_HITS
from verdict.terms.rubric import Criterion

Rng = np.random.Generator
Make = Callable[[Rng], Visits]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A candidate that is exactly at its acceptable bound; `what` are the values of (baseline, candidate)."""

    criterion: Criterion
    who: Make
    what: tuple[float, float]
    cv: float = 1.05
    alike: float = 0.05

    def world(self, rng: Rng) -> World:
        of, metric = self.who(rng), self.criterion.metric
        if metric == "error_rate":
            return World(visits=of, totals={"errors": failing(rng, of, self.what)})
        if metric == "cost_per_request":
            return World(visits=of, totals={"cost": paying(rng, of, self.what, cv=self.cv)})
        if metric == "session_cost":
            return World(visits=of, totals={metric: paying(rng, of, self.what, cv=self.cv, alike=0.5)})
        if metric in ("session_abandoned", "session_cache_hits"):
            measure = CACHE_HITS if metric == "session_cache_hits" else metric
            return World(visits=of, totals={measure: failing(rng, of, self.what, alike=self.alike)})
        if metric == "latency_p95":
            return World(visits=of, duration=lasting(rng, of, self.what))
        if metric == "cost_per_resolution":
            said_of = {"resolved": happening(rng, of, (0.6, 0.6))}
            sessions = of.count.astype(np.float64)
            totals = {"cost": paying(rng, of, self.what, cv=self.cv), SESSIONS: sessions}
            return World(visits=of, totals=totals, said=said_of)
        if metric in ("escalated", "resolved"):
            said_of = {metric: happening(rng, of, self.what, alike=self.alike)}
            return World(visits=of, totals={SESSIONS: of.count.astype(np.float64)}, said=said_of)
        if metric in ("conversion", "revenue"):
            bought = buying(rng, of, self.what)
            paid = bought if metric == "revenue" else replace(bought, value=np.ones(len(bought.row)))
            return World(visits=of, said={metric: paid})
        said = completing if metric == "task_completed" else rating
        return World(visits=of, said={metric: said(rng, of, self.what)})


def evenly(candidates: int, share: float = 0.5) -> Make:
    """So many candidate users in 14 days, and as many in the 14 days after."""
    return lambda rng: visits(rng, usual(rng, round(2 * candidates / share)), share=share)


def unevenly(sigma: float, candidates: int = 600, share: float = 0.1) -> Make:
    return lambda rng: visits(rng, uneven(rng, round(2 * candidates / share), sigma), share=share)


def _weekends(rng: Rng) -> Visits:
    week = [1.0, 1, 1, 1, 1, 0.3, 0.3]
    return visits(rng, usual(rng, 12_000), came=week * 4)


def _bursts(rng: Rng) -> Visits:
    """Every third day as many as ten others."""
    return visits(rng, usual(rng, 12_000), came=[10.0 if day % 3 == 2 else 1.0 for day in range(28)])


def _late(rng: Rng) -> Visits:
    """Ten times as many from the second week on."""
    return visits(rng, usual(rng, 12_000), came=[1.0] * 7 + [10.0] * 21)


def _ramp(rng: Rng) -> Visits:
    return visits(rng, usual(rng, 20_000), steps={0: 0.01, 3: 0.05, 6: 0.1}, returning=10)


def _returning(rng: Rng) -> Visits:
    return visits(rng, usual(rng, 12_000, 8.0), returning=14)


ERRORS_1 = row("error_rate", "< 1%", "< 0.1%")
ERRORS_02 = row("error_rate", "< 0.2%", "< 0.01%")
COMPLETED = row("task_completed", ">= 85%", ">= 99%")
COMPLETED_VS = row("task_completed", ">= baseline - 2pp", ">= baseline + 9pp")
COST = row("cost_per_request", "< 0.08", "< 0.01")
COST_VS = row("cost_per_request", "<= 1.2x baseline", "<= 0.5x baseline")
P95 = row("latency_p95", "< 1.2s", "< 0.1s")
P95_VS = row("latency_p95", "<= 1.2x baseline", "<= 0.5x baseline")
CSAT = row("csat", "> 4.1", "> 4.9")
CSAT_VS = row("csat", ">= baseline - 0.2", ">= baseline + 0.3")

ESCALATED_VS = row("escalated", "<= baseline + 2pp", "<= baseline - 4pp")
ESCALATED_1 = row("escalated", "< 1%", "< 0.1%")
CONVERSION_VS = row("conversion", ">= baseline - 2pp", ">= baseline + 9pp")
REVENUE_VS = row("revenue", ">= baseline - 10%", ">= baseline + 50%")
RESOLVED_VS = row("resolved", ">= baseline - 2pp", ">= baseline + 9pp")
SESSION_COST_VS = row("session_cost", "<= 1.2x baseline", "<= 0.5x baseline")
COST_PER_VS = row("cost_per_resolution", "<= 1.2x baseline", "<= 0.5x baseline")

_ONE, _FEWER = (0.01, 0.01), (0.002, 0.002)
_DONE, _DONE_VS = (0.88, 0.85), (0.88, 0.86)
_PAID, _PAID_VS = (0.08, 0.08), (0.08, 0.096)
_TOOK, _TOOK_VS = (1.2, 1.2), (1.0, 1.2)
_RATED = (4.3, 4.1)

EVENTS: Mapping[str, Edge] = {
    "escalated per session": Edge(criterion=ESCALATED_VS, who=evenly(600, 0.1), what=(0.05, 0.07)),
    "escalated per session, 1 %, 300 users": Edge(criterion=ESCALATED_1, who=evenly(300), what=(0.01, 0.01)),
    "conversion per user": Edge(criterion=CONVERSION_VS, who=evenly(1000), what=(0.1, 0.08)),
    "revenue per user": Edge(criterion=REVENUE_VS, who=evenly(2000), what=(0.1, 0.09)),
    "cost_per, relative": Edge(criterion=COST_PER_VS, who=evenly(600, 0.1), what=(0.08, 0.096)),
}
"""Metrics of what happened, of which nothing is sent where it did not."""

BY_SESSION: Mapping[str, Edge] = {
    "session cost CV 1.7, relative": Edge(
        criterion=SESSION_COST_VS, who=evenly(600, 0.1), what=_PAID_VS, cv=1.7
    ),
    "σ = 1 traffic, session cost, relative": Edge(
        criterion=SESSION_COST_VS, who=unevenly(1.0), what=_PAID_VS, cv=1.7
    ),
    "abandoned sessions": Edge(
        criterion=row("session_abandoned", "<= baseline + 2pp", "<= baseline - 4pp"), who=evenly(600, 0.1),
        what=(0.05, 0.07), alike=0.2,
    ),
    "cached tokens, σ = 1, 100 a request": Edge(
        criterion=row("session_cache_hits", ">= baseline - 5pp", ">= baseline + 9pp"), what=(0.8, 0.75),
        who=lambda rng: visits(rng, 100 * uneven(rng, 12_000, 1.0), share=0.1), alike=0.3,
    ),
}  # fmt: skip
"""Agents' sessions: a request of a visit is one, of which cost and habits are the user's own by half; for
cached tokens, a token is one."""

POWER: Mapping[str, Edge] = {
    "per value, half of the requests have one": Edge(
        criterion=COMPLETED_VS, who=evenly(600, 0.1), what=(0.88, 0.88)
    ),
    "per session, only true is sent": Edge(
        criterion=RESOLVED_VS, who=evenly(600, 0.1), what=(0.88, 0.88), alike=0.25
    ),
}
"""One candidate, equal to its baseline, by an opinion and by what happened."""

EDGES: Mapping[str, Edge] = {
    "errors 1 %, 300 users": Edge(criterion=ERRORS_1, who=evenly(300), what=_ONE),
    "errors 1 %, 1,000 users": Edge(criterion=ERRORS_1, who=evenly(1000), what=_ONE),
    "errors 1 %, 3,000 users": Edge(criterion=ERRORS_1, who=evenly(3000), what=_ONE),
    "errors .2 %, 1,000 users": Edge(criterion=ERRORS_02, who=evenly(1000), what=_FEWER),
    "errors .2 %, 3,000 users": Edge(criterion=ERRORS_02, who=evenly(3000), what=_FEWER),
    "completion, absolute": Edge(criterion=COMPLETED, who=evenly(600), what=_DONE),
    "completion, relative": Edge(criterion=COMPLETED_VS, who=evenly(600, 0.1), what=_DONE_VS),
    "cost, absolute": Edge(criterion=COST, who=evenly(600), what=_PAID),
    "cost, relative": Edge(criterion=COST_VS, who=evenly(600, 0.1), what=_PAID_VS),
    "cost CV 1.7, absolute": Edge(criterion=COST, who=evenly(600), what=_PAID, cv=1.7),
    "cost CV 1.7, relative": Edge(criterion=COST_VS, who=evenly(600, 0.1), what=_PAID_VS, cv=1.7),
    "cost CV 1.7, absolute, 200 users": Edge(criterion=COST, who=evenly(200), what=_PAID, cv=1.7),
    "p95, absolute": Edge(criterion=P95, who=evenly(600), what=_TOOK),
    "p95, relative": Edge(criterion=P95_VS, who=evenly(600, 0.1), what=_TOOK_VS),
    "csat, absolute": Edge(criterion=CSAT, who=evenly(600), what=_RATED),
    "csat, relative": Edge(criterion=CSAT_VS, who=evenly(600, 0.1), what=_RATED),
    "returning users, cost relative": Edge(criterion=COST_VS, who=_returning, what=_PAID_VS),
    "returning users, completion relative": Edge(criterion=COMPLETED_VS, who=_returning, what=_DONE_VS),
    "ramp 1, 5, 10 %, cost relative": Edge(criterion=COST_VS, who=_ramp, what=_PAID_VS),
    "ramp 1, 5, 10 %, completion relative": Edge(criterion=COMPLETED_VS, who=_ramp, what=_DONE_VS),
    "weekends, completion relative": Edge(criterion=COMPLETED_VS, who=_weekends, what=_DONE_VS),
    "bursts, completion relative": Edge(criterion=COMPLETED_VS, who=_bursts, what=_DONE_VS),
    "bursts, cost absolute": Edge(criterion=COST, who=_bursts, what=_PAID),
    "late traffic, completion absolute": Edge(criterion=COMPLETED, who=_late, what=_DONE),
    "σ = 1 traffic, errors 5 %": Edge(
        criterion=row("error_rate", "< 5%", "< 1%"), who=unevenly(1.0), what=(0.05, 0.05)
    ),
    "σ = 1.6 traffic, errors 5 %": Edge(
        criterion=row("error_rate", "< 5%", "< 1%"), who=unevenly(1.6), what=(0.05, 0.05)
    ),
    "σ = 1.6 traffic, completion absolute": Edge(criterion=COMPLETED, who=unevenly(1.6), what=_DONE),
    "σ = 1.6 traffic, completion relative": Edge(criterion=COMPLETED_VS, who=unevenly(1.6), what=_DONE_VS),
    "σ = 1.6 traffic, cost relative": Edge(criterion=COST_VS, who=unevenly(1.6), what=_PAID_VS),
    "σ = 1.6 traffic, p95 absolute": Edge(criterion=P95, who=unevenly(1.6), what=_TOOK),
}


def dear(rng: Rng, share: float, *, users: int = 12_000, dear_users: int = 20) -> World:
    """Ten users in 14 days, wherever chance puts them, spend half of the money; the candidate costs 1.2 times
    as much."""
    of = visits(rng, usual(rng, users), share=share)
    cost = paying(rng, of, _PAID_VS)
    who = rng.choice(users, dear_users, replace=False)
    cost[who] *= users / dear_users
    return World(visits=of, totals={"cost": cost})


def bots(rng: Rng) -> World:
    """100 bots with a third of the traffic, each with habits of its own; equal arms."""
    count: Ints = usual(rng, 12_000)
    who = rng.choice(12_000, 100, replace=False)
    count[who] = round(count.sum() / 2 / 100)
    of = visits(rng, count, share=0.1)
    return World(
        visits=of,
        totals={"errors": failing(rng, of, (0.02, 0.02), alike=0.3), "cost": paying(rng, of, _PAID)},
        said={"task_completed": completing(rng, of, (0.88, 0.88))},
    )


GOOD: Mapping[str, Make] = {
    "even traffic": evenly(600, 0.1),
    "σ = 1 traffic": unevenly(1.0),
    "σ = 1.6 traffic": unevenly(1.6),
}
"""Who makes the requests of a good candidate: 1 % of them fail, below 5 % would do."""
FAILS_SELDOM = row("error_rate", "< 5%", "< 1%")


def good(rng: Rng, who: str) -> World:
    of = GOOD[who](rng)
    return World(visits=of, totals={"errors": failing(rng, of, (0.01, 0.01))})


README = (
    row("csat", ">= baseline - 5%", ">= baseline + 0%"),
    row("error_rate", "< 5%", "< 1%"),
)
"""The README's rubric, the weakest row first."""

WITH_ROOM = (
    row("task_completed", ">= baseline - 2pp", ">= baseline + 5pp"),
    row("csat", ">= baseline - 0.1", ">= baseline + 0.3"),
    row("cost_per_request", "<= 1.1x baseline", "<= 0.7x baseline"),
    row("latency_p95", "<= 1.1x baseline", "<= 0.7x baseline"),
)
NO_ROOM = (
    row("task_completed", ">= baseline", ">= baseline + 5pp"),
    row("csat", ">= baseline", ">= baseline + 0.3"),
    row("cost_per_request", "<= baseline", "<= 0.7x baseline"),
    row("latency_p95", "<= baseline", "<= 0.7x baseline"),
)


def everyone(rng: Rng, *, users: int = 12_000, days: int = 28) -> World:
    """Equal arms, with every kind of measure."""
    of = visits(rng, usual(rng, users), share=0.1, days=days)
    return World(
        visits=of,
        totals={"errors": failing(rng, of, (0.01, 0.01)), "cost": paying(rng, of, (0.08, 0.08))},
        duration=lasting(rng, of, (1.2, 1.2)),
        said={
            "task_completed": completing(rng, of, (0.88, 0.88)),
            "csat": rating(rng, of, (4.3, 4.3)),
        },
    )
