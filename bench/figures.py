"""Figures of two models over the same examples: what each got right, how fast, at what cost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.answer import total_cost
from bench.runner import Result
from bench.statistics import (
    ShareInterval,
    Statistic,
    mean,
    p95,
    paired_difference,
    paired_p,
    paired_ratio,
    quantile,
    share,
)

Pair = tuple[Result, Result | None]
"""The current model's result and the candidate's; None where only the current model is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One model. `completion` is the share that it got right, a failure being wrong, `score` the mean score.

    Latencies are of the answers that were waited for in this run, `timed` of them; `cost_usd` is the sum of
    the known ones, `priced` of them. The judge's cost is apart. `answers_per_hour` is how many come at this
    pace, with as many questions at a time; a failure takes time, and is none.
    """

    examples: int
    correct: int
    completion: ShareInterval | None
    score: float | None
    failures: Mapping[str, int]
    timed: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    answers_per_hour: float | None
    priced: int
    cost_usd: float | None
    cost_per_request_usd: float | None
    judge_cost_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Both models over the same examples; what compares them is None without a candidate.

    `difference` is in shares of 1, ratios are candidate to baseline (p95 of latency, mean cost). `unjudged`
    examples got no mark for one of the answers and are in no figure.
    """

    examples: int
    unjudged: int
    baseline: Side
    candidate: Side | None
    difference: ShareInterval | None
    mcnemar_p: float | None
    latency_ratio: ShareInterval | None
    cost_ratio: ShareInterval | None
    new_failures: tuple[str, ...]
    mended: tuple[str, ...]

    @property
    def worse(self) -> bool:
        """The candidate is worse by more than chance, pair by pair."""
        return self.mcnemar_p is not None and self.mcnemar_p < 0.05 and self._change < 0

    @property
    def _change(self) -> float:
        return self.difference.estimate if self.difference is not None else 0.0


def figures(pairs: Sequence[Pair], *, ratios: bool = True) -> Figures:
    """What these pairs come to; without `ratios` those are left out, for they take a tenth of a second."""
    judged = [pair for pair in pairs if all(each is None or each.score is not None for each in pair)]
    baseline = [theirs for theirs, _ in judged]
    candidate = [ours for _, ours in judged if ours is not None]
    compared = bool(candidate)
    clusters = [each.example.cluster for each in baseline]
    right = [each.right for each in baseline], [each.right for each in candidate]
    both = _both(judged)
    answered = [(a, b) for a, b in both if ratios and None not in (a.answer.text, b.answer.text)]
    timed = [(a.answer.latency_s, b.answer.latency_s, a) for a, b in answered]
    paid = [(a.answer.cost_usd, b.answer.cost_usd, a) for a, b in answered]
    return Figures(
        examples=len(judged),
        unjudged=len(pairs) - len(judged),
        baseline=side(baseline),
        candidate=side(candidate) if compared else None,
        difference=paired_difference(*right, clusters) if compared else None,
        mcnemar_p=paired_p(*right, clusters) if compared else None,
        latency_ratio=_ratio(timed, p95),
        cost_ratio=_ratio(paid, mean),
        new_failures=_ids([a for a, b in both if a.right and not b.right]),
        mended=_ids([a for a, b in both if b.right and not a.right]),
    )


def side(results: Sequence[Result]) -> Side:
    """One model's figures."""
    answers = [each.answer for each in results]
    times = [each.latency_s for each in answers if each.text is not None and each.latency_s is not None]
    costs = [each.cost_usd for each in answers if each.cost_usd is not None]
    scores = [each.score for each in results if each.score is not None]
    return Side(
        examples=len(results),
        correct=sum(each.right for each in results),
        completion=share([each.right for each in results], [each.example.cluster for each in results]),
        score=sum(scores) / len(scores) if scores else None,
        failures=dict(Counter(each.failure for each in answers if each.failure is not None).most_common()),
        timed=len(times),
        p50_s=quantile(times, 0.5),
        p95_s=quantile(times, 0.95),
        p99_s=quantile(times, 0.99),
        answers_per_hour=_per_hour(results),
        priced=len(costs),
        cost_usd=total_cost(costs),
        cost_per_request_usd=sum(costs) / len(costs) if costs else None,
        judge_cost_usd=total_cost([each.judge_cost_usd for each in results]),
    )


def _per_hour(results: Sequence[Result]) -> float | None:
    took = [(each.took_s, each.answer.text is not None) for each in results if each.took_s is not None]
    seconds = sum(each for each, _ in took)
    return 3600 * sum(answered for _, answered in took) / seconds if seconds else None


def _both(pairs: Sequence[Pair]) -> list[tuple[Result, Result]]:
    return [(theirs, ours) for theirs, ours in pairs if ours is not None]


def _ratio(
    values: Sequence[tuple[float | None, float | None, Result]], of: Statistic
) -> ShareInterval | None:
    known = [(a, b, each.example.cluster) for a, b, each in values if a and b]
    if not known:
        return None
    theirs, ours, clusters = zip(*known, strict=True)
    return paired_ratio(theirs, ours, clusters, of=of)


def _ids(results: Sequence[Result]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.example.id for each in results))
