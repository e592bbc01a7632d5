"""The report for a terminal, and as JSON."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from io import StringIO
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from judge.figures import JudgeFigures
from pages.html import html
from pages.markdown import markdown
from pages.words import failures, gains, judge, plan, verdict
from pages.words.gains import known_of_answers
from pages.words.steps import next_steps
from report.document import MetricLine, Report, to_json
from report.wording import count, label

__all__ = ["html", "json_text", "markdown", "rendered", "terminal"]

_COLOURS = {
    "ship_now": "bold green",
    "ship": "bold green",
    "ship_with_caveats": "bold yellow",
    "dont_ship": "bold red",
    "extend": "bold yellow",
}
_MODES, _PARTS = 6, 15
_WIDE = 100
"""From so many columns on, results and bounds are in one table."""
_STATE_COLOURS = {"IDEAL": "green", "PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow", "NODATA": "dim"}


def rendered(report: Report, form: str, *, width: int = 110) -> str:
    """The report as "text" of at most `width` columns, "json", "markdown" or "html". Raises ValueError for
    another form."""
    forms: dict[str, Callable[[Report], str]] = {
        "text": partial(terminal, width=width),
        "json": json_text,
        "markdown": markdown,
        "html": html,
    }
    if form not in forms:
        raise ValueError(f"unknown form {form!r}: choose {', '.join(forms)}")
    return forms[form](report)


def json_text(report: Report) -> str:
    """The report's JSON, indented."""
    return json.dumps(to_json(report), indent=2, ensure_ascii=False, allow_nan=False)


def terminal(report: Report, *, width: int = 110, colour: bool = False) -> str:
    """The report as text of at most `width` columns, with ANSI colours if `colour`."""
    out = StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        legacy_windows=False,
    )
    console.print(_page(report, wide=width >= _WIDE))
    return out.getvalue()


def _page(report: Report, *, wide: bool) -> RenderableType:
    headline, meaning = verdict.HEADLINES[report.verdict]
    steps = next_steps(report)
    blocks: list[RenderableType] = [
        Text.assemble((headline, _COLOURS[report.verdict]), f"  {report.canary}  {verdict.models(report)}"),
        Text(meaning),
        Text(f"Score {verdict.score_words(report)}"),
        *([Text(short, "bold")] if (short := gains.in_short(report)) else []),
        *([Text(known)] if (known := known_of_answers(report)) else []),
        *([Text(plan.plan_line(report)), Text(plan.rests_on(report))] if report.plan else []),
        Text(),
        *_bullets(gains.further_reasons(report)),
        *([Text("\nWhat would change the verdict", "bold"), *_bullets(steps)] if steps else []),
        Text(),
        *_rubric(report, wide=wide),
        Text(f"users   {verdict.users(report)}"),
        Text(f"window  {verdict.span_of_days(report)}"),
        Text(f"split   {verdict.split(report)}"),
    ]
    if mirror := verdict.mirror(report):
        blocks.append(Text(f"mirror  {mirror}"))
    if decision := verdict.decision(report):
        blocks.append(Text(f"decided {decision}"))
    if trades := gains.changes(report):
        blocks += [Text("\nGains and losses", "bold"), *_bullets(trades)]
    blocks += [Text("\nLayers of evidence", "bold"), _layers(report)]
    if report.judge is not None:
        blocks += [Text(f"\n{judge.TITLE}", "bold"), *_judge(report.judge, report.canary)]
    if parts := _parts(report):
        blocks += [Text("\nWhere it differs", "bold"), parts]
    if table := _failures(report):
        where = [Text(place)] if (place := failures.place(report.details)) else []
        blocks += [Text("\nFailure modes", "bold"), *where, table]
    blocks.append(Text(f"\nrubric  {report.rubric_sha256}", "dim"))
    return Group(*blocks)


_RESULTS = ("", "metric", "baseline", "candidate", "95 % interval")
_BOUNDS = ("acceptable", "ideal", "users")
_FIGURES = ("baseline", "candidate", "users")


def _rubric(report: Report, *, wide: bool) -> list[RenderableType]:
    """Every metric's results and bounds."""
    if report.plan is not None:
        return _planned_rubric(report, wide=wide)
    if wide:
        return [_metrics(report, (*_RESULTS, *_BOUNDS), gap=2)]
    bounds = _metrics(report, ("metric", *_BOUNDS), gap=2)
    return [_metrics(report, _RESULTS, gap=1), Text(), bounds, Text()]


