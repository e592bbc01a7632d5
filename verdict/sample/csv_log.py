"""Reads an external log (CSV) into a sample. Every error names the line and the column."""

import csv
import difflib
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np

from common.text import from_cell
from records.facts.metric import BUILT_IN, LARGEST, Metric
from records.outcome import (
    INVALID_OUTPUT,
    THROTTLED,
    UNREACHED,
    ErrorType,
    Fault,
    Finish,
    OutputCheck,
    blames_arm,
)
from routing.identity import unit_of
from verdict.details import EXAMPLES, CountedKind, FailureMode
from verdict.sample.outages import outside_outages
from verdict.sample.sample import (
    FEW_SESSIONS,
    NEWEST,
    RATINGS,
    SESSIONS,
    TRAFFIC,
    BadSample,
    MeasureTotals,
    Numbered,
    Ratings,
    RecentFailures,
    RecentRating,
    Sample,
    SeenExchange,
    TextColumn,
    UnitsBehind,
    Values,
    displeased,
    in_one_arm,
)
from verdict.statistics.types import Bools, Floats, Ints
from verdict.terms.measures import CACHE_HITS

# Single exchanges, for example from an external log, as a sample with one row each.


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTable:
    """Answers by exchange, (n,) each. `finished`: the answer was read. `judged`: so was its output's form.

    `faults` has a column for each answer fault.
    """

    finished: Bools
    judged: Bools
    faults: Mapping[Fault, Bools]

    def among(self, fault: Fault, counts: Bools) -> Bools:
        """The exchanges, of those that count, whose answer could have been found to have this fault, (n,)."""
        return counts & self.finished & (self.judged if fault in INVALID_OUTPUT else self.finished)

    def totals(self, counts: Bools) -> dict[str, MeasureTotals]:
        """The measures by name, of the exchanges that count, (n,)."""
        finished, judged = counts & self.finished, counts & self.finished & self.judged
        invalid = np.logical_or.reduce([self.faults[name] for name in INVALID_OUTPUT])
        return {
            "refused": _shares(self.faults["refused"], finished),
            "cut_off": _shares(self.faults["cut_off"], finished),
            "empty": _shares(self.faults["empty"], finished),
            "answer_faults": _shares(np.logical_or.reduce(list(self.faults.values())), finished),
            "invalid_output": _shares(invalid, judged),
        }


