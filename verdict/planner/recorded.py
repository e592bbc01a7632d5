"""Reads what recorded traffic says of a canary's users: baselines, requests, rated shares, spreads.

Only the baseline's last days are read, and only sums of them leave the database.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import msgspec
import numpy as np
import sqlalchemy as sa

from records.facts.metric import Metric
from records.store.tables import feedback, releases, runs, sessions, unit_days
from routing.canary import Canary
from verdict.planner.assumptions import (
    Assumptions,
    ValuesPerUser,
    is_opinion,
    is_share,
    part_names,
    values_per_user,
)
from verdict.rows.comparison import GATE
from verdict.rows.row import FEWEST_EVENTS
from verdict.sample.stored_feedback import newest
from verdict.sample.unit_totals import MEASURED, SUMS, measured
from verdict.statistics.types import Bools, Floats, Ints
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.measures import source
from verdict.terms.plan import DAY_S
from verdict.terms.rubric import Criterion

# The recorded traffic of a canary's runs, which tells of its users.


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

    @classmethod
    def over(cls, n: Floats, s: Floats) -> "Moments":
        """Over groups with `n` values and their sum `s`, (k,) each."""
        return cls.of([float(each) for each in (np.count_nonzero(n), n.sum(), s.sum(), n @ n, s @ n, s @ s)])

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

    def events(self, metric: Metric, *, costs: bool = False) -> Any:
        """A query with one row for each of the baseline's users: its exposed exchanges, sessions, or itself
        as `n`, with the sum of the metric's values as `s`; with `costs`, the events as `n` and the cost as
        `s`."""
        users, facts = self._exposed(), self._facts(metric)
        of = users.c
        n = {"exchange": of.exchanges, "session": of.sessions}.get(metric.per, double(sa.literal(1.0)))
        s = sa.func.coalesce(facts.c.s, 0.0)
        happened = sa.case((s > n, n), else_=s) if metric.kind == "bool" else s
        found = (happened.label("n"), of.cost.label("s")) if costs else (n.label("n"), happened.label("s"))
        return sa.select(*found).select_from(users.outerjoin(facts, facts.c.unit == of.unit))

    def sessions(self, connection: sa.Connection) -> float:
        """The sessions of the baseline's users; an exchange without a session is one of its own."""
        of = self._exposed().c
        return float(connection.execute(sa.select(sa.func.sum(of.sessions))).scalar() or 0.0)

    def _exposed(self) -> Any:
        """The baseline's users with their exchanges, sessions and cost."""
        columns, own = unit_days.c, sessions.c
        named = (
            sa.select(
                own.unit,
                double(sa.func.count()).label("number"),
                double(sa.func.sum(own.exchanges)).label("exchanges"),
            )
            .where(own.canary == self.canary, own.arm == "baseline", own.last_at >= self.since_day * DAY_S)
            .group_by(own.unit)
            .subquery()
        )
        users = (
            sa.select(
                columns.unit,
                double(sa.func.sum(columns.exchanges)).label("exchanges"),
                double(sa.func.sum(columns.cost_sum)).label("cost"),
            )
            .where(
                columns.canary == self.canary,
                columns.day >= self.since_day,
                columns.mirror.is_(False),
                columns.arm == "baseline",
            )
            .group_by(columns.unit)
            .subquery()
        )
        nameless = users.c.exchanges - sa.func.coalesce(named.c.exchanges, 0.0)
        found = sa.func.coalesce(named.c.number, 0.0) + sa.case((nameless > 0, nameless), else_=0.0)
        return (
            sa.select(users.c.unit, users.c.exchanges, users.c.cost, found.label("sessions"))
            .select_from(users.outerjoin(named, named.c.unit == users.c.unit))
            .subquery()
        )

    def _facts(self, metric: Metric) -> Any:
        """The sum `s` of each unit's values; of truth values, the number of exchanges, sessions or users."""
        columns, own = feedback.c, sessions.c
        units = (
            sa.select(own.session, sa.func.max(own.unit).label("unit"))
            .where(own.canary == self.canary)
            .group_by(own.session)
            .subquery()
        )
        unit = sa.func.coalesce(sa.func.nullif(columns.unit, ""), units.c.unit)
        named = {"exchange": columns.exchange_id, "session": columns.session}.get(metric.per)
        about = unit if named is None else sa.func.coalesce(sa.func.nullif(named, ""), columns.key)
        true = sa.func.count(sa.distinct(sa.case((columns.value > 0, about))))
        return (
            sa.select(
                unit.label("unit"),
                double(true if metric.kind == "bool" else sa.func.sum(columns.value)).label("s"),
            )
            .select_from(
                feedback.outerjoin(units, (columns.session != "") & (units.c.session == columns.session))
            )
            .where(
                columns.metric == metric.name,
                columns.at >= self.since_day * DAY_S,
                columns.canary.in_((self.canary, "")),
                sa.or_(columns.arm.is_(None), columns.arm == "baseline"),
            )
            .group_by(unit)
            .subquery()
        )

    def parts(self, connection: sa.Connection, names: Sequence[str]) -> Mapping[str, float]:
        """The share of the users who used each critical part, for those that somebody used. A user with
        several sets of tags counts in each."""
        columns = unit_days.c
        ours = (columns.canary == self.canary) & (columns.day >= self.since_day) & columns.mirror.is_(False)
        users = sa.func.count(sa.distinct(columns.unit))
        every = connection.execute(sa.select(users).where(ours)).scalar_one()
        found = dict.fromkeys(names, 0.0)
        by = (columns.category, columns.tags)
        for category, tags, some in connection.execute(sa.select(*by, users).where(ours).group_by(*by)):
            for name in names:
                found[name] += some / every if has(name, category, tags) else 0.0
        return {name: min(1.0, share) for name, share in found.items() if share > 0}


