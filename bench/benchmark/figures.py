"""The figures of two models over the same examples: completion, latency, cost; by class, and by traffic."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.answers.results import ExampleResult
from bench.benchmark.statistics import (
    Statistic,
    mean,
    paired_difference,
    paired_p,
    paired_ratio,
    quantile,
    quantile_of,
    share,
    weighted,
)
from bench.dataset.file import TrafficWeights
from bench.models.asker import Answer, Failure, total_cost
from common.groups import grouped
from common.interval import Interval

ResultPair = tuple[ExampleResult, ExampleResult | None]
"""The current model's result and the candidate's, None if only the current model is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFigures:
    """One model's figures. `completion` is the share of right answers; a failure is wrong. `score` is a mean.

    `said` are the provider's words at the first of the most common failures. Latencies cover the `timed`
    answers given in this run. `cost_usd` sums the `priced` known costs; the judge's cost is separate.
    `answers_per_hour` is the rate at this concurrency; a failure takes time but does not count as an answer.
    """

    examples: int
    correct: int
    completion: Interval | None
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
class ComparedFigures:
    """Both models over the same examples. Comparisons are None without a candidate.

    `difference` is between shares. Ratios are candidate over baseline (p95 latency, mean cost). `unjudged`
    examples lack the judge's mark for one answer and are in no figure.
    """

    examples: int
    unjudged: int
    baseline: ModelFigures
    candidate: ModelFigures | None
    difference: Interval | None
    mcnemar_p: float | None
    latency_ratio: Interval | None
    cost_ratio: Interval | None
    new_failures: tuple[str, ...]
    mended: tuple[str, ...]

    @property
    def worse(self) -> bool:
        """True if the candidate is significantly worse in the paired test."""
        return self.mcnemar_p is not None and self.mcnemar_p < 0.05 and self._change < 0

    @property
    def _change(self) -> float:
        return self.difference.estimate if self.difference is not None else 0.0


def figures(pairs: Sequence[ResultPair], *, ratios: bool = True) -> ComparedFigures:
    """The figures of these pairs. The bootstrapped ratios take a tenth of a second, so they are optional."""
    known = marked(pairs)
    baseline = [result for result, _ in known]
    both = [(a, b) for a, b in known if b is not None]
    candidate = [result for _, result in both]
    compared = bool(candidate)
    right = [result.right for result in baseline], [result.right for result in candidate]
    answered = [(a, b) for a, b in both if ratios and a.answered and b.answered]
    timed = [(a.answer.latency_s, b.answer.latency_s, a) for a, b in answered]
    paid = [(a.answer.cost_usd, b.answer.cost_usd, a) for a, b in answered]
    return ComparedFigures(
        examples=len(known),
        unjudged=len(pairs) - len(known),
        baseline=side(baseline),
        candidate=side(candidate) if compared else None,
        difference=paired_difference(*right, clusters(known)) if compared else None,
        mcnemar_p=paired_p(*right, clusters(known)) if compared else None,
        latency_ratio=_ratio(timed, quantile_of(0.95)),
        cost_ratio=_ratio(paid, mean),
        new_failures=_ids([a for a, b in both if a.right and not b.right]),
        mended=_ids([a for a, b in both if b.right and not a.right]),
    )


