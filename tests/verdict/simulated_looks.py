"""What a plan's looks decide about a simulated world, by the report's own code, without the report."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

from records.facts.metric import BUILT_IN, Metric
from tests.verdict.simulated import DAY_S, World
from verdict.rows.looks import KeptLooks, Look, RowPlan
from verdict.rows.margins import Contrast, contrast
from verdict.sample.observations import observe
from verdict.terms.plan import Side, VerdictPlan
from verdict.terms.rubric import Bound, Criterion, parse_bound

Found = TypeVar("Found")

PLAN = VerdictPlan(days=14, first_day=7)
METRICS = {
    **BUILT_IN,
    "resolved": Metric(name="resolved", kind="bool", low=0, high=1, question="", per="session"),
    "cost_per_resolution": Metric(
        name="cost_per_resolution", kind="amount", question="", higher_is_better=False, cost_per="resolved"
    ),
}


def row(
    metric: str, acceptable: str, ideal: str, weight: float = 1, *, risk: float | None = None
) -> Criterion:
    """A row of a rubric, whatever its question."""
    return Criterion(
        metric=metric,
        acceptable=parse_bound(acceptable),
        ideal=parse_bound(ideal),
        weight=weight,
        question="?",
        risk=risk,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A row at the end of a day: what no look so far has ruled out, −∞ and ∞ while nothing is. `silent`: so
    few of the candidate's users gave an opinion that the row waits."""

    estimate: float
    low: float
    high: float
    silent: bool = False

    @property
    def keeps(self) -> bool:
        """`verdict.rows.looks` has it so: what a look showed stands while the estimate bears it out."""
        return min(self.estimate, self.low) >= 0

    @property
    def passes(self) -> bool:
        return self.keeps and not self.silent

    @property
    def fails(self) -> bool:
        return max(self.estimate, self.high) < 0


def looks(world: World, planned: RowPlan, sides: Sequence[Side] = ("ship",)) -> Mapping[int, Seen]:
    """The row at each look's day of these sides, from the first with enough units on."""
    bound = planned.criterion.acceptable
    days = sorted({day for side in sides for day in planned.plan.looks(side) if day <= world.visits.days})
    measured = [(day, measure(world, planned.criterion.metric, day)) for day in days]
    found = {day: each for day, each in measured if each is not None and each.enough(bound)}
    margins = {day: each.margin(bound) for day, each in found.items()}
    ends = {side: _bounds(planned, side, found) if side in sides else {} for side in ("ship", "refuse")}
    low = accumulate(
        (margins[day].low(ends["ship"][day]) if day in ends["ship"] else float("-inf") for day in found), max
    )
    high = accumulate(
        (margins[day].high(ends["refuse"][day]) if day in ends["refuse"] else float("inf") for day in found),
        min,
    )
    return {
        day: Seen(
            estimate=margins[day].estimate, low=least, high=most, silent=_silent(planned, found[day], day)
        )
        for day, least, most in zip(found, low, high, strict=True)
    }


def _silent(planned: RowPlan, seen: Contrast, day: int) -> bool:
    return seen.opinions is not None and seen.opinions.fewer(planned.plan, day)


def measure(world: World, metric: str, day: int) -> Contrast | None:
    sample, now = world.until(day), day * DAY_S
    return contrast(sample, observe(sample, metric, METRICS, now=now))


def _bounds(planned: RowPlan, side: Side, found: Mapping[int, Contrast]) -> Mapping[int, float]:
    bound: Bound = planned.criterion.acceptable
    days = planned.plan.looks(side)
    return planned.bounds(
        side, [(day, each.information(bound)) for day, each in found.items() if day in days]
    )


def first_shipped(world: World, criteria: Sequence[Criterion], plan: VerdictPlan = PLAN) -> float:
    """The day of the first look at which all rows pass; ∞ without one. Put the weakest row first."""
    return first_shipped_both(world, criteria, plan)[0]


def first_shipped_both(
    world: World, criteria: Sequence[Criterion], plan: VerdictPlan = PLAN
) -> tuple[float, float]:
    """The same, and the day if no row waited for the silent."""
    days, keeping = set(plan.looks("ship")), set(plan.looks("ship"))
    for criterion in criteria:
        planned = RowPlan(criterion=criterion, plan=plan, rows=len(criteria))
        seen = looks(world, planned)
        keeping &= {day for day, each in seen.items() if each.keeps}
        days &= {day for day in keeping if seen[day].passes}
        if not keeping:
            break
    return min(days, default=float("inf")), min(keeping, default=float("inf"))


def first_refused(world: World, criteria: Sequence[Criterion], plan: VerdictPlan = PLAN) -> float:
    """The day of the first look at which a row fails; ∞ without one."""
    days: set[int] = set()
    for criterion in criteria:
        planned = RowPlan(criterion=criterion, plan=plan, rows=len(criteria))
        days |= {day for day, seen in looks(world, planned, ["refuse"]).items() if seen.fails}
    return min(days, default=float("inf"))


def without_refusals(criteria: Sequence[Criterion], plan: VerdictPlan = PLAN) -> KeptLooks:
    """The looks before the first that may ship, as if none had enough units: without those that refuse, more
    ships and nothing less."""
    return {
        (each.metric, day): Look(metric=each.metric, day=day, at=day * DAY_S, units=0)
        for each in criteria
        for day in range(1, plan.first_day)
    }


def passes_by_users(looks: Sequence[Look]) -> bool:
    """What a look showed stands while the estimate bears it out, and silence does not hold the row."""
    seen = [look.seen for look in looks if look.seen is not None]
    if not seen or seen[-1].silent is not None:
        return False
    return min(max(each.acceptable.low for each in seen), seen[-1].acceptable.estimate) >= 0


@contextmanager
def jobs() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(int(os.environ.get("CANARY_JOBS", os.cpu_count() or 1))) as running:
        yield running


def each_world(
    pool: ProcessPoolExecutor, what: Callable[[str, int], Found], name: str, worlds: int
) -> list[Found]:
    """`what` of the world `name` with each seed from 0."""
    return list(pool.map(what, [name] * worlds, range(worlds), chunksize=8))


def part(values: Iterable[float], most: float) -> float:
    """The part of the values that are at most this."""
    listed = list(values)
    return sum(value <= most for value in listed) / len(listed)
