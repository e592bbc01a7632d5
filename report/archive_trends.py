"""Trends over many evaluations: changes by run and vendor family, validity of synthetic tasks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from report.archive import Evaluation, moment
from report.families import Family, family_of
from report.statistics.correlation import LEAST, pearson, spearman
from report.statistics.types import Interval
from report.trend_step import TrendStep, step_of
from report.vendor import vendor


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """The correlation of the candidates' accuracy on synthetic examples and with users, by the newest
    release's `metric`. The coefficients are None below `needed` pairs."""

    metric: str | None
    pairs: int
    needed: int
    pearson: Interval | None
    spearman: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trends:
    """The archive's trends, oldest step first."""

    steps: tuple[TrendStep, ...]
    families: tuple[Family, ...]
    validity: Validity


def trends(evaluations: Iterable[Evaluation], rejected: Mapping[str, float] | None = None) -> Trends:
    """Sum up the archive. Each run counts once, by its last evaluation.

    `rejected` are the candidates (`provider/model`) that a benchmark refused, with its UTC second. Variants
    of a model that users have say nothing of its vendor.
    """
    steps = tuple(step_of(run) for run in runs_of(evaluations))
    by_vendor: dict[str, list[TrendStep]] = {}
    for step in steps:
        if not step.variant:
            by_vendor.setdefault(step.vendor, []).append(step)
    refused: dict[str, dict[str, float]] = {}
    for name, at in (rejected or {}).items():
        provider, _, model = name.partition("/")
        refused.setdefault(vendor(model, provider), {})[model] = at
    return Trends(
        steps=steps,
        families=tuple(
            family_of(name, by_vendor.get(name, ()), refused.get(name, {}))
            for name in sorted(by_vendor.keys() | refused.keys())
        ),
        validity=_validity(steps),
    )


def to_json(found: Trends) -> dict[str, Any]:
    """JSON types only; times in RFC 3339."""
    document: dict[str, Any] = asdict(found)
    for step in document["steps"]:
        step["at"] = moment(step["at"])
    return document


def runs_of(evaluations: Iterable[Evaluation]) -> list[list[Evaluation]]:
    """Each run's evaluations, oldest first; the runs in the order of their last."""
    found: dict[tuple[str, int], list[Evaluation]] = {}
    for evaluation in sorted(evaluations, key=lambda evaluation: evaluation.at):
        found.setdefault((evaluation.canary, evaluation.run), []).append(evaluation)
    return sorted(found.values(), key=lambda run: run[-1].at)


def _validity(steps: Sequence[TrendStep]) -> Validity:
    both = [step for step in steps if step.synthetic is not None and step.accuracy_of_users is not None]
    metric = both[-1].accuracy_metric if both else None
    pairs = [
        (step.synthetic or 0.0, step.accuracy_of_users or 0.0)
        for step in both
        if step.accuracy_metric == metric
    ]
    synthetic, real = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return Validity(
        metric=metric,
        pairs=len(pairs),
        needed=LEAST,
        pearson=pearson(synthetic, real),
        spearman=spearman(synthetic, real),
    )
