"""What recorded traffic says of a canary's users: baselines, requests, rated shares, spreads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from records.facts.metric import Metric
from records.store.tables import releases, runs
from routing.canary import Canary
from verdict.planner.assumptions import (
    Assumptions,
    ValuesPerUser,
    is_opinion,
    is_share,
    part_names,
    values_per_user,
)
from verdict.planner.traffic import Moments, RunTraffic, SeenTraffic, UntakenTraffic
from verdict.rows.comparison import FEWEST_EVENTS, GATE
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.measures import per_session, source
from verdict.terms.plan import DAY_S
from verdict.terms.rubric import Criterion

WINDOW_DAYS = 14
_UNKNOWN = frozenset({"cost_total", "session_repeats"})
"""Metrics whose values are not those of single exchanges or sessions."""


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

    Below 100 users or exchanges it says only how many users there are, None without any. `lane`: the part of
    the users of its requests that the canary takes.
    """
    since_day = int(now // DAY_S) - WINDOW_DAYS
    earlier = _earlier(connection, canary, judged)
    few: RecordedTraffic | None = None
    for traffic in (
        RunTraffic(connection, canary.name, since_day),
        UntakenTraffic(connection, canary, since_day, lane),
    ):
        read = _read(traffic, judged)
        found = None if read is None else read.told() if read.seen.groups >= GATE else read.few()
        if read is None or found is None:
            continue
        mine = found if isinstance(traffic, RunTraffic) else _part(found, traffic.reaching)
        if read.seen.groups >= GATE:
            return mine.beside(few).beside(earlier)
        few = few or mine
    return earlier if few is None else few.beside(earlier)


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
    read = _read(RunTraffic(connection, newest.canary, int(newest.at // DAY_S)), judged)
    if read is None or read.seen.groups < GATE:
        return None
    found = read.told()
    over, told = f"{found.over} of {newest.canary}", found.assumptions
    return replace(
        found,
        over=over,
        assumptions=replace(told, baselines={}, sources=dict.fromkeys(told.sources, over)),
    )


def _read(traffic: RunTraffic | UntakenTraffic, judged: JudgedCanary) -> "_Recorded | None":
    measures = {of for row in judged.criteria if (of := source(row.metric)) is not None}
    seen, measured = traffic.read(measures)
    return None if seen is None else _Recorded(traffic=traffic, seen=seen, measured=measured, judged=judged)


def in_lane(source: str, lane: float) -> str:
    """Where a number of users comes from, for a canary with this part of them."""
    return source if lane == 1.0 else f"{source}; {lane:.1%} of them are in its lane"


def _part(found: RecordedTraffic, lane: float) -> RecordedTraffic:
    users = None if found.users_per_day is None else lane * found.users_per_day
    return replace(found, users_per_day=users, over=in_lane(found.over, lane))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorded:
    """Some traffic, as it was read for these terms."""

    traffic: RunTraffic | UntakenTraffic
    seen: SeenTraffic
    measured: Mapping[str, Moments]
    judged: JudgedCanary

    def few(self) -> RecordedTraffic | None:
        """How many users there are, where they are few: those who came are all, however soon they came. None
        where that is not known."""
        seen = self.seen
        if not 0 < seen.named < GATE or seen.days < LEAST_DAYS:
            return None
        days = math.ceil(seen.days)
        over = f"measured: {seen.named} user{'' if seen.named == 1 else 's'} in {days} days"
        return RecordedTraffic(
            over=over, users_per_day=seen.named / WINDOW_DAYS, requests=max(1.0, seen.exchanges / seen.named)
        )

    def told(self) -> RecordedTraffic:
        """What it says of users, and of each row."""
        few = self.few()
        seen, names, found = self.seen, part_names(self.judged), Assumptions()
        for row in self.judged.criteria:
            told = self._of_row(row)
            found = told.over(found) if told is not None else found
        if seen.users and names:
            parts = self.traffic.parts(names)
            found = Assumptions(parts=parts, sources=dict.fromkeys(parts, seen.over)).over(found)
        enough = bool(seen.users) and seen.days >= LEAST_DAYS
        short = f"; {seen.days:.1f} days are recorded, {LEAST_DAYS} are needed"
        return RecordedTraffic(
            over=seen.over,
            users_per_day=seen.users / seen.days if enough else None if few is None else few.users_per_day,
            requests=seen.requests if enough else None if few is None else few.requests,
            too_short=short if seen.users and not enough else "",
            assumptions=found,
        )

    def _of_row(self, row: Criterion) -> Assumptions | None:
        """The baseline's value, how many exchanges have one, and the spread; None if too few users tell."""
        name, seen, metrics = row.metric, self.seen, self.judged.metrics
        metric = metrics.get(name)
        if metric is not None and is_opinion(name, metrics):
            moments, values = self.traffic.opinions(metric)
            rated = min(1.0, values / seen.exchanges)
            told = self._told(name, moments, ValuesPerUser.one_voice(seen.requests, rated))
            return None if told is None else told.with_response(name, rated, seen.over)
        if metric is not None or per_session(name, metrics):
            return self._of_users(row, metric) if seen.users else None
        known = self.measured.get(source(name) or "") if name not in _UNKNOWN else None
        return None if known is None else self._told(name, known, ValuesPerUser.of(seen.requests))

    def _of_users(self, row: Criterion, metric: Metric | None) -> Assumptions | None:
        """As `_of_row`, for an event; without a metric, for a measure of sessions."""
        if metric is None:
            moments, about = self.traffic.of_sessions(row.metric), self._sessions()
        else:
            counted = self.judged.metrics[metric.cost_per] if metric.cost_per else metric
            moments = self.traffic.events(counted, costs=bool(metric.cost_per))
            if moments is None or (metric.cost_per and moments.count < FEWEST_EVENTS):
                return None
            moments = replace(moments, groups=float(self.seen.groups))
            about = self._sessions() if counted.per == "session" else Assumptions()
        sizes = values_per_user(row, self.seen.requests, about, self.judged.metrics)
        told = None if moments is None else self._told(row.metric, moments, sizes)
        return None if told is None else told.over(about)

    def _sessions(self) -> Assumptions:
        """The sessions of a user."""
        found = max(1.0, self.traffic.sessions() / self.seen.groups)
        return Assumptions(sessions=found, sources={"sessions": self.seen.over})

    def _told(self, name: str, moments: Moments, sizes: ValuesPerUser) -> Assumptions | None:
        """The baseline's value, and the spread of one value that gives the measured variance."""
        if moments.groups < GATE:
            return None
        spreads = not is_share(name, self.judged.metrics)
        sd = math.sqrt(moments.variance / sizes.variance(Assumptions().alike))
        return Assumptions(
            baselines={name: moments.value},
            sds={name: sd} if spreads else {},
            sources=dict.fromkeys([name, *([f"{name}.sd"] if spreads else [])], self.seen.over),
        )
