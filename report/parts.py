"""Segments and categories where the candidate is better or worse, which the average hides."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from report.arm_sums import GATE
from report.comparison import ALPHA
from report.document import CategoryLine, Difference, PartState, SegmentLine, finite
from report.judge import judge
from report.judged_canary import JudgedCanary
from report.metrics import Observations
from report.reading import MetricReading, read
from report.rubric import Criterion
from report.sample import Sample, TextColumn
from report.statistics import sequence
from report.statistics.multiple import e_bh
from report.statistics.phases import distinct


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One metric within one value of a tag, or of the category (`by` None).

    It does not hold the reading with every unit, because there may be hundreds of parts. `worse` and `better`
    are the evidence E₁ for either, 0 before the gate. `below_floor`: it misses an absolute bound.
    """

    by: str | None
    value: str
    metric: str
    difference: Difference
    compared: bool
    worse: float
    better: float
    below_floor: bool

    @classmethod
    def of(cls, by: str | None, value: str, criterion: Criterion, reading: MetricReading) -> "Part":
        return cls(
            by=by,
            value=value,
            metric=criterion.metric,
            difference=difference(reading),
            compared=reading.compared,
            worse=_evidence(criterion, reading, worse=True),
            better=_evidence(criterion, reading, worse=False),
            below_floor=_below_floor(criterion, reading),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """All segments and categories. `below_floor` holds (tag or None, value, metric) of the critical ones that
    miss an absolute bound."""

    segments: tuple[SegmentLine, ...]
    categories: tuple[CategoryLine, ...]
    below_floor: frozenset[tuple[str | None, str, str]]


def parts_of(
    sample: Sample, canary: JudgedCanary, criterion: Criterion, observed: Observations
) -> list[Part]:
    """This metric in every segment and category."""
    planned = canary.planned_units / max(_candidate_units(sample, observed), 1)
    return [
        Part.of(by, value, criterion, _reading(sample, inside, planned))
        for by in (*canary.segments, None)
        for value, inside in _pieces(sample.category if by is None else sample.tags.get(by), observed)
    ]


def _pieces(labels: TextColumn | None, observed: Observations) -> Iterator[tuple[str, Observations]]:
    """The observations by label, without unlabelled ones."""
    if labels is None:
        return
    code = labels.code[observed.row]
    for place, value in sorted(enumerate(labels.names), key=itemgetter(1)):
        if value:
            yield value, observed.take(np.flatnonzero(code == place))


def break_down(parts: Sequence[Part], canary: JudgedCanary) -> Parts:
    """Which parts are worse or better: e-BH at ALPHA over all parts, once per direction.

    Ordered by place, and within a place as in the rubric.
    """
    places = (*canary.segments, None)
    parts = sorted(parts, key=lambda part: (places.index(part.by), part.value))
    tested = [part for part in parts if part.compared]
    worse = _discoveries(tested, [part.worse for part in tested])
    better = _discoveries(tested, [part.better for part in tested])
    critical = {id(part) for part in parts if canary.is_critical(part.by, part.value)}
    below = {id(part) for part in parts if id(part) in critical and part.below_floor}

    def state(part: Part) -> PartState:
        if not part.compared:
            return "TOO_FEW"
        return "WORSE" if id(part) in worse else "BETTER" if id(part) in better else "NO_DIFFERENCE"

    def blocks(part: Part) -> bool:
        return id(part) in critical and (id(part) in worse or id(part) in below)

    segments = [
        SegmentLine(
            by=part.by,
            value=part.value,
            metric=part.metric,
            difference=part.difference,
            state=state(part),
            blocks=blocks(part),
        )
        for part in parts
        if part.by is not None
    ]
    categories = [
        CategoryLine(
            value=part.value,
            metric=part.metric,
            difference=part.difference,
            state=state(part),
            blocks=blocks(part),
        )
        for part in parts
        if part.by is None
    ]
    return Parts(
        segments=tuple(segments),
        categories=tuple(categories),
        below_floor=frozenset((part.by, part.value, part.metric) for part in parts if id(part) in below),
    )


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
    return sequence.one_sided_evidence(sign * reading.comparison.z(), reading.tau)


def _discoveries(parts: Sequence[Part], evidence: Sequence[float]) -> set[int]:
    discovered = e_bh(np.array(evidence, dtype=np.float64), alpha=ALPHA)
    return {id(part) for part, is_discovery in zip(parts, discovered, strict=True) if is_discovery}


def _below_floor(criterion: Criterion, reading: MetricReading) -> bool:
    """True if the whole interval is on the wrong side of an absolute bound."""
    absolute = not criterion.acceptable.relative
    return absolute and reading.candidate_units >= GATE and judge(criterion, reading).state == "FAIL"
