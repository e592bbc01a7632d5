"""Candidates that are worse in some categories only, and what the verdict says of them by day."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tests.verdict.simulated import DAY_S, World, failing, rating, usual, visits
from tests.verdict.simulated_looks import METRICS, passes_by_users, row
from verdict.decision.decide import decide
from verdict.decision.document import Verdict
from verdict.decision.parts import break_down, parts_of
from verdict.decision.plan_course import PlanCourse, new_looks
from verdict.decision.verdict import find
from verdict.rows.looks import NO_LOOKS, KeptLooks, may_be_far_beyond, worse_since
from verdict.sample.observations import observe
from verdict.sample.sample import Ratings
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.rubric import Criterion

CATEGORIES = 10
"""Each has a tenth of the users."""

CRITICAL = "c0"
DAYS = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsCase:
    """20,000 users in 14 days, three requests each, `share` of them the candidate's.

    The baseline fails in 1 % of requests. The candidate fails as often as `rate` says, and in the first `bad`
    categories as `bad_rate` does, against the `acceptable` bound. The first category may be critical.
    """

    rate: float = 0.01
    bad_rate: float = 0.01
    bad: int = 1
    acceptable: str = "< 5%"
    ideal: str = "< 1%"
    share: float = 0.1
    critical: bool = True
    metric = "error_rate"

    def world(self, seed: int) -> World:
        rng = np.random.default_rng(seed)
        of = visits(rng, usual(rng, 20_000, 3), share=self.share, days=DAYS)
        category = rng.integers(0, CATEGORIES, size=of.users)[of.user]
        usually, badly = (failing(rng, of, (0.01, rate), alike=0.4) for rate in (self.rate, self.bad_rate))
        errors = np.where(category < self.bad, badly, usually)
        return World(visits=of, totals={"errors": errors}, category=category)

    @property
    def equal(self) -> bool:
        return self.bad_rate == self.rate

    @property
    def criterion(self) -> Criterion:
        return row(self.metric, self.acceptable, self.ideal)

    @property
    def canary(self) -> JudgedCanary:
        critical = frozenset({CRITICAL} if self.critical else ())
        return JudgedCanary(
            name="parts",
            criteria=[self.criterion],
            metrics=METRICS,
            planned_days=DAYS,
            critical_categories=critical,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedCase(PartsCase):
    """The same users rate one request in eight: 4.0 of 5 where all is well, 3.6 in the `bad` categories; 3.8
    is allowed."""

    acceptable: str = ">= baseline - 5%"
    ideal: str = ">= baseline + 0%"
    critical: bool = False
    metric = "csat"

    @property
    def equal(self) -> bool:
        return self.bad == 0

    def world(self, seed: int) -> World:
        rng = np.random.default_rng(seed)
        of = visits(rng, usual(rng, 20_000, 3), share=self.share, days=DAYS)
        category = rng.integers(0, CATEGORIES, size=of.users)[of.user]
        said = rating(rng, of, (4.0, 4.0), alike=0.5, answers=0.125)
        worse = rating(rng, of, (4.0, 3.6), alike=0.5, answers=0.125)
        badly, usually = category[worse.row] < self.bad, category[said.row] >= self.bad
        both = [said.only(usually), worse.only(badly)]
        order = np.argsort(np.concatenate([each.row for each in both]), kind="stable")
        row, value, at = (
            np.concatenate([getattr(each, name) for each in both])[order] for name in ("row", "value", "at")
        )
        return World(visits=of, said={"csat": Ratings(row=row, value=value, at=at)}, category=category)


def verdicts(world: World, canary: JudgedCanary) -> Mapping[int, Verdict]:
    """The verdict of each day, where the looks of the days before are kept."""
    found: dict[int, Verdict] = {}
    kept: KeptLooks = NO_LOOKS
    for day in range(1, DAYS + 1):
        findings = find(world.until(day), canary, kept=kept, now=day * DAY_S + 1)
        taken = [*(look for each in findings.rows for look in each.looks), *findings.parts.looks]
        kept = {**kept, **{(look.metric, look.day): look for look in new_looks(taken, kept)}}
        found[day] = decide(findings)[0]
    return found


def candidate_users(world: World, day: int) -> int:
    """The candidate's users of the critical category in so many days."""
    of = world.visits
    assert world.category is not None
    return len(np.unique(of.user[(of.day < day) & of.candidate & (world.category == 0)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstDays:
    """The first days of a world, by its looks alone; ∞ for never.

    `passes`: the row does, whatever its critical category. `unguarded`: the category has users enough and is
    not found worse, too. `ships`: nor may it miss the bound by twice its room. `blocked`: it is found worse.
    """

    passes: float
    unguarded: float
    ships: float
    blocked: float


def first_days(case: PartsCase, seed: int) -> FirstDays:
    """A world's first days."""
    canary, plan = case.canary, case.canary.plan
    assert plan is not None
    course = PlanCourse(case.world(seed).until(DAYS), canary, plan, NO_LOOKS, DAYS * DAY_S + 1)
    inside = course.rows(case.criterion)[1]
    rows, looks = course.all_looks(case.criterion).values()
    passes, unguarded, ships, blocked = ([math.inf] for _ in range(4))
    for day in range(1, DAYS + 1):
        seen, worse = looks[day - 1].seen, worse_since(looks[:day]) is not None
        enough = seen is not None and seen.boundary is not None
        far = may_be_far_beyond(inside, looks[:day])
        blocked += [day] if worse else []
        if passes_by_users(rows[:day]):
            passes.append(day)
            unguarded += [day] if enough and not worse else []
            ships += [day] if enough and not worse and not far else []
    return FirstDays(passes=min(passes), unguarded=min(unguarded), ships=min(ships), blocked=min(blocked))


def named(case: PartsCase, seed: int, days: Iterable[int]) -> Mapping[int, frozenset[str]]:
    """The categories that are said to miss the row's bound, or to be worse, by day."""
    world, canary = case.world(seed), case.canary
    found = {}
    for day in days:
        sample = world.until(day)
        observed = observe(sample, case.metric, METRICS, now=day * DAY_S)
        parts = break_down(parts_of(sample, canary, case.criterion, observed), canary, day)
        lines = [line for line in parts.categories if line.misses_bound or line.state == "WORSE"]
        found[day] = frozenset(line.value for line in lines)
    return found
