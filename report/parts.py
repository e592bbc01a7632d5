"""Segments and categories: where the candidate is better or worse than its average hides."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from report.comparison import ALPHA
from report.document import CategoryLine, Difference, PartState, SegmentLine, finite
from report.judge import judge
from report.metrics import Observations
from report.reading import GATE, Reading, read
from report.rollout import Rollout
from report.rubric import Criterion
from report.sample import Sample
from report.statistics import sequence
from report.statistics.multiple import e_bh
from report.statistics.types import Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One metric within one value of a tag, or of the category (`by` is None)."""

    by: str | None
    value: str
    criterion: Criterion
    reading: Reading

    def evidence(self, *, worse: bool) -> float:
        """E₁ that the candidate is worse (or better) here; 0 before the gate."""
        if self.reading.comparison is None or not self.reading.compared:
            return 0.0
        up_is_worse = not self.criterion.acceptable.higher_is_better
        sign = 1.0 if up_is_worse == worse else -1.0
        return sequence.one_sided_evidence(sign * self.reading.comparison.z(), self.reading.tau)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Every segment and category; `below_floor` names critical categories that miss an absolute bound."""

    segments: tuple[SegmentLine, ...]
    categories: tuple[CategoryLine, ...]
    below_floor: tuple[tuple[str, str], ...]


def break_down(sample: Sample, rollout: Rollout, observed: Sequence[tuple[Criterion, Observations]]) -> Parts:
    """Test every metric in every segment and category: e-BH at ALPHA over all of them, each direction."""
    parts = [
        *(part for by in rollout.segments for part in _parts(sample, rollout, observed, by)),
        *_parts(sample, rollout, observed, None),
    ]
    tested = [part for part in parts if part.reading.compared]
    worse = _discoveries(tested, worse=True)
    better = _discoveries(tested, worse=False)
    below = {
        id(part)
        for part in parts
        if part.by is None and part.value in rollout.critical_categories and _below_floor(part)
    }

    def state(part: _Part) -> PartState:
        if not part.reading.compared:
            return "TOO_FEW"
        return "WORSE" if id(part) in worse else "BETTER" if id(part) in better else "NO_DIFFERENCE"

    segments = [
        SegmentLine(
            by=part.by,
            value=part.value,
            metric=part.criterion.metric,
            difference=difference(part.reading),
            state=state(part),
            blocks=False,
        )
        for part in parts
        if part.by is not None
    ]
    categories = [
        CategoryLine(
            value=part.value,
            metric=part.criterion.metric,
            difference=difference(part.reading),
            state=state(part),
            blocks=part.value in rollout.critical_categories and (id(part) in worse or id(part) in below),
        )
        for part in parts
        if part.by is None
    ]
    return Parts(
        segments=tuple(segments),
        categories=tuple(categories),
        below_floor=tuple((part.value, part.criterion.metric) for part in parts if id(part) in below),
    )


def difference(reading: Reading) -> Difference:
    """The arms' difference with its p-value; without interval until both arms have enough units."""
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


def _parts(
    sample: Sample, rollout: Rollout, observed: Sequence[tuple[Criterion, Observations]], by: str | None
) -> list[_Part]:
    empty = np.full(len(sample.unit), "", dtype=np.str_)
    column: Texts = sample.category if by is None else sample.tags.get(by, empty)
    values = [value for value in np.unique(column).tolist() if value]
    return [
        _part(sample, rollout, criterion, seen, by, value, column)
        for value in values
        for criterion, seen in observed
    ]


def _part(
    sample: Sample,
    rollout: Rollout,
    criterion: Criterion,
    seen: Observations,
    by: str | None,
    value: str,
    column: Texts,
) -> _Part:
    inside = seen.only(column == value)
    share = max(_candidate_units(sample, inside), 1) / max(_candidate_units(sample, seen), 1)
    reading = read(sample, inside, planned=rollout.planned_units * share)
    return _Part(by=by, value=value, criterion=criterion, reading=reading)


def _candidate_units(sample: Sample, observed: Observations) -> int:
    row = observed.row[sample.candidate[observed.row]]
    return len(np.unique(sample.unit[row]))


def _discoveries(parts: Sequence[_Part], *, worse: bool) -> set[int]:
    evidence = np.array([part.evidence(worse=worse) for part in parts], dtype=np.float64)
    return {id(part) for part, found in zip(parts, e_bh(evidence, alpha=ALPHA), strict=True) if found}


def _below_floor(part: _Part) -> bool:
    """The whole interval on the wrong side of an absolute bound, whatever the baseline does there."""
    absolute = not part.criterion.acceptable.relative
    return (
        absolute
        and part.reading.candidate_units >= GATE
        and judge(part.criterion, part.reading).state == "FAIL"
    )
