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
    return _once(
        sample, metric, lambda: _preferred(sample) if metric == JUDGED_PREFERENCE else _own(sample, metric)
    )


def assisted(sample: Sample, metric: Metric, *, now: float) -> Sample:
    """One row per mark that predicts this metric and is old enough to be rated, put right by the ratings of
    its arm that came by `now`, UTC seconds."""
    return _once(sample, (metric, now), lambda: _rated(sample, metric, now))


def _once(sample: Sample, about: object, make: Callable[[], Sample]) -> Sample:
    if about not in sample.derived:
        sample.derived[about] = make()
    return sample.derived[about]


def _own(sample: Sample, metric: str) -> Sample:
    """The judge's own values."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What a judge said, its `word`, and what people or users said of some of that, NaN without, (n,) each.
    `cell` are the numbers of what is compared alone, `scale` is the length of the scale of `people`."""

    found: Sequence[JudgedExchange]
    candidate: Bools
    category: TextColumn
    cell: Ints
    word: Floats
    people: Floats
    scale: float = 1.0


def _put_right(said: _Said, sample: Sample, metric: str, arms: Sequence[bool]) -> Sample:
    """The judge's words, put right in each arm by what people say, as `rectified` has it. While they say too
    little, the words alone, of which nothing is known then. Cells with few labels are compared together."""
    cell, known = said.cell, np.isfinite(said.people)
    heard = [cell[known & (said.candidate == arm)] for arm in arms]
    labels, stratum, value = min(map(len, heard)), cell, said.word.copy()
    weight = _weights(said.category, said.candidate, sample)
    if labels >= NEEDED_LABELS:
        counts = [np.bincount(each, minlength=cell.max() + 1) for each in heard]
        unit = TextColumn.of([each.unit or each.exchange_id for each in said.found]).code
        stratum = coarsened(cell, np.minimum.reduce(counts), _FEWEST_IN_STRATUM)
        for arm in arms:
            of = said.candidate == arm
            value[of] = rectified(
                said.word[of],
                said.people[of],
                weight[of],
                cell[of],
                stratum[of],
                unit=unit[of],
                scale=said.scale,
            )
    totals = {
        metric: MeasureTotals(count=weight, total=weight * value),
        LABELS: MeasureTotals(count=known.astype(np.float64), total=np.where(known, said.people, 0.0)),
    }
    return replace(_rows(said.found, said.candidate, stratum, totals), labels=labels)


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


def _rated(sample: Sample, metric: Metric, now: float) -> Sample:
    """The ratings came in time: within `matures_after`, or within the days after which hardly any come. The
    arms are compared within a category in a phase of the ramp."""
    kind, value_of = _JUDGED[PREDICTED_BY[metric.name]]
    plain = observe(sample, metric.name, {metric.name: metric}, now=now)
    waits_s = metric.matures_after_s or (plain.waits and (plain.waits + 1) * DAY_S)
    marked = _in_traffic(sample.judged.of(kind), sample)
    found = [each for each in marked if value_of(each) is not None and each.at + waits_s <= now]
    given: dict[str, list[float]] = {each.exchange_id: [] for each in found}
    until = {each.exchange_id: each.at + waits_s if waits_s else np.inf for each in found}
    for rating in sample.judged.ratings:
        if rating.metric == metric.name and rating.at <= until.get(rating.exchange_id, -np.inf):
            given[rating.exchange_id].append(rating.value)
    category = TextColumn.of([each.category for each in found])
    at = np.array([each.at for each in found], dtype=np.float64)
    begun = np.maximum(np.searchsorted(_phases(sample), at, side="right") - 1, 0)
    said = _Said(
        found=found,
        candidate=np.array([each.arm == "candidate" for each in found], dtype=np.bool_),
        category=category,
        cell=np.unique(begun * len(category.names) + category.code, return_inverse=True)[1],
        word=np.array([value_of(each) for each in found], dtype=np.float64),
        people=np.array([_mean(given[each.exchange_id]) for each in found], dtype=np.float64),
        scale=0.0 if metric.low is None or metric.high is None else metric.high - metric.low,
    )
    return _put_right(said, sample, metric.name, arms=(True, False))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _phases(sample: Sample) -> Floats:
    """When each phase of the sample began, rising, UTC seconds."""
    began = np.full(int(sample.phase.max(initial=0)) + 1, np.inf)
    np.minimum.at(began, sample.phase, sample.first_at)
    return np.sort(began[np.isfinite(began)])


def _preferred(sample: Sample) -> Sample:
    """The pairs with what people prefer in them: 1 for the candidate's answer, 0 for the baseline's, between
    them for a tie and where people differ.

    The labels are the most that are a random sample of the pairs that the judge was asked about up to some
    moment, and the pairs are these; all while too few labels count. A pair that nobody can decide was seen,
    but has no label. Labels that were asked for because others differ do not count, and leave their pair
    waiting.
    """
    pairs = [each for each in _in_traffic(sample.judged.of("pair"), sample) if each.preference is not None]
    seen, people = _labelled(pairs, sample.judged.labels)
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
    rows = np.flatnonzero(inside | (counted.sum() < NEEDED_LABELS))
    taken = [pairs[row] for row in rows.tolist()]
    said = _Said(
        found=taken,
        candidate=np.ones(len(rows), dtype=np.bool_),
        category=category.take(rows),
        cell=category.code[rows],
        word=np.array([each.preference for each in taken], dtype=np.float64),
        people=np.where(counted, people, np.nan)[rows],
    )
    return _put_right(said, sample, JUDGED_PREFERENCE, arms=(True,))


def _labelled(pairs: Sequence[JudgedExchange], labels: Sequence[Label]) -> tuple[Floats, Floats]:
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


def _in_traffic(found: Sequence[JudgedExchange], sample: Sample) -> list[JudgedExchange]:
    """Those of categories that have traffic; all where none is known."""
    traffic = _traffic(sample)
    return [each for each in found if not any(traffic.values()) or traffic.get(each.category, 0.0) > 0]


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