def has(name: str, category: str, tags: str) -> bool:
    """True for an exchange of the critical part of this name. `tags`: as stored, JSON."""
    kind, _, value = name.partition(":")
    if kind == "category":
        return category == value
    tag, _, wanted = value.partition("=")
    return bool(msgspec.json.decode(tags or b"{}").get(tag) == wanted)


def moments_of(connection: sa.Connection, groups: Any) -> Moments:
    """The moments of a query with one row for each group: `n` values with the sum `s`."""
    of = groups.subquery().c
    return Moments.of(tuple(connection.execute(sa.select(*Moments.sums(of.n, of.s))).one()))


def moments_of_means(connection: sa.Connection, groups: Any) -> tuple[Moments, float]:
    """The moments of the groups' means, each one value, and the number of values."""
    of, one = groups.subquery().c, double(sa.literal(1.0))
    *sums, values = connection.execute(
        sa.select(*Moments.sums(one, of.s / of.n), sa.func.sum(of.n)).where(of.n > 0)
    ).one()
    return Moments.of(sums), float(values or 0.0)


def _seen(
    *, groups: int, users: int, exchanges: int | None, first: float | None, last: float | None
) -> SeenTraffic | None:
    if not groups or first is None or last is None:
        return None
    return SeenTraffic(groups=groups, users=users, exchanges=int(exchanges or 0), days=(last - first) / DAY_S)


def double(column: Any) -> Any:
    """The column as a float, whatever the database adds up."""
    return sa.cast(column, sa.Double)


# The exchanges of a canary's match that no run took: before its start, or with no canary at all.


_OF_MATCH = ("at", "canary", "model_requested", "mirror", "arm", "reason", *MEASURED)
_VALUES = ("unit", "usage_estimated", "cost_usd", "input_tokens", "output_tokens", "category", "tags")


