"""Maps what other systems write, rows of a CSV export and events of a webhook, to feedback values.

A mapping says of each member and metric which column it comes from. A row that has no subject, or no value
for any metric, is skipped. Errors name the column; the caller adds the line or the event's place.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from records.errors import BadFeedback
from records.facts.feedback import (
    MOST_VALUES,
    SUBJECTS,
    BadFeedbackFile,
    FeedbackLine,
    FeedbackReader,
    FeedbackTerms,
    csv_rows,
    on_scale,
    parse_number,
)
from records.facts.metric import Metric
from records.outcome import Feedback

MEMBERS = (*SUBJECTS, "at", "comment", "feedback_id")
"""What a mapping may take from a column beside metrics."""

_MOST_MARKS = {b"}": 16 * MOST_VALUES, b",": 128 * MOST_VALUES}
"""Decoding an event takes time by its members and items, all but the first of which have a comma."""
_EMPTY = ("", "-")
_DECIMALS = 9
"""A scaled number's decimals, so that 1999 cents are 19.99."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedValue:
    """Where a metric's value comes from: a column, or a constant.

    `column` is a CSV's column, or a path into JSON whose parts dots separate.
    `scale` multiplies its number.
    `values` has the value of each text, in lower case; any other text has none.
    `constant` is the value if there is no `column`.
    `when` is the column that must be neither empty nor false for the constant; "": none.
    """

    column: str = ""
    scale: float = 1.0
    values: Mapping[str, bool | int | float] = field(default_factory=dict)
    constant: bool | int | float = True
    when: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackMapping:
    """A mapping of the config.

    `members` has the column of each of MEMBERS that it takes, among them one subject.
    `metrics` has the values by metric.
    `only` has the texts, in lower case, of which a column must have one for the row to count.
    """

    members: Mapping[str, str]
    metrics: Mapping[str, MappedValue]
    only: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def columns(self) -> list[str]:
        """Every column that it reads, once."""
        sources = [each.column or each.when for each in self.metrics.values()]
        return [name for name in dict.fromkeys((*self.members.values(), *self.only, *sources)) if name]

    def values(self, row: Mapping[str, Any], metrics: Mapping[str, Metric]) -> list[dict[str, Any]]:
        """The values of one row, as `POST /canary/feedback` takes them. Raises BadFeedback."""
        if any(_text(_cell(row, column)).lower() not in texts for column, texts in self.only.items()):
            return []
        shared = self._shared(row)
        if not any(name in shared for name in SUBJECTS):
            return []
        comment = shared.pop("comment", None)
        found: list[dict[str, Any]] = []
        for name, source in self.metrics.items():
            value = _value(row, source, metrics[name])
            if value is not None:
                found.append({**shared, "metric": name, "value": value})
        if found and comment is not None:
            found[0]["comment"] = comment
        return found

    def _shared(self, row: Mapping[str, Any]) -> dict[str, str]:
        """The members of all values of the row; the time as RFC 3339."""
        cells = {name: (column, _cell(row, column)) for name, column in self.members.items()}
        return {
            name: _time(column, cell) if name == "at" else _word(column, cell)
            for name, (column, cell) in cells.items()
            if not _is_empty(cell)
        }


def mapped_lines(
    path: Path, *, default_at: datetime, mapping: FeedbackMapping, metrics: Mapping[str, Metric]
) -> Iterator[FeedbackLine]:
    """Map every row below the header of a CSV; `default_at` is the time of a row without one.

    Raises BadFeedbackFile, OSError.
    """
    for row in csv_rows(path, lambda header: _check(header, mapping)):
        if row.problem:
            yield FeedbackLine(row.number, problem=row.problem)
            continue
        try:
            values = mapping.values(row.cells, metrics)
        except BadFeedback as problem:
            yield FeedbackLine(row.number, problem=problem.message)
        else:
            said = {"at": default_at.isoformat()}
            yield FeedbackLine(row.number, tuple(said | value for value in values))


def parse_events(
    document: bytes, mapping: FeedbackMapping, terms: FeedbackTerms
) -> Iterator[Feedback | None]:
    """Map a JSON object or an array of up to 1,000, yielding one value at a time, and None for an event that
    is skipped.

    The document is all or nothing, as that of `parse`. Raises BadFeedback as `parse` does.
    """
    events, is_array = _events(document)
    reader, count = FeedbackReader(terms), 0
    for index, event in enumerate(events):
        found = _read(event, f"[{index}]: " if is_array else "", mapping, terms, reader)
        count += len(found)
        if count > MOST_VALUES:
            raise BadFeedback(413, f"the events have more than {MOST_VALUES} values: send fewer at once")
        yield from found or (None,)
    terms.voices.note(reader.voices)


