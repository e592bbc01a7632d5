"""Every row in each segment and category: which are worse or better, which have too few users. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TypeAlias

import numpy as np
from scipy import special

from common.interval import finite
from verdict.decision.document import Difference, PartLine, PartState
from verdict.details import UsersToCome
from verdict.rows.comparison import ALPHA, GATE
from verdict.rows.exact import chance_of_worse
from verdict.rows.looks import Look, worse_since
from verdict.rows.margins import contrast, z_to_refuse
from verdict.rows.reading import MetricReading, read
from verdict.rows.reasons import attempt
from verdict.rows.row import decide
from verdict.sample.observations import Observations
from verdict.sample.sample import Sample, TextColumn
from verdict.statistics import sequence
from verdict.statistics.boundaries import boundaries
from verdict.statistics.ratio import distinct
from verdict.statistics.sequence import e_bh
from verdict.terms.judged_canary import JudgedCanary, PartPlace
from verdict.terms.plan import VerdictPlan
from verdict.terms.rubric import Criterion

# Segments and categories where the candidate is better or worse, which the average hides.


HARM_RISK = 0.05
"""How often two equal arms may differ in any small part."""

_LOOKS = 14
"""The daily looks over which a part's risk is spread: at 14 looks, a test without this alarms four to eight
times as often as at one."""

Place: TypeAlias = tuple[str | None, str, str]
"""A part: the tag (None: the category), its value, and the metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One metric within one value of a tag, or of the category (`by` None).

    It does not hold the reading with every unit, because there may be hundreds of parts. `worse` and `better`
    are the evidence E₁ for either, 0 before the gate. `chance` is the exact test's p-value before the gate;
    None: no test is possible. `below_floor`: it misses an absolute bound. `carrying` is the effective number
    of the candidate's and the baseline's units, `events` their events by which a cost is divided, None for
    another metric; `seen`: any exchange is of this part. `uncomputed`: why nothing can be computed of it.
    `looks` are those of the plan at a critical part; `may_be_far_beyond`: they have not ruled out that it
    misses the bound by twice its room. `beyond`: where its estimate misses the row's acceptable bound, the z
    at which it is worse than the baseline, 0 elsewhere; None without a plan or both arms. `misses_bound`: the
    bound is missed at the row's risk.
    """

    by: str | None
    value: str
    metric: str
    difference: Difference = field(default_factory=Difference)
    compared: bool = False
    worse: float = 0.0
    better: float = 0.0
    chance: float | None = None
    below_floor: bool = False
    carrying: tuple[int, int] = (0, 0)
    events: tuple[int, int] | None = None
    seen: bool = True
    uncomputed: str = ""
    looks: tuple[Look, ...] = ()
    may_be_far_beyond: bool = False
    beyond: float | None = None
    misses_bound: bool = False

    @property
    def where(self) -> PartPlace:
        return self.by, self.value

    @property
    def place(self) -> Place:
        return self.by, self.value, self.metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """All segments and categories. `below_floor` holds the critical ones that miss an absolute bound,
    `too_few` the other critical ones that cannot be judged yet. `exact` holds the candidate units of those
    that are worse by the exact test, `shown_on` the days of the `looks` that found critical ones worse."""

    segments: tuple[PartLine, ...]
    categories: tuple[PartLine, ...]
    below_floor: frozenset[Place] = frozenset()
    too_few: tuple[Part, ...] = ()
    exact: Mapping[Place, int] = field(default_factory=dict)
    shown_on: Mapping[Place, int] = field(default_factory=dict)
    looks: tuple[Look, ...] = ()

    def to_come(self) -> tuple[UsersToCome, ...]:
        """The users that the parts in `too_few` still need: none of which nothing can be computed."""
        return tuple(map(_to_come, self.too_few))


def _to_come(part: Part) -> UsersToCome:
    have = (GATE, GATE) if part.uncomputed else part.carrying
    candidate, baseline = (max(GATE - users, 0) for users in have)
    return UsersToCome(
        by=part.by, value=part.value, metric=part.metric, baseline=baseline, candidate=candidate
    )


def parts_of(
    sample: Sample, canary: JudgedCanary, criterion: Criterion, observed: Observations
) -> list[Part]:
    """This metric in every segment and category, also in a critical one without any exchange."""
    planned = canary.planned_units / max(_candidate_units(sample, observed), 1)
    found: list[Part] = []
    for by in (*canary.segments, None):
        labels = sample.category if by is None else sample.tags.get(by)
        for value, inside in _pieces(labels, observed):
            found.append(_part(sample, inside, planned, by, value, criterion, canary))
        unseen = _critical(canary, by).difference(labels.names if labels is not None else ())
        found += [Part(by=by, value=value, metric=criterion.metric, seen=False) for value in sorted(unseen)]
    return found


def in_part(sample: Sample, observed: Observations, by: str | None, value: str) -> Observations | None:
    """The observations in one part; None without any exchange of it."""
    labels = sample.category if by is None else sample.tags.get(by)
    if labels is None or value not in labels.names:
        return None
    return observed.take(np.flatnonzero(labels.code[observed.row] == list(labels.names).index(value)))


def _part(
    sample: Sample,
    inside: Observations,
    planned: float,
    by: str | None,
    value: str,
    criterion: Criterion,
    canary: JudgedCanary,
) -> Part:
    """One part; one of which nothing can be computed stays open, and does not take the others along."""

    def part() -> Part:
        reading = _reading(sample, inside, planned)
        beyond, missed = _beyond(sample, inside, criterion, reading, canary.plan)
        return Part(
            by=by,
            value=value,
            metric=criterion.metric,
            difference=difference(reading),
            compared=reading.compared,
            worse=_evidence(criterion, reading, worse=True),
            better=_evidence(criterion, reading, worse=False),
            chance=_chance(sample, inside, criterion, reading),
            below_floor=_below_floor(criterion, reading),
            carrying=reading.carrying,
            beyond=beyond,
            misses_bound=missed,
            events=reading.events,
        )

    def unknown(why: str) -> Part:
        return Part(by=by, value=value, metric=criterion.metric, uncomputed=why)

    return attempt(f"{criterion.metric} in {by or 'category'} {value}", part, unknown)


def _critical(canary: JudgedCanary, by: str | None) -> frozenset[str]:
    """The critical values of the tag, or the critical categories (`by` None)."""
    if by is None:
        return canary.critical_categories
    return frozenset(value for tag, value in canary.critical_segments if tag == by)


def _pieces(labels: TextColumn | None, observed: Observations) -> Iterator[tuple[str, Observations]]:
    """The observations by label, without unlabelled ones."""
    if labels is None:
        return
    code = labels.code[observed.row].astype(np.min_scalar_type(len(labels.names)))
    # In the order of the labels, sorted once: small integers take a single pass.
    order, ends = np.argsort(code, kind="stable"), np.cumsum(np.bincount(code, minlength=len(labels.names)))
    for place, value in sorted(enumerate(labels.names), key=itemgetter(1)):
        if value:
            yield value, observed.take(order[ends[place - 1] if place else 0 : ends[place]])


def break_down(parts: Sequence[Part], canary: JudgedCanary, day: int | None = None) -> Parts:
    """Which parts are worse or better: the large ones by e-BH at ALPHA, once per direction; the small ones by
    the exact test, only worse. From a plan's first look on, its looks alone find critical ones worse; by the
    look of this `day` those that miss their row's bound are told, and others beyond it are worse too.

    Ordered by place, and within a place as in the rubric.
    """
    order = (*canary.segments, None)
    parts = sorted(parts, key=lambda part: (order.index(part.by), part.value))
    critical = [part for part in parts if canary.is_critical(part.by, part.value)]
    looked_at = canary.plan is not None and day is not None
    tested = [part for part in parts if not (looked_at and canary.is_critical(part.by, part.value))]
    shown_on = {part.place: day for part in critical if (day := worse_since(part.looks)) is not None}
    exact, large = _exactly_worse(tested), [part for part in tested if part.compared]
    worse = _discoveries(large, [part.worse for part in large]) | exact.keys() | shown_on.keys()
    large = [part for part in parts if part.compared]
    better = _discoveries(large, [part.better for part in large])
    below = frozenset(part.place for part in critical if part.below_floor)
    blocking = below | {part.place for part in critical if part.place in worse}

    beyond = _beyond_the_bound(parts, canary, day)
    missing = {part.place for part in beyond if part.misses_bound}
    worse |= {part.place for part in beyond if not canary.is_critical(part.by, part.value)}

    def state(part: Part) -> PartState:
        if part.place in worse:
            return "WORSE"
        if not part.compared or part.may_be_far_beyond:
            return "TOO_FEW"
        return "BETTER" if part.place in better else "NO_DIFFERENCE"

    lines = [
        PartLine(
            by=part.by,
            value=part.value,
            metric=part.metric,
            difference=part.difference,
            state=state(part),
            blocks=part.place in blocking,
            misses_bound=part.place in missing,
        )
        for part in parts
    ]
    return Parts(
        segments=tuple(line for line in lines if line.by is not None),
        categories=tuple(line for line in lines if line.by is None),
        below_floor=below,
        too_few=tuple(p for p in critical if state(p) == "TOO_FEW" and p.place not in blocking),
        exact=exact,
        shown_on=shown_on,
        looks=tuple(look for part in critical for look in part.looks),
    )


def _beyond_the_bound(parts: Sequence[Part], canary: JudgedCanary, day: int | None) -> list[Part]:
    """The parts whose estimates miss their row's bound, and that are worse than the baseline by Holm's
    procedure: over all parts, and evenly over the looks, so that of equal arms one is seldom told at all."""
    plan, found = canary.plan, list[Part]()
    if plan is None or day is None:
        return found
    tested = [(part.beyond, part) for part in parts if part.beyond is not None]
    days = [each for each in plan.looks("refuse") if each <= day]
    told = [float(each) for each in days]
    for z, part in sorted(tested, key=itemgetter(0), reverse=True):
        level = plan.risk / (len(tested) - len(found))
        if z <= 0 or z < boundaries([plan.spent("refuse", each, level) for each in days], told)[-1]:
            break
        found.append(part)
    return found


def _exactly_worse(parts: Sequence[Part]) -> dict[Place, int]:
    """The candidate units of the small parts that are worse: Bonferroni over small parts and looks."""
    small = [(part, part.chance) for part in parts if part.chance is not None]
    level = HARM_RISK / (_LOOKS * max(len(small), 1))
    return {part.place: part.carrying[0] for part, chance in small if chance <= level}


def difference(reading: MetricReading) -> Difference:
    """The arms' difference with its p-value; without an interval until both arms have enough units."""
    if reading.comparison is None or reading.baseline is None:
        return Difference()
    found = reading.comparison.contrast(1, 0)
    if not reading.compared:
        return Difference(estimate=finite(found.estimate))
    return Difference(
        low=finite(found.low),
        estimate=finite(found.estimate),
        high=finite(found.high),
        p_value=sequence.p_value(reading.comparison.z(), reading.tau),
    )


