"""Reads what recorded traffic says of a canary's users: baselines, requests, rated shares, spreads.

Only the baseline's last days are read, and only sums of them leave the database.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from records.store.tables import feedback, releases, runs
from routing.canary import Canary
from verdict.planner.assumptions import Assumptions, Sizes, is_share, part_names
from verdict.planner.traffic import (
    MOST,
    Moments,
    RunTraffic,
    SeenTraffic,
    UntakenTraffic,
    double,
    moments_of,
)
from verdict.rows.comparison import GATE
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.measures import source
from verdict.terms.plan import DAY_S

WINDOW_DAYS = 14
_PER_USER = frozenset({"cost_total", "session_length_s", "session_exchanges", "session_repeats"})
"""Metrics whose values are not those of single exchanges."""


LEAST_DAYS = 3
"""Traffic of fewer whole days says nothing of how many users the planned days bring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What was recorded of a canary's traffic. `users_per_day` and `requests` are None where requests named
    no user, or fewer than 3 days are recorded, which `too_short` says. `over` says over how much: measured
    over 812 users in 9 days."""

    over: str
    users_per_day: float | None = None
    requests: float | None = None
    too_short: str = ""
    assumptions: Assumptions = field(default_factory=Assumptions)

    def beside(self, other: "Recorded | None") -> "Recorded":
        """This where it says something, else what `other` says."""
        if other is None:
            return self
        both = replace(self, assumptions=self.assumptions.over(other.assumptions))
        if self.users_per_day is not None or other.users_per_day is None:
            return both
        return replace(
            both, over=other.over, users_per_day=other.users_per_day, requests=other.requests, too_short=""
        )


def recorded(
    connection: sa.Connection, canary: Canary, judged: JudgedCanary, *, now: float, lane: float = 1.0
) -> Recorded | None:
    """The last 14 days of the canary's own runs, or else the exchanges of its match that no run took; besides
    these, what an earlier canary of the same model measured.

    None below 100 users or exchanges. `lane`: the part of the users of its requests that the canary takes.
    """
    since_day = int(now // DAY_S) - WINDOW_DAYS
    earlier = _earlier(connection, canary, judged)
    for traffic in (RunTraffic(canary.name, since_day), UntakenTraffic(canary, since_day, lane)):
        found = _of(connection, traffic, judged)
        if found is not None:
            mine = found if isinstance(traffic, RunTraffic) else _part(found, traffic.reaching)
            return mine.beside(earlier)
    return earlier


def _earlier(connection: sa.Connection, canary: Canary, judged: JudgedCanary) -> Recorded | None:
    """What the newest other canary measured that tried, or had, this one's baseline: how users behave, not
    what its model was worth."""
    model = f"{canary.baseline.provider}/{canary.baseline.model}"
    tried = (releases.c.candidate == model) | (releases.c.baseline == model)
    newest = connection.execute(
        sa.select(runs.c.canary, runs.c.at)
        .join(releases, releases.c.id == runs.c.release)
        .where(tried, runs.c.canary != canary.name)
        .order_by(runs.c.at.desc())
        .limit(1)
    ).one_or_none()
    if newest is None:
        return None
    found = _of(connection, RunTraffic(newest.canary, int(newest.at // DAY_S)), judged)
    if found is None:
        return None
    over, told = f"{found.over} of {newest.canary}", found.assumptions
    return replace(
        found,
        over=over,
        assumptions=replace(told, baselines={}, sources=dict.fromkeys(told.sources, over)),
    )


def _of(
    connection: sa.Connection, traffic: RunTraffic | UntakenTraffic, judged: JudgedCanary
) -> Recorded | None:
    measures = {of for row in judged.criteria if (of := source(row.metric)) is not None}
    seen, measured = traffic.read(connection, measures)
    if seen is None or seen.groups < GATE:
        return None
    return _read(connection, traffic, seen, measured, judged)


def in_lane(source: str, lane: float) -> str:
    """Where a number of users comes from, for a canary with this part of them."""
    return source if lane == 1.0 else f"{source}; {lane:.1%} of them are in its lane"


def _part(found: Recorded, lane: float) -> Recorded:
    users = None if found.users_per_day is None else lane * found.users_per_day
    return replace(found, users_per_day=users, over=in_lane(found.over, lane))


def _read(
    connection: sa.Connection,
    traffic: RunTraffic | UntakenTraffic,
    seen: SeenTraffic,
    measured: Mapping[str, Moments],
    judged: JudgedCanary,
) -> Recorded:
    found = Assumptions()
    for row in judged.criteria:
        name = row.metric
        moments = measured.get(source(name) or "") if name not in _PER_USER else None
        if name in judged.metrics:
            moments = moments_of(connection, _ratings(traffic, name, judged))
        if moments is not None and moments.groups >= GATE:
            found = _of_metric(name, moments, seen, judged).over(found)
    if seen.users and part_names(judged):
        parts = traffic.parts(connection, part_names(judged))
        found = Assumptions(parts=parts, sources=dict.fromkeys(parts, seen.over)).over(found)
    enough = bool(seen.users) and seen.days >= LEAST_DAYS
    return Recorded(
        over=seen.over,
        users_per_day=seen.users / seen.days if enough else None,
        requests=seen.requests if enough else None,
        too_short=f"; {seen.days:.1f} days are recorded, {LEAST_DAYS} are needed"
        if seen.users and not enough
        else "",
        assumptions=found,
    )


def _of_metric(name: str, moments: Moments, seen: SeenTraffic, judged: JudgedCanary) -> Assumptions:
    """The baseline's value, how many exchanges have one, and the spread that gives the measured variance."""
    is_feedback = name in judged.metrics
    response = min(1.0, moments.count / seen.exchanges) if is_feedback else 1.0
    spread = Sizes.of(seen.requests, response).variance(Assumptions().alike)
    spreads = not is_share(name, judged.metrics)
    names = [name, *([f"{name}.rated"] if is_feedback else []), *([f"{name}.sd"] if spreads else [])]
    return Assumptions(
        baselines={name: moments.value},
        responses={name: response} if is_feedback else {},
        sds={name: math.sqrt(moments.variance / spread)} if spreads else {},
        sources=dict.fromkeys(names, seen.over),
    )


def _ratings(traffic: RunTraffic | UntakenTraffic, name: str, judged: JudgedCanary) -> Any:
    """One row for each user, or rated exchange of nobody, with the number of its values and their sum."""
    columns = feedback.c
    newest = (
        sa.select(feedback)
        .where(
            columns.canary == traffic.canary,
            columns.metric == name,
            columns.at >= traffic.since_day * DAY_S,
            sa.or_(columns.arm.is_(None), columns.arm == "baseline"),
        )
        .order_by(columns.at.desc())
        .limit(MOST)
        .subquery()
    )
    of = newest.c
    value: sa.ColumnElement[Any] = of.value
    if judged.metrics[name].kind == "nps":
        value = sa.case((value >= 9, 100.0), (value <= 6, -100.0), else_=0.0)
    return sa.select(double(sa.func.count()).label("n"), double(sa.func.sum(value)).label("s")).group_by(
        sa.func.coalesce(sa.func.nullif(of.unit, ""), of.key)
    )
