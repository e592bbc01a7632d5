"""Where a row of the rubric stands after its looks: what they rule out together, and what is to be
expected."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from scipy import optimize, special

from report.look import Look, RowPlan, SeenRow, Told
from report.statistics.skewness import Shape
from report.statistics.types import Interval

_POWER = 0.8
_POWER_Z = float(special.ndtri(_POWER))

_NOT_CERTAIN = math.nextafter(1.0, 0.0)
"""The most that is promised of a look to come."""

LEAST_P, MOST_P = 1e-6, 0.5
"""The p-values between which a row's p is computed; a row above the most has p = 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowStanding:
    """A row after its looks. `acceptable` and `ideal` are the margins that no look has ruled out. `day` is
    that of the latest look, None before the first. The others are None without enough units: `p` is the
    smallest risk at which a look would have passed the acceptable bound, `boundary` that of the latest look
    that may ship, `chance` that of passing by `end`, `detectable` the distance to the bound that is then told
    with 80 % power, `planned_se` the acceptable margin's standard error expected on the planned day.
    `days_needed` is the number of days until a look with a chance of 80 %; None without one.
    """

    acceptable: Interval
    ideal: Interval
    day: int | None
    risk: float
    end: int
    p: float | None = None
    boundary: float | None = None
    chance: float | None = None
    detectable: float | None = None
    planned_se: float | None = None
    days_needed: int | None = None


def standing(row: RowPlan, looks: Sequence[Look], now: tuple[float, float]) -> RowStanding:
    """The row after these looks. `now` are the estimates of the acceptable and the ideal margin.

    What a look has shown stands while the estimate bears it out; after the last look, it stays.
    """
    seen = [(look.day, look.seen) for look in looks if look.seen is not None]
    now = _last_estimates(row, looks) or now
    acceptable = _still_possible(now[0], [(each.acceptable.low, each.acceptable.high) for _, each in seen])
    ideal = _still_possible(now[1], [(each.ideal.low, each.ideal.high) for _, each in seen])
    found = RowStanding(
        acceptable=acceptable,
        ideal=ideal,
        day=_day(looks),
        risk=row.risk("ship"),
        end=row.plan.end(_day(looks) or 0),
    )
    if not seen:
        return found
    return _with_outlook(found, row, looks, seen)


def unknown(row: RowPlan, looks: Sequence[Look]) -> RowStanding:
    """A row without enough units: nothing is ruled out."""
    return RowStanding(
        acceptable=_OPEN,
        ideal=_OPEN,
        day=_day(looks),
        risk=row.risk("ship"),
        end=row.plan.end(_day(looks) or 0),
    )


def _day(looks: Sequence[Look]) -> int | None:
    """The day of the latest look."""
    return looks[-1].day if looks else None


def _last_estimates(row: RowPlan, looks: Sequence[Look]) -> tuple[float, float] | None:
    """The margins' estimates at the plan's last look; None before it."""
    last = looks[-1] if looks else None
    if last is None or last.seen is None or row.plan.next_look(last.day) is not None:
        return None
    return last.seen.acceptable.estimate, last.seen.ideal.estimate


_OPEN = Interval(low=-math.inf, estimate=math.nan, high=math.inf)


def _still_possible(estimate: float, ends: Sequence[tuple[float, float]]) -> Interval:
    for low, high in ends:
        Interval(low=low, estimate=estimate, high=high).known()
    return Interval(
        low=min(estimate, max((low for low, _ in ends), default=-math.inf)),
        estimate=estimate,
        high=max(estimate, min((high for _, high in ends), default=math.inf)),
    )


