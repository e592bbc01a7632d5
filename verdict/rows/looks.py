"""Looks at one row of the rubric: what each saw at its boundaries, and where the row stands after them."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import msgspec
from scipy import optimize, special

from common.interval import Interval
from records.store.reports import StoredLook
from verdict.rows.days import DayFinding, day_finding
from verdict.rows.exact import chance_of_worse
from verdict.rows.margins import Contrast, Margin, OpenMargin, z_to_ship
from verdict.rows.reading import OneUnit, OpinionRate, Outcome, known, only_by, outcome
from verdict.rows.reasons import attempt
from verdict.statistics.boundaries import Shape, boundaries, crossings
from verdict.statistics.types import NotComputed
from verdict.terms.judged_canary import PartPlace, part_name
from verdict.terms.plan import Side, VerdictPlan
from verdict.terms.rubric import Bound, Criterion


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRow:
    """What a look saw of a row.

    `acceptable` and `ideal` are the margins in the metric's unit, 0 or more keeping the bound, with the ends
    at the look's boundaries, ∓inf if open. `information` has a unit of the metric's own. `se`, `skewness`,
    `busy` (ν) and `to_ship`, the highest boundary at which it passes, are those of the acceptable margin.
    `boundary` is that of a look that may ship, `refusal` that of one that may refuse; None on a day without.
    `one_unit`: without this unit, the look would say something else of the acceptable bound. `days`: why a
    look that passes by users does not by days. `by_users`: what it says of that bound if each unit counts
    once; None where each does. `silent`: the opinions that are too few for a look that passes to count yet.
    """

    information: float
    se: float
    skewness: float
    busy: float
    boundary: float | None
    refusal: float | None
    acceptable: Interval
    ideal: Interval
    to_ship: float
    one_unit: OneUnit | None = None
    days: DayFinding | None = None
    by_users: Outcome | None = None
    silent: OpinionRate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at one row (`metric`: its name in the plan): its day, its moment (UTC seconds), the
    candidate's units with a value.

    `seen` is None if too few units had a value, or if nothing could be computed of them (`uncomputed`: why):
    such a look spends nothing, and its risk waits.
    """

    metric: str
    day: int
    at: float
    units: int
    seen: SeenRow | None = None
    uncomputed: str = ""


Told: TypeAlias = Sequence[tuple[int, float]]
"""The days of looks, rising, with their information."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPlan:
    """One row of the rubric under the plan, or that row in one critical `part` (None: in all).

    `rows` is the number of those that share the risk of a refusal. A row is refused at its acceptable bound.
    In a part, that one has twice its room, and the ideal one is the baseline's value (both are without room);
    it is refused at the latter: with few users by the exact test.
    """

    criterion: Criterion
    plan: VerdictPlan
    rows: int
    part: PartPlace | None = None

    @property
    def name(self) -> str:
        """The row's name among looks: error_rate, or error_rate@category:refund."""
        metric = self.criterion.metric
        return metric if self.part is None else f"{metric}@{part_name(*self.part)}"

    def risk(self, side: Side) -> float:
        """How often the row may ship exactly at its bound, or be refused there."""
        if side == "refuse":
            return self.plan.refusal_risk(self.rows)
        return self.plan.risk if self.criterion.risk is None else self.criterion.risk

    def told(self, side: Side, looks: Sequence[Look]) -> Told:
        """The looks of this side that had enough units."""
        seen = [(look.day, look.seen) for look in looks if look.seen is not None]
        return [
            (day, each.information)
            for day, each in seen
            if (each.boundary if side == "ship" else each.refusal) is not None
        ]

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


Measure: TypeAlias = Callable[[RowPlan, float], Contrast | None]
"""A row's data up to a moment; None without a value of the candidate."""


def looks_at(
    rows: Sequence[RowPlan], due: Mapping[int, float], kept: "KeptLooks", measure: Measure
) -> Mapping[str, tuple[Look, ...]]:
    """All looks at each row, by its name, that are due, {day: moment}, in order: those that are kept, the
    others taken now, day by day."""
    found: dict[str, list[Look]] = {row.name: [] for row in rows}
    for day, at in sorted(due.items()):
        for row in rows:
            known, before = kept.get((row.name, day)), found[row.name]
            before.append(_taken(row, day, at, measure, before) if known is None else known)
    return {name: tuple(looks) for name, looks in found.items()}


def _taken(row: RowPlan, day: int, at: float, measure: Measure, before: Sequence[Look]) -> Look:
    """The look; one of which nothing can be computed does not take those of other days along."""
    nothing = Look(metric=row.name, day=day, at=at, units=0)

    def made() -> Look:
        contrast = measure(row, at)
        if contrast is None:
            return nothing
        found, bound = replace(nothing, units=contrast.units), row.criterion.acceptable
        if contrast.enough(bound) and not (row.part and contrast.few):
            return replace(found, seen=_seen(row, contrast, before, day))
        return replace(found, seen=_seen_exactly(row, contrast, before, day)) if row.part else found

    def unknown(why: str) -> Look:
        return replace(nothing, uncomputed=why)

    return attempt(f"the look at {nothing.metric} of day {day}", made, unknown)


