"""What a canary's run can show before it starts: its chance to ship, and what would raise it."""

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from common.numbers import set_percent
from records.errors import StoreDown
from records.facts.metric import JUDGED, Metric
from records.store import Store
from routing.canary import Canary, Step
from verdict.planner.assumptions import (
    Assumptions,
    ExpectedTraffic,
    RampLength,
    asked_for,
    believed,
    waits_for_users,
)
from verdict.planner.power import PartChance, Power, part_chances, power_of_plan, power_of_sequence
from verdict.planner.recorded import RecordedTraffic, in_lane, recorded
from verdict.statistics.boundaries import boundaries
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.measures import is_cost
from verdict.terms.plan import PLANNED_DAYS, VerdictPlan, default_days, first_day
from verdict.terms.rubric import Bound, Criterion

DAYS = (7, 14, 28)
SHARES = (0.02, 0.05, 0.1, 0.2, 0.5)
MOST_DAYS = 366
"""No advice plans for longer than a year."""

USERS, REQUESTS, SHARE = 20_000, 3.0, 0.05
"""The expected users in 14 days, their requests, and a rubric's share, where nobody said. More planned days
have more users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """The users a day of both arms, and their mean requests. The sources say where the figures come from."""

    users_per_day: float
    requests: float = REQUESTS
    users_from: str = "assumed"
    requests_from: str = "assumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """One canary's terms, its planned days, its shares in order, and what is expected of its users.
    `unpriced`: the arms without a known price. `waiting`: the rows on a judge's word, which are left
    out."""

    judged: JudgedCanary
    days: int
    steps: Sequence[Step]
    expected: Expectation
    assumptions: Assumptions = field(default_factory=Assumptions)
    shares_from: str = "from the config"
    unpriced: frozenset[str] = frozenset()
    waiting: tuple[Criterion, ...] = ()

    @property
    def without_price(self) -> tuple[str, ...]:
        """The rows that no traffic passes, because an arm whose cost they need has no known price."""
        return tuple(
            row.metric
            for row in self.judged.criteria
            if is_cost(row.metric, self.judged.metrics)
            and ("candidate" in self.unpriced or (self.unpriced and row.acceptable.relative))
        )

    @property
    def plan(self) -> VerdictPlan:
        """The plan of looks over `days`."""
        first = first_day(self.judged.minimum_days, self.judged.matures_days)
        return VerdictPlan(days=self.days, first_day=first, risk=self.judged.risk)

    @property
    def course(self) -> ExpectedTraffic:
        return ExpectedTraffic(
            users_per_day=self.expected.users_per_day, requests=self.expected.requests, steps=self.steps
        )

    @property
    def users(self) -> int:
        """The users of both arms in the planned days."""
        return round(self.expected.users_per_day * self.days)

    @property
    def users_a_day(self) -> str:
        """The users of both arms each day, in words: 1,429 users a day."""
        daily = self.expected.users_per_day
        return f"{daily:,.0f} users a day" if daily >= 10 else f"{daily:.2g} users a day"

    @property
    def share(self) -> float:
        """The candidate's last share at which both arms have users."""
        return self.steps[self._compared].share

    @property
    def _compared(self) -> int:
        return max(place for place, step in enumerate(self.steps) if 0 < step.share < 1)

    def raised(self, share: float) -> "Prospect":
        """The same steps, the last of both arms at this share."""
        steps = list(self.steps)
        steps[self._compared] = replace(steps[self._compared], share=share)
        return replace(self, steps=steps)

    def at(self, share: float, days: int) -> "Prospect":
        """The same users at one share over so many planned days."""
        return replace(self, days=days, steps=(Step(share=share),))

    def power(self, until: int | None = None) -> Power:
        """The chance to ship in the planned days (`until`: by this day), with each row's chance to pass, and
        each critical part's to have enough users."""
        day = self.days if until is None else until
        return self._of_rows(until).among(self.parts(day))

    def parts(self, day: int) -> Sequence[PartChance]:
        """Each critical part's chance to have enough users by this day."""
        plan = self.plan if self.judged.planned_days else None
        return part_chances(self.judged, plan, self.course, self.assumptions, day)

    def _of_rows(self, until: int | None) -> Power:
        judged = self.judged
        if judged.planned_days:
            return power_of_plan(
                judged.criteria,
                self.plan,
                self.course,
                assumptions=self.assumptions,
                metrics=judged.metrics,
                until=until,
            )
        return power_of_sequence(
            judged.criteria,
            self.course,
            self.days if until is None else until,
            assumptions=self.assumptions,
            metrics=judged.metrics,
            planned_units=judged.planned_units,
        )


