"""The rubric's rows on a benchmark: each metric measured, and each row decided.

A row is decided on the layer nearest to users that has a value for it.

    the whole interval keeps the ideal bound         → IDEAL
    the whole interval keeps the acceptable bound    → PASS
    none of it does                                  → FAIL: don't ship
    part of it does, or something is missing         → INCONCLUSIVE: extend
    no value                                         → NODATA: extend

A row that lacks something, for example prices, never passes. An absolute bound of `cost_total` is a user's
total: it is NODATA, and does not decide.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bench.answers.results import AT_ONCE, ExampleResult
from bench.benchmark.figures import ResultPair, Stratum, clusters, completion, difference, marked, strata
from bench.benchmark.statistics import (
    Floats,
    least_for,
    mean,
    paired_difference,
    quantile_interval,
    quantile_of,
    resampled,
    share,
    weighted,
)
from bench.dataset.file import TrafficWeights
from bench.settings import COMPLETION, Layer, RubricRow, latency_level
from common.interval import Interval
from records.facts.metric import THROUGHPUT, Bound, ClassMeasure, class_measure
from routing.canary import ArmName

MOST_UNPRICED = 0.01
"""With more answers of unknown cost, a cost row stays open."""

Both = Sequence[tuple[ExampleResult, ExampleResult]]
"""The current model's and the candidate's results on the same examples."""

Unit = Literal["share", "seconds", "dollars", "tokens", "answers an hour"]
Contrast = Callable[[float], Interval | None]

_ARMS: tuple[ArmName, ArmName] = ("baseline", "candidate")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConditions:
    """What the values of a run depend on: the number of concurrent questions, and the factor by which its
    answers cost less than list prices, as those of a batch do."""

    at_once: int = AT_ONCE
    price_factor: float = 1.0


USUAL = RunConditions()


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingEvidence:
    """What a metric needs before its row may pass.

    timed       `of` independent timed answers for the quantile `level`; there are `count`
    pace        an answer timed in this run
    usage       an answer that states its usage
    price       a price of the model `arm`
    costs       the cost of `count` of its `of` answers
    marks       an example that can be decided
    class       an example of the class `name`
    examples_of an example to measure `measure` of that class on
    named       an answer that names that class
    examples    more examples
    users       users, whom only a canary has
    """

    kind: Literal[
        "timed",
        "pace",
        "usage",
        "price",
        "costs",
        "marks",
        "class",
        "examples_of",
        "named",
        "examples",
        "users",
    ]
    arm: ArmName | None = None
    level: float = 0.0
    name: str = ""
    measure: str = ""
    count: int = 0
    of: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One metric over the same examples.

    unit            of all values
    candidate       the candidate's value, None if unknown
    baseline        the current model's
    contrast        of a factor: the candidate minus factor times the current model
    ratio           candidate over current model; None for shares
    lacks           what the candidate needs before a row may pass
    baseline_lacks  what the current model needs, for relative bounds
    at_once         the concurrency on which the value depends
    by_traffic      whether the value is weighted by traffic
    only_relative   whether only a relative bound can be decided
    """

    unit: Unit
    candidate: Interval | None
    baseline: Interval | None
    contrast: Contrast
    ratio: Interval | None = None
    lacks: MissingEvidence | None = None
    baseline_lacks: MissingEvidence | None = None
    at_once: int | None = None
    by_traffic: bool = False
    only_relative: bool = False

    @property
    def against(self) -> tuple[Literal["ratio", "difference"], Interval | None]:
        """The candidate's ratio to the current model; of a share the difference."""
        return ("difference", self.contrast(1.0)) if self.unit == "share" else ("ratio", self.ratio)


def measurement(metric: str, pairs: Both, conditions: RunConditions) -> Measurement:
    """The metric's values on these examples."""
    if metric == COMPLETION:
        lacks = None if pairs else MissingEvidence(kind="marks")
        return _shares([a.right for a, _ in pairs], [b.right for _, b in pairs], clusters(pairs), lacks)
    if (named := class_measure(metric)) is not None:
        return _of_class(*named, pairs)
    if (level := latency_level(metric)) is not None:
        return _latency(level, pairs)
    if metric == THROUGHPUT:
        return _throughput(pairs, conditions.at_once)
    if metric == "tokens":
        return _tokens(pairs)
    return _cost(pairs, conditions.price_factor, per_user=metric == "cost_total")


