"""Simulated users of whom few rate, and a judge who marks all answers: what an assisted row lets pass."""

from dataclasses import dataclass, replace

import numpy as np

from judge.judgements import MarkedRating, RunJudgements
from judge.terms import Kind
from records.facts.metric import parse_bound
from tests.verdict.judged import answer
from verdict.decision.plan_course import PlanCourse
from verdict.rows.looks import Look
from verdict.sample.sample import TRAFFIC as TRAFFIC_OF
from verdict.sample.sample import MeasureTotals, Ratings, Sample, TextColumn
from verdict.statistics.types import Bools, Floats
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.plan import DAY_S
from verdict.terms.rubric import Criterion

TRAFFIC = {"delivery": 55, "billing": 25, "account": 15, "refund": 5}
DAYS = 14


def _row(metric: str, acceptable: str) -> Criterion:
    return Criterion(
        metric=metric,
        acceptable=parse_bound(acceptable),
        ideal=parse_bound(">= baseline"),
        weight=1,
        question="?",
        assisted=True,
    )


CSAT = _row("csat", ">= baseline - 5%")
DONE = _row("task_completed", ">= baseline - 10%")
_PART = np.array([*TRAFFIC.values()]) / sum(TRAFFIC.values())
_MIDDLE = np.array([4.2, 4.3, 4.0, 3.4])
"""How happy users are by category, before it is cut to stars."""
_DONE_FROM = 3.2
"""How happy users are whose task is done."""
_ANSWER = replace(answer(0, 3, arm="candidate"), calls=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """A judge whose word `follows` what users would say: its marks with this correlation, whether a task was
    done in so many of the sessions, and by chance in the others. It is `kinder` to the candidate's answers by
    so many points, or by half so many of the sessions."""

    follow: float
    kinder: float = 0.0

    def of_stars(self, rng: np.random.Generator, stars: Floats, candidate: Bools) -> Floats:
        part = (stars - stars.mean()) / stars.std()
        seen = self.follow * part + np.sqrt(1 - self.follow**2) * rng.standard_normal(len(part))
        return _stars(3.5 + seen + self.kinder * candidate)

    def of_done(self, rng: np.random.Generator, done: Floats, candidate: Bools) -> Floats:
        guess = (rng.random(len(done)) < done.mean()).astype(np.float64)
        word = np.where(rng.random(len(done)) < self.follow, done, guess)
        leans = candidate & (rng.random(len(done)) < abs(self.kinder) / 2)
        return np.where(leans, float(self.kinder > 0), word)


@dataclass(frozen=True, slots=True, kw_only=True)
class Raters:
    """The share of users who rate an answer, and of those with three stars or fewer, or with a task undone,
    for the candidate's: `unhappy` times that."""

    share: float = 0.125
    unhappy: float = 1.0


def world(
    rng: np.random.Generator,
    worse: float,
    marks: Marks,
    raters: Raters,
    row: Criterion = CSAT,
    *,
    an_arm: int = 1500,
    marked: float = 1.0,
) -> Sample:
    """So many answers, or sessions, of each arm over 14 days, evenly over categories, of users with 1.4 each
    on average, of which a part is marked. The candidate's mean is lower by the part `worse` of the baseline's
    in the traffic."""
    size, users, done = 2 * an_arm, int(an_arm / 1.4), row is DONE
    candidate, category = np.arange(size) % 2 == 1, rng.integers(len(_PART), size=size)
    user, mood = rng.integers(users, size=size), rng.standard_normal((users, 2))
    felt = _MIDDLE[category] + 0.5 * mood[user, candidate.astype(int)] + 0.8 * rng.standard_normal(size)
    value, lowest = _values(felt, done), 0.0 if done else 1.0
    mean, above = _of_traffic(rng, done)
    less = candidate & (value > lowest) & (rng.random(size) < worse * mean / above)
    value = value - less
    word = (marks.of_done if done else marks.of_stars)(rng, value, candidate)
    unhappy = candidate & (value <= (0 if done else 3))
    speaks = rng.random(size) < raters.share * np.where(unhappy, raters.unhappy, 1.0)
    kind: Kind = "session" if done else "answer"
    name, names, at = f"w{rng.integers(1 << 62)}", [*TRAFFIC], np.sort(rng.random(size)) * DAYS * DAY_S
    units = [f"{'t' if candidate[n] else 'c'}{user[n]}" for n in range(size)]
    found = tuple(
        replace(_ANSWER, exchange_id=f"{name}-{n}", arm="candidate" if candidate[n] else "baseline",
                kind=kind, unit=units[n], category=names[category[n]], at=at[n], asked_at=at[n],
                mark=float(word[n]), done=bool(word[n]))
        for n in np.flatnonzero(rng.random(size) < marked).tolist()
    )  # fmt: skip
    ratings = tuple(
        MarkedRating(exchange_id=f"{name}-{n}", metric=row.metric, value=float(value[n]), at=float(at[n]))
        for n in speaks.nonzero()[0].tolist()
    )
    traffic = (_PART / np.bincount(category))[category]
    rated, who = speaks.nonzero()[0], TextColumn.of(units)
    return Sample(
        units=who.names,
        unit=who.code,
        candidate=candidate,
        phase=np.zeros(size, dtype=np.int64),
        first_at=at,
        last_at=at,
        candidate_at=np.arange(0, (DAYS + 1) * 24) * DAY_S / 24,
        category=TextColumn(names=names, code=category),
        totals={TRAFFIC_OF: MeasureTotals(count=traffic, total=traffic)},
        feedback={row.metric: Ratings(row=rated, value=value[rated], at=at[rated], asked=at[rated])},
        judged=RunJudgements(exchanges=found, ratings=ratings),
    )


def _values(felt: Floats, done: bool) -> Floats:
    return (felt >= _DONE_FROM).astype(np.float64) if done else _stars(felt)


def _stars(felt: Floats) -> Floats:
    return np.clip(np.round(felt), 1, 5)


def _of_traffic(rng: np.random.Generator, done: bool) -> tuple[float, float]:
    """The baseline's mean in the traffic, and the share of values that could be one less."""
    spread = np.sqrt(0.5**2 + 0.8**2) * rng.standard_normal((20_000, len(_PART)))
    values = _values(_MIDDLE + spread, done)
    return float(values.mean(axis=0) @ _PART), float((values > (0 if done else 1)).mean(axis=0) @ _PART)


def shipped(sample: Sample, row: Criterion = CSAT) -> bool:
    """True if a look from day 7 on lets the row pass, and nothing that it found keeps the row open."""
    canary = JudgedCanary(name="c", criteria=[row], minimum_days=7, planned_days=DAYS)
    assert canary.plan is not None
    early = range(1, canary.plan.first_day)  # may only refuse
    kept = {(row.metric, day): Look(metric=row.metric, day=day, at=day * DAY_S, units=0) for day in early}
    course = PlanCourse(sample=sample, canary=canary, plan=canary.plan, kept=kept, now=(DAYS + 1) * DAY_S)
    seen = [look.seen for look in course.looks(row) if look.seen is not None]
    return any(each.acceptable.low >= 0 and each.silent is None for each in seen)