def event_complaints(document: bytes, mapping: FeedbackMapping, terms: FeedbackTerms) -> Iterator[str | None]:
    """Yield for each event the message with which `parse_events` would refuse it, or None."""
    reader = FeedbackReader(terms)
    for event in _events(document)[0]:
        try:
            _read(event, "", mapping, terms, reader)
        except BadFeedback as problem:
            yield problem.message
        else:
            yield None


def _events(document: bytes) -> tuple[list[Any], bool]:
    if any(document.count(mark) > most for mark, most in _MOST_MARKS.items()):
        raise BadFeedback(413, "the document is too large: send fewer events at once")
    try:
        found = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadFeedback(400, f"not JSON: {str(exc)[:200]}") from exc
    events = found if isinstance(found, list) else [found]
    if len(events) > MOST_VALUES:
        raise BadFeedback(413, f"{len(events)} events in one request: send at most {MOST_VALUES}")
    return events, found is events


def _read(
    event: Any, where: str, mapping: FeedbackMapping, terms: FeedbackTerms, reader: FeedbackReader
) -> list[Feedback]:
    if not isinstance(event, dict):
        raise BadFeedback(400, f"{where}an event is a JSON object")
    try:
        values = mapping.values(event, terms.metrics)
    except BadFeedback as problem:
        raise BadFeedback(problem.status, where + problem.message) from problem
    return [reader.read_members(value, where) for value in values]


def _check(header: list[str], mapping: FeedbackMapping) -> None:
    for name in mapping.columns():
        if name not in header:
            raise BadFeedbackFile(f"line 1: column {name!r} of the mapping is missing; {', '.join(header)}")
        if header.count(name) > 1:
            raise BadFeedbackFile(f"line 1: duplicate column {name!r}")


def _cell(row: Mapping[str, Any], column: str) -> Any:
    """What a column has: a member of that name, or else what its path reaches; None without."""
    if column in row:
        return row[column]
    found: Any = row
    for part in column.split("."):
        if isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            found = found.get(part) if isinstance(found, dict) else None
    return found


def _is_empty(cell: Any) -> bool:
    return cell is None or cell in ([], {}) or (isinstance(cell, str) and cell.strip() in _EMPTY)


def _text(cell: Any) -> str:
    """A cell as it is compared: JSON's words for true, false and numbers."""
    if isinstance(cell, str):
        return cell.strip()
    return "" if _is_empty(cell) else msgspec.json.encode(cell).decode()


def _word(column: str, cell: Any) -> str:
    if isinstance(cell, bool | dict | list):
        raise BadFeedback(422, f"column {column!r}: {_text(cell)[:60]} is no text or number")
    return _text(cell)


def _value(row: Mapping[str, Any], source: MappedValue, metric: Metric) -> bool | int | float | None:
    """The metric's value in this row, None without."""
    if not source.column:
        given = not source.when or _text(_cell(row, source.when)).lower() not in (*_EMPTY, "false")
        return source.constant if given else None
    cell = _cell(row, source.column)
    if source.values:
        return source.values.get(_text(cell).lower())
    if _is_empty(cell):
        return None
    try:
        value = parse_number(_text(cell))
        if source.scale != 1.0:
            value = round(value * source.scale, _DECIMALS)
        on_scale(metric, value)
    except ValueError:
        message = f"column {source.column!r}: {_text(cell)[:60]!r} is neither a number nor true or false"
        raise BadFeedback(422, message) from None
    except BadFeedback as problem:
        raise BadFeedback(problem.status, f"column {source.column!r}: {problem.message}") from problem
    return value


def _time(column: str, cell: Any) -> str:
    """A time as RFC 3339: from ISO 8601, in UTC where it names no zone, or from Unix seconds."""
    text = _text(cell)
    try:
        try:
            at = datetime.fromtimestamp(float(text), UTC)
        except ValueError:
            at = datetime.fromisoformat(text.removesuffix(" UTC"))
    except (ValueError, OverflowError, OSError):
        message = f"column {column!r}: {text[:60]!r} is no time such as 2026-11-24T16:00:00Z or 1795536000"
        raise BadFeedback(422, message) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()
