"""Completion as the traffic weighs the categories: strata of a dataset, or of a layer, and their totals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.answers.results import Result
from bench.dataset.weights import TrafficWeights
from bench.figures import Pair
from bench.statistics import ShareInterval, paired_contrast, share, weighted

Stratum = tuple[float, Sequence[Pair]]
"""A weight, and the judged examples that it is for. The weights add up to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedTotals:
    """Both models' completion by the traffic's weights, and the difference; None without a candidate.

    `at` is when the weights were taken. `covered` is the share of the traffic whose categories have examples.
    """

    at: str
    covered: float
    baseline: ShareInterval
    candidate: ShareInterval | None
    difference: ShareInterval | None

    @property
    def worse(self) -> bool:
        """True if the whole interval of the difference is below 0."""
        return self.difference is not None and self.difference.high < 0


def strata(weights: TrafficWeights, pairs: Sequence[Pair]) -> list[Stratum]:
    """The categories that the traffic has, by their weights; empty if it has none of them."""
    groups: dict[str, list[Pair]] = {}
    for pair in judged(pairs):
        groups.setdefault(pair[0].example.category, []).append(pair)
    known = {name: share for name in groups if (share := weights.categories.get(name, 0.0))}
    whole = sum(known.values())
    return [(share / whole, groups[name]) for name, share in known.items()]


def totals(weights: TrafficWeights, pairs: Sequence[Pair]) -> WeightedTotals | None:
    """The totals of a dataset; None if the traffic has none of its categories."""
    parts = strata(weights, pairs)
    if not parts:
        return None
    compared = all(candidate is not None for _, group in parts for _, candidate in group)
    named = {group[0][0].example.category for _, group in parts}
    return WeightedTotals(
        at=weights.at,
        covered=min(1.0, sum(weights.categories[name] for name in named)),
        baseline=completion(parts, lambda pair: pair[0].right),
        candidate=completion(parts, _candidate_right) if compared else None,
        difference=difference(parts, factor=1.0) if compared else None,
    )


def completion(parts: Sequence[Stratum], right: Callable[[Pair], bool]) -> ShareInterval:
    """The weighted share of right answers."""
    found = [(w, share([right(pair) for pair in group], clusters(group))) for w, group in parts]
    return weighted([(w, each) for w, each in found if each is not None])


def candidates_completion(parts: Sequence[Stratum]) -> ShareInterval:
    """The candidate's weighted share of right answers."""
    return completion(parts, _candidate_right)


def difference(parts: Sequence[Stratum], *, factor: float) -> ShareInterval:
    """The candidate's weighted share minus `factor` times the current model's, paired in each stratum."""
    found = [
        (
            w,
            paired_contrast(
                [a.right for a, _ in group],
                [_candidate_right(pair) for pair in group],
                clusters(group),
                factor=factor,
            ),
        )
        for w, group in parts
    ]
    return weighted([(w, each) for w, each in found if each is not None])


def judged(pairs: Sequence[Pair]) -> list[Pair]:
    """The examples on which no mark of a judge is missing."""
    return [pair for pair in pairs if all(result is None or result.score is not None for result in pair)]


def clusters(pairs: Sequence[Pair]) -> list[str]:
    """The clusters of these examples."""
    return [baseline.example.cluster for baseline, _ in pairs]


def _candidate_right(pair: Pair) -> bool:
    candidate: Result | None = pair[1]
    return candidate is not None and candidate.right