def completion_by_traffic(parts: Sequence[Stratum]) -> Measurement:
    """Completion by the strata's weights."""
    return Measurement(
        unit="share",
        candidate=completion(parts, 1),
        baseline=completion(parts, 0),
        contrast=lambda factor: difference(parts, factor=factor),
        by_traffic=True,
    )


def _without(unit: Unit, lacks: MissingEvidence) -> Measurement:
    """A metric without a value, and why."""
    return Measurement(
        unit=unit,
        candidate=None,
        baseline=None,
        contrast=lambda factor: None,
        lacks=lacks,
        baseline_lacks=lacks,
    )


def _shares(
    baseline: Sequence[bool],
    candidate: Sequence[bool],
    of: Sequence[str],
    lacks: MissingEvidence | None = None,
) -> Measurement:
    """Shares of the same examples, (n,) each, of these clusters."""
    return Measurement(
        unit="share",
        candidate=share(candidate, of),
        baseline=share(baseline, of),
        contrast=lambda factor: paired_difference(baseline, candidate, of, factor=factor),
        lacks=lacks,
    )


def _of_class(measure: ClassMeasure, name: str, pairs: Both) -> Measurement:
    """Recall, precision or false positives of a class, over the examples to classify."""
    pairs = [pair for pair in pairs if pair[0].example.task == "classify"]
    if measure == "precision":
        return _precision(name, pairs)
    if not any(name in (a.example.expected, *a.example.classes) for a, _ in pairs):
        return _without("share", MissingEvidence(kind="class", name=name))
    wanted = [pair for pair in pairs if (pair[0].example.expected == name) == (measure == "recall")]
    if not wanted:
        return _without("share", MissingEvidence(kind="examples_of", measure=measure, name=name))
    theirs, ours = ([each.named == name for each in arm] for arm in _arms(wanted))
    return _shares(theirs, ours, clusters(wanted))


def _precision(name: str, pairs: Both) -> Measurement:
    def of(results: Sequence[ExampleResult]) -> Interval | None:
        named = [each for each in results if each.named == name]
        return share([each.example.expected == name for each in named], [each.cluster for each in named])

    baseline, candidate = (of(arm) for arm in _arms(pairs))

    def compared(factor: float) -> Interval | None:
        if candidate is None or baseline is None:
            return None
        return weighted([(1.0, candidate), (-factor, baseline)])

    lacks = MissingEvidence(kind="named", name=name)
    return Measurement(
        unit="share",
        candidate=candidate,
        baseline=baseline,
        contrast=compared,
        lacks=lacks if candidate is None else None,
        baseline_lacks=lacks if baseline is None else None,
    )


def _latency(level: float, pairs: Both) -> Measurement:
    """Answers saved by an interrupted run have no latency, and a failure's time is not an answer's."""
    values = [[each.answer.latency_s if each.answered else None for each in arm] for arm in _arms(pairs)]
    known = [_known(arm, pairs) for arm in values]
    least = least_for(level)

    def lacks(of: Sequence[str]) -> MissingEvidence | None:
        timed = len(set(of))
        return MissingEvidence(kind="timed", level=level, count=timed, of=least) if timed < least else None

    return _paired(
        "seconds",
        [quantile_interval(*each, level) for each in known],
        values,
        pairs,
        of=quantile_of(level),
        lacks=[lacks(of) for _, of in known],
    )


def _cost(pairs: Both, price_factor: float, *, per_user: bool) -> Measurement:
    """Costs at list price, which users' answers have. One that a provider stated in a batch may be less."""
    paid = [[each.answer.cost_usd if each.answered else None for each in arm] for arm in _arms(pairs)]
    values = [[None if cost is None else cost / price_factor for cost in arm] for arm in paid]
    lacks = [_unpriced(arm, name) for arm, name in zip(_arms(pairs), _ARMS, strict=True)]
    # Both models answered the same examples, so the ratio of totals is that of the means.
    return replace(_mean("dollars", values, pairs, lacks=lacks), only_relative=per_user)


def _tokens(pairs: Both) -> Measurement:
    values = [list(map(_tokens_of, arm)) for arm in _arms(pairs)]
    lacks = [
        None if any(each is not None for each in arm) else MissingEvidence(kind="usage") for arm in values
    ]
    return _mean("tokens", values, pairs, lacks=lacks)