def usual_days(judged: JudgedCanary) -> int:
    """The planned days; 14 for a canary without a plan."""
    return judged.plan.days if judged.plan is not None else PLANNED_DAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedChance:
    """One entry of the table: the chance to ship in so many planned days at one share."""

    days: int
    share: float
    ship: float


def table(prospect: Prospect) -> list[PlannedChance]:
    """The chances at the usual days and shares, and at the prospect's own days."""
    return [
        PlannedChance(days=days, share=share, ship=prospect.at(share, days).power().ship)
        for days in sorted({*DAYS, prospect.days})
        for share in SHARES
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lever:
    """One change that a person could make, in words, and the chance to ship with it. `loosens`: it asks less
    of the candidate."""

    change: str
    ship: float
    loosens: bool = False


def levers(prospect: Prospect, power: Power) -> list[Lever]:
    """What would raise the chance to ship, the best first; nothing that would not."""
    judged = prospect.judged
    weakest = next(row for row in judged.criteria if row.metric == power.weakest.metric)
    found = [
        *_of_traffic(prospect),
        *_of_part(prospect, power),
        *_of_rating(prospect, weakest),
        *_of_bound(prospect, weakest),
    ]
    helping = {lever.change: lever for lever in found if lever.ship > power.ship + 0.005}
    return sorted(helping.values(), key=lambda lever: -lever.ship)


def _of_traffic(prospect: Prospect) -> list[Lever]:
    days, share = prospect.days, prospect.share
    more, longer = min(2 * share, 0.5), math.ceil(1.5 * days)
    found = [_lever(replace(prospect, days=longer), f"{longer} planned days instead of {days}")]
    if prospect.judged.planned_days:
        extended = prospect.power(until=2 * days).ship
        found.append(Lever(change=f"the extension, to day {2 * days}", ship=extended))
    if share < more:
        change = f"a share of {set_percent(more)} instead of {set_percent(share)}"
        found.append(_lever(prospect.raised(more), change))
    return found


ENOUGH = 0.9
"""The chance from which a critical part is said to have enough users."""


def _of_part(prospect: Prospect, power: Power) -> list[Lever]:
    """The least share, and the least days, with which every critical part likely has enough users."""
    if power.scarcest is None:
        return []
    need = need_of_parts(prospect)
    found = []
    if need.share is not None:
        change = f"a share of {set_percent(need.share)} instead of {set_percent(prospect.share)}"
        found.append(_lever(prospect.raised(need.share), change))
    if need.days is not None:
        change = f"{need.days} planned days instead of {prospect.days}"
        found.append(_lever(replace(prospect, days=need.days), change))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsNeed:
    """The least share, or else the least planned days, with which every critical part likely has enough
    users; None where no share up to half, or no days up to a year, are enough."""

    share: float | None
    days: int | None


def need_of_parts(prospect: Prospect) -> PartsNeed:
    """What critical parts with too few users need, beyond the prospect's own share and days."""
    days = prospect.days
    percents = range(math.floor(prospect.share * 100) + 1, 51)
    percent = _first(percents, lambda each: _enough(prospect.raised(each / 100)))
    return PartsNeed(
        share=None if percent is None else percent / 100,
        days=_first(range(days + 1, MOST_DAYS), lambda each: _enough(replace(prospect, days=each))),
    )


def _first(numbers: range, enough: Callable[[int], bool]) -> int | None:
    """The least number that is enough, as all greater ones are; None if the last is not."""
    low, high = 0, 1
    while high < len(numbers) and not enough(numbers[high - 1]):  # far ones take long to compute
        low, high = high, 2 * high
    place = bisect_left(numbers, True, lo=low, hi=min(high, len(numbers)), key=enough)
    return numbers[place] if place < len(numbers) else None


def _enough(prospect: Prospect) -> bool:
    return all(part.chance >= ENOUGH for part in prospect.parts(prospect.days))


def _of_rating(prospect: Prospect, weakest: Criterion) -> list[Lever]:
    if not asked_for(weakest.metric, prospect.judged.metrics):
        return []
    rated = believed(weakest, prospect.assumptions, prospect.judged.metrics).response
    more = min(1.0, 2 * rated)
    assumed = Assumptions(responses={weakest.metric: more}).over(prospect.assumptions)
    return [
        _lever(replace(prospect, assumptions=assumed), f"{one_in(more)} rated instead of {one_in(rated)}")
    ]


def _of_bound(prospect: Prospect, weakest: Criterion) -> list[Lever]:
    wider = _wider(weakest.acceptable, weakest.ideal)
    if wider.text == weakest.acceptable.text:
        return []
    rows = [replace(row, acceptable=wider) if row is weakest else row for row in prospect.judged.criteria]
    judged = replace(prospect.judged, criteria=rows)
    change = f"{weakest.metric} {wider.text} instead of {weakest.acceptable.text}"
    return [replace(_lever(replace(prospect, judged=judged), change), loosens=True)]


def _lever(changed: Prospect, change: str) -> Lever:
    return Lever(change=change, ship=changed.power().ship)


def _wider(acceptable: Bound, ideal: Bound) -> Bound:
    """The bound moved away from `ideal` by half their distance."""
    value, factor, offset = (
        1.5 * mine - 0.5 * theirs
        for mine, theirs in (
            (acceptable.value, ideal.value),
            (acceptable.factor, ideal.factor),
            (acceptable.offset, ideal.offset),
        )
    )
    if value < 0 or factor <= 0:
        return acceptable
    moved = replace(acceptable, value=value, factor=factor, offset=offset)
    return replace(moved, text=_spelled(moved))


def _spelled(bound: Bound) -> str:
    """The bound as a rubric would write it, in the unit of its text."""
    if not bound.relative:
        unit = next((unit for unit in ("%", "ms", "s") if bound.text.strip().endswith(unit)), "")
        scale = {"%": 100.0, "ms": 1000.0}.get(unit, 1.0)
        return f"{bound.comparison} {bound.value * scale:.6g}{unit}"
    if bound.offset:
        points = "pp" in bound.text or "%" in bound.text
        size = f"{abs(bound.offset) * 100:.6g}pp" if points else f"{abs(bound.offset):.6g}"
        return f"{bound.comparison} baseline {'-' if bound.offset < 0 else '+'} {size}"
    if "%" in bound.text:
        change = bound.factor - 1
        return f"{bound.comparison} baseline {'-' if change < 0 else '+'} {abs(change) * 100:.6g}%"
    return f"{bound.comparison} {bound.factor:.6g}x baseline"


@dataclass(frozen=True, slots=True, kw_only=True)
class LookBoundary:
    """The z that a row must reach at the look of this day to pass."""

    day: int
    boundary: float


def look_boundaries(prospect: Prospect) -> list[LookBoundary]:
    """The boundaries at the expected information, from the first look at which the candidate has users; none
    without a plan. Each row measures its own."""
    if not prospect.judged.planned_days:
        return []
    plan, course = prospect.plan, prospect.course
    told = {day: course.until(day).candidate for day in plan.looks("ship")}
    days = [day for day in told if told[day] > 0]
    found = boundaries([plan.spent("ship", day, plan.risk) for day in days], [told[day] for day in days])
    return [LookBoundary(day=day, boundary=z) for day, z in zip(days, found, strict=True)]


_WORDS = ("", "every request", "one in two", "one in three", "one in four", "one in five", "one in six",
          "one in seven", "one in eight", "one in nine", "one in ten")  # fmt: skip


def one_in(rate: float) -> str:
    """A rate in words: one in four; 37 % where it is not one in a whole number."""
    whole = round(1 / rate) if rate > 0 else 0
    if whole < 1 or abs(1 / whole - rate) > 0.02 * rate:
        return f"{set_percent(rate)} of requests"
    return _WORDS[whole] if whole < len(_WORDS) else f"one in {whole}"


# Puts a canary's prospect together: what a person gives, else what was recorded, else what is usual.


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What a person gives. `users` are those of both arms in the planned days, `days` if given."""

    users: int | None = None
    days: int | None = None
    share: float | None = None
    requests: float | None = None
    assumptions: Assumptions = field(default_factory=Assumptions)


def prospect_of(
    judged: JudgedCanary,
    steps: Sequence[Step],
    wanted: PlanRequest,
    seen: RecordedTraffic | None = None,
    *,
    lane: float = 1.0,
    unpriced: Iterable[str] = (),
) -> Prospect | None:
    """None for a canary without a rubric, or without a share at which both arms have users. `unpriced`: the
    arms without a known price. `lane`: the part of the assumed users that reach the canary.
    Rows on a judge's word are left out: people's labels decide about them."""
    waiting = tuple(row for row in judged.criteria if row.metric in JUDGED)
    judged = _without(judged, [row.metric for row in waiting])
    given = (Step(share=wanted.share),) if wanted.share is not None else tuple(steps)
    if not judged.criteria or not any(0 < step.share < 1 for step in given):
        return None
    days = usual_days(judged) if wanted.days is None else wanted.days
    if wanted.days is not None and not judged.planned_days:
        judged = replace(judged, planned_days=days)
    return Prospect(
        judged=judged,
        days=days,
        steps=given,
        expected=_expected(judged, wanted, seen, days, lane),
        assumptions=_assumed(judged, wanted, seen),
        shares_from=_CONFIG if wanted.share is None else "given",
        unpriced=frozenset(unpriced),
        waiting=waiting,
    )


_CONFIG = "from the config"


def _assumed(judged: JudgedCanary, wanted: PlanRequest, seen: RecordedTraffic | None) -> Assumptions:
    """What a person gives, else what was recorded, else what the config expects."""
    expected, rated = judged.expected, judged.expected.rated
    asked = [row.metric for row in judged.criteria if rated and asked_for(row.metric, judged.metrics)]
    parts = {f"category:{name}": share for name, share in expected.categories.items()}
    told = Assumptions(
        responses=dict.fromkeys(asked, rated or 0.0),
        parts=parts,
        sources=dict.fromkeys([*parts, *(f"{name}.rated" for name in asked)], _CONFIG),
    )
    known = told if seen is None else seen.assumptions.over(told)
    return wanted.assumptions.over(known)


def ramp_length(
    judged: JudgedCanary, steps: Sequence[Step], wanted: PlanRequest, seen: RecordedTraffic | None = None
) -> RampLength | None:
    """How long a ramp takes whose steps wait for users; None for another one. Users are given or measured,
    never assumed."""
    if not waits_for_users(steps):
        return None
    days = usual_days(judged) if wanted.days is None else wanted.days
    users, users_from = _users_a_day(judged, wanted, seen, days)
    if users is None:
        short = "no traffic is recorded" if seen is None else "too little traffic is recorded"
        users_from = f"{short}{'' if seen is None else seen.too_short}"
    return RampLength(steps=steps, users_per_day=users, users_from=users_from)


def _users_a_day(
    judged: JudgedCanary, wanted: PlanRequest, seen: RecordedTraffic | None, days: int
) -> tuple[float | None, str]:
    """The users of both arms a day, and where that is from: given for these days, measured, or of the config;
    None where nobody knows."""
    if wanted.users is not None:
        return wanted.users / days, "given"
    if seen is not None and seen.users_per_day is not None:
        return seen.users_per_day, seen.over
    users = judged.expected.users
    return (None, "") if users is None else (users / usual_days(judged), _CONFIG)


def expected_users(
    judged: JudgedCanary, wanted: PlanRequest, seen: RecordedTraffic | None = None, *, lane: float = 1.0
) -> int:
    """The users of both arms in the planned days, as a prospect of the canary has them; also without one."""
    days = usual_days(judged) if wanted.days is None else wanted.days
    return round(_expected(judged, wanted, seen, days, lane).users_per_day * days)


def _without(judged: JudgedCanary, metrics: Collection[str]) -> JudgedCanary:
    return replace(judged, criteria=[row for row in judged.criteria if row.metric not in metrics])


def of_rubric(
    criteria: Sequence[Criterion],
    name: str,
    metrics: Mapping[str, Metric],
    judged: JudgedCanary | None = None,
) -> JudgedCanary:
    """A canary's terms with another rubric; without a canary, the usual terms."""
    if judged is not None:
        return replace(judged, criteria=criteria)
    found = JudgedCanary(name=name, criteria=criteria, metrics=metrics)
    return replace(found, planned_days=default_days(found.minimum_days, found.matures_days))


USUAL_STEPS = (Step(share=SHARE),)
"""The share of a rubric that no canary has."""


def recorded_of(
    store: Store, canary: Canary, judged: JudgedCanary, lane: float = 1.0
) -> RecordedTraffic | None:
    """What an open store has of the canary's traffic. May raise StoreDown."""
    with store.reading() as connection:
        return recorded(connection, canary, _without(judged, JUDGED), now=time.time(), lane=lane)


def prospect_from_store(
    store: Store, canary: Canary, judged: JudgedCanary, unpriced: Iterable[str] = (), lane: float = 1.0
) -> Prospect | None:
    """The prospect as `prospect_of` makes it, from recorded traffic; all is assumed where the store does not
    answer."""
    try:
        seen = recorded_of(store, canary, judged, lane)
    except StoreDown:
        seen = None
    return prospect_of(judged, canary.steps, PlanRequest(), seen, lane=lane, unpriced=unpriced)


def _expected(
    judged: JudgedCanary, wanted: PlanRequest, seen: RecordedTraffic | None, days: int, lane: float
) -> Expectation:
    """Given users come in these days; other users have a daily rate, whatever the days."""
    too_short = seen.too_short if seen is not None else ""
    per_day, users_from = _users_a_day(judged, wanted, seen, days)
    if per_day is None:
        per_day, users_from = lane * USERS / PLANNED_DAYS, in_lane(f"assumed{too_short}", lane)
    requests, requests_from = wanted.requests, "given"
    if requests is None and seen is not None:
        requests, requests_from = seen.requests, seen.over
    if requests is None and judged.expected.requests is not None:
        requests, requests_from = judged.expected.requests, _CONFIG
    if requests is None:
        requests, requests_from = REQUESTS, f"assumed{too_short}"
    return Expectation(
        users_per_day=per_day, requests=requests, users_from=users_from, requests_from=requests_from
    )
