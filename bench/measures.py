"""A rubric's metrics as a benchmark measures them: both models' values, and their difference or ratio."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from bench.runner import Result
from bench.scorers.named import label
from bench.statistics import (
    Floats,
    ShareInterval,
    contrast,
    least_for,
    mean,
    paired_contrast,
    quantile_interval,
    resampled,
    share,
)
from bench.terms import COMPLETION, latency_level
from bench.weighted import Stratum, candidates_completion, completion, difference
from records.offline_metric import THROUGHPUT, class_measure

Both = Sequence[tuple[Result, Result]]
"""The current model's and the candidate's results on the same examples."""

Unit = Literal["share", "seconds", "dollars", "tokens", "answers an hour"]
Contrast = Callable[[float], ShareInterval | None]

MOST_UNPRICED = 0.01
"""With more answers of unknown cost, a cost row stays open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One metric over the same examples: the candidate's value and the current model's, None if unknown.

    `contrast(factor)` is the candidate minus `factor` times the current model; `ratio` is candidate over
    current model, None for shares. `lacks` and `baseline_lacks` say what a model needs before a row may pass;
    absolute bounds do not need the current model. `at_once` is the concurrency on which the value depends;
    `note` explains the value. `only_relative` says why only a relative bound can be judged.
    """

    unit: Unit
    candidate: ShareInterval | None
    baseline: ShareInterval | None
    contrast: Contrast
    ratio: ShareInterval | None = None
    lacks: str = ""
    baseline_lacks: str = ""
    at_once: int | None = None
    note: str = ""
    only_relative: str = ""


def measurement(metric: str, pairs: Both, *, at_once: int) -> Measurement:
    """The metric's values on these examples; `at_once` is the number of concurrent questions."""
    if metric == COMPLETION:
        return _share([a.right for a, _ in pairs], [b.right for _, b in pairs], _clusters(pairs))
    if (of_class := class_measure(metric)) is not None:
        return _of_class(*of_class, pairs)
    if (level := latency_level(metric)) is not None:
        return _latency(level, pairs)
    if metric == THROUGHPUT:
        return _throughput(pairs, at_once)
    return _tokens(pairs) if metric == "tokens" else _cost(pairs, per_user=metric == "cost_total")


def of_strata(parts: Sequence[Stratum]) -> Measurement:
    """Completion by the strata's weights."""
    return Measurement(
        unit="share",
        candidate=candidates_completion(parts),
        baseline=completion(parts, lambda pair: pair[0].right),
        contrast=lambda factor: difference(parts, factor=factor),
        note="weighted by traffic",
    )


def _share(baseline: Sequence[bool], candidate: Sequence[bool], clusters: Sequence[str]) -> Measurement:
    def compared(factor: float) -> ShareInterval | None:
        return paired_contrast(baseline, candidate, clusters, factor=factor)

    return Measurement(
        unit="share",
        candidate=share(candidate, clusters),
        baseline=share(baseline, clusters),
        contrast=compared,
        lacks="" if candidate else "no example can be judged",
    )


def _of_class(measure: str, name: str, pairs: Both) -> Measurement:
    pairs = [pair for pair in pairs if pair[0].example.task == "classify"]
    if measure == "precision":
        return _precision(name, pairs)
    wanted = [pair for pair in pairs if (pair[0].example.expected == name) == (measure == "recall")]
    found = _share(
        [_named(a) == name for a, _ in wanted], [_named(b) == name for _, b in wanted], _clusters(wanted)
    )
    if not any(name in (a.example.expected, *a.example.classes) for a, _ in pairs):
        return _nothing("share", f"no example has the class {name}")
    return found if wanted else _nothing("share", f"no example to measure {measure} of {name} on")


def _precision(name: str, pairs: Both) -> Measurement:
    def of(results: Sequence[Result]) -> ShareInterval | None:
        named = [each for each in results if _named(each) == name]
        return share([each.example.expected == name for each in named], [_cluster(each) for each in named])

    baseline, candidate = of([a for a, _ in pairs]), of([b for _, b in pairs])

    def compared(factor: float) -> ShareInterval | None:
        if candidate is None or baseline is None:
            return None
        return contrast(candidate, baseline, factor=factor)

    lacks = "no answer named the class " + name
    return Measurement(
        unit="share",
        candidate=candidate,
        baseline=baseline,
        contrast=compared,
        lacks="" if candidate is not None else lacks,
        baseline_lacks="" if baseline is not None else lacks,
    )


def _latency(level: float, pairs: Both) -> Measurement:
    """Answers saved by an interrupted run have no latency, and a failure's time is not an answer's."""
    values = [[_latency_s(result) for result in arm] for arm in _arms(pairs)]
    quantile_of = partial(np.quantile, q=level, axis=-1, method="inverted_cdf")

    def own(arm: int) -> ShareInterval | None:
        known = [(v, _cluster(a)) for v, (a, _) in zip(values[arm], pairs, strict=True) if v is not None]
        return quantile_interval([v for v, _ in known], [c for _, c in known], level)

    def lacks(arm: int) -> str:
        timed = {_cluster(a) for value, (a, _) in zip(values[arm], pairs, strict=True) if value is not None}
        least = least_for(level)
        if len(timed) >= least:
            return ""
        return f"p{100 * level:.0f} needs {least} independent timed answers, and has {len(timed)}"

    return _paired(
        "seconds",
        (own(0), own(1)),
        values,
        pairs,
        of=lambda found: np.asarray(quantile_of(found), dtype=np.float64),
        lacks=(lacks(0), lacks(1)),
    )


