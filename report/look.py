"""Looks at one row of the rubric: what each saw, at the boundaries of its day."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from report.arm_sums import HeavyUnit
from report.contrast import Contrast
from report.margins import Margin, z_to_refuse, z_to_ship
from report.plan import Side, VerdictPlan
from report.rubric import Bound, Criterion
from report.statistics.boundaries import boundaries
from report.statistics.types import Interval, NotComputed


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenMargin:
    """A margin as a look saw it, in the metric's unit: 0 or more keeps the bound.

    `low` and `high` are the ends at the look's boundaries, ∓inf if open. `to_ship` and `to_refuse` are the
    highest boundaries at which the ends keep, or miss, the bound.
    """

    estimate: float
    low: float
    high: float
    to_ship: float
    to_refuse: float


Outcome: TypeAlias = Literal["pass", "fail", "open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OneUnit:
    """One unit on which a row depends: what the row `would` be by its acceptable bound, what it would be
    `without` the unit, the unit's arm, and its shares of that arm's values and of the row's variance."""

    would: Outcome
    without: Outcome
    candidate: bool
    values: float
    variance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRow:
    """What a look saw of a row. `information` has a unit of the metric's own. `se`, `skewness` and `busy`
    (ν) are those of the acceptable margin. `boundary` is that of a look that may ship, `refusal` that of one
    that may refuse; None on a day without. `one_unit`: without this unit, the look would say something else
    of the acceptable bound."""

    information: float
    se: float
    skewness: float
    busy: float
    boundary: float | None
    refusal: float | None
    acceptable: SeenMargin
    ideal: SeenMargin
    one_unit: OneUnit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at one row: its day of the plan, its moment (UTC seconds), the candidate's units with a value.

    `seen` is None if too few units had a value: such a look spends nothing, and its risk waits.
    """

    metric: str
    day: int
    at: float
    units: int
    seen: SeenRow | None = None


Told: TypeAlias = Sequence[tuple[int, float]]
"""The days of looks, rising, with their information."""

Measure: TypeAlias = Callable[[float], Contrast | None]
"""A row's data up to a moment; None without a value of the candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPlan:
    """One row of the rubric under the plan. `rows` is the number of rows, which share the risk of a
    refusal."""

    criterion: Criterion
    plan: VerdictPlan
    rows: int

    def risk(self, side: Side) -> float:
        """How often the row may ship exactly at its bound, or be refused there."""
        if side == "refuse":
            return self.plan.refusal_risk(self.rows)
        return self.plan.risk if self.criterion.risk is None else self.criterion.risk

    def told(self, side: Side, looks: Sequence[Look]) -> Told:
        """The looks of this side that had enough units."""
        days = self.plan.looks(side)
        return [(look.day, look.seen.information) for look in looks if look.seen and look.day in days]

    def bounds(self, side: Side, told: Told, risk: float | None = None) -> Mapping[int, float]:
        """The boundaries of these looks, by day; at the row's own risk, or at another."""
        risk = self.risk(side) if risk is None else risk
        found = boundaries(
            [self.plan.spent(side, day, risk) for day, _ in told], [information for _, information in told]
        )
        return {day: bound for (day, _), bound in zip(told, found, strict=True)}

    def boundary(self, side: Side, before: Sequence[Look], day: int, information: float) -> float | None:
        """The boundary of a look on this day after those before; None without such a look."""
        if day not in self.plan.looks(side):
            return None
        return self.bounds(side, [*self.told(side, before), (day, information)])[day]


def looks_at(
    row: RowPlan, due: Mapping[int, float], kept: Mapping[int, Look], measure: Measure
) -> tuple[Look, ...]:
    """All looks that are due, {day: moment}, in order: those that are kept, the others taken now."""
    found: list[Look] = []
    for day, at in sorted(due.items()):
        found.append(kept[day] if day in kept else _taken(row, day, at, measure(at), found))
    return tuple(found)


def _taken(row: RowPlan, day: int, at: float, contrast: Contrast | None, before: Sequence[Look]) -> Look:
    found = Look(metric=row.criterion.metric, day=day, at=at, units=0 if contrast is None else contrast.units)
    if contrast is None or not contrast.enough(row.criterion.acceptable):
        return found
    return replace(found, seen=_seen(row, contrast, before, day))


def _seen(row: RowPlan, contrast: Contrast, before: Sequence[Look], day: int) -> SeenRow:
    criterion = row.criterion
    acceptable, ideal = contrast.margin(criterion.acceptable), contrast.margin(criterion.ideal)
    information, shape = contrast.information(criterion.acceptable), contrast.shape(criterion.acceptable)
    if not 0 < information < math.inf:
        raise NotComputed("how much they tell is not a number")
    boundary = row.boundary("ship", before, day, information)
    refusal = row.boundary("refuse", before, day, information)
    return SeenRow(
        information=information,
        se=acceptable.se,
        skewness=shape.skewness,
        busy=shape.units,
        boundary=boundary,
        refusal=refusal,
        acceptable=_seen_margin(acceptable, boundary, refusal),
        ideal=_seen_margin(ideal, boundary, refusal),
        one_unit=_one_unit(contrast, criterion.acceptable, boundary, refusal),
    )


def _one_unit(
    contrast: Contrast, bound: Bound, boundary: float | None, refusal: float | None
) -> OneUnit | None:
    if contrast.heavy is None:
        return None
    would, without = (
        outcome(*_ends(margin, boundary, refusal))
        for margin in (contrast.with_heavy(bound), contrast.without_heavy(bound))
    )
    return only_by(contrast.heavy, would, without)


def outcome(low: float, high: float) -> Outcome:
    """What a row is by the ends of its margin to the acceptable bound."""
    return "pass" if low >= 0 else "fail" if high < 0 else "open"


def only_by(heavy: HeavyUnit, would: Outcome, without: Outcome) -> OneUnit | None:
    """The unit, where a row would have one outcome with it and another without it; None elsewhere."""
    if would == without:
        return None
    return OneUnit(
        would=would,
        without=without,
        candidate=heavy.candidate,
        values=heavy.values,
        variance=heavy.variance,
    )


def _ends(margin: Margin, boundary: float | None, refusal: float | None) -> tuple[float, float]:
    """Both ends at these boundaries, open without one."""
    low = -math.inf if boundary is None else margin.low(boundary)
    return low, math.inf if refusal is None else margin.high(refusal)


def _seen_margin(margin: Margin, boundary: float | None, refusal: float | None) -> SeenMargin:
    low, high = _ends(margin, boundary, refusal)
    ends = Interval(low=low, estimate=margin.estimate, high=high).known()
    return SeenMargin(
        estimate=ends.estimate,
        low=ends.low,
        high=ends.high,
        to_ship=z_to_ship(margin),
        to_refuse=z_to_refuse(margin),
    )
