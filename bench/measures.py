"""A rubric's metrics as a benchmark measures them: both models' values, and their difference or ratio."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from bench.answers.results import Result
from bench.measurement import Both, Measurement, RunConditions, Unit, cluster, nothing
from bench.settings import COMPLETION, latency_level
from bench.share_measures import completed, of_class
from bench.statistics import Floats, ShareInterval, least_for, mean, quantile_interval, resampled
from records.offline_metric import THROUGHPUT, class_measure

MOST_UNPRICED = 0.01
"""With more answers of unknown cost, a cost row stays open."""


def measurement(metric: str, pairs: Both, conditions: RunConditions) -> Measurement:
    """The metric's values on these examples."""
    if metric == COMPLETION:
        return completed(pairs)
    if (named := class_measure(metric)) is not None:
        return of_class(*named, pairs)
    if (level := latency_level(metric)) is not None:
        return _latency(level, pairs)
    if metric == THROUGHPUT:
        return _throughput(pairs, conditions.at_once)
    if metric == "tokens":
        return _tokens(pairs)
    return _cost(pairs, conditions.price_factor, per_user=metric == "cost_total")


def _latency(level: float, pairs: Both) -> Measurement:
    """Answers saved by an interrupted run have no latency, and a failure's time is not an answer's."""
    values = [[_latency_s(result) for result in arm] for arm in _arms(pairs)]
    quantile_of = partial(np.quantile, q=level, axis=-1, method="inverted_cdf")

    def own(arm: int) -> ShareInterval | None:
        known = [(v, cluster(a)) for v, (a, _) in zip(values[arm], pairs, strict=True) if v is not None]
        return quantile_interval([v for v, _ in known], [c for _, c in known], level)

    def lacks(arm: int) -> str:
        timed = {cluster(a) for value, (a, _) in zip(values[arm], pairs, strict=True) if value is not None}
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


def _cost(pairs: Both, price_factor: float, *, per_user: bool) -> Measurement:
    """Costs at list price, which users' answers have. One that a provider stated in a batch may be less."""
    paid = [[_cost_usd(result) for result in arm] for arm in _arms(pairs)]
    values = [[None if cost is None else cost / price_factor for cost in arm] for arm in paid]
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
        known = [(v, cluster(a)) for v, (a, _) in zip(values[arm], pairs, strict=True) if v is not None]
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
        (theirs, ours, cluster(a))
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
        (float(a.answer.text is not None), a.took_s, float(b.answer.text is not None), b.took_s, cluster(a))
        for a, b in pairs
        if a.took_s and b.took_s
    ]
    if not rows:
        return nothing("answers an hour", "no answer of this run was timed")
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


def _latency_s(result: Result) -> float | None:
    return result.answer.latency_s if result.answer.text is not None else None


def _cost_usd(result: Result) -> float | None:
    return result.answer.cost_usd if result.answer.text is not None else None


def _tokens_of(result: Result) -> float | None:
    given, said = result.answer.input_tokens, result.answer.output_tokens
    return None if result.answer.text is None or given is None or said is None else float(given + said)