def _seen_exactly(row: RowPlan, contrast: Contrast, before: Sequence[Look], day: int) -> SeenRow | None:
    """What few users tell of a part: whether the candidate is worse there; None without any in both arms."""
    bound, equal = row.criterion.acceptable, row.criterion.ideal
    chance = chance_of_worse(
        contrast.sums.sample, contrast.sums.observed, higher_is_better=bound.higher_is_better
    )
    if chance is None:
        return None
    information = _information(contrast, equal)
    refusal = row.boundary("refuse", before, day, information)
    beyond = refusal is not None and chance <= float(special.ndtr(-refusal))
    nothing, ideal = (OpenMargin(estimate=contrast.with_heavy(each).estimate) for each in (bound, equal))
    worse = _seen_margin(ideal, None, None)
    return SeenRow(
        information=information,
        se=nothing.se,
        skewness=0.0,
        busy=float(min(contrast.carrying)),
        boundary=None,
        refusal=refusal,
        acceptable=_seen_margin(nothing, None, None),
        ideal=replace(worse, high=worse.estimate) if beyond and worse.estimate < 0 else worse,
        to_ship=z_to_ship(nothing),
    )


def worse_since(looks: Sequence[Look]) -> int | None:
    """The day of the first of a part's looks that found the candidate worse than the baseline there, while
    the latest one's estimate bears it out; None without one."""
    seen = [(look.day, look.seen.ideal) for look in looks if look.seen is not None]
    if not seen or seen[-1][1].estimate >= 0:
        return None
    return next((day for day, each in seen if each.high < 0), None)


def may_be_far_beyond(row: RowPlan, looks: Sequence[Look]) -> bool:
    """True if no look at the part that may ship has ruled out that it misses the bound by twice its room."""
    seen = [look.seen for look in looks if look.seen is not None]
    without_room = row.criterion.acceptable == row.criterion.ideal
    if without_room or not seen or seen[-1].boundary is None:
        return False
    return min(seen[-1].acceptable.estimate, max(each.acceptable.low for each in seen)) < 0


def _information(contrast: Contrast, bound: Bound) -> float:
    found = contrast.information(bound)
    if not 0 < found < math.inf:
        raise NotComputed("how much they tell is not a number")
    return found


def _seen(row: RowPlan, contrast: Contrast, before: Sequence[Look], day: int) -> SeenRow:
    criterion = row.criterion
    acceptable, ideal = contrast.margin(criterion.acceptable), contrast.margin(criterion.ideal)
    against = criterion.ideal if row.part else criterion.acceptable
    information, shape = _information(contrast, against), contrast.shape(criterion.acceptable)
    boundary = row.boundary("ship", before, day, information)
    refusal = row.boundary("refuse", before, day, information)
    seen = _seen_margin(acceptable, boundary, refusal)
    passes = boundary is not None and _passes(seen, before)
    return SeenRow(
        information=information,
        se=acceptable.se,
        skewness=shape.skewness,
        busy=shape.units,
        boundary=boundary,
        refusal=refusal,
        acceptable=seen,
        ideal=_seen_margin(ideal, boundary, refusal),
        to_ship=z_to_ship(acceptable),
        one_unit=_one_unit(contrast, criterion.acceptable, boundary, refusal),
        by_users=_by_users(contrast, criterion.acceptable, boundary, refusal),
        days=_day_finding(row, contrast, seen, boundary, before, day)
        if passes and boundary is not None
        else None,
        silent=_silent(row, contrast, day) if passes else None,
    )


def _passes(seen: Interval, before: Sequence[Look]) -> bool:
    """Of a look that passes, or after one that did: what is left to find can only keep the row open."""
    low = max([seen.low, *(look.seen.acceptable.low for look in before if look.seen is not None)])
    return min(low, seen.estimate) >= 0


def _silent(row: RowPlan, contrast: Contrast, day: int) -> OpinionRate | None:
    """How many opinions were given, if the silent may be the unhappy ones: an opinion is as good as its users
    are willing to give it, and that shows more slowly than their ratings do."""
    found = contrast.opinions
    return found if found is not None and found.fewer(row.plan, day) else None


