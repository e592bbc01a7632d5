"""Parses feedback: documents, of which all values are valid or the document is refused, and files of it."""

import csv
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from common.text import from_cell
from records.errors import BadExchangeId, BadFeedback
from records.facts.exchange_id import verify
from records.facts.metric import LARGEST, Metric
from records.outcome import Feedback
from routing.cohort import unit_hash
from routing.identity import unit_of

MOST_VALUES = 1000
MOST_AHEAD_S = 300.0
MOST_VOICES = 20
"""Feedback ids for one subject and metric."""
VOICES_REMEMBERED = 5000
"""Subjects and metrics whose feedback ids a process remembers."""
BY_ID = "/id/"
"""Between subject and feedback id in a key."""
_LONGEST = {
    "metric": 64,
    "exchange_id": 512,
    "session": 512,
    "unit": 512,
    "feedback_id": 512,
    "comment": 8192,
}
"""Maximum characters of each text, checked before any other use."""

_MOST_MARKS = {b"}": 16 * MOST_VALUES, b":": 128 * MOST_VALUES}
"""Decoding takes time proportional to the number of values and members and cannot be interrupted. They are
therefore counted first: every value has a brace and every member a colon. Comments may contain some too."""

_LONGEST_COMPLAINT = 200
_MOST_HINTS = 4
"""Unknown metrics per document for which a similar name is suggested."""
_STATUS_OF_ID = {"malformed": 400, "forged": 403, "expired": 410}


class _Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One value as the client sends it."""

    metric: str
    value: bool | int | float
    exchange_id: str | None = None
    session: str | None = None
    unit: str | None = None
    comment: str | None = None
    feedback_id: str | None = None
    at: datetime | None = None


_DECODER = msgspec.json.Decoder(_Value | list[_Value])


class FeedbackVoices:
    """The feedback ids that each of the newest subjects has for a metric, as hashes.

    A process sees only the feedback that it takes itself, and bounds that; the store keeps what all took.
    """

    def __init__(self) -> None:
        self._known: dict[int, set[int]] = {}

    def of(self, about: int) -> Collection[int]:
        """The known ids of a subject and metric."""
        return self._known.get(about, ())

    def note(self, found: Mapping[int, Collection[int]]) -> None:
        """Remember the ids of a document that was accepted."""
        for about, ids in found.items():
            self._known[about] = {*self._known.pop(about, ()), *ids}
        while len(self._known) > VOICES_REMEMBERED:
            del self._known[next(iter(self._known))]


class FeedbackTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to validate feedback.

    `keys` verify exchange ids; `ids_key` hashes sessions and units; `token_ok` says whether the caller sent
    the feedback token, which feedback by session or unit requires, and without which a `feedback_id` means
    nothing. `now` is UTC, `mono` CLOCK_MONOTONIC, both in seconds. `voices` are noted by `parse`.
    """

    metrics: Mapping[str, Metric]
    keys: Sequence[bytes]
    token_ok: bool
    now: float
    mono: float
    ids_key: bytes
    voices: FeedbackVoices


def parse(document: bytes, terms: FeedbackTerms) -> Iterator[Feedback]:
    """Parse a JSON object or an array of up to 1,000 objects, yielding one value at a time.

    The document is all or nothing: store no value before the last one has been yielded.
    Raises BadFeedback: 400 for an unreadable document, 401 without the token, 403 and 410 for forged and
    expired ids, 413 for too many values, 422 for unknown metrics and values out of range.
    """
    values, is_array = _values(document)
    reader = FeedbackReader(terms)
    for index, value in enumerate(values):
        yield reader.read(value, f"[{index}]: " if is_array else "")
    terms.voices.note(reader.voices)


def complaints(document: bytes, terms: FeedbackTerms) -> Iterator[str | None]:
    """Yield for each value the message with which `parse` would refuse it, or None.

    Raises BadFeedback when the document as a whole is refused.
    """
    values, _ = _values(document)
    reader = FeedbackReader(terms)
    for value in values:
        try:
            reader.read(value, "")
        except BadFeedback as problem:
            yield problem.message
        else:
            yield None


def _values(document: bytes) -> tuple[list[_Value], bool]:
    """Return the values and whether the document is an array."""
    if any(document.count(mark) > most for mark, most in _MOST_MARKS.items()):
        raise BadFeedback(413, f"the document is too large: send at most {MOST_VALUES} values")
    try:
        found = _DECODER.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadFeedback(400, f"not a feedback document: {str(exc)[:_LONGEST_COMPLAINT]}") from exc
    values = found if isinstance(found, list) else [found]
    if not values:
        raise BadFeedback(400, "the array is empty: send at least one value")
    if len(values) > MOST_VALUES:
        raise BadFeedback(413, f"{len(values)} values in one request: send at most {MOST_VALUES}")
    return values, found is values


