"""The recorded traffic that may tell of a canary's users: that of its runs, and that which no run took."""

import math
from collections.abc import Collection, Mapping, Sequence
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Sums over groups with values: K, ΣN, ΣS, ΣN², ΣSN, ΣS²."""

    groups: float
    count: float
    total: float
    count2: float
    cross: float
    total2: float

    @classmethod
    def sums(cls, n: Any, s: Any) -> list[Any]:
        """The columns to select, for groups with `n` values and their sum `s`."""
        return [
            sa.func.sum(sa.case((n > 0, 1.0))),
            *(sa.func.sum(each) for each in (n, s, n * n, s * n, s * s)),
        ]

    @classmethod
    def of(cls, found: Sequence[float | None]) -> "Moments":
        """From the selected columns' values."""
        groups, count, total, count2, cross, total2 = (float(each or 0.0) for each in found)
        return cls(groups=groups, count=count, total=total, count2=count2, cross=cross, total2=total2)

    @property
    def value(self) -> float:
        return self.total / self.count

    @property
    def variance(self) -> float:
        """K·Var(ΣS/ΣN), by the delta method as in `statistics.ratio`."""
        value = self.value
        squares = self.total2 - 2 * value * self.cross + value**2 * self.count2
        return max(0.0, squares) / (self.groups - 1) * (self.groups / self.count) ** 2


Found: TypeAlias = tuple[SeenTraffic | None, Mapping[str, Moments]]
"""What was seen, and of each measure that is stored, the baseline's moments over users (or exchanges)."""


class RunTraffic:
    """Traffic of the canary's runs, from its unit totals, which are read once."""

    def __init__(self, name: str, since_day: int) -> None:
        self.canary, self.since_day = name, since_day

    def read(self, connection: sa.Connection, measures: Collection[str]) -> Found:
        columns, known = unit_days.c, [name for name in SUMS if name in measures]
        sums = [double(sa.func.sum(column)) for name in known for column in SUMS[name]]
        users = (
            sa.select(
                columns.arm,
                sa.func.min(columns.first_at).label("first"),
                sa.func.max(columns.last_at).label("last"),
                sa.func.sum(columns.exchanges).label("exchanges"),
                *(each.label(f"sum{place}") for place, each in enumerate(sums)),
            )
            .where(columns.canary == self.canary, columns.day >= self.since_day, columns.mirror.is_(False))
            .group_by(columns.unit, columns.arm)
            .subquery()
        )
        of = users.c
        moments = [
            each
            for place in range(len(known))
            for each in Moments.sums(of[f"sum{2 * place}"], of[f"sum{2 * place + 1}"])
        ]
        rows = connection.execute(
            sa.select(
                of.arm,
                sa.func.count(),
                sa.func.min(of.first),
                sa.func.max(of.last),
                sa.func.sum(of.exchanges),
                *moments,
            ).group_by(of.arm)
        ).all()
        ours = next((row for row in rows if row[0] == "baseline"), None)
        if ours is None:
            return None, {}
        seen = _seen(
            groups=ours[1],
            users=sum(row[1] for row in rows),
            exchanges=ours[4],
            first=min(row[2] for row in rows),
            last=max(row[3] for row in rows),
        )
        return seen, {
            name: Moments.of(tuple(ours)[5 + 6 * place : 11 + 6 * place]) for place, name in enumerate(known)
        }


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

    def read(self, connection: sa.Connection, measures: Collection[str]) -> Found:
        return self._seen(connection), {
            name: moments_of(connection, sums) for name in measures if (sums := self._sums(name)) is not None
        }

    def _seen(self, connection: sa.Connection) -> SeenTraffic | None:
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

    def _sums(self, name: str) -> Any:
        """One row for each group, with `n` values and their sum `s`; None if not stored."""
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


def moments_of(connection: sa.Connection, groups: Any) -> Moments:
    """The moments of a query with one row for each group: `n` values with the sum `s`."""
    of = groups.subquery().c
    return Moments.of(tuple(connection.execute(sa.select(*Moments.sums(of.n, of.s))).one()))


def _seen(
    *, groups: int, users: int, exchanges: int | None, first: float | None, last: float | None
) -> SeenTraffic | None:
    if not groups or first is None or last is None:
        return None
    return SeenTraffic(groups=groups, users=users, exchanges=int(exchanges or 0), days=(last - first) / DAY_S)


def double(column: Any) -> Any:
    """The column as a float, whatever the database adds up."""
    return sa.cast(column, sa.Double)