def _day_finding(
    row: RowPlan, contrast: Contrast, seen: Interval, boundary: float, before: Sequence[Look], day: int
) -> DayFinding | None:
    kept = (look.seen for look in before if look.seen is not None)
    return day_finding(
        contrast.sums,
        row.criterion.acceptable,
        boundary=boundary,
        reach=seen.estimate - max(seen.low, 0.0),
        rows=row.rows,
        past=row.plan.past(day),
        shown=any(each.acceptable.low >= 0 and each.days is None for each in kept),
    )


def _by_users(
    contrast: Contrast, bound: Bound, boundary: float | None, refusal: float | None
) -> Outcome | None:
    if contrast.voices is None:
        return None
    return outcome(*_ends(contrast.voices.margin(bound), boundary, refusal))


def _one_unit(
    contrast: Contrast, bound: Bound, boundary: float | None, refusal: float | None
) -> OneUnit | None:
    if contrast.heavy is None:
        return None
    would = outcome(*_ends(contrast.with_heavy(bound), boundary, refusal))
    return only_by(contrast.heavy, would, outcome(*_ends(contrast.without_heavy(bound), boundary, refusal)))


def _ends(margin: Margin, boundary: float | None, refusal: float | None) -> tuple[float, float]:
    """Both ends at these boundaries, open without one."""
    low = -math.inf if boundary is None else margin.low(boundary)
    return low, math.inf if refusal is None else margin.high(refusal)


def _seen_margin(margin: Margin, boundary: float | None, refusal: float | None) -> Interval:
    low, high = _ends(margin, boundary, refusal)
    return known(Interval(low=low, estimate=margin.estimate, high=high))


# Where a row of the rubric stands after its looks: what they rule out together, and what is to be


_POWER = 0.8
_POWER_Z = float(special.ndtri(_POWER))

_NEW = 1e-3
"""A look tells something new with so much more of the information that is there now."""

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
    with 80 % power, `halfway` the chance to pass by the last look if the true margin is halfway between both
    bounds, `planned_se` the acceptable margin's standard error expected on the planned day.
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
    halfway: float | None = None
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
        known(Interval(low=low, estimate=estimate, high=high))
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
        halfway=1.0 if passed else 0.0 if failed else outlook.halfway(),
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
    z = {look.day: look.seen.to_ship for look in looks if look.seen is not None}

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
        found = chance(self._latest.to_ship, self._part(end), self._bounds[end])
        return min(found, _NOT_CERTAIN)

    def halfway(self) -> float | None:
        """The chance to pass at a look to come if the true margin is halfway between both bounds, whatever
        was seen so far: that of the z that is then still to come. None without a scale."""
        seen, se = self._latest, self._latest.se
        if not (math.isfinite(se) and se > 0):
            return None
        told: list[float] = []
        bounds: list[float] = []
        for day in self._to_come:
            more = 1 / self._part(day) - 1
            if more > (told[-1] if told else 0.0) + _NEW:
                told.append(more)
                bounds.append((self._bounds[day] * math.sqrt(1 + more) - seen.to_ship) / math.sqrt(more))
        if not told:
            return 0.0
        margin = (seen.acceptable.estimate - seen.ideal.estimate) / 2
        return min(sum(crossings(bounds, told, margin / se * math.sqrt(told[-1]))), _NOT_CERTAIN)

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


# Looks as the store keeps them.


KeptLooks: TypeAlias = Mapping[tuple[str, int], Look]
"""Looks by metric and day of the plan."""

NO_LOOKS: KeptLooks = {}

_ENDS = {"low": "-inf", "high": "inf", "se": "inf"}


def to_store(looks: Sequence[Look]) -> list[StoredLook]:
    """The looks for the store. JSON has no infinite numbers: an open end is null."""
    return [
        StoredLook(metric=look.metric, day=look.day, at=look.at, document=_document(look)) for look in looks
    ]


def from_store(stored: Iterable[StoredLook]) -> KeptLooks:
    """The looks that `to_store` wrote."""
    return {(each.metric, each.day): _look(each) for each in stored}


def _document(look: Look) -> dict[str, Any]:
    seen = None if look.seen is None else msgspec.json.decode(msgspec.json.encode(look.seen))
    why = {"uncomputed": look.uncomputed} if look.uncomputed else {}
    return {"units": look.units, "seen": seen, **why}


def _look(stored: StoredLook) -> Look:
    document = stored.document
    seen = document["seen"]
    return Look(
        metric=stored.metric,
        day=stored.day,
        at=stored.at,
        units=document["units"],
        uncomputed=document.get("uncomputed", ""),
        seen=None if seen is None else msgspec.convert(_opened(seen), SeenRow),
    )


def _opened(seen: Mapping[str, Any]) -> dict[str, Any]:
    """With infinite numbers for open ends."""
    return {
        name: _opened(value) if isinstance(value, dict) else _end(name, value) for name, value in seen.items()
    }


def _end(name: str, value: Any) -> Any:
    return float(_ENDS[name]) if value is None and name in _ENDS else value
