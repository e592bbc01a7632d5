"""The recorded traffic that may tell of a canary's users: that of its runs, and that which no run took."""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa

from records.tables import outcomes, unit_days
from report.arm_sums import GATE
from report.cells import SUMS
from report.plan import DAY_S
from report.run_window import measured
from routing.canary import Canary

MOST = 200_000
"""The exchanges and the values of a metric that are read at most, the newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTraffic:
    """The baseline's `groups` (users, or exchanges of nobody), `users` of both arms, its exchanges, days."""

    groups: int
    users: int
    exchanges: int
    days: float

    @property
    def requests(self) -> float:
        return max(1.0, self.exchanges / self.groups)

    @property
    def over(self) -> str:
        who = f"{self.groups:,} {'users' if self.users else 'requests'}"
        whole = math.ceil(self.days)
        return f"measured over {who} in {whole} day{'' if whole == 1 else 's'}"


class RunTraffic:
    """Traffic of the canary's runs, from its unit totals."""

    def __init__(self, name: str, since_day: int) -> None:
        columns = unit_days.c
        self.canary, self.since_day = name, since_day
        self._own = [columns.canary == name, columns.day >= since_day, columns.mirror.is_(False)]
        self._baseline = [*self._own, columns.arm == "baseline"]

    def seen(self, connection: sa.Connection) -> SeenTraffic | None:
        columns = unit_days.c
        found = connection.execute(
            sa.select(
                sa.func.count(sa.distinct(columns.unit)),
                sa.func.min(columns.first_at),
                sa.func.max(columns.last_at),
            ).where(*self._own)
        ).one()
        ours = connection.execute(
            sa.select(sa.func.count(sa.distinct(columns.unit)), sa.func.sum(columns.exchanges)).where(
                *self._baseline
            )
        ).one()
        return _seen(groups=ours[0], users=found[0], exchanges=ours[1], first=found[1], last=found[2])

    def sums(self, name: str) -> Any:
        if name not in SUMS:
            return None
        count, total = SUMS[name]
        return (
            sa.select(double(sa.func.sum(count)).label("n"), double(sa.func.sum(total)).label("s"))
            .where(*self._baseline)
            .group_by(unit_days.c.unit)
        )


class UntakenTraffic:
    """Exchanges of the canary's match outside its runs: before its start, or with no canary at all."""

    def __init__(self, canary: Canary, since_day: int) -> None:
        columns = outcomes.c
        self.canary, self.since_day = canary.name, since_day
        nobodys = (columns.canary == "") & columns.model_requested.in_(sorted(canary.match.models))
        of_match = (
            (columns.canary == canary.name) | nobodys
            if canary.match.models
            else columns.canary == canary.name
        )
        self._newest = (
            sa.select(outcomes)
            .where(
                of_match,
                columns.day >= since_day,
                columns.mirror.is_(False),
                columns.arm == "baseline",
                columns.reason != "pinned",
                measured(),
            )
            .order_by(columns.at.desc())
            .limit(MOST)
            .subquery()
        )

    def seen(self, connection: sa.Connection) -> SeenTraffic | None:
        columns = self._newest.c
        named = sa.case((columns.unit != "", columns.unit))
        users, of_users, exchanges, first, last = connection.execute(
            sa.select(
                sa.func.count(sa.distinct(named)),
                sa.func.count(named),
                sa.func.count(),
                sa.func.min(columns.at),
                sa.func.max(columns.at),
            )
        ).one()
        if users >= GATE:
            return _seen(groups=users, users=users, exchanges=of_users, first=first, last=last)
        return _seen(groups=exchanges, users=0, exchanges=exchanges, first=first, last=last)

    @property
    def _group(self) -> Any:
        columns = self._newest.c
        return sa.case((columns.unit != "", columns.unit), else_=columns.exchange_id)

    def sums(self, name: str) -> Any:
        columns = self._newest.c
        values = {
            "errors": sa.case((columns.outcome == "ok", 0), else_=1),
            "cost": sa.case((columns.usage_estimated.is_(False), columns.cost_usd)),
            "tokens": columns.input_tokens + columns.output_tokens,
        }
        if name not in values:
            return None
        value = values[name]
        return sa.select(
            double(sa.func.count(value)).label("n"), double(sa.func.sum(value)).label("s")
        ).group_by(self._group)


RecordedTraffic: TypeAlias = RunTraffic | UntakenTraffic
"""`sums(name)` is a query with one row for each user (or exchange of nobody): `n` values with the sum `s`."""


def _seen(
    *, groups: int, users: int, exchanges: int | None, first: float | None, last: float | None
) -> SeenTraffic | None:
    if not groups or first is None or last is None:
        return None
    return SeenTraffic(groups=groups, users=users, exchanges=int(exchanges or 0), days=(last - first) / DAY_S)


def double(column: Any) -> Any:
    """The column as a float, whatever the database adds up."""
    return sa.cast(column, sa.Double)
