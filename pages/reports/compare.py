"""Candidates beside each other as text for a terminal, Markdown, one HTML file, or JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from common.numbers import count, percent, set_percent
from pages.document import BulletList, Document, Section, Table, columns
from pages.words import verdict
from pages.words.figures import between, defined, joined, label, signed
from pages.words.reasons import sentences
from pages.words.status import in_words
from pages.writers import written
from records.facts.metric import JUDGED_PREFERENCE
from routing.canary import Arm
from verdict.decision.document import MetricLine, Report
from verdict.decision.document import to_json as report_json
from verdict.decision.reports import CandidateStanding, SideBySide, at_the_same_time
from verdict.details import savings

_SAVES = ("would save, first month", "first year")

_NOT_COMPARED = (
    "Each candidate was compared with its own baseline, over its own users. The candidates were not compared "
    "with each other: that one stands before another does not say that it is better."
)


def rendered(found: SideBySide, form: str, *, width: int = 110) -> str:
    """As "text" of at most `width` columns, "json", "markdown" or "html". Raises ValueError for another
    form."""
    if form == "json":
        return json.dumps(to_json(found), indent=2, ensure_ascii=False, allow_nan=False)
    return written(document(found), form, width=width)


def document(found: SideBySide) -> Document:
    """The verdicts, then each candidate's rows against its own baseline."""
    verdicts = columns("candidate", "model", "verdict", "score", "users", "days", "lane", *_SAVES)
    metrics = columns("candidate", *(_defined(_line(found.candidates[0], name)) for name in found.metrics))
    rows = [[each.name, *_differences(each, found)] for each in found.candidates] if found.metrics else []
    return Document(
        title="Candidates beside each other",
        about=f"{len(found.candidates)} canaries",
        tone="",
        head=[BulletList(_says(found))],
        sections=[
            Section(
                "Verdicts, the best first", [Table(verdicts, [_verdict(each) for each in found.candidates])]
            ),
            Section("Each against its own baseline, with 95 % intervals", [Table(metrics, rows)]),
        ],
    )


def to_json(found: SideBySide) -> dict[str, Any]:
    """JSON types: times in RFC 3339, unbounded ends null; what the first month and year save, in dollars, net
    of the evaluation's cost."""
    return {
        "candidates": [_candidate(each, found) for each in found.candidates],
        "metrics": list(found.metrics),
        "not_told_apart": [list(pair) for pair in found.alike],
        "any_ships": found.any_ships,
        "ship_by_chance": found.by_chance(),
        "warnings": list(_warnings(found)),
        "note": _NOT_COMPARED,
    }


