"""The archive in words and tables, for a terminal."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from report.archive import Evaluation, to_document
from report.archive_trends import Change, Family, Step, Trends, Validity

_SUMMARY = ("key", "at", "canary", "run", "event", "who", "baseline", "candidate", "synthetic")


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """One evaluation without its report, but for how it came out."""
    document, report = to_document(evaluation), evaluation.report
    return {
        **{name: document[name] for name in _SUMMARY},
        "verdict": report.verdict,
        "score": report.score.estimate,
        "decision": report.decision.decision if report.decision else None,
        "rubric_sha256": report.rubric_sha256,
    }


def listed(evaluations: Sequence[Evaluation]) -> str:
    """A table, one evaluation a line."""
    head = ("key", "date", "canary", "run", "event", "candidate", "verdict", "decision", "score")
    return _table(head, [_row(each) for each in evaluations])


def told(trends: Trends) -> str:
    """Every run, the vendor families, the validity of synthetic scores, the savings."""
    if not trends.steps:
        return "no evaluation yet"
    head = ("date", "canary", "candidate", "verdict", "accuracy", "cost", "latency p95", "saves a month")
    return "\n".join(
        [
            _table(head, [_step(each) for each in trends.steps]),
            "",
            *(_family(each) for each in trends.families),
            _validity(trends.validity),
            "Savings are for all users at the traffic measured, and take for granted that it stays so.",
        ]
    )


def _row(evaluation: Evaluation) -> tuple[str, ...]:
    report, candidate = evaluation.report, evaluation.candidate
    return (
        evaluation.key,
        _date(evaluation.at),
        evaluation.canary,
        str(evaluation.run),
        evaluation.event,
        candidate.model if candidate else "–",
        report.verdict,
        report.decision.decision if report.decision else "–",
        "–" if report.score.estimate is None else f"{report.score.estimate:.0f}",
    )


def _step(step: Step) -> tuple[str, ...]:
    return (
        _date(step.at),
        step.canary,
        step.candidate or "–",
        step.verdict,
        _change(step.accuracy, 100, " points"),
        _change(step.cost, 100, " %"),
        _change(step.latency, 100, " %"),
        _dollars(step.saving_usd_month),
    )


def _family(family: Family) -> str:
    parts = [
        _way(family.cost, 100, " %", "cheaper", "dearer"),
        _way(family.accuracy, 100, " points", "less accurate", "more accurate"),
        _way(family.latency, 100, " %", "faster", "slower"),
    ]
    known = ", ".join(part for part in parts if part) or "nothing measured on both arms"
    runs = "1 evaluation" if family.evaluations == 1 else f"{family.evaluations} evaluations, on average"
    return f"{family.vendor}: {runs}: {known}; {family.shipped} to ship."


def _way(value: float | None, scale: float, unit: str, below: str, above: str) -> str | None:
    if value is None:
        return None
    return f"{abs(value) * scale:.1f}{unit} {below if value < 0 else above}"


def _validity(validity: Validity) -> str:
    start = f"Synthetic against real scores: {validity.pairs} evaluation(s) with both"
    if validity.pairs < validity.needed:
        return f"{start}; nothing is said below {validity.needed}."
    if validity.pearson is None or validity.spearman is None:
        return f"{start}; one of the scores never changed, so there is nothing to correlate."
    values = (
        f"{name} {found.estimate:.2f} ({found.low:.2f} to {found.high:.2f})"
        for name, found in (("Pearson", validity.pearson), ("Spearman", validity.spearman))
    )
    return f"{start}: {', '.join(values)}."


def _change(change: Change | None, scale: float, unit: str) -> str:
    if change is None:
        return "–"
    ends = (_end(change.low, scale, "+.1f"), _end(change.high, scale, "+.1f"))
    return f"{change.estimate * scale:+.1f}{unit} ({ends[0]} to {ends[1]})"


def _dollars(change: Change | None) -> str:
    if change is None:
        return "–"
    return f"${change.estimate:,.0f} ({_end(change.low, 1, ',.0f')} to {_end(change.high, 1, ',.0f')})"


def _end(value: float | None, scale: float, form: str) -> str:
    return "?" if value is None else format(value * scale, form)


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    )