def side(results: Sequence[ExampleResult]) -> ModelFigures:
    """One model's figures."""
    answers = [result.answer for result in results]
    times = [
        answer.latency_s for answer in answers if answer.text is not None and answer.latency_s is not None
    ]
    costs = [answer.cost_usd for answer in answers if answer.cost_usd is not None]
    scores = [result.score for result in results if result.score is not None]
    failed: Counter[Failure] = Counter()
    failed.update(answer.failure for answer in answers if answer.failure is not None)
    return ModelFigures(
        examples=len(results),
        correct=sum(result.right for result in results),
        completion=_share(results, lambda each: each.right),
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


def _per_hour(results: Sequence[ExampleResult]) -> float | None:
    took = [(result.took_s, result.answered) for result in results if result.took_s is not None]
    seconds = sum(took_s for took_s, _ in took)
    return 3600 * sum(answered for _, answered in took) / seconds if seconds else None


def _ratio(
    values: Sequence[tuple[float | None, float | None, ExampleResult]], of: Statistic
) -> Interval | None:
    known = [(a, b, result.cluster) for a, b, result in values if a and b]
    if not known:
        return None
    baseline, candidate, of_clusters = zip(*known, strict=True)
    return paired_ratio(baseline, candidate, of_clusters, of=of)


def _ids(results: Sequence[ExampleResult]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(result.example.id for result in results))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFigures:
    """One class. `recall`: the share of its examples that were named so. `precision`: the share of examples
    named so that are of the class. `false_positive_rate`: the share of other examples that were named so.
    None without such examples.
    """

    name: str
    examples: int
    recall: Interval | None
    precision: Interval | None
    false_positive_rate: Interval | None


def per_class(results: Sequence[ExampleResult]) -> list[ClassFigures]:
    """Every expected class of one model's results, by name."""
    return [_line(name, results) for name in sorted({each.example.expected for each in results})]


def _line(name: str, results: Sequence[ExampleResult]) -> ClassFigures:
    positive = [each for each in results if each.example.expected == name]
    negative = [each for each in results if each.example.expected != name]
    named = [each for each in results if each.named == name]
    return ClassFigures(
        name=name,
        examples=len(positive),
        recall=_share(positive, lambda each: each.named == name),
        precision=_share(named, lambda each: bool(each.example.expected == name)),
        false_positive_rate=_share(negative, lambda each: each.named == name),
    )


def _share(results: Sequence[ExampleResult], of: Callable[[ExampleResult], bool]) -> Interval | None:
    return share([of(each) for each in results], [each.cluster for each in results])


Stratum = tuple[float, Sequence[ResultPair]]
"""A weight, and the judged examples that it is for. The weights add up to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedTotals:
    """Both models' completion by the traffic's weights, and the difference; None without a candidate.

    `at` is when the weights were taken. `covered` is the share of the traffic whose categories have examples.
    """

    at: str
    covered: float
    baseline: Interval
    candidate: Interval | None
    difference: Interval | None

    @property
    def worse(self) -> bool:
        """True if the whole interval of the difference is below 0."""
        return self.difference is not None and self.difference.high < 0


def strata(weights: TrafficWeights, pairs: Sequence[ResultPair]) -> list[Stratum]:
    """The categories that the traffic has, by their weights; empty if it has none of them."""
    groups = grouped(marked(pairs), lambda pair: pair[0].example.category)
    known = {name: share for name in groups if (share := weights.categories.get(name, 0.0))}
    whole = sum(known.values())
    return [(share / whole, groups[name]) for name, share in known.items()]


def totals(weights: TrafficWeights, pairs: Sequence[ResultPair]) -> WeightedTotals | None:
    """The totals of a dataset; None if the traffic has none of its categories."""
    parts = strata(weights, pairs)
    if not parts:
        return None
    compared = all(candidate is not None for _, group in parts for _, candidate in group)
    named = {group[0][0].example.category for _, group in parts}
    return WeightedTotals(
        at=weights.at,
        covered=min(1.0, sum(weights.categories[name] for name in named)),
        baseline=completion(parts, 0),
        candidate=completion(parts, 1) if compared else None,
        difference=difference(parts, factor=1.0) if compared else None,
    )


def completion(parts: Sequence[Stratum], arm: int) -> Interval:
    """The weighted share of right answers: of the current model (0) or of the candidate (1)."""
    return weighted([(weight, share(_right(group, arm), clusters(group))) for weight, group in parts])


def difference(parts: Sequence[Stratum], *, factor: float) -> Interval:
    """The candidate's weighted share minus `factor` times the current model's, paired in each stratum."""
    return weighted(
        [
            (weight, paired_difference(_right(group, 0), _right(group, 1), clusters(group), factor=factor))
            for weight, group in parts
        ]
    )


def marked(pairs: Sequence[ResultPair]) -> list[ResultPair]:
    """The examples on which no mark of a judge is missing."""
    return [pair for pair in pairs if all(result is None or result.score is not None for result in pair)]


def clusters(pairs: Sequence[ResultPair]) -> list[str]:
    """The clusters of these examples."""
    return [baseline.cluster for baseline, _ in pairs]


def _right(pairs: Sequence[ResultPair], arm: int) -> list[bool]:
    results = [pair[arm] for pair in pairs]
    return [result is not None and result.right for result in results]
