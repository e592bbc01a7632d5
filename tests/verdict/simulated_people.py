"""Worlds in which heavy hands or absence would fool the verdict, and what the whole report says of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tests.verdict.simulated import (
    DAY_S,
    EQUAL,
    HALFWAY,
    Visits,
    World,
    as_planned,
    failing,
    joined,
    paying,
    rating,
    uneven,
    usual,
    visits,
)
from tests.verdict.simulated_cases import FAILS_SELDOM, README
from tests.verdict.simulated_looks import passes_by_users, row, without_refusals
from verdict.decision.decide import decide
from verdict.decision.document import SHIPS
from verdict.decision.plan_course import PlanCourse
from verdict.decision.verdict import find
from verdict.rows.looks import Look
from verdict.sample.sample import SESSIONS, Ratings
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.rubric import Criterion

Rng = np.random.Generator

CSAT = row("csat", ">= baseline - 5%", ">= baseline + 0%")
SESSION_COST = row("session_cost", "<= 0.95x baseline", "<= 0.5x baseline")
ESCALATED = row("escalated", "<= baseline", "<= baseline - 4pp")
_BASELINE, _AT_BOUND = (4.0, 4.0), (4.0, 3.8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The day on which the report first ships, ∞ without one, and the names of its caveats then."""

    day: float
    caveats: tuple[str, ...] = ()

    @property
    def plainly(self) -> bool:
        return self.day < np.inf and not self.caveats


def told(world: World, criteria: Sequence[Criterion]) -> Told:
    """What the report says on the night on which all rows pass for the first time."""
    canary = JudgedCanary(name="people", criteria=criteria, planned_days=14)
    assert canary.plan is not None
    course = PlanCourse(world.until(28), canary, canary.plan, without_refusals(criteria), 28 * DAY_S + 1)
    looks = [course.looks(each) for each in criteria]
    for day in canary.plan.looks("ship"):
        so_far = [[look for look in each if look.day <= day] for each in looks]
        if all(_passes(each) for each in so_far):
            known = {(look.metric, look.day): look for each in so_far for look in each}
            sample = world.until(day)
            sample = replace(sample, units=[f"u{number}" for number in sample.units])
            findings = find(sample, canary, kept=known, now=day * DAY_S + 1)
            if decide(findings)[0] in SHIPS:
                return Told(day=day, caveats=tuple(type(each).__name__ for each in findings.caveats))
    return Told(day=np.inf)


def _passes(looks: Sequence[Look]) -> bool:
    """By users, and by days."""
    return passes_by_users(looks) and (looks[-1].seen is None or looks[-1].seen.days is None)


def _users(rng: Rng, *, share: float = 0.05, requests: float = 3.0) -> Visits:
    return visits(rng, usual(rng, 40_000, requests), share=share, days=28)


def whale(rng: Rng, part: float) -> World:
    """Errors exactly at their bound, but for one user with this part of the candidate's requests, who has
    none and comes every day."""
    of = _users(rng)
    daily = round(of.count[of.candidate].sum() * part / (1 - part) / of.days)
    of, hers = joined(of, np.arange(of.days), np.full(of.days, daily))
    errors = failing(rng, of, (0.01, 0.05))
    errors[hers] = 0.0
    return World(visits=of, totals={"errors": errors})


def robots(rng: Rng, share: float = 0.05) -> World:
    """People's errors exactly at their bound; one user in 50 is a robot, with 30 % of the requests, and never
    fails."""
    count = usual(rng, 40_000, 3.0)
    robot = rng.random(len(count)) < 0.02
    count[robot] = np.maximum(1, np.round(rng.gamma(4, 0.25, size=robot.sum()) * count.mean() * 0.43 / 0.02))
    of = visits(rng, count, share=share, days=28)
    errors = failing(rng, of, (0.01, 0.05))
    # Each user has one visit, and visits are in the order of users.
    errors[robot[of.user]] = 0.0
    return World(visits=of, totals={"errors": errors})