Values = Sequence[Sequence[float | None]]
"""Each model's values on the same examples, None where unknown: the current model's, the candidate's."""


def _mean(unit: Unit, values: Values, pairs: Both, *, lacks: Sequence[MissingEvidence | None]) -> Measurement:
    def own(arm: Sequence[float | None]) -> Interval | None:
        known, of = _known(arm, pairs)
        array = np.asarray([known], dtype=np.float64)
        return resampled(array, of, lambda found: mean(found[0])) if known else None

    return _paired(unit, list(map(own, values)), values, pairs, of=mean, lacks=lacks)


def _known(values: Sequence[float | None], pairs: Both) -> tuple[list[float], list[str]]:
    """The known values, and the clusters of their examples."""
    known = [(v, a.cluster) for v, (a, _) in zip(values, pairs, strict=True) if v is not None]
    return [v for v, _ in known], [of for _, of in known]


def _paired(
    unit: Unit,
    own: Sequence[Interval | None],
    values: Values,
    pairs: Both,
    *,
    of: Callable[[Floats], Floats],
    lacks: Sequence[MissingEvidence | None],
) -> Measurement:
    """A measurement with the contrast and the ratio over the examples where both models have a value."""
    known = [
        (theirs, ours, a.cluster)
        for theirs, ours, (a, _) in zip(*values, pairs, strict=True)
        if theirs is not None and ours is not None
    ]
    array = np.asarray([[each[0] for each in known], [each[1] for each in known]], dtype=np.float64)
    compared, ratio = _bootstrapped(
        array,
        [each[2] for each in known],
        lambda found, arm: of(found[arm]),
        positive=bool(known) and bool((array > 0).all()),
    )
    return Measurement(
        unit=unit,
        candidate=own[1],
        baseline=own[0],
        contrast=compared,
        ratio=ratio,
        baseline_lacks=lacks[0],
        lacks=lacks[1],
    )


def _bootstrapped(
    array: Floats, of: Sequence[str], value: Callable[[Floats, int], Floats], *, positive: bool
) -> tuple[Contrast, Interval | None]:
    """The contrast and the ratio of `value` of the candidate (1) to that of the current model (0), of rows of
    these clusters; no ratio unless all is `positive`."""

    def compared(factor: float) -> Interval | None:
        return resampled(array, of, lambda found: value(found, 1) - factor * value(found, 0))

    ratio = resampled(array, of, lambda found: value(found, 1) / value(found, 0)) if positive else None
    return compared, ratio


def _throughput(pairs: Both, at_once: int) -> Measurement:
    """Answers an hour at this run's concurrency: the ratio of two sums."""
    rows = [
        (float(a.answered), a.took_s, float(b.answered), b.took_s, a.cluster)
        for a, b in pairs
        if a.took_s and b.took_s
    ]
    if not rows:
        return _without("answers an hour", MissingEvidence(kind="pace"))
    array = np.asarray([row[:4] for row in rows], dtype=np.float64).T
    of = [row[4] for row in rows]

    def pace(found: Floats, arm: int) -> Floats:
        rate: Floats = 3600 * found[2 * arm].sum(axis=-1) / found[2 * arm + 1].sum(axis=-1)
        return rate

    compared, ratio = _bootstrapped(array, of, pace, positive=bool(array[0].any()))
    return Measurement(
        unit="answers an hour",
        candidate=resampled(array, of, lambda found: pace(found, 1)),
        baseline=resampled(array, of, lambda found: pace(found, 0)),
        contrast=compared,
        ratio=ratio,
        at_once=at_once,
    )


def _unpriced(results: Sequence[ExampleResult], arm: ArmName) -> MissingEvidence | None:
    answered = [result for result in results if result.answered]
    unknown = sum(result.answer.cost_usd is None for result in answered)
    if unknown == len(answered):
        return MissingEvidence(kind="price", arm=arm)
    if unknown > MOST_UNPRICED * len(answered):
        return MissingEvidence(kind="costs", arm=arm, count=unknown, of=len(answered))
    return None


def _arms(pairs: Both) -> tuple[list[ExampleResult], list[ExampleResult]]:
    return [a for a, _ in pairs], [b for _, b in pairs]


def _tokens_of(result: ExampleResult) -> float | None:
    given, said = result.answer.input_tokens, result.answer.output_tokens
    return float(given + said) if result.answered and given is not None and said is not None else None


