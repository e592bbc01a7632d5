"""Worlds of users with habits of their own, as samples in memory, seen on each of many days."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import stats

from verdict.sample.sample import TRAFFIC, MeasureTotals, Ratings, Sample, TextColumn, Values
from verdict.statistics.types import Bools, Floats, Ints

DAY_S = 86400.0
GRID = np.exp(np.linspace(math.log(1e-3), math.log(1e3), 6000))
"""Seconds: durations are rounded to a scale of steps of .23 %, as the store rounds them to one of .03 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visits:
    """Who comes when, (visits,) each, in the order of days: a visit is all a user's requests of one day.

    `user` numbers the users by their first visit. `count` is the number of requests. `phase` counts the
    changes of the share. `hour` is that of the day; None: all are at noon.
    """

    days: int
    user: Ints
    day: Ints
    candidate: Bools
    phase: Ints
    count: Ints
    shares: Mapping[int, float]
    hour: Ints | None = None

    @property
    def at(self) -> Floats:
        """The moment of each visit, UTC seconds."""
        of_day = 0.5 if self.hour is None else (self.hour + 0.5) / 24
        return (self.day + of_day) * DAY_S

    @property
    def users(self) -> int:
        return int(self.user.max()) + 1

    @property
    def side(self) -> Ints:
        """The arm of each visit: 1 is the candidate."""
        return self.candidate.astype(np.int64)

    @property
    def whose(self) -> Ints:
        """The visit of each request."""
        return np.repeat(np.arange(len(self.count)), self.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Every user's whole traffic, with the measures that are wanted."""

    visits: Visits
    totals: Mapping[str, Floats] = field(default_factory=dict)
    """By measure, (visits,)."""
    duration: Ints | None = None
    """(requests,) places in GRID."""
    said: Mapping[str, Ratings] = field(default_factory=dict)
    """By metric, in the order of visits."""
    sessions: Ints | None = None
    """Those of each visit, (visits,); None: each request is one."""
    category: Ints | None = None
    """The number of each visit's category, (visits,); None: all have none."""

    def until(self, day: int) -> Sample:
        """What had been seen when so many days were over."""
        seen = self.visits
        rows = int(np.searchsorted(seen.day, day))
        count, at = seen.count[:rows], seen.at[:rows]
        values = {}
        if self.duration is not None:
            codes = self.duration[: int(count.sum())]
            values = {"latency": Values.grouped(row=np.arange(rows), size=count, code=codes, scale=GRID)}
        return Sample(
            units=range(int(seen.user[:rows].max()) + 1),  # type: ignore[arg-type]
            unit=seen.user[:rows],
            candidate=seen.candidate[:rows],
            phase=seen.phase[:rows],
            first_at=at,
            last_at=at,
            candidate_at=np.arange(0, day * 24) * DAY_S / 24,
            category=self._categories(rows),
            totals={
                name: MeasureTotals(count=self._counts(name)[:rows].astype(np.float64), total=total[:rows])
                for name, total in {**self.totals, TRAFFIC: seen.count}.items()
            },
            values=values,
            feedback={name: _first(said, rows) for name, said in self.said.items()},
            shares=seen.shares,
        )

    def _categories(self, rows: int) -> TextColumn:
        if self.category is None:
            return TextColumn(names=("",), code=np.zeros(rows, dtype=np.int64))
        names = tuple(f"c{number}" for number in range(int(self.category.max()) + 1))
        return TextColumn(names=names, code=self.category[:rows])

    def _counts(self, measure: str) -> Ints:
        by_session = self.sessions is not None and measure.startswith("session")
        return self.sessions if by_session else self.visits.count  # type: ignore[return-value]


def _first(said: Ratings, rows: int) -> Ratings:
    end = int(np.searchsorted(said.row, rows))
    asked = None if said.asked is None else said.asked[:end]
    return Ratings(row=said.row[:end], value=said.value[:end], at=said.at[:end], asked=asked)


def usual(rng: np.random.Generator, users: int, mean: float = 4.0) -> Ints:
    """1 + Poisson requests of each user."""
    return np.asarray(1 + rng.poisson(mean - 1, size=users), dtype=np.int64)


def uneven(rng: np.random.Generator, users: int, sigma: float, mean: float = 4.0) -> Ints:
    """Log-normal requests, rounded up: with σ = 1.6, the busiest hundredth makes a third of all."""
    return np.ceil(mean * np.exp(sigma * rng.normal(size=users) - sigma**2 / 2)).astype(np.int64)


def visits(
    rng: np.random.Generator,
    count: Ints,
    *,
    share: float = 0.1,
    days: int = 28,
    came: Sequence[float] | None = None,
    returning: int = 1,
    steps: Mapping[int, float] | None = None,
) -> Visits:
    """Users with so many requests each. They come evenly over `days`, or in the proportions `came` of each
    day; each request is on one of the `returning` days after that. `steps` are the shares by the day from
    which they hold."""
    users = len(count)
    part = np.cumsum(np.ones(days) if came is None else np.asarray(came, dtype=np.float64))
    first = np.searchsorted(part / part[-1], (np.arange(users) + 0.5) / users)
    user = np.repeat(np.arange(users), count) if returning > 1 else np.arange(users)
    day = first[user] + (rng.integers(0, returning, size=len(user)) if returning > 1 else 0)
    if returning > 1:
        key, count = np.unique(day * users + user, return_counts=True)
        day, user = key // users, key % users
        within = day < days
        day, user, count = day[within], user[within], count[within]
    user = _by_first_visit(user)
    starts = np.array(sorted(steps or {0: share}))
    shares = [(steps or {0: share})[start] for start in starts.tolist()]
    phase = np.searchsorted(starts, day, side="right") - 1
    return Visits(
        days=days,
        user=user,
        day=day,
        candidate=rng.random(users)[user] < np.array(shares)[phase],
        phase=phase,
        count=count,
        shares=dict(enumerate(shares)),
    )


def _by_first_visit(user: Ints) -> Ints:
    _, first, place = np.unique(user, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[place]


def by_hour(rng: np.random.Generator, of: Visits) -> Visits:
    """The same requests, each a visit of its own, at any hour of its day."""
    hour = rng.integers(0, 24, size=int(of.count.sum()))
    order = np.lexsort((hour, of.day[of.whose]))
    row = of.whose[order]
    return replace(
        of,
        user=_by_first_visit(of.user[row]),
        day=of.day[row],
        candidate=of.candidate[row],
        phase=of.phase[row],
        count=np.ones(len(row), dtype=np.int64),
        hour=hour[order],
    )


def joined(of: Visits, day: Ints, count: Ints) -> tuple[Visits, Bools]:
    """With one more user of the candidate, who makes so many requests on these days; and her visits,
    (visits,)."""
    days, hers = np.concatenate([of.day, day]), np.arange(len(of.day) + len(day)) >= len(of.day)
    order = np.argsort(days, kind="stable")
    more = replace(
        of,
        day=days[order],
        user=_by_first_visit(np.concatenate([of.user, np.full(len(day), of.users)])[order]),
        candidate=np.concatenate([of.candidate, np.ones(len(day), dtype=np.bool_)])[order],
        phase=np.concatenate([of.phase, np.zeros(len(day), dtype=np.int64)])[order],
        count=np.concatenate([of.count, count])[order],
    )
    return more, hers[order]


def failing(
    rng: np.random.Generator, of: Visits, rates: tuple[float, float], *, alike: float = 1 / 21
) -> Floats:
    """Failed requests of each visit, (visits,); `rates` are (baseline, candidate)."""
    return rng.binomial(of.count, _own(rng, of, rates, alike)).astype(np.float64)


def completing(
    rng: np.random.Generator,
    of: Visits,
    rates: tuple[float, float],
    *,
    alike: float = 0.25,
    answers: float = 0.5,
) -> Ratings:
    """1 for a request that got the user's task done."""
    row = _answered(rng, of, answers)
    done = rng.random(len(row)) < _own(rng, of, rates, alike)[row]
    return _said(of, row, done.astype(np.float64))


def happening(
    rng: np.random.Generator, of: Visits, rates: tuple[float, float], *, alike: float = 0.05
) -> Ratings:
    """True for each request, a session of its own, in which it happened; nothing is said of the others."""
    happened = rng.binomial(of.count, _own(rng, of, rates, alike))
    row = np.repeat(np.arange(len(of.count)), happened)
    return _said(of, row, np.ones(len(row)))


def buying(
    rng: np.random.Generator, of: Visits, rates: tuple[float, float], *, usd: float = 49.0, cv: float = 1.0
) -> Ratings:
    """What the users paid who bought, log-normal; nothing is said of the others."""
    row, variance = np.flatnonzero(rng.random(len(of.user)) < np.array(rates)[of.side]), math.log(1 + cv**2)
    price = usd * np.exp(math.sqrt(variance) * rng.normal(size=len(row)) - variance / 2)
    return _said(of, row, price)


def rating(
    rng: np.random.Generator,
    of: Visits,
    means: tuple[float, float],
    *,
    alike: float = 1.0,
    spread: float = 0.0,
    answers: float = 0.5,
) -> Ratings:
    """1 to 5 with the arm's mean, so that no rounding moves it: binomial, or wider by the
    overdispersion `spread`. √alike of a user's ratings in an arm are the usual one, the others fresh."""
    row = _answered(rng, of, answers)
    key, place = np.unique(2 * of.user[row] + of.side[row], return_inverse=True)
    value = _stars(rng, np.array(means)[key % 2], spread)[place]
    if alike < 1:
        fresh = _stars(rng, np.array(means)[of.side[row]], spread)
        value = np.where(rng.random(len(row)) < math.sqrt(alike), value, fresh)
    return _said(of, row, value)


def _answered(rng: np.random.Generator, of: Visits, answers: float) -> Ints:
    """The visits of the requests with an answer."""
    return np.repeat(np.arange(len(of.count)), rng.binomial(of.count, answers))


def _said(of: Visits, row: Ints, value: Floats) -> Ratings:
    return Ratings(row=row, value=value, at=of.at[row])


def _stars(rng: np.random.Generator, mean: Floats, spread: float) -> Floats:
    rate = (mean - 1) / 4
    if spread > 0:
        strength = (1 - spread) / spread
        rate = rng.beta(rate * strength, (1 - rate) * strength)
    return rng.binomial(4, rate).astype(np.float64) + 1.0


def paying(
    rng: np.random.Generator,
    of: Visits,
    means: tuple[float, float],
    *,
    cv: float = 1.05,
    alike: float = 0.26,
) -> Floats:
    """Dollars of each visit, (visits,): log-normal requests with the arm's mean; `alike` of the logarithm's
    variance is the user's own."""
    variance, whose = math.log(1 + cv**2), of.whose
    own = rng.normal(size=of.users)[of.user][whose]
    mixed = math.sqrt(alike) * own + math.sqrt(1 - alike) * rng.normal(size=len(whose))
    price = np.exp(math.sqrt(variance) * mixed - variance / 2)
    spent = np.bincount(whose, weights=price, minlength=len(of.count))
    return np.asarray(np.array(means)[of.side] * spent, dtype=np.float64)


def lasting(
    rng: np.random.Generator,
    of: Visits,
    p95_s: tuple[float, float],
    *,
    log_sd: float = math.hypot(0.3, 0.5),
    alike: float = 0.26,
) -> Ints:
    """The time of each request, (requests,) places in GRID: log-normal with the arm's p95."""
    whose = of.whose
    own = rng.normal(size=of.users)[of.user][whose]
    mixed = math.sqrt(alike) * own + math.sqrt(1 - alike) * rng.normal(size=len(whose))
    scale = np.log(np.array(p95_s)) - stats.norm.ppf(0.95) * log_sd
    return np.searchsorted(GRID, np.exp(scale[of.side][whose] + log_sd * mixed))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueValues:
    """A candidate's true values in the README's rubric."""

    error_rate: float
    csat: float


BASELINE = TrueValues(error_rate=0.01, csat=4.0)
EQUAL = BASELINE
HALFWAY = TrueValues(error_rate=0.03, csat=3.9)
"""Between acceptable and ideal."""


def as_planned(
    rng: np.random.Generator,
    true: TrueValues,
    *,
    share: float,
    requests: float,
    users: int = 20_000,
    days: int = 14,
) -> World:
    """The users that `verdict.planner.power` takes for granted: alike by .4, one request in eight rated,
    ratings with a standard deviation of 1."""
    of = visits(rng, usual(rng, users, requests), share=share, days=days)
    return World(
        visits=of,
        totals={"errors": failing(rng, of, (BASELINE.error_rate, true.error_rate), alike=0.4)},
        said={"csat": rating(rng, of, (BASELINE.csat, true.csat), alike=0.4, spread=1 / 9, answers=0.125)},
    )


def _own(rng: np.random.Generator, of: Visits, rates: tuple[float, float], alike: float) -> Floats:
    """Each visit's rate, (visits,): the user's own in this arm, Beta around the arm's with the intraclass
    correlation `alike`."""
    strength = (1 - alike) / alike
    key, place = np.unique(2 * of.user + of.side, return_inverse=True)
    mean = np.array(rates)[key % 2]
    return np.asarray(rng.beta(mean * strength, (1 - mean) * strength)[place], dtype=np.float64)
