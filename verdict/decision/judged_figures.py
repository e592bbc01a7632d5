"""What the report says of a judge: its word with intervals, overall and by category, and what it is worth."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import special

from common.interval import Interval, Range, recovered
from judge.figures import (
    FEWEST_LABELS,
    NEEDED_LABELS,
    AssistedMetric,
    JudgedArms,
    JudgedCategory,
    JudgedMarks,
    JudgedSessions,
    JudgeFigures,
    LostExample,
    between_people,
    with_people,
    yes_among,
)
from judge.judgements import JudgedExchange, longer_won
from records.facts.metric import (
    JUDGED_MARK,
    JUDGED_PREFERENCE,
    JUDGED_SESSION,
    PREDICTED_BY,
    SESSION_DONE,
    Metric,
)
from verdict.decision.document import vendor
from verdict.rows.comparison import ALPHA, GATE, ArmComparison, arm_sums
from verdict.rows.reading import read
from verdict.rows.reasons import JudgeAgainst
from verdict.rows.row import Row, half_width
from verdict.rows.shares import shares_by_phase
from verdict.sample.judged import JUDGE_PREFERS, assisted, judged_sample
from verdict.sample.observations import Observations, measured, observe
from verdict.sample.sample import Sample
from verdict.statistics import sequence
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.measures import Measure
from verdict.terms.rubric import Criterion

_SHARE = (0.0, 1.0)
_PREFERS = Measure(of=JUDGE_PREFERS, bounds=_SHARE, strata=True)
_EXAMPLES = 5
_ROW_RISK = 0.05
_MOST_LABELS = 10_000


def judge_figures(
    sample: Sample, canary: JudgedCanary, rows: Sequence[Row] = (), *, now: float
) -> JudgeFigures | None:
    """The judge of the sample's run, as of `now`, UTC seconds; None without a judgement. `rows` are those of
    the canary's rubric.

    Everything but the cost is of the newest judge that has answered, with its newest words.
    """
    judging, planned = sample.judged, canary.planned_units
    shown, pairs = judging.shown(), judging.of("pair")
    if shown is None:
        return None
    provider, _, model = shown.judge.partition("/")
    row = next((row for row in rows if row.metric == JUDGED_PREFERENCE), None)
    asked = any(row.metric == JUDGED_PREFERENCE for row in canary.criteria)
    liked = judged_sample(sample, JUDGED_PREFERENCE)
    return JudgeFigures(
        provider=provider,
        model=model,
        words_sha256=shown.words_sha256,
        pairs=len(pairs),
        no_mark=sum(pair.result == "no_mark" for pair in pairs),
        judged_preference=preference(sample, planned=planned),
        categories=_categories(sample, pairs),
        agreement=with_people(judging),
        people=between_people(judging),
        order_decided=yes_among(pair.order_decided for pair in pairs),
        prefers_longer=yes_among(
            longer_won(pair.result, pair.candidate_length, pair.baseline_length) for pair in pairs
        ),
        prefers_own_vendor=yes_among(_own_vendor_won(pair) for pair in pairs),
        cost_usd=sum(each.cost_usd for each in judging.exchanges),
        drawn=liked.labels or 0,
        people_prefer=_people_prefer(liked, planned=planned),
        marks=_marks(sample, planned=planned),
        judged_session=_sessions(sample, planned=planned),
        assisted=_assisted(sample, canary, now=now),
        lost=_lost(pairs),
        left_out=judging.left_out(),
        labels_needed=NEEDED_LABELS if asked else FEWEST_LABELS,
        labels_to_go=None if row is None else _labels_to_go(row, liked.labels or 0),
    )


def preference(sample: Sample, *, planned: float) -> Range | None:
    """The candidate's share of pairs won plus half of the ties, weighted back to the traffic; None without a
    pair. Its interval may be read at any time.

    Below 100 effective units, and wherever few differ, the interval is that of the Bernoulli mixture on the
    means of units, combined over categories.
    """
    found = _bounded(judged_sample(sample, JUDGE_PREFERS), _PREFERS, planned=planned)
    return None if found is None else found.shown()


def judge_against(sample: Sample, row: Criterion, *, planned: float) -> JudgeAgainst | None:
    """That the whole interval of the judge's own preference is below the row's bound; None otherwise."""
    found, pairs = preference(sample, planned=planned), sample.judged.of("pair")
    if found is None or found.high is None or found.high >= row.acceptable.value:
        return None
    return JudgeAgainst(
        lost=sum(pair.result == "baseline" for pair in pairs),
        pairs=sum(pair.result != "no_mark" for pair in pairs),
        share=found,
        acceptable=row.acceptable.text,
    )


def _people_prefer(liked: Sample, *, planned: float) -> Range | None:
    """What people prefer, by their labels of randomly drawn pairs and the judge's word on the others; None
    while too few labels count. Its interval may be read at any time."""
    comparison = read(liked, _observed(liked, JUDGED_PREFERENCE), planned=planned).comparison
    return None if comparison is None else comparison.contrast(0, 0).within(*_SHARE).shown()


def _assisted(sample: Sample, canary: JudgedCanary, *, now: float) -> tuple[AssistedMetric, ...]:
    """The metrics that the judge predicts and enough users rated, with their intervals at any time."""
    known = [canary.metrics[name] for name in PREDICTED_BY if name in canary.metrics]
    found = [(metric, assisted(sample, metric, now=now)) for metric in known]
    return tuple(
        _beside_plain(sample, seen, metric, canary, now=now)
        for metric, seen in found
        if (seen.labels or 0) >= NEEDED_LABELS
    )


def _beside_plain(
    sample: Sample, seen: Sample, metric: Metric, canary: JudgedCanary, *, now: float
) -> AssistedMetric:
    def compared(of: Sample) -> ArmComparison | None:
        observed = observe(of, metric.name, {metric.name: metric}, now=now)
        return read(of, observed, planned=canary.planned_units).comparison

    both, turned, plain = map(compared, (seen, replace(seen, candidate=~seen.candidate), sample))
    return AssistedMetric(
        metric=metric.name,
        marked=len(seen.unit),
        rated=seen.labels or 0,
        means=JudgedArms(
            baseline=turned.contrast(0, 0).within(metric.low, metric.high).shown() if turned else None,
            candidate=both.contrast(0, 0).within(metric.low, metric.high).shown() if both else None,
            difference=both.contrast(1, 0).shown() if both else None,
        ),
        plain=plain.contrast(1, 0).shown() if plain else None,
        decides=any(row.metric == metric.name and row.assisted for row in canary.criteria),
    )


_LOOKS = 1.08
"""Looks every day take so many times the labels of a single one."""


def _labels_to_go(row: Row, drawn: int) -> int | None:
    """The labels that an open row on people's preference probably lacks, with 80 % power if their estimate is
    true; None where nobody can tell."""
    half = half_width(row)
    if row.held is not None or row.state != "INCONCLUSIVE" or half is None or row.band is None:
        return None
    distance = abs(row.band[0].estimate) or math.nan
    se = half / sequence.multiplier(row.reading.tau, ALPHA)
    risk = _ROW_RISK if row.standing is None else row.standing.risk
    wanted = drawn * ((special.ndtri(1 - risk) + sequence.POWER_Z) * se / distance) ** 2 * _LOOKS
    return math.ceil(wanted - drawn) if drawn < wanted <= _MOST_LABELS else None


def _categories(sample: Sample, pairs: Sequence[JudgedExchange]) -> tuple[JudgedCategory, ...]:
    values = sorted({pair.category for pair in pairs if pair.category and pair.preference is not None})
    return tuple(_category(sample, pairs, value) for value in values)


def _category(sample: Sample, pairs: Sequence[JudgedExchange], value: str) -> JudgedCategory:
    inside = [pair for pair in pairs if pair.category == value and pair.preference is not None]
    alone = replace(sample, judged=replace(sample.judged, exchanges=inside), totals={})
    seen = judged_sample(alone, JUDGE_PREFERS)
    sums = arm_sums(seen, measured(seen, _PREFERS)).sums
    return JudgedCategory(
        value=value,
        pairs=len(inside),
        judged_preference=shares_by_phase(sums, _SHARE, candidate=True, strata=True).any_time().shown(),
    )


def _marks(sample: Sample, *, planned: float) -> JudgedMarks | None:
    """The marks of both arms; an arm's interval needs 100 users, and the difference both."""
    seen = judged_sample(sample, JUDGED_MARK)
    if len(seen.unit) == 0:
        return None
    reading = read(seen, _observed(seen, JUDGED_MARK), planned=planned)
    compared = reading.comparison.contrast(1, 0) if reading.comparison and reading.compared else None
    return JudgedMarks(
        answers=len(seen.unit),
        baseline=_arm(replace(seen, candidate=~seen.candidate), planned=planned),
        candidate=_arm(seen, planned=planned),
        difference=compared.shown() if compared is not None else None,
    )


