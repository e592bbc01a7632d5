"""Trends over many evaluations: changes by run and vendor family, validity of synthetic scores."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from report.archive import Evaluation, moment
from report.families import Family, family_of
from report.statistics.correlation import LEAST, pearson, spearman
from report.statistics.types import Interval
from report.trend_step import TrendStep, step_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """The correlation of synthetic and real scores. The coefficients are None below `needed` pairs."""

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


def trends(evaluations: Iterable[Evaluation]) -> Trends:
    """Sum up the archive. Each run counts once, by its last evaluation."""
    steps = tuple(step_of(run) for run in runs_of(evaluations))
    names = sorted({step.vendor for step in steps})
    return Trends(
        steps=steps,
        families=tuple(family_of(name, [step for step in steps if step.vendor == name]) for name in names),
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
    pairs = [(s.synthetic, s.score) for s in steps if s.synthetic is not None and s.score is not None]
    synthetic, real = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return Validity(
        pairs=len(pairs),
        needed=LEAST,
        pearson=pearson(synthetic, real),
        spearman=spearman(synthetic, real),
    )
