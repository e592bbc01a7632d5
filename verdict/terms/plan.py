"""A plan: the days of its looks, and how much of its risk they may have spent by a day.

Hwang, Shih, DeCani, Statistics in Medicine 1990. Time is t = day/D, with D the planned days: nine tenths of
the risk are spent by t = 1, the last tenth by t = 2, for one extension.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from routing.canary import Step

_GAMMA = -4.0
"""Little is spent early: the shape is close to O'Brien and Fleming's."""

_WITHIN_PLAN = 0.9


def spent_to_ship(t: float, risk: float) -> float:
    """The part of `risk` that looks up to time t > 0 may spend on passing a bound that is missed."""
    return _spent(t, risk, math.expm1(-_GAMMA * min(t, 1.0)) / math.expm1(-_GAMMA))


def spent_to_refuse(t: float, risk: float) -> float:
    """The part of `risk` that looks up to time t > 0 may spend on refusing a bound that is kept: evenly."""
    return _spent(t, risk, min(t, 1.0))


def _spent(t: float, risk: float, within: float) -> float:
    if t <= 1:
        return risk * _WITHIN_PLAN * within
    return risk * (_WITHIN_PLAN + (1 - _WITHIN_PLAN) * (min(t, 2.0) - 1))


# The plan of a verdict, fixed before the run: how many days, which looks, and the risk they may spend.


Side = Literal["ship", "refuse"]

RISKS: Mapping[str, float] = {"strict": 0.025, "standard": 0.05, "light": 0.2, "red_flags": 0.5}
"""The named risks: how often a candidate exactly at its bound would ship."""

STANDARD_RISK = RISKS["standard"]
LIGHT_RISK = RISKS["light"]
REFUSAL_RISK = 0.05
"""How often a candidate exactly at its bounds would be refused, shared by the rubric's rows."""

LEAST_LEFT = 0.1
"""Earlier runs leave at least this part of the risk, so that a good candidate can still ship."""

PLANNED_DAYS = 14
DAY_S = 86400.0
ARRIVAL_S = 600.0
"""A look is stored so long after its midnight, when the last records of the day have come."""

_WEEK = 7
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictPlan:
    """A plan of daily looks: a group-sequential test of each row, in whole days of candidate traffic.

    `days` is D, the planned days. `first_day` is F, the first day on which the verdict may be to ship.
    `risk` is that of a row without its own. `left` is the part of every row's risk to ship that earlier runs
    of the same canary have left. `schedule` is the ramp as planned; without it, the share is even.
    How long a step waits for users is not planned: it counts as long as its time.
    """

    days: int
    first_day: int
    risk: float = STANDARD_RISK
    left: float = 1.0
    schedule: Sequence[Step] = ()

    def looks(self, side: Side) -> tuple[int, ...]:
        """The days of the looks that may ship, or refuse: daily to D, then weekly, the last at 2D."""
        first = self.first_day if side == "ship" else 1
        later = range(self.days + _WEEK, 2 * self.days, _WEEK)
        return (*range(first, self.days + 1), *later, 2 * self.days)

    def past(self, day: int) -> float:
        """The part that is over of the time from the first day that may ship to the planned one."""
        return 1.0 if day >= self.days else (day - self.first_day) / (self.days - self.first_day)

    def spent(self, side: Side, day: int, risk: float) -> float:
        """The part of `risk` that looks up to this day may have spent."""
        if side == "ship":
            return spent_to_ship(day / self.days, risk) * self.left
        return spent_to_refuse(day / self.days, risk)

    def refusal_risk(self, rows: int) -> float:
        """The risk of a refusal of each of so many rows."""
        return REFUSAL_RISK / max(rows, 1)

    def exposure(self, day: float) -> float:
        """The candidate's share-days that the schedule has given by this day. A share of 100 % compares
        nothing."""
        if not self.schedule:
            return day
        given, start = 0.0, 0.0
        for place, step in enumerate(self.schedule):
            last = not step.ends or place == len(self.schedule) - 1
            end = day if last else min(day, start + (step.for_s or 0.0) / DAY_S)
            given += max(0.0, end - start) * (step.share if step.share < 1 else 0.0)
            start = max(start, end)
        return given

    def next_look(self, after: int) -> int | None:
        """The first look's day after this one; None when the plan is used up."""
        return next((day for day in self.looks("refuse") if day > after), None)

    def end(self, day: int) -> int:
        """The day by which a row open on this day is to be decided: D, and after it, 2D."""
        return self.days if day < self.days else 2 * self.days


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareChange:
    """A change of the share by hand: before and after, in [0, 1], when (UTC seconds), and by whom."""

    at: float
    who: str
    before: float
    after: float


def default_days(minimum_days: float, matures_days: float) -> int:
    """The planned days if none are given: 14, or the minimum days if they are more, and the longest time to
    mature; 0, no plan, without minimum days."""
    return math.ceil(max(PLANNED_DAYS, minimum_days) + matures_days) if minimum_days > 0 else 0


def first_day(minimum_days: float, matures_days: float) -> int:
    """F: the minimum days and the longest time to mature, at least 1."""
    return max(1, math.ceil(minimum_days + matures_days))


def log_end(last_at: float) -> float:
    """The moment up to which a log tells, from its last exchange: the last UTC day is over if it has an
    exchange in its last hour."""
    midnight = math.ceil(last_at / DAY_S) * DAY_S
    return midnight if midnight - last_at <= _HOUR_S else last_at


def midnights(candidate_at: Sequence[float], days: Sequence[int], *, now: float) -> Mapping[int, float]:
    """The moment of each of these looks that is over by `now`, by day: the first UTC midnight by which so
    many 24-hour periods with candidate traffic are over. Times are UTC seconds."""
    if len(candidate_at) == 0:
        return {}
    start = min(candidate_at)
    periods = sorted({int((at - start) // DAY_S) for at in candidate_at})
    ends = {place: start + (period + 1) * DAY_S for place, period in enumerate(periods, start=1)}
    found = {day: math.ceil(ends[day] / DAY_S) * DAY_S for day in days if day in ends}
    return {day: at for day, at in found.items() if at <= now}