def _arm(seen: Sample, *, planned: float) -> Range | None:
    """The mean mark of the sample's candidate."""
    reading = read(seen, _observed(seen, JUDGED_MARK), planned=planned)
    known = reading.comparison if reading.measured else None
    return known.contrast(0, 0).shown() if known is not None else None


def _sessions(sample: Sample, *, planned: float) -> JudgedSessions | None:
    """What is said of whole sessions; None without a session."""
    found = sample.judged.of("session")
    if not found:
        return None
    no_mark = sum(each.result == "no_mark" for each in found)
    mark = Measure(of=JUDGED_SESSION, bounds=(1.0, 5.0), strata=True)
    done = Measure(of=SESSION_DONE, bounds=_SHARE, strata=True)
    return JudgedSessions(
        sessions=len(found) - no_mark,
        no_mark=no_mark,
        mark=_both(judged_sample(sample, JUDGED_SESSION), mark, planned=planned),
        done=_both(judged_sample(sample, SESSION_DONE), done, planned=planned),
    )


def _both(seen: Sample, measure: Measure, *, planned: float) -> JudgedArms:
    """Both arms' means and their difference. An arm of few users has the Bernoulli mixture's interval, as a
    preference has, so that a team's sessions say something too."""
    candidate = _bounded(seen, measure, planned=planned)
    baseline = _bounded(replace(seen, candidate=~seen.candidate), measure, planned=planned)
    apart = candidate and baseline and recovered([(1, candidate), (-1, baseline)])
    return JudgedArms(
        baseline=baseline.shown() if baseline is not None else None,
        candidate=candidate.shown() if candidate is not None else None,
        difference=apart.shown() if apart is not None else None,
    )