def _shares(found: Bools, among: Bools) -> MeasureTotals:
    return MeasureTotals(count=among.astype(np.float64), total=(found & among).astype(np.float64))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeTable:
    """Exchanges in the order of `at`, UTC seconds, (n,) each; a missing number is NaN.

    `counts` is False where the arm is not measured (the caller's own error, an aborted stream). `errors` are
    their error types: where the arm was not reached, ratings do not count. `lines` are those of the log.
    `aborted` marks
    those that the caller left; they are abandoned if no first token had arrived. `feedback`
    rows index these columns. What the log says nothing of is None (`answers`, `tool_calls`, tokens of input).
    `before` is by unit, as in
    `Sample`. `session` is the same number for the exchanges of one session; one without a session has a
    number of its own (None: no exchange has one). `in_session` marks those with one (None: the log names
    none). `by_session` are the metrics of which each session is one
    observation.
    """

    units: tuple[str, ...]
    unit: Ints
    candidate: Bools
    phase: Ints
    at: Floats
    counts: Bools
    failed: Bools
    latency_s: Floats
    ttft_s: Floats
    cost_usd: Floats
    tokens: Floats
    category: TextColumn
    tool_calls: Floats | None = None
    input_tokens: Floats | None = None
    cached_tokens: Floats | None = None
    answers: AnswerTable | None = None
    errors: Sequence[ErrorType | None] = ()
    lines: Sequence[int] = ()
    aborted: Bools | None = None
    tags: Mapping[str, TextColumn] = field(default_factory=dict)
    feedback: Mapping[str, Ratings] = field(default_factory=dict)
    shares: Mapping[int, float] = field(default_factory=dict)
    recent: RecentFailures | None = None
    before: Mapping[str, Floats] = field(default_factory=dict)
    session: Ints | None = None
    in_session: Bools | None = None
    by_session: Collection[str] = ()

    @property
    def ended(self) -> Bools:
        """The exchanges that were answered, failed, or were left by the caller."""
        return self.counts if self.aborted is None else self.counts | self.aborted

    @property
    def abandoned(self) -> Bools:
        """The exchanges that the caller left before a first token."""
        return self.ended & ~self.counts & np.isnan(self.ttft_s)

    def name(self, place: int) -> str:
        """The exchange, as a report names it."""
        return f"line {self.lines[place]}"

    def sample(self) -> Sample:
        """A sample with one row per exchange."""
        everything = np.ones(len(self.at), dtype=np.bool_)
        return Sample(
            units=self.units,
            unit=self.unit,
            candidate=self.candidate,
            phase=self.phase,
            first_at=self.at,
            last_at=self.at,
            candidate_at=self.at[self.candidate],
            category=self.category,
            totals={
                "errors": self._totals(self.failed.astype(np.float64)),
                "cost": self._totals(self.cost_usd),
                "tokens": self._totals(self.tokens),
                "abandoned": _shares(self.abandoned, self.ended),
                TRAFFIC: _shares(everything, everything),
                **self._by_session(),
                **self._cache_hits(),
                **(self.answers.totals(self.counts) if self.answers is not None else {}),
            },
            values={
                "latency": Values.exact(self.latency_s, self.counts),
                "ttft": Values.exact(self.ttft_s, self.counts),
            },
            tags=self.tags,
            feedback={name: self._placed(name, ratings) for name, ratings in self.feedback.items()},
            shares=self.shares,
            recent=self.recent,
            before=self.before,
            unreached=Counter(
                error
                for error, mine in zip(self.errors, self.candidate.tolist(), strict=False)
                if error is not None and error in UNREACHED and mine
            ),
            candidate_exchanges=int(self.candidate.sum()),
            baseline_throttled=sum(
                error == THROTTLED and not mine
                for error, mine in zip(self.errors, self.candidate.tolist(), strict=False)
            ),
            baseline_exchanges=int((~self.candidate).sum()),
        )

    def _by_session(self) -> dict[str, MeasureTotals]:
        """The measures of sessions, each in the session's last exchange that reached its arm."""
        last, reached = self._last_of_session, self.reached
        ends = reached & (last == np.arange(len(self.at)))

        def sums(value: Floats, known: Bools) -> MeasureTotals:
            """Over the sessions with any known value."""
            mine = reached & known
            of, size = last[mine], len(self.at)
            some = np.bincount(of, minlength=size) > 0
            total = np.bincount(of, weights=value[mine], minlength=size)
            return MeasureTotals(count=some.astype(np.float64), total=total)

        found = {
            SESSIONS: _shares(ends, ends),
            "session_exchanges": sums(np.ones(len(self.at)), reached),
            "session_abandoned": _shares(self.failed | (self.ended & ~self.counts), ends),
        }
        for name, value in (("session_cost", self.cost_usd), ("session_tokens", self.tokens)):
            found[name] = sums(value, self.counts & ~np.isnan(value))
        if self.tool_calls is not None:
            found["session_tool_calls"] = sums(np.nan_to_num(self.tool_calls), reached)
        if self.answers is not None:
            faulty = np.logical_or.reduce(list(self.answers.faults.values()))
            found["session_faults"] = _shares(sums(faulty.astype(np.float64), reached).total > 0, ends)
        if self.in_session is not None:
            begun = np.full(len(self.at), np.inf)
            np.minimum.at(begun, last[reached], self.at[reached])
            named = ends & self.in_session
            length_s = np.where(named, self.at - begun, 0.0)
            found["session_length_s"] = MeasureTotals(count=named.astype(np.float64), total=length_s)
        return found

    def _cache_hits(self) -> dict[str, MeasureTotals]:
        if self.input_tokens is None or self.cached_tokens is None:
            return {}
        known = self.counts & ~np.isnan(self.input_tokens) & ~np.isnan(self.cached_tokens)
        count, total = (np.where(known, each, 0.0) for each in (self.input_tokens, self.cached_tokens))
        return {CACHE_HITS: MeasureTotals(count=count, total=total)}

    def _placed(self, name: str, ratings: Ratings) -> Ratings:
        """The values about exchanges that reached their arm; those about sessions in the session's last."""
        found = ratings.only(self.reached[ratings.row])
        if name not in self.by_session:
            return found
        return replace(found, row=self._last_of_session[found.row], subject=self._sessions[found.row])

    @property
    def _sessions(self) -> Ints:
        return np.arange(len(self.at)) if self.session is None else self.session

    @property
    def _last_of_session(self) -> Ints:
        """The last exchange that reached its arm in each one's session, (n,)."""
        last = np.full(int(self._sessions.max(initial=-1)) + 1, -1, dtype=np.int64)
        reached = np.flatnonzero(self.reached)
        last[self._sessions[reached]] = reached  # the last assignment wins
        return last[self._sessions]

    @property
    def reached(self) -> Bools:
        """The exchanges that reached their arm, or did not because of it, (n,)."""
        if not any(error in UNREACHED for error in self.errors):
            return np.ones(len(self.at), dtype=np.bool_)
        return np.array([error not in UNREACHED for error in self.errors], dtype=np.bool_)

    def _totals(self, value: Floats) -> MeasureTotals:
        present = self.counts & ~np.isnan(value)
        return MeasureTotals(count=present.astype(np.float64), total=np.where(present, value, 0.0))