class UntakenTraffic:
    """The newest of these exchanges. `lane`: the part of the users of its requests that the canary takes.
    `reaching`, once read: the part of these users that it would have had."""

    def __init__(self, canary: Canary, since_day: int, lane: float = 1.0) -> None:
        self.canary, self.since_day, self.reaching = canary.name, since_day, 1.0
        self._lane = lane
        self._models = sorted(canary.match.models)
        self._table: Any = None

    def read(self, connection: sa.Connection, measures: Collection[str]) -> Found:
        table = newest(
            connection,
            (*_OF_MATCH, *_VALUES),
            self._condition,
            since=self.since_day * DAY_S,
            until=math.inf,
            most=MOST,
        )
        if table.num_rows == 0:
            return None, {}
        self._table = table
        self.reaching = reaching(table, self.canary, self._lane)
        nobodys = table["unit"].to_numpy() == ""
        group = _groups(table, nobodys)
        found = {name: _value(table, name) for name in ("errors", "cost", "tokens") if name in measures}
        return _seen_untaken(table, group, nobodys), {
            name: _moments(value, group) for name, value in found.items()
        }

    def parts(self, _connection: sa.Connection, names: Sequence[str]) -> Mapping[str, float]:
        """As RunTraffic's, of what was read."""
        kinds = self._table.group_by(["unit", "category", "tags"]).aggregate([]).to_pylist()
        users = {name: set[str]() for name in ("", *names)}
        for kind in kinds:
            users[""].add(kind["unit"])
            for name in names:
                if has(name, kind["category"] or "", kind["tags"] or ""):
                    users[name].add(kind["unit"])
        every = len(users[""] - {""})
        found = {name: len(users[name] - {""}) / every for name in names}
        return {name: share for name, share in found.items() if share > 0}

    def _condition(self) -> Any:
        from pyarrow.compute import field

        from records.store.segments.arrow import moment

        nobodys = (field("canary") == "") & field("model_requested").isin(self._models)
        of_match = (
            (field("canary") == self.canary) | nobodys if self._models else field("canary") == self.canary
        )
        untaken = ~field("mirror") & (field("arm") == "baseline") & (field("reason") != "pinned")
        return of_match & (field("at") >= moment(self.since_day * DAY_S)) & untaken & measured()


def reaching(table: Any, canary: str, lane: float) -> float:
    """The part of a table's users that reach the canary: those that did, and its lane's part of the rest."""
    units = table["unit"].to_numpy()
    own = np.unique(units[(units != "") & (table["canary"].to_numpy() == canary)])
    users = np.unique(units[units != ""])
    return (len(own) + lane * (len(users) - len(own))) / len(users) if len(users) else lane


def _groups(table: Any, nobodys: Bools) -> Ints:
    """The number of each exchange's user, (n,). An exchange of nobody is a group of its own."""
    users, group = np.unique(table["unit"].to_numpy(), return_inverse=True)
    group[nobodys] = len(users) + np.arange(np.count_nonzero(nobodys))
    return group


def _seen_untaken(table: Any, group: Ints, nobodys: Bools) -> SeenTraffic:
    """Users where there are enough of them, else exchanges."""
    from records.store.segments.arrow import micros

    at, users = micros(table["at"]) / 1e6, len(np.unique(group[~nobodys]))
    days = float(at.max() - at.min()) / DAY_S
    if users >= GATE:
        return SeenTraffic(groups=users, users=users, exchanges=int(np.sum(~nobodys)), days=days)
    return SeenTraffic(groups=len(group), users=0, exchanges=len(group), days=days)


def _value(table: Any, name: str) -> Floats:
    """A measure's value of each exchange, (n,); NaN without one."""
    if name == "errors":
        return np.where(table["outcome"].to_numpy() == "ok", 0.0, 1.0)
    if name == "tokens":
        return _floats(table["input_tokens"]) + _floats(table["output_tokens"])
    return np.where(table["usage_estimated"].to_numpy(), np.nan, _floats(table["cost_usd"]))


def _floats(column: Any) -> Floats:
    floats: Floats = column.cast("float64").to_numpy()
    return floats


def _moments(value: Floats, group: Ints) -> Moments:
    """Over the groups, of which some may have no value."""
    known = ~np.isnan(value)
    return Moments.over(np.bincount(group, known), np.bincount(group, np.where(known, value, 0.0)))


WINDOW_DAYS = 14
_PER_USER = frozenset({"cost_total", "session_length_s", "session_exchanges", "session_repeats"})
"""Metrics whose values are not those of single exchanges."""


