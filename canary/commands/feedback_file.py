"""A CSV of feedback as the values that `POST /canary/feedback` takes. Every complaint names its line."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

SUBJECTS = ("exchange_id", "session", "unit")
COLUMNS = (*SUBJECTS, "metric", "value", "comment", "feedback_id", "at")
_LONGEST_CELL = 128 << 10
_TRUTH = {"true": True, "false": False}


class BadFile(Exception):
    """A file that cannot be read as feedback at all; the message says what would be right."""


@dataclass(frozen=True, slots=True)
class FeedbackLine:
    """One row of the file: the line where it begins, and its value or what is wrong with it."""

    number: int
    value: Mapping[str, Any] | None = None
    problem: str = ""


def lines(path: Path, *, said_at: datetime) -> Iterator[FeedbackLine]:
    """Every row below the header; `said_at` stands for an empty `at`.

    Whether the server takes a value is for the server to say. Raises BadFile, OSError.
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
                    yield _line(number, header, row, said_at)
        except csv.Error as exc:
            raise BadFile(f"line {rows.line_num}: no CSV: {exc}") from exc
        except UnicodeDecodeError as exc:
            raise BadFile(f"after line {rows.line_num}: no UTF-8; save the file as UTF-8") from exc


def _check(header: list[str]) -> None:
    there_are = f"Columns are {', '.join(COLUMNS)}"
    for place, name in enumerate(header):
        if name not in COLUMNS:
            near = get_close_matches(name, COLUMNS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise BadFile(f"line 1: unknown column {name!r}: {hint}{there_are}")
        if name in header[:place]:
            raise BadFile(f"line 1: column {name!r} stands there twice")
    for name in ("metric", "value"):
        if name not in header:
            raise BadFile(f"line 1: column {name!r} is missing. {there_are}")
    if not set(header) & set(SUBJECTS):
        raise BadFile(f"line 1: one of the columns {', '.join(SUBJECTS)} must be there")


def _line(number: int, header: list[str], row: list[str], said_at: datetime) -> FeedbackLine:
    if len(row) != len(header):
        return FeedbackLine(number, problem=f"{len(row)} cells under {len(header)} columns")
    cells = {name: cell.strip() for name, cell in zip(header, row, strict=True) if cell.strip()}
    value: dict[str, Any] = {"at": said_at.isoformat(), **cells}
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
        return FeedbackLine(number, problem=f"at {value['at']!r} is no time such as 2026-11-24T16:00:00Z")
    return FeedbackLine(number, value)


def _number(text: str) -> bool | int | float:
    known = _TRUTH.get(text.lower())
    if known is not None:
        return known
    number = float(text)
    if number - number != 0:  # infinite, or none: JSON has no way to say it
        raise ValueError
    return int(number) if number.is_integer() and abs(number) < 1 << 53 else number