# The failures of an external log: counts of all lines, and the newest lines to look up.


def recent_of(exchanges: ExchangeTable, metrics: Mapping[str, Metric]) -> RecentFailures | None:
    """None without an exchange that counts."""
    counted = np.flatnonzero(exchanges.counts)
    if not len(counted):
        return None
    candidates = int(exchanges.candidate[counted].sum())
    return RecentFailures(
        since=float(exchanges.at[counted[0]]),
        until=float(exchanges.at[counted[-1]]),
        baseline=len(counted) - candidates,
        candidate=candidates,
        modes=(*_errors(exchanges), *_faults_of(exchanges), *_abandoned(exchanges)),
        exchanges=tuple(_seen(exchanges, place) for place in counted[::-1][:NEWEST].tolist()),
        ratings=tuple(
            rating
            for name, ratings in exchanges.feedback.items()
            if name in metrics and not metrics[name].is_event
            for candidate in (False, True)
            for rating in _ratings_of(exchanges, metrics[name], ratings, candidate)
        ),
    )


def _errors(exchanges: ExchangeTable) -> Iterator[FailureMode]:
    names = np.array([error or "" for error in exchanges.errors], dtype=np.str_)
    for name in np.unique(names[exchanges.failed]).tolist():
        found = exchanges.failed & (names == name)
        yield _mode(exchanges, ("error", name), found, exchanges.counts)


def _faults_of(exchanges: ExchangeTable) -> Iterator[FailureMode]:
    answers = exchanges.answers
    if answers is None:
        return
    for fault in answers.faults:
        among = answers.among(fault, exchanges.counts)
        found = answers.faults[fault] & among
        if found.any():
            yield _mode(exchanges, ("fault", fault), found, among)


def _abandoned(exchanges: ExchangeTable) -> Iterator[FailureMode]:
    if exchanges.abandoned.any():
        name: tuple[CountedKind, str] = ("abandoned", "abandoned")
        yield _mode(exchanges, name, exchanges.abandoned, exchanges.ended)


def _mode(exchanges: ExchangeTable, name: tuple[CountedKind, str], found: Bools, among: Bools) -> FailureMode:
    candidate = exchanges.candidate
    newest = np.flatnonzero(found & candidate)[::-1][:EXAMPLES].tolist()
    return FailureMode(
        kind=name[0],
        name=name[1],
        category="",
        baseline=int((found & ~candidate).sum()),
        baseline_of=int((among & ~candidate).sum()),
        candidate=int((found & candidate).sum()),
        candidate_of=int((among & candidate).sum()),
        examples=tuple(map(exchanges.name, newest)),
    )


