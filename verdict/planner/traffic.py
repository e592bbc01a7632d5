"""Reads a canary's recorded traffic for its plan: that of its runs, or that of its match before them.

Only the baseline's last days are read, and only sums of them leave the database, or of exchanges the newest.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
import sqlalchemy as sa

from records.facts.metric import Metric
from records.store.tables import feedback, sessions, unit_days
from routing.canary import Canary
from verdict.rows.comparison import GATE
from verdict.sample.observations import points_of
from verdict.sample.sample import Numbered
from verdict.sample.stored_feedback import ExchangeKeys, find, newest
from verdict.sample.unit_totals import BY_SESSION, MEASURED, SESSIONLESS, SUMS, measured
from verdict.statistics.types import Bools, Floats, Ints
from verdict.terms.plan import DAY_S

MOST = 200_000
"""The exchanges and the values of a metric that are read at most, the newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTraffic:
    """The baseline's `groups` (users, or exchanges of nobody), `users` of both arms, its exchanges, days.
    `named`: the users of both arms, also where they are too few to be the groups."""

    groups: int
    users: int
    exchanges: int
    days: float
    named: int

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

    def __init__(self, connection: sa.Connection, name: str, since_day: int) -> None:
        self._connection, self.canary, self.since_day = connection, name, since_day

    def read(self, measures: Collection[str]) -> Found:
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
            .where(*self._days())
            .group_by(columns.unit, columns.arm)
            .subquery()
        )
        of = users.c
        moments = [
            each
            for place in range(len(known))
            for each in Moments.sums(of[f"sum{2 * place}"], of[f"sum{2 * place + 1}"])
        ]
        rows = self._connection.execute(
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
            users=self._users(),
            exchanges=ours[4],
            first=min(row[2] for row in rows),
            last=max(row[3] for row in rows),
        )
        return seen, {
            name: Moments.of(tuple(ours)[5 + 6 * place : 11 + 6 * place]) for place, name in enumerate(known)
        }

    def events(self, metric: Metric, *, costs: bool = False) -> Moments | None:
        """The moments over the baseline's users: each one's exposed exchanges, sessions, or itself as N, with
        the sum of the metric's values as S; with `costs`, the events as N and the cost as S. None where
        nothing ever happened: perhaps nobody tells."""
        users, facts = self._exposed(), self._facts(metric)
        of = users.c
        n = {"exchange": of.exchanges, "session": of.sessions}.get(metric.per, double(sa.literal(1.0)))
        s = sa.func.coalesce(facts.c.s, 0.0)
        happened = sa.case((s > n, n), else_=s) if metric.kind == "bool" else s
        found = (happened.label("n"), of.cost.label("s")) if costs else (n.label("n"), happened.label("s"))
        groups = sa.select(*found).select_from(users.outerjoin(facts, facts.c.unit == of.unit)).subquery().c
        moments = self._over(groups)
        return moments if (moments.count if costs else moments.total) else None

    def opinions(self, metric: Metric) -> tuple[Moments, float]:
        """The moments of the means of those who gave values, each one value, and the number of values."""
        columns = feedback.c
        ours = (
            sa.select(feedback)
            .where(columns.canary == self.canary, *_said_of(metric, self.since_day))
            .order_by(columns.at.desc())
            .limit(MOST)
            .subquery()
            .c
        )
        value: sa.ColumnElement[Any] = ours.value
        if metric.kind == "nps":
            value = sa.case((value >= 9, 100.0), (value <= 6, -100.0), else_=0.0)
        of = (
            sa.select(double(sa.func.count()).label("n"), double(sa.func.sum(value)).label("s"))
            .group_by(sa.func.coalesce(sa.func.nullif(ours.unit, ""), ours.key))
            .subquery()
            .c
        )
        one = double(sa.literal(1.0))
        *sums, values = self._connection.execute(
            sa.select(*Moments.sums(one, of.s / of.n), sa.func.sum(of.n)).where(of.n > 0)
        ).one()
        return Moments.of(sums), float(values or 0.0)

    def sessions(self) -> float:
        """The sessions of the baseline's users; an exchange without a session is one of its own."""
        of = self._exposed().c
        return float(self._connection.execute(sa.select(sa.func.sum(of.sessions))).scalar() or 0.0)

    def of_sessions(self, name: str) -> Moments | None:
        """The moments over the baseline's users of a measure of sessions; None where no session has one."""
        own, columns, nothing = sessions.c, unit_days.c, sa.literal(0.0)
        n, s = BY_SESSION[name]
        named = sa.select(own.unit, double(n).label("n"), double(s).label("s")).where(*self._own_sessions())
        n, s = SESSIONLESS.get(name, (nothing, nothing))
        alone = sa.select(columns.unit, double(n).label("n"), double(s).label("s")).where(
            *self._days(), columns.arm == "baseline"
        )
        of = sa.union_all(named, alone).subquery().c
        n, s = (sa.func.coalesce(sa.func.sum(each), 0.0) for each in (of.n, of.s))
        groups = sa.select(n.label("n"), s.label("s")).group_by(of.unit).subquery().c
        moments = self._over(groups)
        return moments if moments.count else None

    def _over(self, groups: Any) -> Moments:
        """The moments over groups with columns `n` and `s`."""
        return Moments.of(tuple(self._connection.execute(sa.select(*Moments.sums(groups.n, groups.s))).one()))

    def _users(self) -> int:
        """The users of both arms, each once: a ramp moves some from one to the other."""
        users = sa.func.count(sa.distinct(unit_days.c.unit))
        return int(self._connection.execute(sa.select(users).where(*self._days())).scalar_one())

    def _days(self) -> list[sa.ColumnElement[bool]]:
        """Conditions for the unit totals of users' own requests."""
        columns = unit_days.c
        return [columns.canary == self.canary, columns.day >= self.since_day, columns.mirror.is_(False)]

    def _own_sessions(self) -> list[sa.ColumnElement[bool]]:
        """Conditions for the baseline's sessions."""
        own = sessions.c
        since = self.since_day * DAY_S
        return [own.canary == self.canary, own.arm == "baseline", own.last_at >= since]

    def _exposed(self) -> Any:
        """The baseline's users with their exchanges, sessions and cost."""
        columns, own = unit_days.c, sessions.c
        named = (
            sa.select(
                own.unit,
                double(sa.func.count()).label("number"),
                double(sa.func.sum(own.exchanges)).label("exchanges"),
            )
            .where(*self._own_sessions())
            .group_by(own.unit)
            .subquery()
        )
        users = (
            sa.select(
                columns.unit,
                double(sa.func.sum(columns.exchanges)).label("exchanges"),
                double(sa.func.sum(columns.cost_sum)).label("cost"),
            )
            .where(*self._days(), columns.arm == "baseline")
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
            .where(columns.canary.in_((self.canary, "")), *_said_of(metric, self.since_day))
            .group_by(unit)
            .subquery()
        )

    def parts(self, names: Sequence[str]) -> Mapping[str, float]:
        """The share of the users who used each critical part, for those that somebody used. A user with
        several sets of tags counts in each."""
        columns = unit_days.c
        ours, users = self._days(), sa.func.count(sa.distinct(columns.unit))
        every = self._users()
        found = dict.fromkeys(names, 0.0)
        by = (columns.category, columns.tags)
        for category, tags, some in self._connection.execute(
            sa.select(*by, users).where(*ours).group_by(*by)
        ):
            for name in names:
                found[name] += some / every if has(name, category, tags) else 0.0
        return {name: min(1.0, share) for name, share in found.items() if share > 0}