def _cost(pairs: Both, *, per_user: bool) -> Measurement:
    values = [[_cost_usd(result) for result in arm] for arm in _arms(pairs)]
    found = _mean("dollars", values, pairs, lacks=(_unpriced(pairs, 0), _unpriced(pairs, 1)))
    if not per_user:
        return found
    # Both models answered the same examples, so the ratio of totals is that of the means.
    return replace(found, only_relative="a user's total needs users, so only a canary measures it")


def _tokens(pairs: Both) -> Measurement:
    values = [[_tokens_of(result) for result in arm] for arm in _arms(pairs)]
    lacks = ["" if any(each is not None for each in arm) else "no answer states its usage" for arm in values]
    return _mean("tokens", values, pairs, lacks=(lacks[0], lacks[1]))


def _mean(
    unit: Unit, values: Sequence[Sequence[float | None]], pairs: Both, *, lacks: tuple[str, str]
) -> Measurement:
    def own(arm: int) -> ShareInterval | None:
        known = [(v, _cluster(a)) for v, (a, _) in zip(values[arm], pairs, strict=True) if v is not None]
        array = np.asarray([[v for v, _ in known]], dtype=np.float64)
        return resampled(array, [c for _, c in known], lambda found: mean(found[0])) if known else None

    return _paired(unit, (own(0), own(1)), values, pairs, of=mean, lacks=lacks)


def _paired(
    unit: Unit,
    own: tuple[ShareInterval | None, ShareInterval | None],
    values: Sequence[Sequence[float | None]],
    pairs: Both,
    *,
    of: Callable[[Floats], Floats],
    lacks: tuple[str, str],
) -> Measurement:
    """A measurement with the contrast and the ratio over the examples where both models have a value."""
    known = [
        (theirs, ours, _cluster(a))
        for theirs, ours, (a, _) in zip(*values, pairs, strict=True)
        if theirs is not None and ours is not None
    ]
    array = np.asarray([[each[0] for each in known], [each[1] for each in known]], dtype=np.float64)
    clusters = [each[2] for each in known]

    def compared(factor: float) -> ShareInterval | None:
        return resampled(array, clusters, lambda found: of(found[1]) - factor * of(found[0]))

    positive = bool(known) and bool((array > 0).all())
    return Measurement(
        unit=unit,
        candidate=own[1],
        baseline=own[0],
        contrast=compared,
        ratio=resampled(array, clusters, lambda found: of(found[1]) / of(found[0])) if positive else None,
        baseline_lacks=lacks[0],
        lacks=lacks[1],
    )


def _throughput(pairs: Both, at_once: int) -> Measurement:
    """Answers an hour at this run's concurrency: the ratio of two sums."""
    rows = [
        (float(a.answer.text is not None), a.took_s, float(b.answer.text is not None), b.took_s, _cluster(a))
        for a, b in pairs
        if a.took_s and b.took_s
    ]
    if not rows:
        return _nothing("answers an hour", "no answer of this run was timed")
    array = np.asarray([row[:4] for row in rows], dtype=np.float64).T
    clusters = [row[4] for row in rows]

    def pace(found: Floats, arm: int) -> Floats:
        rate: Floats = 3600 * found[2 * arm].sum(axis=-1) / found[2 * arm + 1].sum(axis=-1)
        return rate

    def compared(factor: float) -> ShareInterval | None:
        return resampled(array, clusters, lambda found: pace(found, 1) - factor * pace(found, 0))

    answered = bool(array[0].any())
    return Measurement(
        unit="answers an hour",
        candidate=resampled(array, clusters, lambda found: pace(found, 1)),
        baseline=resampled(array, clusters, lambda found: pace(found, 0)),
        contrast=compared,
        ratio=resampled(array, clusters, lambda found: pace(found, 1) / pace(found, 0)) if answered else None,
        at_once=at_once,
    )


def _nothing(unit: Unit, lacks: str) -> Measurement:
    return Measurement(
        unit=unit,
        candidate=None,
        baseline=None,
        contrast=lambda factor: None,
        lacks=lacks,
        baseline_lacks=lacks,
    )


def _unpriced(pairs: Both, arm: int) -> str:
    answered = [result for result in _arms(pairs)[arm] if result.answer.text is not None]
    unknown = sum(_cost_usd(result) is None for result in answered)
    who = ("the current model", "the candidate")[arm]
    if unknown == len(answered):
        return f"{who} has no known price"
    if unknown > MOST_UNPRICED * len(answered):
        return f"{unknown} of {len(answered)} answers of {who} have no known cost"
    return ""


def _arms(pairs: Both) -> tuple[list[Result], list[Result]]:
    return [a for a, _ in pairs], [b for _, b in pairs]


def _named(result: Result) -> str | None:
    return label(result.answer.text or "", result.example.classes)


def _cluster(result: Result) -> str:
    return result.example.cluster


def _clusters(pairs: Both) -> list[str]:
    return [_cluster(a) for a, _ in pairs]


def _latency_s(result: Result) -> float | None:
    return result.answer.latency_s if result.answer.text is not None else None


def _cost_usd(result: Result) -> float | None:
    return result.answer.cost_usd if result.answer.text is not None else None


def _tokens_of(result: Result) -> float | None:
    given, said = result.answer.input_tokens, result.answer.output_tokens
    return None if result.answer.text is None or given is None or said is None else float(given + said)
