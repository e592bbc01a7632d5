"""Writes a document as text for a terminal, without what is too much for one."""

from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from typing import Literal

from rich.console import Console, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from pages.document import (
    Block,
    Cell,
    Coded,
    Criteria,
    Document,
    Facts,
    Gauge,
    Points,
    Says,
    Section,
    Table,
    shown,
)

_WIDE = 100
"""From so many columns on, a table's `wide` columns stand beside each other."""
_COLOURS = {
    "ship_now": "bold green",
    "ship": "bold green",
    "ship_with_caveats": "bold yellow",
    "dont_ship": "bold red",
    "extend": "bold yellow",
    "IDEAL": "green",
    "PASS": "green",
    "FAIL": "red",
    "INCONCLUSIVE": "yellow",
    "NODATA": "dim",
}
_WEIGHTS = {"strong": "bold", "bold": "bold", "soft": "dim"}


def text(document: Document, *, width: int = 110, colour: bool = False) -> str:
    """The document in at most `width` columns, with ANSI colours if `colour`."""
    title = (document.title, _COLOURS.get(document.tone, ""))
    beside = "  ".join(part for part in (document.topic, document.about) if part)
    between = "  " if document.topic else "\n"
    blocks = [
        Text.assemble(title, f"{between}{beside}" if beside else ""),
        *_blocks([*document.head, *document.sections], wide=width >= _WIDE),
    ]
    if document.foot is not None:
        name, value = document.foot
        blocks.append(Text(f"\n{name.lower():7} {value}", "dim"))
    return _printed(blocks, width=width, colour=colour)


def listing(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table alone, as wide as it is."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    )


def _printed(blocks: Iterable[RenderableType], *, width: int, colour: bool) -> str:
    out = StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        legacy_windows=False,
    )
    for block in blocks:
        console.print(block)
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n"))


def _blocks(blocks: Sequence[Block], *, wide: bool) -> Iterator[RenderableType]:
    before: Block | None = None
    for block in blocks:
        if shown(block, brief=True):
            if before is not None and not (isinstance(block, Section) or _runs_on(before, block)):
                yield Text()
            yield from _block(block, wide=wide)
            before = block


def _runs_on(before: Block, block: Block) -> bool:
    """True if the sentence follows without an empty line."""
    return isinstance(before, Says | Gauge) and isinstance(block, Says | Gauge)


def _block(block: Block, *, wide: bool) -> Iterator[RenderableType]:
    match block:
        case Says():
            yield Text(block.text, _WEIGHTS.get(block.weight, ""))
        case Points():
            yield _points(block.sentences)
        case Facts():
            yield from (Text(f"{name.lower():7} {value}") for name, value in block.pairs)
        case Table():
            yield from _tables(block, wide=wide)
        case Criteria():
            yield Text(block.reads, "dim")
            yield from _block(block.table, wide=wide)
        case Section():
            yield Text(f"\n{block.title}" if block.title else "", "bold")
            yield from _blocks(block.blocks, wide=wide)
        case Gauge():
            yield Text(block.says)


def _points(sentences: Sequence[str | Coded]) -> Grid:
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
    grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for place in places:
        column = table.columns[place]
        justify: Literal["left", "right"] = "right" if column.figure else "left"
        grid.add_column(column.name, justify=justify, no_wrap=column.figure, overflow="fold")
    for row in table.rows[: table.few]:
        grid.add_row(*(_cell(row[place]) for place in places))
    if table.few is not None and len(table.rows) > table.few:
        grid.add_row(f"and {len(table.rows) - table.few} more")
    return grid


def _cell(cell: str | Cell) -> Text:
    return Text(cell) if isinstance(cell, str) else Text(cell.text, _COLOURS.get(cell.tone, ""))
