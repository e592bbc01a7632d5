"""Writes a document in each format: text for a terminal, Markdown, or one HTML file."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from io import StringIO
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from rich.console import Console, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from common.text import visible_page
from pages.document import (
    Block,
    BulletList,
    Cell,
    CodedSentence,
    Criteria,
    Document,
    Drawings,
    FactList,
    FoldedBlocks,
    Paragraph,
    Row,
    ScoreGauge,
    Section,
    Table,
    shown,
)
from pages.words.status import clocked

_STYLE, _SCRIPT = (
    (Path(__file__).parent / "templates" / each).read_text() for each in ("page.css", "reader.js")
)
STYLE, SCRIPT = (
    f"'sha256-{b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in (_STYLE, _SCRIPT)
)
"""The only style and the only script that an HTML file may have, as a content security policy names them."""
_WIDE = 100
"""From so many columns on, a table's `wide` columns stand beside each other."""
_MARKS = re.compile(r"[\\`*_\[\]<>]")
_CLASSES = {"": "", "strong": "short", "bold": "as-of", "small": "small", "soft": "small soft"}


def written(document: Document, form: str, *, width: int = 110) -> str:
    """The document as "text" of at most `width` columns, "markdown" or "html". Raises ValueError for another
    form."""
    match form:
        case "text":
            return text(document, width=width)
        case "markdown":
            return markdown(document)
        case "html":
            return html(document)
        case _:
            raise ValueError(f"unknown form {form!r}: choose text, markdown, html, or json")


def text(document: Document, *, width: int = 110) -> str:
    """The document in at most `width` columns, without what is too much for a terminal."""
    beside = "  ".join(part for part in (document.topic, document.about) if part)
    between = "  " if document.topic else "\n"
    blocks = [
        Text(f"{document.title}{between}{beside}" if beside else document.title),
        *_printables([*document.head, *document.sections], wide=width >= _WIDE),
    ]
    if document.foot is not None:
        name, value = document.foot
        blocks.append(Text(f"\n{name.lower():7} {value}"))
    return _printed(blocks, width=width)


def listing(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table alone, as wide as it is."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    )


def _printed(blocks: Iterable[RenderableType], *, width: int) -> str:
    out = StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=False,
        color_system=None,
        highlight=False,
        legacy_windows=False,
    )
    for block in blocks:
        console.print(block)
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n"))


def _printables(blocks: Sequence[Block], *, wide: bool) -> Iterator[RenderableType]:
    before: Block | None = None
    for block in blocks:
        if shown(block, brief=True):
            if before is not None and not (isinstance(block, Section) or _runs_on(before, block)):
                yield Text()
            yield from _printable(block, wide=wide)
            before = block


def _runs_on(before: Block, block: Block) -> bool:
    """True if the sentence follows without an empty line."""
    return isinstance(before, Paragraph | ScoreGauge) and isinstance(block, Paragraph | ScoreGauge)


def _printable(block: Block, *, wide: bool) -> Iterator[RenderableType]:
    match block:
        case Paragraph():
            yield Text(block.text)
        case BulletList():
            yield _points(block.sentences)
        case FactList():
            yield from (Text(f"{name.lower():7} {value}") for name, value in block.pairs)
        case Table():
            yield from _tables(block, wide=wide)
        case Criteria():
            yield Text(block.reads)
            yield from _printable(block.table, wide=wide)
        case Section():
            yield Text(f"\n{block.title}" if block.title else "")
            yield from _printables(block.blocks, wide=wide)
        case ScoreGauge():
            yield Text(block.says)


def _points(sentences: Sequence[str | CodedSentence]) -> Grid:
    grid = Grid.grid(padding=(0, 1))
    for each in sentences:
        grid.add_row("  •", Text(each if isinstance(each, str) else f"{each.short} {each.text}"))
    return grid


def _tables(table: Table, *, wide: bool) -> Iterator[RenderableType]:
    """The table, in parts where its columns do not fit beside each other."""
    parts = (table.wide if wide else table.narrow) or [
        [each.name for each in table.columns if each.place != "full"]
    ]
    for number, names in enumerate(parts):
        if number:
            yield Text()
        yield _grid(table, names)


def _grid(table: Table, names: Sequence[str]) -> Grid:
    places = [place for place, each in enumerate(table.columns) if each.name in names]
    grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for place in places:
        column = table.columns[place]
        justify: Literal["left", "right"] = "right" if column.figure else "left"
        grid.add_column(column.name, justify=justify, no_wrap=column.figure, overflow="fold")
    for row in table.rows[: table.few]:
        cells = (row[place] for place in places)
        grid.add_row(*(Text(cell if isinstance(cell, str) else cell.text) for cell in cells))
    if table.few is not None and len(table.rows) > table.few:
        grid.add_row(f"and {len(table.rows) - table.few} more")
    return grid


