"""Renders the archive as text for a terminal."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pages.words import archive as words
from pages.words.reasons import sentences
from pages.words.status import day
from pages.writers import listing
from verdict.archive.evaluations import Evaluation, to_document
from verdict.archive.trends import Trends, TrendStep

_SUMMARY = ("key", "at", "canary", "run", "event", "who", "baseline", "candidate", "synthetic")


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """One evaluation with its result, without its full report."""
    document, report = to_document(evaluation, sentences), evaluation.report
    judged = report.judge.judged_preference if report.judge is not None else None
    return {
        **{name: document[name] for name in _SUMMARY},
        "verdict": report.verdict,
        "score": report.score.estimate,
        "decision": report.decision.decision if report.decision else None,
        "judged_preference": asdict(judged) if judged is not None else None,
        "rubric_sha256": report.rubric_sha256,
    }


def listed(evaluations: Sequence[Evaluation]) -> str:
    """A table with one evaluation per line."""
    head = ("key", "date", "canary", "run", "event", "candidate", "verdict", "decision", "score")
    return listing(head, [_row(each) for each in evaluations])


def summarized(trends: Trends) -> str:
    """Every run, the vendors' averages, the validity of synthetic scores, the savings."""
    if not trends.steps and not trends.families:
        return "no evaluation yet"
    judged = any(step.judged is not None for step in trends.steps)
    head = (
        *("date", "canary", "candidate", "verdict", "became", "accuracy", "cost", "latency p95"),
        *("would save, first month", "first year"),
    )
    shown = (*head, "preferred by a judge") if judged else head
    return "\n".join(
        [
            listing(shown, [_step(each)[: len(shown)] for each in trends.steps]),
            "",
            *(words.year_saved(each) for each in trends.years),
            *(words.family(each) for each in trends.families),
            words.validity(trends.validity),
            *([words.promises(trends.promises)] if trends.promises.releases else []),
            words.SAVINGS,
        ]
    )


def _row(evaluation: Evaluation) -> tuple[str, ...]:
    report, candidate = evaluation.report, evaluation.candidate
    return (
        evaluation.key,
        day(evaluation.at),
        evaluation.canary,
        str(evaluation.run),
        evaluation.event,
        candidate.label if candidate else "–",
        report.verdict,
        report.decision.decision if report.decision else "–",
        "–" if report.score.estimate is None else f"{report.score.estimate:.0f}",
    )


def _step(step: TrendStep) -> tuple[str, ...]:
    return (
        day(step.at),
        step.canary,
        step.candidate or "–",
        step.verdict,
        words.became(step),
        words.accuracy(step),
        words.cost(step),
        words.percent(step.latency),
        words.saving(step),
        words.saving(step, year=True),
        words.judged(step),
    )