def _said_of(metric: Metric, since_day: int) -> list[sa.ColumnElement[bool]]:
    """Conditions for what was said of the baseline by this metric."""
    columns = feedback.c
    of_baseline = sa.or_(columns.arm.is_(None), columns.arm == "baseline")
    return [columns.metric == metric.name, columns.at >= since_day * DAY_S, of_baseline]


def has(name: str, category: str, tags: str) -> bool:
    """True for an exchange of the critical part of this name. `tags`: as stored, JSON."""
    kind, _, value = name.partition(":")
    if kind == "category":
        return category == value
    tag, _, wanted = value.partition("=")
    return bool(msgspec.json.decode(tags or b"{}").get(tag) == wanted)


def _seen(
    *, groups: int, users: int, exchanges: int | None, first: float | None, last: float | None
) -> SeenTraffic | None:
    if not groups or first is None or last is None:
        return None
    days = (last - first) / DAY_S
    return SeenTraffic(groups=groups, users=users, exchanges=int(exchanges or 0), days=days, named=users)


def double(column: Any) -> Any:
    """The column as a float, whatever the database adds up."""
    return sa.cast(column, sa.Double)


# The exchanges of a canary's match that no run took: before its start, or with no canary at all.


_OF_MATCH = ("at", "canary", "model_requested", "mirror", "arm", "reason", *MEASURED)
_VALUES = (
    *("unit", "session", "usage_estimated", "cost_usd", "input_tokens", "output_tokens", "category", "tags"),
)


