"""Candidates beside each other as text for a terminal, Markdown, one HTML file, or JSON."""

import json
from collections.abc import Callable
from typing import Any

from pages import html as page
from pages import markdown as pipes
from pages import text as terminal
from pages.document import Document, Points, Section, Table, columns
from pages.words import verdict
from records.metric import JUDGED_PREFERENCE
from report.compare import NOT_COMPARED, CandidateStanding, SideBySide, line_of, model_words
from report.document import MetricLine, Report
from report.document import to_json as report_json
from report.release.dossier import words
from report.wording import between, label, signed, unit_of
from routing.canary import Arm


def rendered(found: SideBySide, form: str, *, width: int = 110) -> str:
    """As "text" of at most `width` columns, "json", "markdown" or "html". KeyError for another form."""
    forms: dict[str, Callable[[SideBySide], str]] = {
        "text": lambda found: terminal.text(document(found), width=width),
        "json": lambda found: json.dumps(to_json(found), indent=2, ensure_ascii=False, allow_nan=False),
        "markdown": lambda found: pipes.markdown(document(found)),
        "html": lambda found: page.html(document(found)),
    }
    return forms[form](found)


def document(found: SideBySide) -> Document:
    """The verdicts, then each candidate's rows against its own baseline."""
    verdicts = columns("candidate", "model", "verdict", "score", "users", "days", "lane", "saves a month")
    metrics = columns("candidate", *(label(metric) for metric in found.metrics))
    rows = [[each.name, *_differences(each, found)] for each in found.candidates] if found.metrics else []
    return Document(
        title="Candidates beside each other",
        about=f"{len(found.candidates)} canaries",
        tone="",
        head=[Points(sentences=_says(found))],
        sections=[
            Section(
                title="Verdicts, the best first",
                blocks=[Table(columns=verdicts, rows=[_verdict(each) for each in found.candidates])],
            ),
            Section(
                title="Each against its own baseline, with 95 % intervals",
                blocks=[Table(columns=metrics, rows=rows)],
            ),
        ],
    )


def to_json(found: SideBySide) -> dict[str, Any]:
    """JSON types: times in RFC 3339, unbounded ends null, money in dollars a month."""
    return {
        "candidates": [_candidate(each, found) for each in found.candidates],
        "metrics": list(found.metrics),
        "not_told_apart": [list(pair) for pair in found.alike],
        "warnings": list(found.warnings),
        "note": NOT_COMPARED,
    }


def _candidate(standing: CandidateStanding, found: SideBySide) -> dict[str, Any]:
    report = report_json(standing.report)
    saved = standing.saved
    return {
        "canary": standing.name,
        "candidate": _arm(standing.candidate),
        "baseline": _arm(standing.baseline),
        "state": standing.state,
        "rolled_back": standing.rolled_back,
        **{name: report[name] for name in ("verdict", "score", "rubric_sha256", "window", "units")},
        "days": report["window"]["days"],
        "lane": standing.lane,
        "saved_usd_a_month": None
        if saved is None
        else {"low": saved.low, "estimate": saved.estimate, "high": saved.high},
        "metrics": [line for line in report["metrics"] if line["metric"] in found.metrics],
        "not_told_apart_from": found.alike_to(standing.name),
    }


def _arm(arm: Arm | None) -> dict[str, str] | None:
    return None if arm is None else {"provider": arm.provider, "model": arm.model}


def _says(found: SideBySide) -> list[str]:
    """What the tables do not say, the warnings first."""
    alike = [
        f"{one} and {other} are not told apart: they have one verdict, and their scores’ intervals "
        f"overlap{'' if found.one_rubric else ' or answer different rubrics'}."
        for one, other in found.alike
    ]
    return [*found.warnings, *alike, NOT_COMPARED]


def _verdict(standing: CandidateStanding) -> list[str]:
    report = standing.report
    return [
        standing.name,
        model_words(standing.candidate),
        words(report.verdict) + _now(standing),
        _score(report),
        f"{report.units.candidate:,} of {report.units.candidate + report.units.baseline:,}",
        f"{report.window.days:.1f}",
        _lane(standing.lane),
        _saved(standing),
    ]


def _now(standing: CandidateStanding) -> str:
    """What its verdict does not say: `, promoted`."""
    if standing.rolled_back:
        return ", rolled back"
    return ", promoted" if standing.state == "promoted" else ""


def _lane(size: float | None) -> str:
    if size is None:
        return "all"
    return f"{100 * size:.3g} %" if size else "none"


def _score(report: Report) -> str:
    ends = f"({report.score.low:.0f} to {report.score.high:.0f})"
    return ends if report.score.estimate is None else f"{report.score.estimate:.0f} {ends}"


def _saved(standing: CandidateStanding) -> str:
    saved = standing.saved
    if saved is None:
        return "unknown"
    return f"{signed(saved.estimate, 'usd')} ({between(saved.low, saved.high, 'usd')})"


def _differences(standing: CandidateStanding, found: SideBySide) -> list[str]:
    return [_difference(line_of(standing, metric), standing.report) for metric in found.metrics]


def _difference(line: MetricLine, report: Report) -> str:
    """The row's mark, and the candidate minus its own baseline with the interval."""
    glyph, _ = verdict.mark(line, report)
    unit, found = unit_of(line.metric, line.acceptable), line.difference
    if line.metric == JUDGED_PREFERENCE:
        return f"{glyph} {verdict.value(line, line.candidate)} ({verdict.interval(line)})"
    if found.estimate is None:
        return f"{glyph} not compared yet"
    return f"{glyph} {signed(found.estimate, unit)} ({between(found.low, found.high, unit)})"
