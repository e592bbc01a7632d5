"""A judge's values as a sample of their own, in which every figure of a metric is made as for any other.

What decides a row is what people prefer: `judged_preference` is the mean of people's labels of pairs drawn at
random, and the judge's word only makes it more precise. What the judge itself prefers is a figure beside it.

Every pair has a place in a random order of its own. People are asked in that order, within each category, so
that the labels that count are those before the first pair without one: how they were chosen says nothing of
what anybody thinks of them. Pairs come while people label; those that came after the last sitting wait until
the next one has caught up with them.

In the same way the ratings of a few users make a mean of ratings of the judge's marks of all answers, where
a row of the rubric is `assisted`: what users who rated say beyond their answers' marks puts the others right.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import sqlalchemy as sa

from judge.figures import NEEDED_LABELS
from judge.judgements import JudgedExchange, MarkedRating, place, session_id
from judge.terms import Kind
from records.facts.metric import (
    JUDGED,
    JUDGED_MARK,
    JUDGED_PREFERENCE,
    JUDGED_SESSION,
    PREDICTED_BY,
    SESSION_DONE,
    Metric,
)
from records.store.captures import Better, Label, comparable
from records.store.tables import feedback
from verdict.sample.observations import observe
from verdict.sample.sample import LABELS, TRAFFIC, MeasureTotals, Sample, TextColumn
from verdict.statistics.predicted import coarsened, rectified
from verdict.statistics.types import Bools, Floats, Ints
from verdict.terms.plan import DAY_S
from verdict.terms.rubric import Criterion

JUDGE_PREFERS = "judge_prefers"
"""The judge's own preference. No row is on it."""

_FEWEST_IN_STRATUM = 10

_GRID = 2.0**20
"""Weights are multiples of 2⁻²⁰, so that the mean of equal values is exactly that value."""

_VALUES: Mapping[Better, float] = {"candidate": 1.0, "tie": 0.5, "baseline": 0.0}


def holding(sample: Sample, row: Criterion, metrics: Mapping[str, Metric], *, now: float) -> Sample:
    """The sample with the row's values as of `now`, UTC seconds: the same one, except for what a judge
    measures or predicts."""
    if row.assisted:
        return assisted(sample, metrics[row.metric], now=now)
    return judged_sample(sample, row.metric) if row.metric in JUDGED else sample


def judged_sample(sample: Sample, metric: str) -> Sample:
    """One row per judged pair, answer or session. Pairs are the candidate's alone: their preference is a
    comparison already."""
    if metric == JUDGED_PREFERENCE:
        return _preferred(sample)
    kind, value_of = _JUDGED[metric]
    found = [each for each in sample.judged.of(kind) if value_of(each) is not None]
    category = TextColumn.of([each.category for each in found])
    candidate = np.array([kind == "pair" or each.arm == "candidate" for each in found], dtype=np.bool_)
    value = np.array([value_of(each) for each in found], dtype=np.float64)
    weight = _weights(category, candidate, sample)
    totals = {metric: MeasureTotals(count=weight, total=weight * value)}
    return _rows(found, candidate, category.code, totals)


_JUDGED: Mapping[str, tuple[Kind, Callable[[JudgedExchange], float | None]]] = {
    JUDGE_PREFERS: ("pair", lambda judged: judged.preference),
    JUDGED_MARK: ("answer", lambda judged: judged.mark),
    JUDGED_SESSION: ("session", lambda judged: judged.mark),
    SESSION_DONE: ("session", lambda judged: judged.done),
}
"""What a judge's metric is about, and its value in one judgement."""


def _rows(
    found: Sequence[JudgedExchange], candidate: Bools, phase: Ints, totals: Mapping[str, MeasureTotals]
) -> Sample:
    units = TextColumn.of([each.unit or each.exchange_id for each in found])
    at = np.array([each.at for each in found], dtype=np.float64)
    return Sample(
        units=units.names,
        unit=units.code,
        candidate=candidate,
        phase=phase,
        first_at=at,
        last_at=at,
        candidate_at=at[candidate],
        category=TextColumn(names=("",), code=np.zeros(len(found), dtype=np.int64)),
        totals=totals,
    )


def _preferred(sample: Sample) -> Sample:
    """The pairs with what people prefer in them, as `rectified` has it; while too few labels count,
    the judge's pairs, of which that is not known."""
    drawn = labels_drawn(sample)
    known = np.isfinite(drawn.people)
    if drawn.number < NEEDED_LABELS:
        pairs = judged_sample(sample, JUDGE_PREFERS)
        nothing = MeasureTotals(count=np.zeros(len(pairs.unit)), total=np.zeros(len(pairs.unit)))
        return replace(pairs, totals={JUDGED_PREFERENCE: pairs.totals[JUDGE_PREFERS], LABELS: nothing})
    stratum = coarsened(drawn.category, np.bincount(drawn.category[known]), _FEWEST_IN_STRATUM)
    word = np.array([each.preference for each in drawn.pairs], dtype=np.float64)
    value = rectified(word, drawn.people, drawn.weight, drawn.category, stratum)
    totals = {
        JUDGED_PREFERENCE: MeasureTotals(count=drawn.weight, total=drawn.weight * value),
        LABELS: MeasureTotals(count=known.astype(np.float64), total=np.where(known, drawn.people, 0.0)),
    }
    return _rows(drawn.pairs, np.ones(len(drawn.pairs), dtype=np.bool_), stratum, totals)