def leaving(rng: Rng) -> World:
    """Users of the candidate to whom it fails leave: they make 46 % fewer requests. At the requests that all
    would have made, 5.5 % fail."""
    of = _users(rng, requests=6.0)
    rate = np.where(of.candidate, 0.055, 0.01)
    own = rng.beta(rate * 2, (1 - rate) * 2)
    gone = of.candidate & (rng.random(len(own)) < np.minimum(1.0, 0.46 + 2 * own))
    count = np.where(gone, np.maximum(1, of.count // 8), of.count)
    of = replace(of, count=count)
    return World(visits=of, totals={"errors": rng.binomial(count, own).astype(np.float64)})


def late(rng: Rng, *, unhappy: bool, share: float = 0.05) -> World:
    """Satisfaction exactly at its bound. All ratings come five days late, or only those of one to three stars
    of the candidate's users."""
    of = _users(rng, share=share)
    said = rating(rng, of, _AT_BOUND, alike=0.4, spread=1 / 9, answers=0.25)
    slow = of.candidate[said.row] & (said.value <= 3) if unhappy else np.ones(len(said.row), dtype=np.bool_)
    given = replace(said, at=said.at + np.where(slow, 5 * DAY_S, 0.0), asked=said.at)
    return World(visits=of, said={"csat": given})


def silent(rng: Rng, share: float = 0.05) -> World:
    """Satisfaction exactly at its bound, but the candidate's users of one to three stars rate half as
    often."""
    of = _users(rng, share=share)
    said = rating(rng, of, _AT_BOUND, alike=0.4, spread=1 / 9, answers=0.125)
    kept = ~of.candidate[said.row] | (said.value > 3) | (rng.random(len(said.row)) < 0.5)
    given = replace(said, row=said.row[kept], value=said.value[kept], at=said.at[kept])
    return World(visits=of, said={"csat": given})


def more_sessions(rng: Rng, *, of_users: float = 1.0) -> World:
    """The candidate's users make as many requests, in 1.4 times the sessions, and each costs as much. Of
    their sessions 10 % escalate in the baseline; of the candidate `of_users` times as many of a user's."""
    of = _users(rng, share=0.1, requests=6.0)
    sessions = 1 + rng.binomial(of.count - 1, np.where(of.candidate, 0.43, 0.25))
    rate = np.where(of.candidate, 0.1 * of_users / 1.4, 0.1)
    row = np.repeat(np.arange(len(of.count)), rng.binomial(sessions, rate))
    return World(
        visits=of,
        totals={"session_cost": paying(rng, of, (0.08, 0.08)), SESSIONS: sessions},
        said={"escalated": Ratings(row=row, value=np.ones(len(row)), at=of.at[row])},
        sessions=sessions,
    )


def sessions(rng: Rng, people: int, *, drawn: int = 1) -> World:
    """Each session of so many people, one a day, draws its arm, or each of so many requests a day does.
    Errors exactly at their bound, people alike by .25. The people are known, so each is one cluster."""
    user = np.tile(np.arange(people), 28 * drawn)
    of = Visits(
        days=28,
        user=user,
        day=np.repeat(np.arange(28), people * drawn),
        candidate=rng.random(len(user)) < 0.5,
        phase=np.zeros(len(user), dtype=np.int64),
        count=1 + rng.poisson(2.0, size=len(user)) if drawn == 1 else np.ones(len(user), dtype=np.int64),
        shares={0: 0.5},
    )
    return World(visits=of, totals={"errors": failing(rng, of, (0.01, 0.05), alike=0.25)})


def readme(rng: Rng, which: str) -> World:
    """README's rows, 5 % of 20,000 users in 14 days."""
    true = {"equal": EQUAL, "halfway": HALFWAY}[which]
    return as_planned(rng, true, share=0.05, requests=3, users=40_000, days=28)


def even(rng: Rng, sigma: float) -> World:
    """Equal arms of users with uneven traffic, few of whose requests fail."""
    of = visits(rng, uneven(rng, 12_000, sigma), share=0.1)
    return World(visits=of, totals={"errors": failing(rng, of, (0.01, 0.01))})


def activity(rng: Rng, sigma: float) -> World:
    """Halfway between the bounds, errors and how active users are have nothing to do with each other."""
    of = visits(rng, uneven(rng, 16_000, sigma), share=0.1)
    return World(
        visits=of, totals={"errors": failing(rng, of, (0.03, 0.035)), "cost": paying(rng, of, (0.02, 0.02))}
    )


FOUR = (
    FAILS_SELDOM,
    row("error_rate", "<= baseline + 1.5pp", "<= baseline - 1pp"),
    row("cost_per_request", "<= 1.15x baseline", "<= 0.9x baseline"),
    row("cost_per_request", "< 0.023", "< 0.015"),
)


def told_of_activity(sigma: float, rows: int, seed: int) -> Told:
    return told(activity(np.random.default_rng(seed), sigma), FOUR[:rows])


WORLDS: Mapping[str, tuple[Callable[[Rng], World], Sequence[Criterion]]] = {
    "one user has 8 % of the traffic": (lambda rng: whale(rng, 0.08), [FAILS_SELDOM]),
    "one user has 15 % of the traffic": (lambda rng: whale(rng, 0.15), [FAILS_SELDOM]),
    "one user has 20 % of the traffic": (lambda rng: whale(rng, 0.2), [FAILS_SELDOM]),
    "robots have 30 % of the traffic": (robots, [FAILS_SELDOM]),
    "users leave": (leaving, [FAILS_SELDOM]),
    "all ratings five days late": (lambda rng: late(rng, unhappy=False), [CSAT]),
    "unhappy ratings five days late": (lambda rng: late(rng, unhappy=True), [CSAT]),
    "unhappy ratings five days late, 20 %": (lambda rng: late(rng, unhappy=True, share=0.2), [CSAT]),
    "the unhappy rate half as often": (silent, [CSAT]),
    "the unhappy rate half as often, 10 %": (lambda rng: silent(rng, 0.1), [CSAT]),
    "sessions of 300 people": (lambda rng: sessions(rng, 300), [FAILS_SELDOM]),
    "sessions of 1,000 people": (lambda rng: sessions(rng, 1000), [FAILS_SELDOM]),
    "requests of 300 people": (lambda rng: sessions(rng, 300, drawn=3), [FAILS_SELDOM]),
    "1.4 times the sessions, equal cost": (more_sessions, [SESSION_COST]),
    "1.4 times the sessions, a user's escalations up by a fifth": (
        lambda rng: more_sessions(rng, of_users=1.2),
        [ESCALATED],
    ),
    "good: README, equal": (lambda rng: readme(rng, "equal"), README),
    "good: README, halfway": (lambda rng: readme(rng, "halfway"), README),
    "good: σ = 1": (lambda rng: even(rng, 1.0), [FAILS_SELDOM]),
    "good: σ = 1.6": (lambda rng: even(rng, 1.6), [FAILS_SELDOM]),
}
"""By name: the world, and the rubric."""


def told_of(name: str, seed: int) -> Told:
    make, criteria = WORLDS[name]
    return told(make(np.random.default_rng(seed)), criteria)