def _seen(exchanges: ExchangeTable, place: int) -> SeenExchange:
    latency_s = float(exchanges.latency_s[place])
    return SeenExchange(
        name=exchanges.name(place),
        candidate=bool(exchanges.candidate[place]),
        latency_s=None if math.isnan(latency_s) else latency_s,
    )


def _ratings_of(
    exchanges: ExchangeTable, metric: Metric, ratings: Ratings, candidate: bool
) -> Iterator[RecentRating]:
    """The arm's newest ratings by this metric."""
    category = exchanges.category
    mine = np.flatnonzero(exchanges.candidate[ratings.row] == candidate)[::-1][:RATINGS]
    for place, value in zip(ratings.row[mine].tolist(), ratings.value[mine].tolist(), strict=True):
        yield RecentRating(
            name=exchanges.name(place),
            metric=metric.name,
            candidate=candidate,
            category=category.names[int(category.code[place])],
            bad=displeased(metric, value),
        )


Name = TypeVar("Name", bound=str)

REQUIRED = ("unit", "arm", "at")
OPTIONAL = (
    *("latency_s", "ttft_s", "cost_usd", "tokens", "error_type", "category", "phase", "session", "user"),
    *("finish", "faults", "output_check", "tool_calls", "input_tokens", "cached_input_tokens"),
)
DAY_S = 86400.0
_LAST_SECOND = 1e11
"""The year 5138; a larger time is in milliseconds."""

COLUMNS = f"{', '.join(REQUIRED)}, {', '.join(OPTIONAL)}, tag_NAME, metric_NAME and pre_NAME"

_ERROR_TYPES: dict[str, ErrorType] = {name: name for name in get_args(ErrorType)}
_FAULTS: dict[str, Fault] = {name: name for name in get_args(Fault)}
_FINISHES: dict[str, str] = {name: name for name in get_args(Finish)}
_CHECKS: dict[str, str] = {name: name for name in get_args(OutputCheck) if name}