def ratings_of(
    connection: sa.Connection, canary: str, run: int, judged: Iterable[JudgedExchange]
) -> tuple[MarkedRating, ...]:
    """Users' ratings of the answers and sessions of a run that the judge marked, as they came."""
    marked = {each.exchange_id for each in judged if each.kind != "pair"}
    if not marked:
        return ()
    rows, sessions = feedback.c, session_id(canary, run, "")
    statement = (
        sa.select(rows.metric, rows.exchange_id, rows.session, rows.value, rows.at)
        .where(rows.canary == canary, rows.metric.in_(PREDICTED_BY), rows.run == run)
        .order_by(rows.at, rows.key)
    )
    return tuple(
        MarkedRating(exchange_id=about, metric=row.metric, value=row.value, at=row.at)
        for row in connection.execution_options(stream_results=True).execute(statement)
        if (about := row.exchange_id or f"{sessions}{row.session}") in marked
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedMarks:
    """What the judge marked and is old enough to be rated, with its `word` and the users' mean rating, NaN
    without one, (n,) each. `fewest` are the ratings in the arm that has fewer."""

    found: Sequence[JudgedExchange]
    candidate: Bools
    category: TextColumn
    word: Floats
    rated: Floats

    @property
    def fewest(self) -> int:
        known = np.isfinite(self.rated)
        return int(min(np.sum(known & self.candidate), np.sum(known & ~self.candidate)))


def rated_marks(sample: Sample, metric: Metric, *, now: float) -> RatedMarks:
    """The marks that predict this metric, as of `now`, UTC seconds, and the ratings that came in time: within
    `matures_after`, or within the days after which hardly any come."""
    kind, value_of = _JUDGED[PREDICTED_BY[metric.name]]
    plain = observe(sample, metric.name, {metric.name: metric}, now=now)
    waits_s = metric.matures_after_s or (plain.waits and (plain.waits + 1) * DAY_S)
    traffic = _traffic(sample)
    found = [
        each
        for each in sample.judged.of(kind)
        if value_of(each) is not None and each.at + waits_s <= now and traffic.get(each.category, 1.0) > 0
    ]
    given: dict[str, list[float]] = {each.exchange_id: [] for each in found}
    until = {each.exchange_id: each.at + waits_s if waits_s else np.inf for each in found}
    for rating in sample.judged.ratings:
        if rating.metric == metric.name and rating.at <= until.get(rating.exchange_id, -np.inf):
            given[rating.exchange_id].append(rating.value)
    return RatedMarks(
        found=found,
        candidate=np.array([each.arm == "candidate" for each in found], dtype=np.bool_),
        category=TextColumn.of([each.category for each in found]),
        word=np.array([value_of(each) for each in found], dtype=np.float64),
        rated=np.array([_mean(given[each.exchange_id]) for each in found], dtype=np.float64),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def assisted(sample: Sample, metric: Metric, *, now: float) -> Sample:
    """The marks, put right by the ratings of their arm, as `rectified` has it; while an arm has too few
    ratings, marks of which nothing is known.

    The arms are compared within strata: a category in a phase of the ramp, those with few ratings together.
    """
    marks = rated_marks(sample, metric, now=now)
    candidate, known = marks.candidate, np.isfinite(marks.rated)
    phase, at = _phases(sample), np.array([each.at for each in marks.found], dtype=np.float64)
    begun = np.maximum(np.searchsorted(phase, at, side="right") - 1, 0)
    cell = np.unique(begun * len(marks.category.names) + marks.category.code, return_inverse=True)[1]
    weight = _weights(marks.category, candidate, sample)
    if marks.fewest < NEEDED_LABELS:
        nothing = MeasureTotals(count=np.zeros(len(cell)), total=np.zeros(len(cell)))
        totals = {metric.name: MeasureTotals(count=weight, total=weight * marks.word), LABELS: nothing}
        return _rows(marks.found, candidate, cell, totals)
    counts = [
        np.bincount(cell[known & (candidate == arm)], minlength=cell.max() + 1) for arm in (True, False)
    ]
    stratum, value = coarsened(cell, np.minimum(*counts), _FEWEST_IN_STRATUM), np.zeros(len(cell))
    for arm in (True, False):
        mine = candidate == arm
        value[mine] = rectified(marks.word[mine], marks.rated[mine], weight[mine], cell[mine], stratum[mine])
    labels = MeasureTotals(count=known.astype(np.float64), total=np.where(known, marks.rated, 0.0))
    totals = {metric.name: MeasureTotals(count=weight, total=weight * value), LABELS: labels}
    return _rows(marks.found, candidate, stratum, totals)


def _phases(sample: Sample) -> Floats:
    """When each phase of the sample began, rising, UTC seconds."""
    began = np.full(int(sample.phase.max(initial=0)) + 1, np.inf)
    np.minimum.at(began, sample.phase, sample.first_at)
    return np.sort(began[np.isfinite(began)])


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnLabels:
    """Pairs with their categories as numbers and their weights, and what people say of those that were drawn
    at random, (n,): 1 for the candidate's answer, 0 for the baseline's, between them for a tie and where
    people differ; NaN without a label that counts."""

    pairs: Sequence[JudgedExchange]
    people: Floats
    category: Ints
    weight: Floats

    @property
    def number(self) -> int:
        return int(np.isfinite(self.people).sum())


def labels_drawn(sample: Sample) -> DrawnLabels:
    """The most labels that are a random sample of the pairs that the judge was asked about up to some moment,
    and these pairs, without those of categories that have no traffic.

    A pair that nobody can decide was seen, but has no label. Labels that were asked for because others differ
    do not count, and leave their pair waiting.
    """
    pairs = [each for each in sample.judged.of("pair") if each.preference is not None]
    seen, people = _said(pairs, sample.judged.labels)
    asked = np.array([each.asked_at for each in pairs], dtype=np.float64)
    turn = np.array([place(each.exchange_id) for each in pairs], dtype=np.float64)
    category = TextColumn.of([each.category for each in pairs])
    inside, counted = np.zeros(len(pairs), dtype=np.bool_), np.zeros(len(pairs), dtype=np.bool_)
    sittings = np.append(np.unique(seen[np.isfinite(seen)]), np.inf)
    for until in np.unique([asked[asked <= at].max(initial=-np.inf) for at in sittings]).tolist():
        so_far = asked <= until
        first_gap = np.full(len(category.names), np.inf)
        gaps = so_far & ~np.isfinite(seen)
        np.minimum.at(first_gap, category.code[gaps], turn[gaps])
        found = so_far & np.isfinite(people) & (turn < first_gap[category.code])
        if found.sum() >= counted.sum():
            inside, counted = so_far, found
    taken = [pair for pair, is_in in zip(pairs, inside.tolist(), strict=True) if is_in]
    code = category.code[inside]
    weight = _weights(
        TextColumn(names=category.names, code=code), np.ones(len(taken), dtype=np.bool_), sample
    )
    some = weight > 0
    return DrawnLabels(
        pairs=[pair for pair, is_in in zip(taken, some.tolist(), strict=True) if is_in],
        people=np.where(counted, people, np.nan)[inside][some],
        category=code[some],
        weight=weight[some],
    )


def _said(pairs: Sequence[JudgedExchange], labels: Sequence[Label]) -> tuple[Floats, Floats]:
    """When each pair was first labelled in its turn, and the mean of what people said of it, (n,); NaN
    without."""
    first: dict[str, float] = {}
    for label in labels:
        if not label.chosen:
            first.setdefault(label.exchange_id, label.at)
    votes = {
        pair: [_VALUES[each.better] for each in said if each.better]
        for pair, said in comparable(labels).items()
    }
    seen = np.array([first.get(each.exchange_id, np.nan) for each in pairs], dtype=np.float64)
    people = np.array([np.mean(votes.get(each.exchange_id, np.nan)) for each in pairs], dtype=np.float64)
    return seen, people


def _weights(category: TextColumn, candidate: Bools, sample: Sample) -> Floats:
    """The values' weights, (n,): their category's share of the traffic, divided among the values that their
    arm has there; about 1 on average. 0 in a category without traffic."""
    traffic = _traffic(sample)
    place = 2 * category.code + candidate
    beside = np.bincount(place)[place].astype(np.float64) if len(place) else np.zeros(0)
    share = np.array([traffic.get(name, 0.0) for name in category.names])
    found = share[category.code] / beside if share.any() else np.ones(len(place))
    return np.round(found / _mean_of_arm(found, candidate) * _GRID) / _GRID


def _mean_of_arm(found: Floats, candidate: Bools) -> Floats:
    """The mean of the values' arm, (n,)."""
    arm = candidate.astype(np.int64)
    means = np.bincount(arm, weights=found, minlength=2) / np.maximum(np.bincount(arm, minlength=2), 1)
    return np.where(means > 0, means, 1.0)[arm]


def _traffic(sample: Sample) -> dict[str, float]:
    """The concurrent exchanges of each category."""
    totals = sample.totals.get(TRAFFIC)
    if totals is None:
        return {}
    names = sample.category.names
    counts = np.bincount(sample.category.code, weights=totals.count, minlength=len(names))
    return dict(zip(names, counts.tolist(), strict=True))