def markdown(document: Document) -> str:
    """GitHub-flavoured Markdown, for pull requests, issues and wikis. Escapes every text."""
    parts = [
        f"# {safe(document.title)}" + (f": {safe(document.topic)}" if document.topic else ""),
        safe(document.about),
        *(_block(each) for each in (*document.head, *document.sections) if shown(each, brief=False)),
        "{} `{}`".format(*document.foot) if document.foot is not None else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def safe(text: str) -> str:
    """Escape a text so that it cannot open markup or leave its cell."""
    escaped = _MARKS.sub(r"\\\g<0>", text).replace("|", "&#124;")
    return " ".join(escaped.split())


def _block(block: Block) -> str:
    match block:
        case Paragraph():
            return f"**{safe(block.text)}**" if block.weight == "strong" else safe(block.text)
        case BulletList():
            return "\n".join(f"- {_point(each)}" for each in block.sentences)
        case FactList():
            return "\n".join(f"- **{safe(name)}**: {safe(value)}" for name, value in block.pairs)
        case Table():
            return _table(block)
        case Criteria():
            return "\n\n".join(part for part in (safe(block.reads), _table(block.table)) if part)
        case Drawings():
            return _table(block.table) if block.table is not None else ""
        case FoldedBlocks():
            return _folded(block.title, block.blocks)
        case Section():
            return _section(block)
        case _:
            return safe(block.says)


def to_json(document: Document) -> dict[str, Any]:
    """The document as JSON types: each section's sentences, facts and tables, in order. A drawing is its
    table."""
    return {
        "title": document.title,
        "about": document.about,
        "says": _values(document.head)["says"],
        "sections": [
            {"title": each.title, **_values(each.blocks)}
            for each in document.sections
            if shown(each, brief=False)
        ],
    }


def _values(blocks: Sequence[Block]) -> dict[str, Any]:
    says, facts, tables = list[str](), dict[str, str](), list[list[dict[str, str]]]()
    for each in blocks:
        match each:
            case Paragraph() if each.text:
                says.append(each.text)
            case BulletList():
                says += [point if isinstance(point, str) else point.text for point in each.sentences]
            case FactList():
                facts |= dict(each.pairs)
            case Table() if each.rows:
                tables.append([_named(each, row) for row in each.rows])
            case FoldedBlocks() | Section():
                inside = _values(each.blocks)
                says, facts, tables = (
                    says + inside["says"],
                    facts | inside["facts"],
                    tables + inside["tables"],
                )
            case _:
                pass
    return {"says": says, "facts": facts, "tables": tables}


def _named(table: Table, row: Row) -> dict[str, str]:
    cells = [each if isinstance(each, str) else each.text for each in row]
    return {column.name: cell for column, cell in zip(table.columns, cells, strict=True)}


def _section(section: Section) -> str:
    if section.aside:
        return _folded(section.title, section.blocks)
    body = _body(section.blocks)
    return f"## {safe(section.title)}\n\n{body}" if body and section.title else body


def _folded(title: str, blocks: Sequence[Block]) -> str:
    return f"<details><summary>{safe(title)}</summary>\n\n{_body(blocks)}\n\n</details>"


def _body(blocks: Sequence[Block]) -> str:
    return "\n\n".join(part for each in blocks if shown(each, brief=False) and (part := _block(each)))


def _point(sentence: str | CodedSentence) -> str:
    return (
        safe(sentence) if isinstance(sentence, str) else f"`{sentence.code}` {safe(sentence.text)}".rstrip()
    )


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    kept = table.without("brief")
    lines = [
        [safe(each.name) for each in kept.columns],
        ["---"] * len(kept.columns),
        *([_cell(each) for each in row] for row in kept.rows),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return safe(cell)
    below = [safe(cell.note), f"`{cell.code}`" if cell.code else ""]
    return "<br>".join(part for part in (safe(cell.text), *below) if part)


def html(document: Document) -> str:
    """One HTML file without external resources, for light, dark and print; its one script shows times in the
    reader's own zone and copies ids. The template engine escapes every text."""
    pages = Environment(
        loader=PackageLoader("pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["clocked"] = clocked
    opening = list(takewhile(lambda each: isinstance(each, Paragraph | ScoreGauge), document.head))
    page = pages.get_template(
        "page.html"
    ).render(
        document=document,
        style=Markup(_STYLE),  # noqa: S704 - our own file
        script=Markup(_SCRIPT),  # noqa: S704 - our own file
        policy=f"default-src 'none'; style-src {STYLE}; script-src {SCRIPT}",
        about=": ".join(part for part in (document.topic, document.about) if part),
        gauge=next((each for each in opening if isinstance(each, ScoreGauge)), None),
        opening=[each for each in opening if isinstance(each, Paragraph)],
        rest=document.head[len(opening) :],
        classes=_CLASSES,
        kind_of=lambda block: type(block).__name__,
        shown=partial(shown, brief=False),
    )
    return visible_page(page.lstrip())
