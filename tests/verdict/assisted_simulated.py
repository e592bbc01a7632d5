"""Simulated users of whom few rate, and a judge who marks all answers: what an assisted row lets pass."""

from dataclasses import dataclass, replace

import numpy as np

from judge.judgements import MarkedRating
from records.facts.metric import parse_bound
from tests.verdict.judged import answer, sample_of
from verdict.decision.plan_course import PlanCourse
from verdict.sample.sample import Sample
from verdict.statistics.types import Floats, Ints
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.plan import DAY_S
from verdict.terms.rubric import Criterion

TRAFFIC = {"delivery": 55, "billing": 25, "account": 15, "refund": 5}
DAYS = 14
ROW = Criterion(
    metric="csat",
    acceptable=parse_bound(">= baseline - 5%"),
    ideal=parse_bound(">= baseline"),
    weight=1,
    question="?",
    assisted=True,
)
_PART = np.array([*TRAFFIC.values()]) / sum(TRAFFIC.values())
_MIDDLE = np.array([4.2, 4.3, 4.0, 3.4])
"""How happy users are by category, before it is cut to stars."""
_ANSWER = replace(answer(0, 3, arm="candidate"), calls=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """A judge whose marks `follow` what users would say with this correlation, and are `kinder` to the
    candidate's answers by so many points."""

    follow: float
    kinder: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Raters:
    """The share of users who rate an answer, and of those with three stars or fewer for the candidate's:
    `unhappy` times that."""

    share: float = 0.125
    unhappy: float = 1.0


def world(
    rng: np.random.Generator, worse: float, marks: Marks, raters: Raters, *, an_arm: int = 1500
) -> Sample:
    """So many marked answers of each arm over 14 days, evenly over categories, of users with 1.4 answers each
    on average. The candidate's mean is lower by the part `worse` of the baseline's in the traffic."""
    size, users = 2 * an_arm, int(an_arm / 1.4)
    candidate, category = np.arange(size) % 2 == 1, rng.integers(len(_PART), size=size)
    user, mood = rng.integers(users, size=size), rng.standard_normal((users, 2))
    felt = 0.5 * mood[user, candidate.astype(int)] + 0.8 * rng.standard_normal(size)
    stars = _stars(_MIDDLE[category] + felt)
    mean, above = _of_traffic(rng)
    stars = np.where(candidate & (stars > 1) & (rng.random(size) < worse * mean / above), stars - 1, stars)
    part = (stars - stars.mean()) / stars.std()
    seen = marks.follow * part + np.sqrt(1 - marks.follow**2) * rng.standard_normal(size)
    mark = _stars(3.5 + seen + marks.kinder * candidate)
    speaks = rng.random(size) < raters.share * np.where(candidate & (stars <= 3), raters.unhappy, 1.0)
    return _sample(rng, candidate, category, user, stars, mark, speaks.nonzero()[0])


def _stars(felt: Floats) -> Floats:
    return np.clip(np.round(felt), 1, 5)


def _of_traffic(rng: np.random.Generator) -> tuple[float, float]:
    """The baseline's mean in the traffic, and the share of stars that could be one less."""
    spread = np.sqrt(0.5**2 + 0.8**2) * rng.standard_normal((20_000, len(_PART)))
    stars = _stars(_MIDDLE + spread)
    return float(stars.mean(axis=0) @ _PART), float((stars > 1).mean(axis=0) @ _PART)


def _sample(
    rng: np.random.Generator,
    candidate: Ints,
    category: Ints,
    user: Ints,
    stars: Floats,
    mark: Floats,
    rated: Ints,
) -> Sample:
    name, names = f"w{rng.integers(1 << 62)}", [*TRAFFIC]
    at = np.sort(rng.random(len(stars))) * DAYS * DAY_S
    found = [
        replace(_ANSWER, exchange_id=f"{name}-{n}", arm="candidate" if candidate[n] else "baseline",
                unit=f"{'t' if candidate[n] else 'c'}{user[n]}", category=names[category[n]],
                at=at[n], asked_at=at[n], mark=float(mark[n]))
        for n in range(len(stars))
    ]  # fmt: skip
    ratings = tuple(
        MarkedRating(exchange_id=f"{name}-{n}", metric="csat", value=float(stars[n]), at=float(at[n]))
        for n in rated.tolist()
    )
    made = sample_of(found, TRAFFIC)
    hours = np.arange(0, (DAYS + 1) * 24) * DAY_S / 24
    return replace(made, judged=replace(made.judged, ratings=ratings), candidate_at=hours)


def shipped(sample: Sample) -> bool:
    """True if a look from day 7 on lets the row pass, and nothing that it found keeps the row open."""
    canary = JudgedCanary(name="c", criteria=[ROW], minimum_days=7, planned_days=DAYS)
    assert canary.plan is not None
    course = PlanCourse(sample=sample, canary=canary, plan=canary.plan, kept={}, now=(DAYS + 1) * DAY_S)
    first = canary.plan.first_day
    return any(
        look.seen is not None
        and look.day >= first
        and look.seen.acceptable.low >= 0
        and look.seen.silent is None
        for look in course.looks(ROW)
    )
