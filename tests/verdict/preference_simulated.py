"""Simulated people, judges and traffic: what a row on people's preference lets pass. Nothing here is real."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from judge.judgements import place
from records.facts.metric import parse_bound
from records.store.captures import Label, Right
from tests.verdict.judged import pair, sample_of
from tests.verdict.judged_simulated import ALIKE, BETTER_IN, TRAFFIC
from verdict.decision.plan_course import PlanCourse
from verdict.sample.sample import Sample
from verdict.statistics.types import Bools, Floats, Ints
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.plan import DAY_S
from verdict.terms.rubric import Criterion

_RIGHTS: tuple[Right, ...] = ("baseline", "candidate", "both")
_PAIR = replace(pair(0, 1.0), calls=())
_SURE, _TIES = 0.88, 0.2
"""How often a person sees what is better, and how often they call it a tie."""

ROW = Criterion(
    metric="judged_preference",
    acceptable=parse_bound(">= 40%"),
    ideal=parse_bound(">= 60%"),
    weight=1,
    question="?",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A judge that is `right` so often, and takes one arm in the share `leaning` of the pairs whatever is
    right: the candidate's, or below 0 the baseline's. It leans by `drifting` more at the end than at the
    start."""

    right: float
    leaning: float = 0.0
    drifting: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitting:
    """How many pairs people label at the end of each of these days, and how many people label each pair."""

    days: Sequence[int]
    labels: int
    people: int = 1


def world(
    rng: np.random.Generator, name: str, prefers: float, judge: Judge, sitting: Sitting, pairs: int = 1000
) -> Sample:
    """So many pairs until the last sitting, evenly over categories, of users with 1.4 pairs each on average.
    People prefer the candidate in `prefers` of the traffic."""
    days, users, names = max(sitting.days), int(pairs / 1.4), list(TRAFFIC)
    traffic = np.array([*TRAFFIC.values()], dtype=np.float64) / sum(TRAFFIC.values())
    user, category = rng.integers(users, size=pairs), rng.integers(len(names), size=pairs)
    seen = (1 - _TIES) * (2 * _SURE - 1)
    better = (prefers - _TIES / 2 - (1 - _TIES) * (1 - _SURE)) / seen + BETTER_IN - BETTER_IN @ traffic
    draw = np.where(rng.random(pairs) < ALIKE**0.5, rng.random(users)[user], rng.random(pairs))
    truth = draw < np.clip(better, 0, 1)[category]
    at = np.sort(rng.random(pairs)) * days * DAY_S
    leans = judge.leaning + judge.drifting * (at / at[-1] - 0.5)
    word = np.where(rng.random(pairs) < judge.right, truth, ~truth)
    word = np.where(rng.random(pairs) < np.abs(leans), leans > 0, word)
    found = [
        replace(_PAIR, exchange_id=f"{name}-{n}", unit=f"u{user[n]}", at=at[n], asked_at=at[n],
                category=names[category[n]], result="candidate" if word[n] else "baseline")
        for n in range(pairs)
    ]  # fmt: skip
    turn = np.array([place(each.exchange_id) for each in found])
    labels = _labels(rng, name, truth, at, turn, category, traffic, sitting)
    made = sample_of(found, TRAFFIC, labels)
    return replace(made, candidate_at=np.arange(0, (days + 1) * 24) * DAY_S / 24)


def _labels(
    rng: np.random.Generator,
    name: str,
    truth: Bools,
    at: Floats,
    turn: Floats,
    category: Ints,
    traffic: Floats,
    sitting: Sitting,
) -> list[Label]:
    """Labels in the order of the page: each category as often as its traffic."""
    seen, found = np.zeros(len(truth), dtype=np.bool_), list[Label]()
    for day in sitting.days:
        now = day * DAY_S - 3600
        come = at < now
        key = turn * (np.bincount(category[come], minlength=len(traffic)) / traffic)[category]
        waiting = np.flatnonzero(come & ~seen)
        for number, which in enumerate(waiting[np.argsort(key[waiting])][: sitting.labels].tolist()):
            seen[which] = True
            for person in range(sitting.people):
                said = bool(truth[which]) == (rng.random() < _SURE)
                right = _RIGHTS[2 if rng.random() < _TIES else int(said)]
                when = now + number + person / 10
                found.append(
                    Label(at=when, canary="c", exchange_id=f"{name}-{which}", right=right, who=f"p{person}")
                )
    return found


def shipped(sample: Sample, days: int) -> bool:
    """True if a look of a plan of so many days, from the second on, lets the row pass."""
    canary = JudgedCanary(name="c", criteria=[ROW], minimum_days=2, planned_days=days)
    assert canary.plan is not None
    course = PlanCourse(sample=sample, canary=canary, plan=canary.plan, kept={}, now=(days + 1) * DAY_S)
    first = canary.plan.first_day
    return any(
        look.seen is not None and look.day >= first and look.seen.acceptable.low >= 0
        for look in course.looks(ROW)
    )
