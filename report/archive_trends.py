"""Trends over many evaluations: changes by vendor family, validity of synthetic scores, savings.

Each run of a canary counts once, by its last evaluation.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from report.archive import Evaluation, moment
from report.document import MetricLine, Report
from report.statistics.correlation import LEAST, pearson, spearman
from report.statistics.types import Interval

ACCURACY, COST, LATENCY = "task_completed", "cost_per_request", "latency_p95"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Candidate minus baseline with its interval. An end is None if unbounded or unknown."""

    low: float | None
    estimate: float
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendStep:
    """The changes in one evaluation: accuracy as a share (task_completed); cost and latency (p95) relative to
    the baseline. None without such a rubric row or without data. `saving_usd_month` is the report's forecast
    for all users. `key` is the evaluation's. `unpriced`: too many costs were unknown, so there is neither a
    change of the cost nor a saving."""

    key: str
    at: float
    canary: str
    run: int
    vendor: str
    baseline: str | None
    candidate: str | None
    verdict: str
    decision: str | None
    score: float | None
    synthetic: float | None
    accuracy: Change | None
    cost: Change | None
    latency: Change | None
    saving_usd_month: Change | None
    unpriced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One vendor family: the number of evaluations, how many said ship, and the mean changes."""

    vendor: str
    evaluations: int
    shipped: int
    accuracy: float | None
    cost: float | None
    latency: float | None


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
    """Sum up the archive."""
    steps = tuple(_step(evaluation) for evaluation in last_of_each_run(evaluations))
    names = sorted({step.vendor for step in steps})
    return Trends(
        steps=steps,
        families=tuple(_family(name, [step for step in steps if step.vendor == name]) for name in names),
        validity=_validity(steps),
    )


def to_json(found: Trends) -> dict[str, Any]:
    """JSON types only; times in RFC 3339."""
    document: dict[str, Any] = asdict(found)
    for step in document["steps"]:
        step["at"] = moment(step["at"])
    return document


def last_of_each_run(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """Each run's newest evaluation, in order of time."""
    ordered = sorted(evaluations, key=lambda evaluation: evaluation.at)
    newest = {(evaluation.canary, evaluation.run): evaluation for evaluation in ordered}
    return sorted(newest.values(), key=lambda evaluation: evaluation.at)


def _step(evaluation: Evaluation) -> TrendStep:
    report = evaluation.report
    lines = {line.metric: line for line in report.metrics}
    unpriced = report.details.unknown_costs is not None
    return TrendStep(
        key=evaluation.key,
        at=evaluation.at,
        canary=evaluation.canary,
        run=evaluation.run,
        vendor=evaluation.family,
        baseline=evaluation.baseline.model if evaluation.baseline else None,
        candidate=evaluation.candidate.model if evaluation.candidate else None,
        verdict=report.verdict,
        decision=report.decision.decision if report.decision else None,
        score=report.score.estimate,
        synthetic=evaluation.synthetic,
        accuracy=_change(lines.get(ACCURACY), 1.0),
        cost=None if unpriced else _relative(lines.get(COST)),
        latency=_relative(lines.get(LATENCY)),
        saving_usd_month=_saving(report),
        unpriced=unpriced,
    )


def _change(line: MetricLine | None, scale: float) -> Change | None:
    if line is None or line.difference.estimate is None:
        return None
    low, high = (None if end is None else end * scale for end in (line.difference.low, line.difference.high))
    return Change(low=low, estimate=line.difference.estimate * scale, high=high)


def _relative(line: MetricLine | None) -> Change | None:
    return _change(line, 1 / line.baseline) if line is not None and line.baseline else None


def _saving(report: Report) -> Change | None:
    """The cost change with its sign reversed: −$50,000 is a saving of $50,000. None while too many costs are
    unknown."""
    money = report.details.money
    if money is None or report.details.unknown_costs is not None:
        return None
    found = money.difference_usd
    return Change(low=_negative(found.high), estimate=-found.estimate, high=_negative(found.low))


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def _family(vendor: str, steps: Sequence[TrendStep]) -> Family:
    return Family(
        vendor=vendor,
        evaluations=len(steps),
        shipped=sum((step.decision or step.verdict).startswith("ship") for step in steps),
        accuracy=_mean(step.accuracy for step in steps),
        cost=_mean(step.cost for step in steps),
        latency=_mean(step.latency for step in steps),
    )


def _mean(changes: Iterable[Change | None]) -> float | None:
    known = [change.estimate for change in changes if change is not None]
    return float(np.mean(known)) if known else None


def _validity(steps: Sequence[TrendStep]) -> Validity:
    pairs = [(s.synthetic, s.score) for s in steps if s.synthetic is not None and s.score is not None]
    synthetic, real = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return Validity(
        pairs=len(pairs),
        needed=LEAST,
        pearson=pearson(synthetic, real),
        spearman=spearman(synthetic, real),
    )
