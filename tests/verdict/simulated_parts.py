"""Candidates that are worse in some categories only, and what the verdict says of them by day."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tests.verdict.simulated import DAY_S, World, failing, usual, visits
from tests.verdict.simulated_looks import METRICS, row
from verdict.decision.decide import decide
from verdict.decision.document import Verdict
from verdict.decision.plan_course import new_looks
from verdict.decision.verdict import find
from verdict.rows.looks import NO_LOOKS, KeptLooks
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
    categories as `bad_rate` does, against the `acceptable` bound. The first category is critical.
    """

    rate: float = 0.01
    bad_rate: float = 0.01
    bad: int = 1
    acceptable: str = "< 5%"
    ideal: str = "< 1%"
    share: float = 0.1

    def world(self, seed: int) -> World:
        rng = np.random.default_rng(seed)
        of = visits(rng, usual(rng, 20_000, 3), share=self.share, days=DAYS)
        category = rng.integers(0, CATEGORIES, size=of.users)[of.user]
        usually, badly = (failing(rng, of, (0.01, rate), alike=0.4) for rate in (self.rate, self.bad_rate))
        errors = np.where(category < self.bad, badly, usually)
        return World(visits=of, totals={"errors": errors}, category=category)

    @property
    def criterion(self) -> Criterion:
        return row("error_rate", self.acceptable, self.ideal)

    @property
    def canary(self) -> JudgedCanary:
        critical = frozenset({CRITICAL})
        return JudgedCanary(
            name="parts",
            criteria=[self.criterion],
            metrics=METRICS,
            planned_days=DAYS,
            critical_categories=critical,
        )


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