def _with_outlook(
    found: RowStanding,
    row: RowPlan,
    looks: Sequence[Look],
    seen: Sequence[tuple[int, SeenRow]],
) -> RowStanding:
    passed, failed = found.acceptable.low >= 0, found.acceptable.high < 0
    latest_day, latest = seen[-1]
    outlook = _Outlook(row, looks, latest_day, latest)
    return replace(
        found,
        p=_p(row, looks, found),
        boundary=next((each.boundary for _, each in reversed(seen) if each.boundary is not None), None),
        chance=1.0 if passed else 0.0 if failed else outlook.chance(found.end),
        detectable=outlook.detectable(found.end),
        planned_se=outlook.se(row.plan.days),
        days_needed=0 if passed or failed else outlook.days_needed(),
    )


def _p(row: RowPlan, looks: Sequence[Look], found: RowStanding) -> float:
    """1 while the estimate misses the bound, so that p ≤ risk, a pass and the end of the bar agree."""
    if found.acceptable.estimate < 0:
        return 1.0
    p = smallest_risk(row, looks)
    return min(p, found.risk) if found.acceptable.low >= 0 else max(p, math.nextafter(found.risk, 1.0))


def smallest_risk(row: RowPlan, looks: Sequence[Look]) -> float:
    """The smallest risk in [1e-6, .5] at which one of these looks would have passed the acceptable bound; 1
    without one."""
    told = row.told("ship", looks)
    z = {look.day: look.seen.acceptable.to_ship for look in looks if look.seen is not None}

    def beyond(log_risk: float) -> float:
        bounds = row.bounds("ship", told, math.exp(log_risk))
        return max(z[day] - bound for day, bound in bounds.items())

    if not told or beyond(math.log(MOST_P)) < 0:
        return 1.0
    if beyond(math.log(LEAST_P)) >= 0:
        return LEAST_P
    root: Any = optimize.brentq(beyond, math.log(LEAST_P), math.log(MOST_P), xtol=1e-6)
    return math.exp(float(root))


def chance(z: float, part: float, boundary: float) -> float:
    """The chance that a z of now is at or above `boundary` once it is only this part of the information, at
    the drift seen so far: Φ((z − c√r)/√(1−r))."""
    if part >= 1:
        return float(z >= boundary)
    return float(special.ndtr((z - boundary * math.sqrt(part)) / math.sqrt(1 - part)))


class _Outlook:
    """What to expect of the looks to come, if information grows as the schedule gives share-days."""

    def __init__(self, row: RowPlan, looks: Sequence[Look], day: int, latest: SeenRow) -> None:
        self._row, self._day, self._latest = row, day, latest
        self._made = looks[-1].day
        to_come = [each for each in row.plan.looks("ship") if each > self._made]
        told: Told = [
            *row.told("ship", looks),
            *((each, latest.information / self._part(each)) for each in to_come),
        ]
        self._bounds = row.bounds("ship", told)
        self._to_come = to_come

    def chance(self, end: int) -> float:
        """The chance that the look of this day passes, below 1; 0 after the last look."""
        if end not in self._to_come:
            return 0.0
        found = chance(self._latest.acceptable.to_ship, self._part(end), self._bounds[end])
        return min(found, _NOT_CERTAIN)

    def detectable(self, end: int) -> float | None:
        """The distance to the bound that the look of this day would tell with 80 % power; None without a
        scale."""
        boundary, se = self._bounds.get(end), self.se(end)
        if boundary is None or se is None:
            return None
        reach = Shape(skewness=self._latest.skewness, units=self._latest.busy).reach(boundary)
        return (reach + _POWER_Z) * se

    def se(self, day: int) -> float | None:
        """The margin's standard error expected on this day; None without a scale."""
        return self._latest.se * math.sqrt(self._part(day)) if math.isfinite(self._latest.se) else None

    def days_needed(self) -> int | None:
        """The days from the latest look to the first with a chance of 80 %; None without one."""
        return next((each - self._made for each in self._to_come if self.chance(each) >= _POWER), None)

    def _part(self, day: int) -> float:
        """The part of that day's information that is there now."""
        exposure = self._row.plan.exposure(day)
        return min(1.0, self._row.plan.exposure(self._day) / exposure) if exposure > 0 else 1.0