def _bounded(seen: Sample, measure: Measure, *, planned: float) -> Interval | None:
    """The mean of the sample's candidate; None without a value."""
    observed = measured(seen, measure).only(seen.candidate)
    if not len(observed.row) or measure.bounds is None:
        return None
    found = arm_sums(seen, observed)
    if found.carrying[0] < GATE:
        return shares_by_phase(found.sums, measure.bounds, candidate=True, strata=True).any_time()
    comparison = read(seen, observed, planned=planned, sums=found).comparison
    return None if comparison is None else comparison.contrast(0, 0)


def _observed(seen: Sample, metric: str) -> Observations:
    return observe(seen, metric, {}, now=np.inf)


def _own_vendor_won(pair: JudgedExchange) -> bool | None:
    judge, ours, theirs = (_vendor(each) for each in (pair.judge, pair.candidate, pair.baseline))
    if pair.result not in ("candidate", "baseline") or (judge == ours) == (judge == theirs):
        return None
    return (judge == ours) == (pair.result == "candidate")


def _vendor(arm: str) -> str:
    provider, _, model = arm.partition("/")
    return vendor(model, provider)


def _lost(pairs: Sequence[JudgedExchange]) -> tuple[LostExample, ...]:
    """The newest pairs that the candidate lost. The reason is that of the first turn, in which A is the
    baseline's answer and B the candidate's."""
    newest = [pair for pair in pairs if pair.result == "baseline"][: -_EXAMPLES - 1 : -1]
    return tuple(
        LostExample(
            exchange_id=pair.exchange_id,
            category=pair.category,
            reason=pair.calls[0].reason if pair.calls else "",
        )
        for pair in newest
    )