class _Said(NamedTuple):
    """A value: the number of its user, −1 for nobody, and the exchange, session or user that it is about."""

    user: int
    value: float
    about: str


class UntakenTraffic:
    """The newest of these exchanges. `lane`: the part of the users of its requests that the canary takes.
    `reaching`, once read: the part of these users that it would have had."""

    def __init__(self, connection: sa.Connection, canary: Canary, since_day: int, lane: float) -> None:
        self._connection = connection
        self.canary, self.since_day, self.reaching = canary.name, since_day, 1.0
        self._lane = lane
        self._models = sorted(canary.match.models)
        self._table: Any = None
        self._users = Numbered()

    def read(self, measures: Collection[str]) -> Found:
        table = newest(
            self._connection,
            (*_OF_MATCH, *_VALUES),
            self._condition,
            since=self.since_day * DAY_S,
            until=math.inf,
            most=MOST,
        )
        if table.num_rows == 0:
            return None, {}
        self._table = table
        self.reaching = self._reaching(table)
        nobodys = table["unit"].to_numpy() == ""
        self._users.of(table["unit"].filter(~nobodys).to_pylist())
        group = _groups(table, nobodys)
        found = {name: _value(table, name) for name in ("errors", "cost", "tokens") if name in measures}
        return _seen_untaken(table, group, nobodys), {
            name: _moments(value, group) for name, value in found.items()
        }

    def parts(self, names: Sequence[str]) -> Mapping[str, float]:
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

    def events(self, metric: Metric, *, costs: bool = False) -> Moments | None:
        """As RunTraffic's, over the users of what was read."""
        said = self._said(metric)
        n = self._chances(metric)
        if metric.kind == "bool":
            happened = {(each.user, each.about) for each in said if each.value > 0 and each.user >= 0}
            s = np.minimum(n, self._by_user([user for user, _ in happened]))
        else:
            s = self._by_user([each.user for each in said], [each.value for each in said])
        if costs:
            cost = np.nan_to_num(_value(self._table, "cost"))
            n, s = s, self._by_user(self._user_of(self._table), cost)
        moments = Moments.over(n, s)
        return moments if (moments.count if costs else moments.total) else None

    def opinions(self, metric: Metric) -> tuple[Moments, float]:
        """As RunTraffic's. An opinion of nobody counts as a user's."""
        said = self._said(metric)
        group = [each.user if each.user >= 0 else len(self._users) + place for place, each in enumerate(said)]
        points = points_of(metric, np.array([each.value for each in said], dtype=np.float64))
        number = np.bincount(np.array(group, dtype=np.int64))
        means = np.bincount(np.array(group, dtype=np.int64), points)[number > 0] / number[number > 0]
        return Moments.over(np.ones(len(means)), means), float(len(said))

    def sessions(self) -> float:
        """As RunTraffic's, of the users of what was read."""
        return float(self._sessions().sum())

    def of_sessions(self, name: str) -> Moments | None:
        """As RunTraffic's, of cost, tokens and exchanges; None for what is not read."""
        table = self._table
        measure = name.removeprefix("session_")
        if measure not in ("cost", "tokens", "exchanges"):
            return None
        value = np.ones(table.num_rows) if measure == "exchanges" else _value(table, measure)
        texts = zip(table["unit"].to_pylist(), table["session"].to_pylist(), strict=True)
        session = Numbered().of([(unit, name or place) for place, (unit, name) in enumerate(texts)])
        known, users = ~np.isnan(value), self._user_of(table)
        _, first = np.unique(session[known], return_index=True)
        n = self._by_user(users[known][first])
        moments = Moments.over(n, self._by_user(users[known], value[known]))
        return moments if moments.count else None

    def _chances(self, metric: Metric) -> Floats:
        """What the metric's event may happen to, of each user: (users,)."""
        if metric.per == "session":
            return self._sessions()
        exchanges = self._by_user(self._user_of(self._table))
        return exchanges if metric.per == "exchange" else np.minimum(exchanges, 1.0)

    def _sessions(self) -> Floats:
        """The sessions of each user; an exchange without one is one of its own: (users,)."""
        kinds = self._table.group_by(["unit", "session"]).aggregate([([], "count_all")])
        nameless = kinds["session"].to_numpy() == ""
        return self._by_user(self._user_of(kinds), np.where(nameless, kinds["count_all"].to_numpy(), 1))

    def _by_user(self, users: Collection[int] | Ints, values: Any = None) -> Floats:
        """The sum of the values (None: their number) of each user, (users,). `users` has −1 for nobody."""
        place = np.array(users, dtype=np.int64)
        weights = np.ones(len(place)) if values is None else np.array(values, dtype=np.float64)
        return np.bincount(place[place >= 0], weights[place >= 0], minlength=len(self._users))

    def _user_of(self, table: Any) -> Ints:
        return self._users.known(table["unit"].to_pylist())

    def _said(self, metric: Metric) -> "list[_Said]":
        """The metric's newest values about what was read."""
        columns = feedback.c
        rows = self._connection.execute(
            sa.select(columns.exchange_id, columns.session, columns.unit, columns.key, columns.value)
            .where(columns.canary.in_((self.canary, "")), *_said_of(metric, self.since_day))
            .order_by(columns.at.desc())
            .limit(MOST)
        ).all()
        found: dict[int, tuple[str, str]] = {}
        keys = ExchangeKeys.of([row.exchange_id for row in rows])
        for places, table in find(
            self._connection, keys, (*_OF_MATCH[1:], "unit", "session"), self._of_match
        ):
            abouts = zip(table["unit"].to_pylist(), table["session"].to_pylist(), strict=True)
            found.update(zip(places.tolist(), abouts, strict=True))
        unit_of = dict(zip(self._table["session"].to_pylist(), self._table["unit"].to_pylist(), strict=True))
        for place, row in enumerate(rows):
            if not row.exchange_id and (unit := row.unit or unit_of.get(row.session, "")) in self._users:
                found[place] = unit, row.session
        return [
            _Said(
                user=self._users.get(unit, -1),
                value=row.value,
                about={"exchange": row.exchange_id, "session": session, "user": unit}.get(metric.per)
                or row.exchange_id
                or row.key,
            )
            for place, row in enumerate(rows)
            for unit, session in filter(None, [found.get(place)])
        ]

    def _condition(self) -> Any:
        from pyarrow.compute import field

        from records.store.segments.arrow import moment

        return self._of_match() & (field("at") >= moment(self.since_day * DAY_S))

    def _of_match(self) -> Any:
        from pyarrow.compute import field

        nobodys = (field("canary") == "") & field("model_requested").isin(self._models)
        of_match = (
            (field("canary") == self.canary) | nobodys if self._models else field("canary") == self.canary
        )
        untaken = ~field("mirror") & (field("arm") == "baseline") & (field("reason") != "pinned")
        return of_match & untaken & measured()

    def _reaching(self, table: Any) -> float:
        """The lane's part of all users of the match, whichever canary took them, for each user of the table:
        those whom other canaries had are not in it, those who had no lane, or came before there were lanes,
        are. A match without models is known by the canary's own exchanges alone."""
        from pyarrow.compute import field

        if self._lane == 1.0 or not self._models:
            return 1.0
        columns = ("at", "unit", "model_requested", "mirror", "reason", *MEASURED)
        since = self.since_day * DAY_S
        every = newest(self._connection, columns, self._of_models, since=since, until=math.inf, most=MOST)
        if every.num_rows == 0:
            return self._lane
        seen = table.filter(field("at") >= every["at"][-1])
        users, mine = (set(each["unit"].to_pylist()) - {""} for each in (every, seen))
        return min(1.0, self._lane * len(users | mine) / len(mine)) if mine else self._lane

    def _of_models(self) -> Any:
        from pyarrow.compute import field

        given = ~field("mirror") & (field("reason") != "pinned")
        return given & measured() & field("model_requested").isin(self._models)


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
        exchanges = int(np.sum(~nobodys))
        return SeenTraffic(groups=users, users=users, exchanges=exchanges, days=days, named=users)
    return SeenTraffic(groups=len(group), users=0, exchanges=len(group), days=days, named=users)


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
