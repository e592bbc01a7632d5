"""The plan of a verdict, fixed before the run: how many days, which looks, and the risk they may spend."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from report.statistics.spending import spent_to_refuse, spent_to_ship

Side = Literal["ship", "refuse"]

RISKS: Mapping[str, float] = {"strict": 0.025, "standard": 0.05, "light": 0.2, "red_flags": 0.5}
"""The named risks: how often a candidate exactly at its bound would ship."""

STANDARD_RISK = RISKS["standard"]
REFUSAL_RISK = 0.05
"""How often a candidate exactly at its bounds would be refused, shared by the rubric's rows."""

PLANNED_DAYS = 14
DAY_S = 86400.0
_WEEK = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan of daily looks: a group-sequential test of each row, in whole days of candidate traffic.

    `days` is D, the planned days. `first_day` is F, the first day on which the verdict may be to ship.
    `risk` is that of a row without its own.
    """

    days: int
    first_day: int
    risk: float = STANDARD_RISK

    def looks(self, side: Side) -> tuple[int, ...]:
        """The days of the looks that may ship, or refuse: daily to D, then weekly, the last at 2D."""
        first = self.first_day if side == "ship" else 1
        later = range(self.days + _WEEK, 2 * self.days, _WEEK)
        return (*range(first, self.days + 1), *later, 2 * self.days)

    def spent(self, side: Side, day: int, risk: float) -> float:
        """The part of `risk` that looks up to this day may have spent."""
        spending = spent_to_ship if side == "ship" else spent_to_refuse
        return spending(day / self.days, risk)

    def next_look(self, after: int) -> int | None:
        """The first look's day after this one; None when the plan is used up."""
        return next((day for day in self.looks("refuse") if day > after), None)

    def end(self, day: int) -> int:
        """The day by which a row open on this day is to be decided: D, and after it, 2D."""
        return self.days if day < self.days else 2 * self.days


def default_days(minimum_days: float, matures_days: float) -> int:
    """The planned days if none are given: 14 and the longest time to mature; 0, no plan, without minimum
    days."""
    return math.ceil(PLANNED_DAYS + matures_days) if minimum_days > 0 else 0


def first_day(minimum_days: float, matures_days: float) -> int:
    """F: the minimum days and the longest time to mature, at least 1."""
    return max(1, math.ceil(minimum_days + matures_days))


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