def _reading(sample: Sample, inside: Observations, planned: float) -> MetricReading:
    """`planned` is n* per candidate unit."""
    return read(sample, inside, planned=planned * max(_candidate_units(sample, inside), 1))


def _candidate_units(sample: Sample, observed: Observations) -> int:
    row = observed.row[sample.candidate[observed.row]]
    return distinct(sample.unit[row])


def _evidence(criterion: Criterion, reading: MetricReading, *, worse: bool) -> float:
    if reading.comparison is None or not reading.compared:
        return 0.0
    up_is_worse = not criterion.acceptable.higher_is_better
    sign = 1.0 if up_is_worse == worse else -1.0
    # One user makes no part worse or better: without that user, it must be so too.
    z = min(sign * each.z() for each in (reading.comparison, *reading.without))
    return sequence.one_sided_evidence(z, reading.tau)


def _chance(
    sample: Sample, inside: Observations, criterion: Criterion, reading: MetricReading
) -> float | None:
    """The exact test's p-value of a small part; 1 if its estimate is no worse, None without two arms."""
    estimate = difference(reading).estimate
    if reading.compared or estimate is None or reading.baseline_units == 0:
        return None
    higher_is_better = criterion.acceptable.higher_is_better
    if estimate == 0 or (estimate > 0) == higher_is_better:
        return 1.0
    return chance_of_worse(sample, inside, higher_is_better=higher_is_better)


