"""The figures of two models over the same examples: completion, latency, cost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.answers.results import Result
from bench.models.asker import Answer, Failure, total_cost
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
"""The current model's result and the candidate's, None if only the current model is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One model's figures. `completion` is the share of right answers; a failure is wrong. `score` is a mean.

    `said` are the provider's words at the first of the most common failures. Latencies cover the `timed`
    answers given in this run. `cost_usd` sums the `priced` known costs; the judge's cost is separate.
    `answers_per_hour` is the rate at this concurrency; a failure takes time but does not count as an answer.
    """

    examples: int
    correct: int
    completion: ShareInterval | None
    score: float | None
    failures: Mapping[str, int]
    said: str
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
    """Both models over the same examples. Comparisons are None without a candidate.

    `difference` is between shares. Ratios are candidate over baseline (p95 latency, mean cost). `unjudged`
    examples lack the judge's mark for one answer and are in no figure.
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
        """True if the candidate is significantly worse in the paired test."""
        return self.mcnemar_p is not None and self.mcnemar_p < 0.05 and self._change < 0

    @property
    def _change(self) -> float:
        return self.difference.estimate if self.difference is not None else 0.0


def figures(pairs: Sequence[Pair], *, ratios: bool = True) -> Figures:
    """The figures of these pairs. The bootstrapped ratios take a tenth of a second, so they are optional."""
    judged = [pair for pair in pairs if all(result is None or result.score is not None for result in pair)]
    baseline = [result for result, _ in judged]
    candidate = [result for _, result in judged if result is not None]
    compared = bool(candidate)
    clusters = [result.example.cluster for result in baseline]
    right = [result.right for result in baseline], [result.right for result in candidate]
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
    answers = [result.answer for result in results]
    times = [
        answer.latency_s for answer in answers if answer.text is not None and answer.latency_s is not None
    ]
    costs = [answer.cost_usd for answer in answers if answer.cost_usd is not None]
    scores = [result.score for result in results if result.score is not None]
    failed: Counter[Failure] = Counter()
    failed.update(answer.failure for answer in answers if answer.failure is not None)
    return Side(
        examples=len(results),
        correct=sum(result.right for result in results),
        completion=share(
            [result.right for result in results], [result.example.cluster for result in results]
        ),
        score=sum(scores) / len(scores) if scores else None,
        failures=dict(failed.most_common()),
        said=_said(answers, failed),
        timed=len(times),
        p50_s=quantile(times, 0.5),
        p95_s=quantile(times, 0.95),
        p99_s=quantile(times, 0.99),
        answers_per_hour=_per_hour(results),
        priced=len(costs),
        cost_usd=total_cost(costs),
        cost_per_request_usd=sum(costs) / len(costs) if costs else None,
        judge_cost_usd=total_cost([result.judge_cost_usd for result in results]),
    )


def _said(answers: Sequence[Answer], failed: Counter[Failure]) -> str:
    """The provider's words in an answer of the most frequent failure; "" without failures."""
    if not failed:
        return ""
    most = max(failed, key=lambda failure: failed[failure])
    return next(each.said for each in answers if each.failure == most)


def _per_hour(results: Sequence[Result]) -> float | None:
    took = [
        (result.took_s, result.answer.text is not None) for result in results if result.took_s is not None
    ]
    seconds = sum(took_s for took_s, _ in took)
    return 3600 * sum(answered for _, answered in took) / seconds if seconds else None


def _both(pairs: Sequence[Pair]) -> list[tuple[Result, Result]]:
    return [(baseline, candidate) for baseline, candidate in pairs if candidate is not None]


def _ratio(
    values: Sequence[tuple[float | None, float | None, Result]], of: Statistic
) -> ShareInterval | None:
    known = [(a, b, result.example.cluster) for a, b, result in values if a and b]
    if not known:
        return None
    baseline, candidate, clusters = zip(*known, strict=True)
    return paired_ratio(baseline, candidate, clusters, of=of)


def _ids(results: Sequence[Result]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(result.example.id for result in results))