LEAST_DAYS = 3
"""Traffic of fewer whole days says nothing of how many users the planned days bring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTraffic:
    """What was recorded of a canary's traffic. `users_per_day` and `requests` are None where requests named
    no user, or fewer than 3 days are recorded, which `too_short` says. `over` says over how much: measured
    over 812 users in 9 days."""

    over: str
    users_per_day: float | None = None
    requests: float | None = None
    too_short: str = ""
    assumptions: Assumptions = field(default_factory=Assumptions)

    def beside(self, other: "RecordedTraffic | None") -> "RecordedTraffic":
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
) -> RecordedTraffic | None:
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


def _earlier(connection: sa.Connection, canary: Canary, judged: JudgedCanary) -> RecordedTraffic | None:
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
) -> RecordedTraffic | None:
    measures = {of for row in judged.criteria if (of := source(row.metric)) is not None}
    seen, measured = traffic.read(connection, measures)
    if seen is None or seen.groups < GATE:
        return None
    return _read(connection, traffic, seen, measured, judged)


def in_lane(source: str, lane: float) -> str:
    """Where a number of users comes from, for a canary with this part of them."""
    return source if lane == 1.0 else f"{source}; {lane:.1%} of them are in its lane"


def _part(found: RecordedTraffic, lane: float) -> RecordedTraffic:
    users = None if found.users_per_day is None else lane * found.users_per_day
    return replace(found, users_per_day=users, over=in_lane(found.over, lane))


def _read(
    connection: sa.Connection,
    traffic: RunTraffic | UntakenTraffic,
    seen: SeenTraffic,
    measured: Mapping[str, Moments],
    judged: JudgedCanary,
) -> RecordedTraffic:
    found = Assumptions()
    for row in judged.criteria:
        told = _of_row(connection, traffic, row, seen, measured, judged)
        found = told.over(found) if told is not None else found
    if seen.users and part_names(judged):
        parts = traffic.parts(connection, part_names(judged))
        found = Assumptions(parts=parts, sources=dict.fromkeys(parts, seen.over)).over(found)
    enough = bool(seen.users) and seen.days >= LEAST_DAYS
    return RecordedTraffic(
        over=seen.over,
        users_per_day=seen.users / seen.days if enough else None,
        requests=seen.requests if enough else None,
        too_short=f"; {seen.days:.1f} days are recorded, {LEAST_DAYS} are needed"
        if seen.users and not enough
        else "",
        assumptions=found,
    )


def _of_row(
    connection: sa.Connection,
    traffic: RunTraffic | UntakenTraffic,
    row: Criterion,
    seen: SeenTraffic,
    measured: Mapping[str, Moments],
    judged: JudgedCanary,
) -> Assumptions | None:
    """The baseline's value, how many exchanges have one, and the spread; None if too few users tell."""
    name = row.metric
    metric = judged.metrics.get(name)
    if metric is None:
        moments = measured.get(source(name) or "") if name not in _PER_USER else None
        return (
            None if moments is None else _told(name, moments, ValuesPerUser.of(seen.requests), seen, judged)
        )
    if is_opinion(name, judged.metrics):
        moments, values = moments_of_means(connection, _ratings(traffic, name, judged))
        rated = min(1.0, values / seen.exchanges)
        told = _told(name, moments, ValuesPerUser.one_voice(seen.requests, rated), seen, judged)
        return None if told is None else told.with_response(name, rated, seen.over)
    if isinstance(traffic, UntakenTraffic):
        return None
    return _of_events(connection, traffic, row, metric, seen, judged)


def _of_events(
    connection: sa.Connection,
    traffic: RunTraffic,
    row: Criterion,
    metric: Metric,
    seen: SeenTraffic,
    judged: JudgedCanary,
) -> Assumptions | None:
    counted = judged.metrics[metric.cost_per] if metric.cost_per else metric
    moments = moments_of(connection, traffic.events(counted, costs=bool(metric.cost_per)))
    if metric.cost_per and moments.count < FEWEST_EVENTS:
        return None
    about = Assumptions()
    if counted.per == "session":
        sessions = traffic.sessions(connection) / seen.groups
        about = Assumptions(sessions=max(1.0, sessions), sources={"sessions": seen.over})
    sizes = values_per_user(row, seen.requests, about, judged.metrics)
    told = _told(metric.name, replace(moments, groups=float(seen.groups)), sizes, seen, judged)
    return None if told is None else told.over(about)


def _told(
    name: str, moments: Moments, sizes: ValuesPerUser, seen: SeenTraffic, judged: JudgedCanary
) -> Assumptions | None:
    """The baseline's value, and the spread of one value that gives the measured variance."""
    if moments.groups < GATE:
        return None
    spreads = not is_share(name, judged.metrics)
    sd = math.sqrt(moments.variance / sizes.variance(Assumptions().alike))
    return Assumptions(
        baselines={name: moments.value},
        sds={name: sd} if spreads else {},
        sources=dict.fromkeys([name, *([f"{name}.sd"] if spreads else [])], seen.over),
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