# The rubric's rows on a benchmark: each decided on the layer nearest to users that has a value for it.


RowState = Literal["IDEAL", "PASS", "FAIL", "INCONCLUSIVE", "NODATA"]
Severity = Literal["fails", "open"]

WeighedPairs = tuple[TrafficWeights | None, Sequence[ResultPair]]
"""A dataset's weights, if it has any, and its examples."""

_NEAREST: tuple[Layer, ...] = ("real", "synthetic")


@dataclass(frozen=True, slots=True, kw_only=True)
class RubricRowResult:
    """One row as decided.

    layer    where it was measured, or looked for
    lack     why it cannot pass, though it may keep its bound; why it has no value
    decides  False for a row that only a canary can decide
    """

    row: RubricRow
    layer: Layer
    measurement: Measurement
    state: RowState
    lack: MissingEvidence | None = None
    decides: bool = True

    @property
    def severity(self) -> Severity | None:
        """How the row bears on the verdict; None if it keeps its bound."""
        if not self.decides or self.state in ("IDEAL", "PASS"):
            return None
        return "fails" if self.state == "FAIL" else "open"


def decided(
    rows: Sequence[RubricRow],
    layers: Mapping[Layer, Sequence[WeighedPairs]],
    conditions: RunConditions,
) -> tuple[RubricRowResult, ...]:
    """Every row, on the layer nearest to users that has a value for it; at least one layer is given."""
    near: list[Layer] = [layer for layer in _NEAREST if layer in layers]
    return tuple(
        _first([_decided(row, _measured(row, layers[layer], conditions), layer) for layer in near])
        for row in rows
    )


def _first(found: Sequence[RubricRowResult]) -> RubricRowResult:
    return next((each for each in found if each.state != "NODATA"), found[0])


def _measured(row: RubricRow, datasets: Sequence[WeighedPairs], conditions: RunConditions) -> Measurement:
    """The row's metric on a layer's examples; completion by the traffic's weights where they are known."""
    if row.metric == COMPLETION and (parts := _strata(datasets)):
        return completion_by_traffic(parts)
    pairs = marked([pair for _, listed in datasets for pair in listed])
    return measurement(row.metric, [(a, b) for a, b in pairs if b is not None], conditions)


def _strata(datasets: Sequence[WeighedPairs]) -> list[Stratum]:
    """The datasets' strata: each dataset counts by its examples, its categories by their traffic. Empty if no
    dataset has weights for its categories."""
    known = [(marked(pairs), [] if of is None else strata(of, pairs)) for of, pairs in datasets]
    if not any(parts for _, parts in known):
        return []
    whole = sum(len(pairs) for pairs, _ in known)
    return [
        (len(pairs) / whole * weight, group)
        for pairs, parts in known
        if pairs
        for weight, group in (parts or [(1.0, pairs)])
    ]


def _decided(row: RubricRow, found: Measurement, layer: Layer) -> RubricRowResult:
    """The row's state by this measurement on a layer."""
    absolute = not row.acceptable.relative
    acceptable, ideal = _margin(found, row.acceptable), _margin(found, row.ideal)
    lack = found.lacks or (None if absolute else found.baseline_lacks)
    elsewhere = found.only_relative and absolute and lack is None
    state: RowState = "NODATA"
    if elsewhere:
        lack = MissingEvidence(kind="users")
    elif acceptable is None or ideal is None:
        lack = lack or MissingEvidence(kind="examples")
    else:
        state = _state(acceptable, ideal, lack)
    return RubricRowResult(
        row=row, layer=layer, measurement=found, state=state, lack=lack, decides=not elsewhere
    )


def _state(acceptable: Interval, ideal: Interval, lack: MissingEvidence | None) -> RowState:
    if acceptable.high < 0:
        return "FAIL"
    if lack is not None or acceptable.low < 0:
        return "INCONCLUSIVE"
    return "IDEAL" if ideal.low >= 0 else "PASS"


def _margin(found: Measurement, bound: Bound) -> Interval | None:
    """The distance to the bound, negative on the wrong side."""
    if not bound.relative:
        value, at = found.candidate, bound.value
    elif found.ratio is not None and bound.offset == 0:
        value, at = found.ratio, bound.factor
    else:
        value, at = found.contrast(bound.factor), bound.offset
    if value is None:
        return None
    margin = value.shifted(-at)
    return margin if bound.higher_is_better else margin.scaled(-1)