class FeedbackReader:
    """Validates one value at a time. `voices` has the feedback ids of those it has read."""

    def __init__(self, terms: FeedbackTerms) -> None:
        self._terms = terms
        self._blank = Feedback(key="", metric="", value=math.nan, at=terms.now, mono=terms.mono)
        self._hints: dict[str, str] = {}
        self.voices: dict[int, set[int]] = {}

    def read(self, value: _Value, where: str) -> Feedback:
        """Return the feedback. `where` is the prefix of every error message."""
        try:
            return self._read(value)
        except BadFeedback as exc:
            raise BadFeedback(exc.status, where + exc.message) from exc

    def read_members(self, members: Mapping[str, Any], where: str) -> Feedback:
        """Return the feedback of a value that is decoded already; its members have the right types."""
        return self.read(msgspec.convert(members, _Value), where)

    def _read(self, value: _Value) -> Feedback:
        _check_sizes(value)
        number = on_scale(self._metric(value.metric), value.value)
        about = self._about(value)
        return replace(
            about,
            key=self._key(about.exchange_id or about.session or about.unit, value),
            metric=value.metric,
            value=number,
            at=self._at(value.at),
            posted_at=None if value.at is None else self._terms.now,
            comment=value.comment or "",
        )

    def _key(self, subject: str, value: _Value) -> str:
        """What the value replaces.

        A signed exchange id may be in anybody's hands, so it has one voice for each metric; only the token
        makes several by `feedback_id`, the id of an event that may have several metrics. The key includes the
        subject: knowing another caller's `feedback_id` must not allow overwriting it.
        """
        if not (value.feedback_id and self._terms.token_ok):
            return f"{subject}/metric/{value.metric}"
        about, voice = hash((subject, value.metric)), hash(value.feedback_id)
        mine = self.voices.setdefault(about, set(self._terms.voices.of(about)))
        if voice not in mine and len(mine) >= MOST_VOICES:
            raise BadFeedback(422, too_many_voices(value.metric))
        mine.add(voice)
        return f"{subject}{BY_ID}{value.feedback_id}/{value.metric}"

    def _metric(self, name: str) -> Metric:
        metric = self._terms.metrics.get(name)
        if metric is None:
            raise BadFeedback(422, f"unknown metric {name!r}{self._hint(name)}")
        if metric.cost_per:
            raise BadFeedback(422, f"{name} is computed from costs: send {metric.cost_per}")
        return metric

    def _hint(self, name: str) -> str:
        if name not in self._hints and len(self._hints) < _MOST_HINTS:
            near = get_close_matches(name.lower(), self._terms.metrics, n=1)
            known = ", ".join(sorted(self._terms.metrics))
            self._hints[name] = f": did you mean {near[0]!r}?" if near else f": known: {known}"
        return self._hints.get(name, "")

    def _about(self, value: _Value) -> Feedback:
        """Return feedback with only its subject set: exchange, session or unit."""
        given = [name for name in ("exchange_id", "session", "unit") if (getattr(value, name) or "").strip()]
        if len(given) != 1:
            raise BadFeedback(400, "send exactly one of exchange_id, session, unit")
        if value.exchange_id:
            return self._exchange(value.exchange_id)
        if not self._terms.token_ok:
            raise BadFeedback(
                401, f"feedback by {given[0]} needs the feedback token: Authorization: Bearer …"
            )
        return replace(
            self._blank,
            session=self._hash(value.session),
            unit=self._hash(unit_of(value.unit or "") or value.unit),
        )

    def _hash(self, identity: str | None) -> str:
        """Hash a session or unit as a request's is hashed: surrounding space is ignored."""
        identity = (identity or "").strip()
        return unit_hash(self._terms.ids_key, identity) if identity else ""

    def _exchange(self, text: str) -> Feedback:
        try:
            exchange = verify(self._terms.keys, text, now=self._terms.now)
        except BadExchangeId as exc:
            raise BadFeedback(_STATUS_OF_ID[exc.reason], str(exc)) from exc
        return replace(
            self._blank,
            exchange_id=text,
            canary=exchange.canary,
            run=exchange.run,
            phase=exchange.phase,
            arm=exchange.arm,
            unit=exchange.unit,
        )

    def _at(self, at: datetime | None) -> float:
        if at is None:
            return self._terms.now
        if at.tzinfo is None:
            raise BadFeedback(400, "`at` needs a time zone, for example 2026-11-24T16:00:00Z")
        if at.timestamp() > self._terms.now + MOST_AHEAD_S:
            raise BadFeedback(422, "`at` is in the future: check the clock of the sender")
        return at.timestamp()


def too_many_voices(metric: str) -> str:
    """What is wrong with a further feedback id of a subject that has MOST_VOICES for the metric."""
    return (
        f"more than {MOST_VOICES} feedback ids for {metric} of one exchange, session or user: "
        "send a correction under an id that you sent before, or one value for several events"
    )


def _check_sizes(value: _Value) -> None:
    for name, longest in _LONGEST.items():
        if len(getattr(value, name) or "") > longest:
            raise BadFeedback(400, f"{name} is longer than {longest} characters")