def from_csv(
    path: Path,
    metrics: Mapping[str, Metric] = BUILT_IN,
    *,
    now: float = math.inf,
    assigned_outside: bool = False,
) -> Sample:
    """Read a log with one exchange per line and a header of `COLUMNS`. An empty cell is a missing value.

    `at` is RFC 3339 or UTC seconds, at most a day after `now`, UTC seconds. `arm` is baseline or candidate.
    `error_type` is one of the documented types, empty for a good exchange; a time of 0 beside one is missing.
    `finish`, `faults` and `output_check` are as in an export; without the first two nothing is known of
    answers. `tool_calls` is the number of them. `session` is the session's identity: a line without one is a
    session of its own. `phase` counts changes of the share. `pre_NAME` is the unit's value of a metric before
    the canary, the mean of its cells. `user` is who stands behind the unit, where that is a session or a
    request: what each user does counts as one cluster, whichever arms their units have.
    `metrics` bound the values of `metric_*` cells. `assigned_outside` is as in `in_one_arm`.
    Raises BadSample, OSError.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = [name.strip() for name in next(rows, [])]
            _check_header(path.name, header)
            body = _body(path.name, header, rows)
    except (csv.Error, UnicodeDecodeError) as exc:
        raise BadSample(f"{path.name} is not a CSV file in UTF-8: {exc}") from exc
    if not any(body):
        raise BadSample(f"{path.name} holds no exchange: there is no line below the header")
    table = _Table(path.name, header, body)
    sample = in_one_arm(_build(table, metrics, now), assigned_outside=assigned_outside)
    single = len(set(table.text("unit"))) == len(table.lines)
    if any(table.text("user")):
        return _by_user(sample, table, single=single)
    return replace(sample, behind=_behind(sample, table, single=single))


_BACK_AFTER_S = 6 * 3600.0
"""Who comes after so long a silence comes back: a session is over by then."""
_COME_BACK = 0.02
"""Where fewer of the units come back, they are taken for sessions."""
_LONG_ENOUGH_S, _MANY_ENOUGH = 3 * DAY_S, 100
"""How long a log and how many units show whether users come back."""


def _behind(sample: Sample, table: "_Table", *, single: bool) -> UnitsBehind | None:
    """Whose units they are where no line names a user; None where they may well be users."""
    named = zip(table.text("unit"), table.text("session"), strict=True)
    own = {unit for unit, session in named if unit == session}
    if len(own) > FEW_SESSIONS * len(sample.units):
        return UnitsBehind(units=len(own), known=0, users=0, single=single)
    fleeting = not single and _is_fleeting(sample)
    if not (single or fleeting):
        return None
    return UnitsBehind(units=len(sample.units), known=0, users=0, single=single, fleeting=fleeting)


def _is_fleeting(sample: Sample) -> bool:
    """True if hardly any unit comes back, though the log is long enough for many to."""
    at, unit = sample.first_at, sample.unit
    if len(sample.units) < _MANY_ENOUGH or np.ptp(at) < _LONG_ENOUGH_S:
        return False
    order = np.lexsort((at, unit))
    silence, same = np.diff(at[order]), np.diff(unit[order]) == 0
    back = np.unique(unit[order][1:][same & (silence > _BACK_AFTER_S)])
    return len(back) < _COME_BACK * len(sample.units)


def _by_user(sample: Sample, table: "_Table", *, single: bool) -> Sample:
    """The sample with users as its units, each with all sessions or draws that were assigned for them."""
    names = (unit_of(name) or name for name in table.text("unit"))
    user_of = {unit: user or unit for unit, user in zip(names, table.text("user"), strict=True)}
    users, of = np.unique(np.array([user_of[unit] for unit in sample.units]), return_inverse=True)
    first = np.unique(of, return_index=True)[1]
    known = [user_of[unit] for unit in sample.units if user_of[unit] != unit]
    return replace(
        sample,
        units=users.tolist(),
        unit=of[sample.unit],
        before={name: values[first] for name, values in sample.before.items()},
        behind=UnitsBehind(units=len(of), known=len(known), users=len(set(known)), single=single),
    )


def _check_header(file: str, header: Sequence[str]) -> None:
    for name in header:
        if name in REQUIRED or name in OPTIONAL or name.startswith(("tag_", "metric_", "pre_")):
            continue
        near = difflib.get_close_matches(name, (*REQUIRED, *OPTIONAL), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise BadSample(f"{file} line 1: unknown column {name!r}{hint} Columns are {COLUMNS}")
    if len(set(header)) < len(header):
        raise BadSample(f"{file} line 1: two columns have the same name")
    for name in REQUIRED:
        if name not in header:
            raise BadSample(f"{file} line 1: column {name!r} is missing. Columns are {COLUMNS}")


def _body(name: str, header: Sequence[str], rows: Iterator[list[str]]) -> list[list[str]]:
    body: list[list[str]] = []
    for line, row in enumerate(rows, start=2):
        if row and len(row) != len(header):
            raise BadSample(f"{name} line {line}: {len(row)} cells, but the header has {len(header)} columns")
        body.append(row)
    return body


class _Table:
    """The cells by column, with their line numbers."""

    def __init__(self, name: str, header: Sequence[str], body: Sequence[Sequence[str]]) -> None:
        self.name = name
        self.header = tuple(header)
        rows = [(line, row) for line, row in enumerate(body, start=2) if row]
        self.lines = [line for line, _ in rows]
        self._columns = {
            column: [from_cell(row[i].strip()) for _, row in rows] for i, column in enumerate(header)
        }

    def text(self, column: str) -> list[str]:
        return self._columns.get(column, [""] * len(self.lines))

    def read(self, column: str, parse: Callable[[str], float], right: str) -> Floats:
        """The parsed column, empty cells as NaN. A ValueError of `parse` becomes a BadSample with `right`."""
        values = np.full(len(self.lines), np.nan)
        for i, cell in enumerate(self.text(column)):
            if cell:
                try:
                    values[i] = parse(cell)
                except ValueError:
                    self.refuse(i, column, cell, right)
        return values

    def names(self, column: str, known: Mapping[str, Name]) -> list[Name | None]:
        """The column, each cell one of the known names; None for an empty cell."""
        cells = enumerate(self.text(column))
        return [self.known(row, column, cell, known) if cell else None for row, cell in cells]

    def known(self, row: int, column: str, cell: str, known: Mapping[str, Name]) -> Name:
        """The known name in this cell, or BadSample with the nearest."""
        if cell not in known:
            near = difflib.get_close_matches(cell, known, n=1)
            self.refuse(row, column, cell, near[0] if near else f"one of {', '.join(known)}")
        return known[cell]

    def refuse(self, row: int, column: str, cell: str, right: str) -> None:
        """Raise BadSample for this cell; `right` says what it must be."""
        what = f"{cell!r} is not {right}" if cell else f"is empty; it must be {right}"
        raise BadSample(f"{self.name} line {self.lines[row]}, column {column!r}: {what}")


def _build(table: _Table, metrics: Mapping[str, Metric], now: float) -> Sample:
    at = _required(table, "at", _time, "a time, for example 2026-11-24T10:00:00Z, or UTC seconds")
    _check_times(table, at, now)
    arms = _required(table, "arm", _arm, "'baseline' or 'candidate'")
    names = [unit_of(name) or name for name in table.text("unit")]
    for row, name in enumerate(names):
        if not name:
            table.refuse(row, "unit", "", "the unit's identity, for example a hashed user id")
    errors = table.names("error_type", _ERROR_TYPES)
    phase = table.read("phase", _count, "a whole number from 0")
    order = np.argsort(at, kind="stable")
    units, unit = np.unique(np.array(names, dtype=np.str_), return_inverse=True)
    sessions = [
        (name, session or row)
        for row, (name, session) in enumerate(zip(names, table.text("session"), strict=True))
    ]
    exchanges = ExchangeTable(
        units=tuple(units.tolist()),
        unit=unit.astype(np.int64)[order],
        candidate=(arms == 1)[order],
        phase=np.nan_to_num(phase, nan=0.0).astype(np.int64)[order],
        at=at[order],
        counts=np.array([_counts(error) for error in errors], dtype=np.bool_)[order],
        errors=[errors[row] for row in order.tolist()],
        lines=np.array(table.lines)[order].tolist(),
        failed=np.array([blames_arm(error) for error in errors], dtype=np.bool_)[order],
        aborted=np.array([error == "aborted" for error in errors], dtype=np.bool_)[order],
        latency_s=_duration(table, "latency_s", errors)[order],
        ttft_s=_duration(table, "ttft_s", errors)[order],
        cost_usd=table.read("cost_usd", _amount, "dollars, from 0")[order],
        tokens=table.read("tokens", _amount, "tokens, from 0")[order],
        category=_labels(table, "category", order),
        session=Numbered().of(sessions)[order],
        in_session=_in_session(table, order),
        tool_calls=_counts_in(table, "tool_calls", order),
        input_tokens=_counts_in(table, "input_tokens", order),
        cached_tokens=_counts_in(table, "cached_input_tokens", order),
        by_session=frozenset(name for name, metric in metrics.items() if metric.per == "session"),
        answers=_answers(table, order),
        tags={
            column.removeprefix("tag_"): _labels(table, column, order)
            for column in table.header
            if column.startswith("tag_")
        },
        feedback={
            column.removeprefix("metric_"): _ratings(table, column, at, order, metrics)
            for column in table.header
            if column.startswith("metric_")
        },
        before={
            column.removeprefix("pre_"): _by_unit(
                table.read(column, _number, "a number"), unit, len(units)
            ).reshape(-1, 1)
            for column in table.header
            if column.startswith("pre_")
        },
    )
    return outside_outages(replace(exchanges, recent=recent_of(exchanges, metrics)).sample())


def _required(table: _Table, column: str, parse: Callable[[str], float], right: str) -> Floats:
    values = table.read(column, parse, right)
    for row in np.flatnonzero(np.isnan(values))[:1]:
        table.refuse(int(row), column, "", right)
    return values


def _check_times(table: _Table, at: Floats, now: float) -> None:
    """Refuse the first time that is in milliseconds, or more than a day after `now`."""
    last = min(now + DAY_S, _LAST_SECOND)
    for row in np.flatnonzero(at > last)[:1].tolist():
        cell, seconds = table.text("at")[row], at[row] / 1000
        if at[row] > _LAST_SECOND and seconds <= last:
            table.refuse(row, "at", cell, f"UTC seconds but milliseconds; write {seconds:.3f}")
        table.refuse(row, "at", cell, "in the past: it is more than a day from now; write when it happened")


def _duration(table: _Table, column: str, errors: Sequence[ErrorType | None]) -> Floats:
    """The column's seconds. Load testers write 0 for a request that failed: that is missing, not fast."""
    seconds = table.read(column, _amount, "seconds, from 0")
    failed = np.array([error is not None for error in errors], dtype=np.bool_)
    return np.where(failed & (seconds == 0), np.nan, seconds)