def _candidate(standing: CandidateStanding, found: SideBySide) -> dict[str, Any]:
    report = report_json(standing.report, sentences)
    saved = savings(standing.report.details)
    return {
        "canary": standing.name,
        "candidate": _arm(standing.candidate),
        "baseline": _arm(standing.baseline),
        "state": standing.state,
        "rolled_back": standing.rolled_back,
        **{name: report[name] for name in ("verdict", "score", "rubric_sha256", "window", "units")},
        "days": report["window"]["days"],
        "lane": standing.lane,
        "saved_usd_a_month": None if saved is None else asdict(saved.month),
        "saved_usd_a_year": None if saved is None else asdict(saved.year),
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
    return [*_warnings(found), *alike, *_among_many(found), _NOT_COMPARED]


def _among_many(found: SideBySide) -> Iterator[str]:
    """What several tries at once let pass."""
    if found.any_ships is None:
        return
    each = max(standing.risk or 0.0 for standing in found.candidates)
    yield (
        f"One candidate exactly at its bounds ships in at most {percent(each)} of runs; any of these "
        f"{len(found.candidates)} does in up to {percent(found.any_ships)}."
    )
    if by_chance := found.by_chance():
        does = "ships" if len(by_chance) == 1 else "ship"
        yield (
            f"{joined(by_chance)} {does} by that risk alone, and not if it is shared among "
            f"{len(found.candidates)} candidates: a longer run would tell."
        )


def _verdict(standing: CandidateStanding) -> list[str]:
    report = standing.report
    return [
        standing.name,
        _model(standing.candidate),
        in_words(report.verdict) + _now(standing),
        _score(report),
        f"{report.units.candidate:,} against {report.units.baseline:,}",
        f"{report.window.days:.1f}",
        _lane(standing.lane),
        *_saved(standing),
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


def _saved(standing: CandidateStanding) -> list[str]:
    """What the first month and the first year would save."""
    saved = savings(standing.report.details)
    if saved is None:
        return ["unknown"] * len(_SAVES)
    return [
        f"{signed(each.estimate, 'usd')} ({between(each.low, each.high, 'usd')})"
        for each in (saved.month, saved.year)
    ]


def _differences(standing: CandidateStanding, found: SideBySide) -> list[str]:
    return [_difference(_line(standing, metric), standing.report) for metric in found.metrics]


def _difference(line: MetricLine, report: Report) -> str:
    """The row's mark, and the candidate minus its own baseline with the interval."""
    glyph, _ = verdict.mark(line, report)
    unit, found = line.unit, line.difference
    if line.metric == JUDGED_PREFERENCE:
        return f"{glyph} {verdict.value(line, line.candidate)} ({verdict.interval(line)})"
    if found.estimate is None:
        return f"{glyph} not compared yet"
    return f"{glyph} {signed(found.estimate, unit)} ({between(found.low, found.high, unit)})"


def _warnings(found: SideBySide) -> Iterator[str]:
    """What makes the rows hard to set beside each other."""
    candidates = found.candidates
    yield from (
        f"{each.name} was rolled back: users no longer get it, and its window ended then."
        for each in candidates
        if each.rolled_back
    )
    yield from (
        f"{each.name} is promoted: everybody{'' if each.lane is None else ' in its lane'} gets it"
        f"{f', but for {set_percent(each.held_back)} who are held back' if each.held_back else ''}."
        for each in candidates
        if each.state == "promoted"
    )
    yield from (
        f"{each.name} gets no lane: other canaries have all users of these requests."
        for each in candidates
        if each.lane == 0.0
    )
    yield from (f"{each.name} has no traffic yet." for each in candidates if each.report.window.start is None)
    yield from _of_windows(candidates)
    yield from _of_definitions(candidates)
    yield from _of_rubrics(found)
    baselines = {each.name: each.baseline for each in candidates}
    if len({_model(arm) for arm in baselines.values()}) > 1:
        listed = joined([f"{name} against {_model(arm)}" for name, arm in baselines.items()])
        yield f"The baselines differ: {listed}. The differences are not from the same model."


def _of_windows(candidates: Sequence[CandidateStanding]) -> Iterator[str]:
    apart = [
        f"{one.name} with {other.name}"
        for one, other in combinations(candidates, 2)
        if not at_the_same_time(one.report, other.report)
    ]
    if apart:
        yield (
            f"Windows that overlap by less than half of the longer one: {'; '.join(apart)}. What happened "
            "outside the overlap is in one figure and not in the other."
        )


def _of_rubrics(found: SideBySide) -> Iterator[str]:
    candidates = found.candidates
    if len({each.report.rubric_sha256 for each in candidates}) == 1:
        return
    if found.one_rubric:
        yield "The rubrics have the same rows, but different plans: days, minimum days, units or risk."
        return
    kept = set(found.metrics)
    gone = {line.metric for each in candidates for line in each.report.metrics if line.metric not in kept}
    left = f" {count(len(gone), 'metric')} left out: {', '.join(sorted(gone))}." if gone else ""
    yield (
        "The rubrics differ: only metrics that all of them have are shown, each by its own bounds, and no "
        f"scores are told apart.{left}"
    )


def _of_definitions(candidates: Sequence[CandidateStanding]) -> Iterator[str]:
    """The names under which the rubrics have different metrics."""
    found: dict[str, dict[tuple[str, ...], str]] = {}
    for each in candidates:
        for line in each.report.metrics:
            said = f"{_defined(line)} in {each.name}"
            found.setdefault(line.metric, {}).setdefault(line.definition, said)
    for name, differing in found.items():
        if len(differing) > 1:
            yield f"{label(name)} is not one metric: {joined([*differing.values()])}."


def _defined(line: MetricLine) -> str:
    return defined(line.metric, line.per, line.cost_per)


def _line(standing: CandidateStanding, metric: str) -> MetricLine:
    """The candidate's row on a metric that its rubric has."""
    return next(line for line in standing.report.metrics if line.metric == metric)


def _model(arm: Arm | None) -> str:
    """openai/gpt-5.2 · low effort, or that it is unknown."""
    if arm is None:
        return "an unknown model"
    return f"{arm.provider}/{arm.model}{f' · {arm.words}' if arm.words else ''}"