def on_scale(metric: Metric, value: bool | int | float) -> float:
    """Return the value as a number, checked against the metric's kind and range."""
    if metric.kind != "bool" and isinstance(value, bool):
        raise BadFeedback(422, f"{metric.name} takes {_scale(metric)}, not {str(value).lower()}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    whole = metric.kind in ("bool", "nps", "count")
    low = 0.0 if metric.kind == "count" and metric.low is None else metric.low
    too_low = low is not None and number < low
    too_high = metric.high is not None and number > metric.high
    if not abs(number) <= LARGEST or too_low or too_high or (whole and not number.is_integer()):
        raise BadFeedback(422, f"{metric.name} takes {_scale(metric)}, not {value}")
    return number


def _scale(metric: Metric) -> str:
    if metric.kind == "bool":
        return "true or false (1 or 0)"
    kind = "a whole number" if metric.kind in ("nps", "count") else "a number"
    if metric.low is not None and metric.high is not None:
        return f"{kind} from {metric.low:g} to {metric.high:g}"
    if metric.low is not None or metric.kind == "count":
        return f"{kind} from {metric.low or 0:g} up"
    return f"{kind} up to {LARGEST if metric.high is None else metric.high:g}"


# Parses a CSV of feedback into the values of `POST /canary/feedback`. Every error names its line.


SUBJECTS = ("exchange_id", "session", "unit")
COLUMNS = (*SUBJECTS, "metric", "value", "comment", "feedback_id", "at")
_LONGEST_CELL = 128 << 10
_TRUTH = {"true": True, "false": False}


class BadFeedbackFile(Exception):
    """The file is not a CSV of feedback. The message says how to fix it."""


@dataclass(frozen=True, slots=True)
class FeedbackLine:
    """One row of the file: its first line, and its values or its problem. A row without either is skipped."""

    number: int
    values: tuple[Mapping[str, Any], ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One row of a CSV: its first line, and its cells that are not empty, by column, or its problem."""

    number: int
    cells: Mapping[str, str]
    problem: str = ""


def feedback_lines(path: Path, *, default_at: datetime) -> Iterator[FeedbackLine]:
    """Parse every row below the header; `default_at` replaces an empty `at`.

    The server checks the values. Raises BadFeedbackFile, OSError.
    """
    for row in csv_rows(path, _check):
        yield FeedbackLine(row.number, problem=row.problem) if row.problem else _line(row, default_at)


def csv_rows(path: Path, check: Callable[[list[str]], None]) -> Iterator[CsvRow]:
    """Read every row below the header, which `check` refuses by BadFeedbackFile. Raises that, OSError."""
    csv.field_size_limit(_LONGEST_CELL)
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, strict=True)
        try:
            header = [name.strip() for name in next(rows, [])]
            check(header)
            before = rows.line_num
            for row in rows:
                number, before = before + 1, rows.line_num
                if any(cell.strip() for cell in row):
                    yield _row(number, header, row)
        except csv.Error as exc:
            raise BadFeedbackFile(f"line {rows.line_num}: not CSV: {exc}") from exc
        except UnicodeDecodeError as exc:
            raise BadFeedbackFile(f"after line {rows.line_num}: not UTF-8; save the file as UTF-8") from exc


def _row(number: int, header: list[str], row: list[str]) -> CsvRow:
    if len(row) != len(header):
        return CsvRow(number, {}, f"{len(row)} cells, but {len(header)} columns")
    cells = {name: from_cell(cell.strip()) for name, cell in zip(header, row, strict=True) if cell.strip()}
    return CsvRow(number, cells)


def _check(header: list[str]) -> None:
    known = f"known columns: {', '.join(COLUMNS)}"
    for place, name in enumerate(header):
        if name not in COLUMNS:
            near = get_close_matches(name, COLUMNS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise BadFeedbackFile(f"line 1: unknown column {name!r}; {hint}{known}")
        if name in header[:place]:
            raise BadFeedbackFile(f"line 1: duplicate column {name!r}")
    for name in ("metric", "value"):
        if name not in header:
            raise BadFeedbackFile(f"line 1: column {name!r} is missing; {known}")
    if not set(header) & set(SUBJECTS):
        raise BadFeedbackFile(f"line 1: one of the columns {', '.join(SUBJECTS)} is required")


def _line(row: CsvRow, default_at: datetime) -> FeedbackLine:
    number, cells = row.number, row.cells
    value: dict[str, Any] = {"at": default_at.isoformat(), **cells}
    for name in ("metric", "value"):
        if name not in cells:
            return FeedbackLine(number, problem=f"{name} is empty")
    try:
        value["value"] = parse_number(cells["value"])
    except ValueError:
        return FeedbackLine(number, problem=f"value {cells['value']!r} is neither a number nor true or false")
    try:
        datetime.fromisoformat(value["at"])
    except ValueError:
        return FeedbackLine(number, problem=f"at {value['at']!r} is not a time such as 2026-11-24T16:00:00Z")
    return FeedbackLine(number, (value,))


def parse_number(text: str) -> bool | int | float:
    """The number, or true or false, that a text says. Raises ValueError."""
    known = _TRUTH.get(text.lower())
    if known is not None:
        return known
    number = float(text)
    if number - number != 0:  # infinity or NaN, which JSON cannot express
        raise ValueError
    return int(number) if number.is_integer() and abs(number) < 1 << 53 else number
