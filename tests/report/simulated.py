"""Worlds of users with habits of their own, as samples in memory, seen on each of many days."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from report.sample import MeasureTotals, Ratings, Sample, TextColumn, Values
from report.statistics.types import Bools, Floats, Ints

DAY_S = 86400.0
GRID = np.exp(np.linspace(math.log(1e-3), math.log(1e3), 6000))
"""Seconds: durations are rounded to a scale of steps of .23 %, as the store rounds them to one of .03 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """The same for all users of an arm: (baseline, candidate)."""

    errors: tuple[float, float] = (0.01, 0.01)
    completed: tuple[float, float] = (0.88, 0.88)
    csat: tuple[float, float] = (4.3, 4.3)
    cost_usd: tuple[float, float] = (0.08, 0.08)
    p95_s: tuple[float, float] = (1.2, 1.2)
    answers: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Every user's whole traffic. They come evenly over `days`; (users,) each, values in the users' order."""

    days: int
    candidate: Bools
    count: Ints
    failed: Ints
    cost: Floats
    duration: Ints
    """(exchanges,) places in GRID."""
    completed: Floats
    csat: Floats
    """(exchanges,) each, NaN where the user did not say."""

    def seen(self) -> Iterator[Sample]:
        """The sample at the end of each day."""
        users = len(self.count)
        for day in range(1, self.days + 1):
            yield self.until(users * day // self.days)

    def until(self, users: int) -> Sample:
        """Of the first users to come."""
        count = self.count[:users].astype(np.float64)
        row = np.arange(users)
        at = (row + 0.5) / len(self.count) * self.days * DAY_S
        exchanges = int(self.count[:users].sum())
        whose = np.repeat(row, self.count[:users])
        return Sample(
            units=range(users),  # type: ignore[arg-type]
            unit=row,
            candidate=self.candidate[:users],
            phase=np.zeros(users, dtype=np.int64),
            first_at=at,
            last_at=at,
            candidate_at=np.arange(0, self.days * 24) * DAY_S / 24,
            category=TextColumn(names=("",), code=np.zeros(users, dtype=np.int64)),
            totals={
                "errors": MeasureTotals(count=count, total=self.failed[:users].astype(np.float64)),
                "cost": MeasureTotals(count=count, total=self.cost[:users]),
            },
            values={
                "latency": Values(
                    row=row, size=self.count[:users], code=self.duration[:exchanges], scale=GRID
                )
            },
            feedback={
                "task_completed": _said(whose, self.completed[:exchanges], at),
                "csat": _said(whose, self.csat[:exchanges], at),
            },
            shares={0: float(self.candidate.mean())},
        )


def _said(whose: Ints, values: Floats, at: Floats) -> Ratings:
    given = np.flatnonzero(~np.isnan(values))
    return Ratings(row=whose[given], value=values[given], at=at[whose[given]])


def world(
    rng: np.random.Generator, arms: Arms, *, users: int = 6000, share: float = 0.1, days: int = 14
) -> World:
    """Users make 1 + Poisson(3) requests; how often one fails, succeeds, what it costs and takes is the
    user's own to a good part."""
    candidate = rng.random(users) < share
    side = candidate.astype(np.int64)
    count = 1 + rng.poisson(3, size=users)
    whose = np.repeat(np.arange(users), count)
    arm, total = side[whose], len(whose)
    habit = rng.normal(size=users)
    spread = math.hypot(0.3, 0.5)
    scale = np.log(np.array(arms.p95_s)) - stats.norm.ppf(0.95) * spread
    duration = np.exp(scale[arm] + 0.3 * habit[whose] + 0.5 * rng.normal(size=total))
    # Of mean 1, so that the mean cost is what the arm's is.
    price = np.exp(0.5 * habit[whose] + 0.7 * rng.normal(size=total) - (0.25 + 0.49) / 2)
    silent = rng.random(total) >= arms.answers
    return World(
        days=days,
        candidate=candidate,
        count=count,
        failed=rng.binomial(count, _own(rng, np.array(arms.errors)[side], 20.0)),
        cost=np.bincount(whose, weights=np.array(arms.cost_usd)[arm] * price),
        duration=np.searchsorted(GRID, duration),
        completed=np.where(
            silent, np.nan, rng.random(total) < _own(rng, np.array(arms.completed)[side], 3.0)[whose]
        ),
        csat=np.where(silent, np.nan, _rating(rng, np.array(arms.csat)[side], habit)[whose]),
    )


def as_planned(rng: np.random.Generator, *, candidates: int, requests: float) -> World:
    """The users that `report.power` takes for granted, at the values of the contract's example: alike by .4,
    completion known of every request, one in eight rated, with a standard deviation of 1. 2,000 of them are
    the baseline's, for the rubric's bounds are absolute."""
    users = candidates + 2000
    count = 1 + rng.poisson(requests - 1, size=users)
    whose, total = np.repeat(np.arange(users), count), int(count.sum())
    habit = rng.normal(size=users)
    own, rest = math.sqrt(0.4), math.sqrt(0.6)
    mixed = own * habit[whose] + rest * rng.normal(size=total)
    duration = 1.2 * np.exp(0.6 * (mixed - stats.norm.ppf(0.95)))
    log_sd = math.sqrt(math.log(2))
    cost = 0.08 * np.exp(log_sd * (own * habit[whose] + rest * rng.normal(size=total)) - log_sd**2 / 2)
    return World(
        days=14,
        candidate=rng.permutation(np.arange(users) < candidates),
        count=count,
        failed=np.zeros(users, dtype=np.int64),
        cost=np.bincount(whose, weights=cost),
        duration=np.searchsorted(GRID, duration),
        completed=(rng.random(total) < _own(rng, np.full(users, 0.88), 1.5)[whose]).astype(np.float64),
        csat=np.where(
            rng.random(total) < 0.125,
            1.0 + rng.binomial(4, _own(rng, np.full(users, 3.33 / 4), 2.8)[whose]),
            np.nan,
        ),
    )


def _own(rng: np.random.Generator, mean: Floats, strength: float) -> Floats:
    """Each user's own rate, Beta around the arm's: the greater the strength, the more alike they are."""
    return np.asarray(rng.beta(mean * strength, (1 - mean) * strength), dtype=np.float64)


def _rating(rng: np.random.Generator, mean: Floats, habit: Floats) -> Floats:
    """1 to 5 by a binomial with the arm's mean, so that no rounding moves it; the user's own throughout."""
    return 1.0 + rng.binomial(4, (mean - 1) / 4).astype(np.float64)
