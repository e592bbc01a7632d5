"""Parses a CSV of feedback into the values of `POST /canary/feedback`. Every error names its line."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from records.foreign_text import from_cell

SUBJECTS = ("exchange_id", "session", "unit")
COLUMNS = (*SUBJECTS, "metric", "value", "comment", "feedback_id", "at")
_LONGEST_CELL = 128 << 10
_TRUTH = {"true": True, "false": False}


class BadFile(Exception):
    """The file is not a CSV of feedback. The message says how to fix it."""


@dataclass(frozen=True, slots=True)
class FeedbackLine:
    """One row of the file: its first line, and its value or its problem."""

    number: int
    value: Mapping[str, Any] | None = None
    problem: str = ""


def lines(path: Path, *, default_at: datetime) -> Iterator[FeedbackLine]:
    """Parse every row below the header; `default_at` replaces an empty `at`.

    The server checks the values. Raises BadFile, OSError.
    """
    csv.field_size_limit(_LONGEST_CELL)
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, strict=True)
        try:
            header = [name.strip() for name in next(rows, [])]
            _check(header)
            before = rows.line_num
            for row in rows:
                number, before = before + 1, rows.line_num
                if any(cell.strip() for cell in row):
                    yield _line(number, header, row, default_at)
        except csv.Error as exc:
            raise BadFile(f"line {rows.line_num}: not CSV: {exc}") from exc
        except UnicodeDecodeError as exc:
            raise BadFile(f"after line {rows.line_num}: not UTF-8; save the file as UTF-8") from exc


def _check(header: list[str]) -> None:
    known = f"known columns: {', '.join(COLUMNS)}"
    for place, name in enumerate(header):
        if name not in COLUMNS:
            near = get_close_matches(name, COLUMNS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise BadFile(f"line 1: unknown column {name!r}; {hint}{known}")
        if name in header[:place]:
            raise BadFile(f"line 1: duplicate column {name!r}")
    for name in ("metric", "value"):
        if name not in header:
            raise BadFile(f"line 1: column {name!r} is missing; {known}")
    if not set(header) & set(SUBJECTS):
        raise BadFile(f"line 1: one of the columns {', '.join(SUBJECTS)} is required")


def _line(number: int, header: list[str], row: list[str], default_at: datetime) -> FeedbackLine:
    if len(row) != len(header):
        return FeedbackLine(number, problem=f"{len(row)} cells, but {len(header)} columns")
    cells = {name: from_cell(cell.strip()) for name, cell in zip(header, row, strict=True) if cell.strip()}
    value: dict[str, Any] = {"at": default_at.isoformat(), **cells}
    for name in ("metric", "value"):
        if name not in cells:
            return FeedbackLine(number, problem=f"{name} is empty")
    try:
        value["value"] = _number(cells["value"])
    except ValueError:
        return FeedbackLine(number, problem=f"value {cells['value']!r} is neither a number nor true or false")
    try:
        datetime.fromisoformat(value["at"])
    except ValueError:
        return FeedbackLine(number, problem=f"at {value['at']!r} is not a time such as 2026-11-24T16:00:00Z")
    return FeedbackLine(number, value)


def _number(text: str) -> bool | int | float:
    known = _TRUTH.get(text.lower())
    if known is not None:
        return known
    number = float(text)
    if number - number != 0:  # infinity or NaN, which JSON cannot express
        raise ValueError
    return int(number) if number.is_integer() and abs(number) < 1 << 53 else number
