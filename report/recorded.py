"""Reads what recorded traffic says of a canary's users: baselines, requests, rated shares, spreads.

Only the baseline's last days are read, and only sums of them leave the database.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from records.tables import feedback, outcomes
from report.arm_sums import GATE
from report.assumptions import Assumptions, is_share
from report.exposure import Sizes
from report.judged_canary import JudgedCanary
from report.metrics import source
from report.plan import DAY_S
from report.rubric import Criterion
from report.traffic import MOST, RecordedTraffic, RunTraffic, SeenTraffic, UntakenTraffic, double
from routing.canary import Canary

WINDOW_DAYS = 14
_PER_USER = frozenset({"cost_total", "session_length_s", "session_exchanges", "session_repeats"})
"""Metrics whose values are not those of single exchanges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What was recorded of a canary's traffic. `users_per_day` and `requests` are None where requests named
    no user, or less than a day is recorded. `over` says over how much: 812 users in 9 days."""

    over: str
    users_per_day: float | None = None
    requests: float | None = None
    assumptions: Assumptions = field(default_factory=Assumptions)


def recorded(
    connection: sa.Connection, canary: Canary, judged: JudgedCanary, *, now: float
) -> Recorded | None:
    """The last 14 days of the canary's own runs, or else the exchanges of its match that no run took.

    None below 100 users or exchanges.
    """
    since_day = int(now // DAY_S) - WINDOW_DAYS
    for traffic in (RunTraffic(canary.name, since_day), UntakenTraffic(canary, since_day)):
        seen = traffic.seen(connection)
        if seen is not None and seen.groups >= GATE:
            return _read(connection, traffic, seen, judged)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moments:
    """Sums over groups with values: K, ΣN, ΣS, ΣN², ΣSN, ΣS²."""

    groups: float
    count: float
    total: float
    count2: float
    cross: float
    total2: float

    @property
    def value(self) -> float:
        return self.total / self.count

    @property
    def variance(self) -> float:
        """K·Var(ΣS/ΣN), by the delta method as in `statistics.ratio`."""
        value = self.value
        squares = self.total2 - 2 * value * self.cross + value**2 * self.count2
        return max(0.0, squares) / (self.groups - 1) * (self.groups / self.count) ** 2


def _read(
    connection: sa.Connection, traffic: RecordedTraffic, seen: SeenTraffic, judged: JudgedCanary
) -> Recorded:
    requests = seen.requests if seen.users else None
    found = Assumptions()
    for row in judged.criteria:
        for part in _of_row(connection, traffic, seen, row, judged):
            found = part.over(found)
    return Recorded(
        over=seen.over,
        users_per_day=seen.users / seen.days if seen.users and seen.days >= 1 else None,
        requests=requests,
        assumptions=found,
    )


def _of_row(
    connection: sa.Connection,
    traffic: RecordedTraffic,
    seen: SeenTraffic,
    row: Criterion,
    judged: JudgedCanary,
) -> Iterator[Assumptions]:
    """What is known of one row's metric; nothing below 100 users or exchanges with a value."""
    name = row.metric
    if name in _PER_USER:
        return
    is_feedback = name in judged.metrics
    of = source(name)
    sums = _ratings(traffic, name, judged) if is_feedback else traffic.sums(of) if of is not None else None
    moments = _moments(connection, sums) if sums is not None else None
    if moments is None:
        return
    response = min(1.0, moments.count / seen.exchanges) if is_feedback else 1.0
    spread = Sizes.of(seen.requests, response).variance(Assumptions().alike)
    names = [name, *([f"{name}.rated"] if is_feedback else [])]
    sds = {}
    if not is_share(name, judged.metrics):
        sds[name] = math.sqrt(moments.variance / spread)
        names.append(f"{name}.sd")
    yield Assumptions(
        baselines={name: moments.value},
        responses={name: response} if is_feedback else {},
        sds=sds,
        sources=dict.fromkeys(names, seen.over),
    )


def _ratings(traffic: RecordedTraffic, name: str, judged: JudgedCanary) -> Any:
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
    # Most feedback names an exchange, whose record has the user.
    exchange = (outcomes.c.day == of.day) & (outcomes.c.exchange_id == of.exchange_id)
    user = sa.func.coalesce(sa.func.nullif(of.unit, ""), sa.func.nullif(outcomes.c.unit, ""), of.key)
    return (
        sa.select(double(sa.func.count()).label("n"), double(sa.func.sum(value)).label("s"))
        .select_from(newest.outerjoin(outcomes, exchange))
        .group_by(user)
    )


def _moments(connection: sa.Connection, groups: Any) -> _Moments | None:
    """None below 100 groups with values."""
    of = groups.subquery().c
    sums = [of.n, of.s, of.n * of.n, of.s * of.n, of.s * of.s]
    found: Sequence[float | None] = tuple(
        connection.execute(
            sa.select(sa.func.count(), *(sa.func.sum(each) for each in sums)).where(of.n > 0)
        ).one()
    )
    if not found[0] or found[0] < GATE:
        return None
    groups_, count, total, count2, cross, total2 = (float(each or 0.0) for each in found)
    return _Moments(groups=groups_, count=count, total=total, count2=count2, cross=cross, total2=total2)
