"""Writes a document as GitHub-flavoured Markdown, for pull requests, issues and wikis. Escapes every text."""

import re
from collections.abc import Sequence

from pages.document import (
    Block,
    Cell,
    Coded,
    Criteria,
    Document,
    Drawings,
    Facts,
    Folded,
    Points,
    Says,
    Section,
    Table,
    shown,
)

_MARKS = re.compile(r"[\\`*_\[\]<>]")


def markdown(document: Document) -> str:
    """The whole document."""
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
        case Says():
            return f"**{safe(block.text)}**" if block.weight == "strong" else safe(block.text)
        case Points():
            return "\n".join(f"- {_point(each)}" for each in block.sentences)
        case Facts():
            return "\n".join(f"- **{safe(name)}**: {safe(value)}" for name, value in block.pairs)
        case Table():
            return _table(block)
        case Criteria():
            return "\n\n".join(part for part in (safe(block.reads), _table(block.table)) if part)
        case Drawings():
            return _table(block.table) if block.table is not None else ""
        case Folded():
            return _folded(block.title, block.blocks)
        case Section():
            return _section(block)
        case _:
            return safe(block.says)


def _section(section: Section) -> str:
    if section.aside:
        return _folded(section.title, section.blocks)
    body = _body(section.blocks)
    return f"## {safe(section.title)}\n\n{body}" if body and section.title else body


def _folded(title: str, blocks: Sequence[Block]) -> str:
    return f"<details><summary>{safe(title)}</summary>\n\n{_body(blocks)}\n\n</details>"


def _body(blocks: Sequence[Block]) -> str:
    return "\n\n".join(part for each in blocks if shown(each, brief=False) and (part := _block(each)))


def _point(sentence: str | Coded) -> str:
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