def _ratings(
    table: _Table, column: str, at: Floats, order: np.ndarray, metrics: Mapping[str, Metric]
) -> Ratings:
    metric = metrics.get(column.removeprefix("metric_"))
    low, high = (metric.low, metric.high) if metric else (None, None)
    words = _TRUTH if metric and metric.kind == "bool" else {}

    def parse(cell: str) -> float:
        value = words[cell.lower()] if cell.lower() in words else _number(cell)
        if (low is not None and value < low) or (high is not None and value > high):
            raise ValueError(cell)
        return value

    bounded = low is not None and high is not None
    scale = f"a number from {low:g} to {high:g}" if bounded else "a number"
    values = table.read(column, parse, "true or false (1 or 0)" if words else scale)[order]
    given = np.flatnonzero(~np.isnan(values))
    return Ratings(row=given, value=values[given], at=at[order][given])


_TRUTH = {"true": 1.0, "false": 0.0}


def _by_unit(values: Floats, unit: np.ndarray, units: int) -> Floats:
    """Each unit's mean, (units,); NaN if all its cells are empty."""
    given = ~np.isnan(values)
    count = np.bincount(unit[given], minlength=units)
    total = np.bincount(unit[given], weights=values[given], minlength=units)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _in_session(table: _Table, order: np.ndarray) -> Bools | None:
    named: Bools = np.array([bool(cell) for cell in table.text("session")], dtype=np.bool_)[order]
    return named if named.any() else None


