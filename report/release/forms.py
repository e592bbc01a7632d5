"""A release as text for a terminal, Markdown, one HTML file, or JSON."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from io import StringIO
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from records.foreign_text import visible_page
from report.archive import moment
from report.document import to_json as report_json
from report.release.dossier import Dossier, RunStanding
from report.release.sections import ReleaseSection, SectionTable, headline, sections
from report.render import markup, prose


def line(found: Dossier) -> dict[str, Any]:
    """The release in a list: JSON types, times in RFC 3339."""
    clock, release = found.clock, found.release
    stages = {
        "noticed": clock.noticed,
        "benchmarked": clock.benchmarked,
        "started": clock.started,
        "decided": clock.decided,
    }
    return {
        "id": release.id,
        "candidate": _model(release.candidate),
        "baseline": _model(release.baseline) if release.baseline else None,
        "state": found.state,
        "verdict": found.verdict,
        "decision": found.decision,
        "days": None if clock.days is None else round(clock.days, 2),
        "minutes": clock.minutes,
        "layers": {name: {"state": each.state, "score": each.score} for name, each in found.layers.items()},
        "stages": {name: None if at is None else moment(at) for name, at in stages.items()},
    }


def _model(name: str) -> dict[str, str]:
    provider, _, named = name.partition("/")
    model, _, request = named.partition(" · ")
    return {"provider": provider, "model": model, **({"request": request} if request else {})}


def to_json(found: Dossier) -> dict[str, Any]:
    """The whole release: `line`, reasons, each layer in words, the runs with their reports, the benchmark,
    the notes, and the wrong answers where they are known."""
    return {
        **line(found),
        "reasons": list(found.reasons),
        "layers": {name: asdict(each) for name, each in found.layers.items()},
        "rubric": [row for run in found.runs if run.report for row in report_json(run.report)["metrics"]],
        "runs": [_run(run) for run in found.runs],
        "benchmark": found.benchmark,
        "notes": [{**asdict(note), "at": moment(note.at)} for note in found.notes],
        **({"wrong_answers": [dict(each) for each in found.wrong]} if found.wrong else {}),
    }


def _run(run: RunStanding) -> dict[str, Any]:
    return {
        "canary": run.canary,
        "run": run.run,
        "state": run.state,
        "started": moment(run.started_at),
        "ended": None if run.ended_at is None else moment(run.ended_at),
        "who": run.who,
        "reason": run.reason,
        "verdict": run.verdict,
        "decision": run.decision,
        "report": None if run.report is None else report_json(run.report),
    }


_CHIPS = {**{word: state for state, (_, word) in prose.STATES.items()}, prose.TOO_FEW: "NODATA"}


def html(found: Dossier) -> str:
    """One file without scripts or external resources, for light, dark and print."""
    about = f"Release {found.release.id}, {found.state.replace('_', ' ')}"
    return as_html(headline(found), about, found.verdict or "extend", found.reasons, sections(found))


def as_html(
    title: str, about: str, verdict: str, says: Sequence[str], parts: Sequence[ReleaseSection]
) -> str:
    """The sections under a card of the verdict's colour, as one file."""
    pages = Environment(
        loader=PackageLoader("report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = pages.get_template("release.html")
    return visible_page(
        page.render(title=title, about=about, verdict=verdict, says=says, sections=parts, chips=_CHIPS)
    )


def markdown(found: Dossier) -> str:
    """GitHub-flavoured Markdown. External texts are escaped."""
    return as_markdown(headline(found), found.reasons, sections(found))


def as_markdown(title: str, says: Sequence[str], parts: Sequence[ReleaseSection]) -> str:
    """The sections under a title and its sentences."""
    blocks = [f"# {markup.safe(title)}", _bullets(says)]
    for section in parts:
        blocks += [f"## {markup.safe(section.title)}", _bullets(section.says), _pipes(section.table)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {markup.safe(sentence)}" for sentence in sentences)


def _pipes(table: SectionTable | None) -> str:
    if table is None or not table.rows:
        return ""
    rows = [
        table.head,
        ["---"] * len(table.head),
        *([markup.safe(cell) for cell in row] for row in table.rows),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def text(found: Dossier, *, width: int = 120) -> str:
    """Text of at most `width` columns."""
    return as_text(headline(found), found.reasons, sections(found), width=width)


def as_text(title: str, says: Sequence[str], parts: Sequence[ReleaseSection], *, width: int) -> str:
    """The sections under a title and its sentences, in at most `width` columns."""
    out = StringIO()
    console = Console(file=out, width=width, color_system=None, highlight=False, legacy_windows=False)
    console.print(Text(title))
    for block in (*_points(says), *(b for each in parts for b in _blocks(each))):
        console.print(block)
    return out.getvalue()


def _blocks(section: ReleaseSection) -> list[RenderableType]:
    grid = [_grid(section.table)] if section.table is not None and section.table.rows else []
    return [Text(f"\n{section.title}"), *_points(section.says), *grid]


def _points(sentences: Sequence[str]) -> list[RenderableType]:
    return [Padding(Text(f"• {sentence}"), (0, 0, 0, 2)) for sentence in sentences]


def _grid(table: SectionTable) -> Grid:
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for name in table.head:
        grid.add_column(name, overflow="fold")
    for row in table.rows:
        grid.add_row(*row)
    return grid


def listed(found: Sequence[Dossier]) -> str:
    """A table with one release per line."""
    head = ["made", "candidate", "against", "state", "verdict", "decision", "days", "minutes", "id"]
    return text_of(SectionTable(head=head, rows=[_row(each) for each in found]))


def text_of(table: SectionTable, *, width: int = 160) -> str:
    """The table as text."""
    out = StringIO()
    Console(file=out, width=width, color_system=None, highlight=False).print(_grid(table))
    return out.getvalue()


def _row(found: Dossier) -> list[str]:
    told = line(found)
    return [
        moment(found.release.made_at)[:10],
        found.release.candidate,
        found.release.baseline or "–",
        found.state.replace("_", " "),
        *(
            "–" if told[name] is None else str(told[name]).replace("_", " ")
            for name in ("verdict", "decision")
        ),
        *("–" if told[name] is None else f"{told[name]:.1f}" for name in ("days", "minutes")),
        found.release.id,
    ]


FORMS: dict[str, Callable[[Dossier], str]] = {"text": text, "markdown": markdown, "html": html}