def _planned_rubric(report: Report, *, wide: bool) -> list[RenderableType]:
    """The rows' results, bounds, and what is to come, in two tables or three."""
    results = ("", "metric", "baseline", "candidate", "may be, by looks")
    outlook = ("metric", "any time, 95 %", "risk (allowed)", plan.chance_by(report))
    tables = [results, ("metric", *_BOUNDS), outlook]
    if wide:
        tables = [(*results, *_BOUNDS[:2]), (*outlook, "users")]
    found: list[RenderableType] = [Text(plan.heading(report)), Text(plan.COLUMNS, "dim"), Text()]
    for columns in tables:
        found += [_metrics(report, columns, gap=1 if columns is results else 2), Text()]
    return found


def _metrics(report: Report, columns: Sequence[str], *, gap: int) -> Table:
    table = Table(box=None, padding=(0, gap, 0, 0), header_style="bold")
    for name in columns:
        justify: Literal["left", "right"] = "right" if name in _FIGURES else "left"
        table.add_column(name, justify=justify, no_wrap=name not in ("", "metric"))
    for line in report.metrics:
        glyph, word = verdict.mark(line, report)
        cells: dict[str, RenderableType] = {
            "": Text(f"{glyph} {word}", _STATE_COLOURS[line.state]),
            "metric": label(line.metric),
            "baseline": verdict.value(line, line.baseline),
            "candidate": verdict.value(line, line.candidate),
            "95 % interval": verdict.interval(line),
            **(_planned_cells(line, report) if report.plan is not None else {}),
            "acceptable": line.acceptable,
            "ideal": line.ideal,
            "users": f"{line.units:,}",
        }
        table.add_row(*(cells[name] for name in columns))
    return table


def _planned_cells(line: MetricLine, report: Report) -> dict[str, RenderableType]:
    return {
        "any time, 95 %": verdict.interval(line),
        "may be, by looks": plan.possible_cell(line),
        "risk (allowed)": plan.risk_cell(line),
        plan.chance_by(report): plan.chance_cell(line, report),
    }


def _parts(report: Report) -> Table | None:
    """Only the parts that differ, to keep the terminal's table short."""
    differing = [
        part for part in verdict.worst_first([*report.categories, *report.segments]) if verdict.differs(part)
    ]
    if not differing:
        return None
    table = Table(box=None, padding=(0, 2, 0, 2), show_header=False)
    for part in differing[:_PARTS]:
        word = verdict.PART_STATES[part.state] + (", blocks" if part.blocks else "")
        table.add_row(
            word, verdict.part_name(part), label(part.metric), verdict.part_difference(part, report)
        )
    if len(differing) > _PARTS:
        table.add_row(f"and {len(differing) - _PARTS} more", "", "", "")
    return table


def _bullets(sentences: Sequence[str]) -> list[RenderableType]:
    grid = Table.grid(padding=(0, 1))
    for sentence in sentences:
        grid.add_row("  •", Text(sentence))
    return [grid]


def _layers(report: Report) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 2), show_header=False)
    for layer in gains.layers(report):
        table.add_row(layer.name, Text(layer.says, _STATE_COLOURS[layer.tone]))
    return table


def _judge(found: JudgeFigures, canary: str) -> list[RenderableType]:
    """The preference, what it is worth, by category, and pairs that the candidate lost."""
    table = Table(box=None, padding=(0, 2, 0, 2), show_header=False)
    for each in judge.categories(found):
        table.add_row(Text(each.value), count(each.pairs, "pair"), each.says)
    losses = [
        " ".join(part for part in (each.short_id, each.category, each.said) if part)
        for each in judge.lost(found)
    ]
    return [
        Text(judge.summary(found)),
        *([table] if found.categories else []),
        *_bullets([*judge.worth(found, canary), judge.identity(found)]),
        *([Text(judge.LOST), *_bullets(losses)] if losses else []),
    ]


def _failures(report: Report) -> Table | None:
    """All errors and answer faults, or the first few. The other forms have all modes, with examples."""
    found = report.details.failures
    if found is None or not found.modes:
        return None
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="bold")
    for name in ("", "candidate", "baseline"):
        table.add_column(name)
    counted = sum(mode.kind not in ("slow", "rating") for mode in found.modes)
    for mode in found.modes[: max(_MODES, counted)]:
        table.add_row(
            failures.name(mode, found),
            failures.rate(mode.candidate, mode.candidate_of),
            failures.rate(mode.baseline, mode.baseline_of),
        )
    return table