def _beyond(
    sample: Sample,
    inside: Observations,
    criterion: Criterion,
    reading: MetricReading,
    plan: VerdictPlan | None,
) -> tuple[float | None, bool]:
    """`beyond` and `misses_bound` of a part: with few users, the z is that of the exact test."""
    if plan is None or reading.comparison is None or reading.baseline_units == 0:
        return None, False
    bound, risk = criterion.acceptable, plan.risk if criterion.risk is None else criterion.risk
    estimate = reading.comparison.contrast(*bound.terms).estimate
    if estimate == 0 or (estimate > 0) == bound.higher_is_better:
        return 0.0, False

    def made() -> tuple[float, bool]:
        found = contrast(sample, inside)
        if found is None:
            return 0.0, False
        missed = found.margin(bound).high(-float(special.ndtri(risk))) < 0
        if not found.few:
            return z_to_refuse(found.margin(bound.as_baseline)), missed
        chance = _chance(sample, inside, criterion, reading)
        return 0.0 if chance is None else -float(special.ndtri(chance)), missed

    return attempt(f"the bound of {criterion.metric} in a part", made, lambda why: (0.0, False))


def _discoveries(parts: Sequence[Part], evidence: Sequence[float]) -> set[Place]:
    discovered = e_bh(np.array(evidence, dtype=np.float64), alpha=ALPHA)
    return {part.place for part, is_discovery in zip(parts, discovered, strict=True) if is_discovery}


def _below_floor(criterion: Criterion, reading: MetricReading) -> bool:
    """True if the whole interval is on the wrong side of an absolute bound."""
    absolute = not criterion.acceptable.relative
    return absolute and decide(criterion, reading).state == "FAIL"