def _counts_in(table: _Table, column: str, order: np.ndarray) -> Floats | None:
    """A column of counts; None if the log has none."""
    return table.read(column, _count, "a whole number from 0")[order] if column in table.header else None


def _labels(table: _Table, column: str, order: np.ndarray) -> TextColumn:
    return TextColumn.of(table.text(column)).take(order)


def _answers(table: _Table, order: np.ndarray) -> AnswerTable | None:
    """How the answers ended and what was wrong with them; None without the columns for it."""
    if "finish" not in table.header or "faults" not in table.header:
        return None
    faults = [_faults(table, row, cell) for row, cell in enumerate(table.text("faults"))]
    finishes, checks = (
        table.names(name, of) for name, of in (("finish", _FINISHES), ("output_check", _CHECKS))
    )

    def marked(marks: Iterable[bool]) -> Bools:
        column: Bools = np.array(list(marks), dtype=np.bool_)[order]
        return column

    return AnswerTable(
        finished=marked(finish is not None for finish in finishes),
        judged=marked(check == "judged" for check in checks),
        faults={name: marked(name in found for found in faults) for name in _FAULTS.values()},
    )


def _faults(table: _Table, row: int, cell: str) -> frozenset[Fault]:
    names = [name.strip() for name in cell.replace(",", " ").split()]
    return frozenset(table.known(row, "faults", name, _FAULTS) for name in names)


def _counts(error: ErrorType | None) -> bool:
    return error is None or blames_arm(error)


def _arm(cell: str) -> float:
    return ("baseline", "candidate").index(cell)


def _time(cell: str) -> float:
    try:
        return _number(cell)
    except ValueError:
        moment = datetime.fromisoformat(cell)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(cell: str) -> float:
    value = float(cell)
    if not abs(value) <= LARGEST:
        raise ValueError(cell)
    return value


def _amount(cell: str) -> float:
    value = _number(cell)
    if value < 0:
        raise ValueError(cell)
    return value


def _count(cell: str) -> float:
    value = int(cell)
    if value < 0:
        raise ValueError(cell)
    return value
