"""Totals of outcomes: by unit and day for reports, by session for repeated questions, by week for what units
did before a run, by day for failures and models. No I/O.

Totals by unit include a canary's exchanges assigned by the hash, and mirror copies, with every outcome except
`shed`. Failures, latency, cost, tokens and answer faults include only exchanges that the arm answered or
failed (`counted`, by `Outcome.measured`); abandonment includes those that the caller aborted, too. Sessions
leave out exchanges that did not reach their arm though it is not to blame.
"""

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from sys import byteorder
from typing import TYPE_CHECKING

import msgspec

from records.outcome import INVALID_OUTPUT, Outcome
from records.store.database import canary_asked
from records.store.segments.columns import Row, without_nul

# Durations in two bytes each, on a logarithmic scale from 0.1 ms to 10,000 s, accurate to 0.015 %.


if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHORTEST_S, LONGEST_S = 1e-4, 1e4
_TOP = 65534
_PER_E = _TOP / math.log(LONGEST_S / SHORTEST_S)
_log = math.log


def pack(seconds: Iterable[float]) -> bytes:
    """Pack each value into a little-endian uint16. Values outside the scale are clamped."""
    codes = array("H", [_code(value) for value in seconds])
    if byteorder == "big":
        codes.byteswap()
    return codes.tobytes()


def unpack(packed: bytes) -> "NDArray[np.float64]":
    """Unpack to seconds, in packing order: float64 (n,)."""
    import numpy as np  # slow to import, and only reports need it

    codes = np.frombuffer(packed, dtype="<u2").astype(np.float64)
    return SHORTEST_S * np.exp((codes - 1.0) / _PER_E)


def _code(seconds: float) -> int:
    if not seconds > SHORTEST_S:  # NaN too
        return 1
    if seconds >= LONGEST_S:
        return _TOP + 1
    return 1 + round(_log(seconds / SHORTEST_S) * _PER_E)


_DAY_S = 86400
_EXPOSED = frozenset({"ok", "fallback", "error", "caller_error", "aborted"})
_NO_TAGS = "{}"
_canonical = msgspec.json.Encoder(order="sorted").encode


def unit_days(outcomes: Iterable[Outcome]) -> list[Row]:
    """Return rows of `tables.unit_days` in key order, so that writers that lock rows cannot deadlock."""
    found: dict[Row, _UnitDay] = {}
    for outcome in outcomes:
        if outcome.outcome in _EXPOSED and outcome.canary and (outcome.mirror or outcome.reason == "cohort"):
            key = _unit_day_key(outcome)
            unit_day = found.get(key)
            if unit_day is None:
                unit_day = found[key] = _UnitDay(outcome.share, outcome.at, outcome.at)
            unit_day.add(outcome)
    return [(*key, *unit_day.row()) for key, unit_day in sorted(found.items(), key=itemgetter(0))]


def sessions(outcomes: Iterable[Outcome]) -> list[Row]:
    """Return rows of `tables.sessions` in key order."""
    found: dict[Row, _Session] = {}
    for outcome in outcomes:
        if not outcome.session or not outcome.canary or outcome.mirror or outcome.unreached:
            continue
        if outcome.outcome in _EXPOSED and outcome.reason == "cohort":
            key = (outcome.canary, outcome.run, outcome.session)
            session = found.get(key)
            if session is None:
                session = found[key] = _Session(outcome, outcome.at)
            session.add(outcome)
    return [(*key, *session.row()) for key, session in sorted(found.items(), key=itemgetter(0))]


@dataclass(slots=True)
class _Answers:
    """Complete answers, and what was wrong with them."""

    finished: int = 0
    refused: int = 0
    cut_off: int = 0
    empty: int = 0
    faulty: int = 0
    judged: int = 0
    invalid: int = 0

    def add(self, outcome: Outcome) -> None:
        judged = outcome.output_check == "judged"
        self.finished += 1
        self.judged += judged
        if faults := outcome.faults:
            self.refused += "refused" in faults
            self.cut_off += "cut_off" in faults
            self.empty += "empty" in faults
            self.faulty += 1
            self.invalid += judged and not INVALID_OUTPUT.isdisjoint(faults)

    def row(self) -> Row:
        return (
            self.finished,
            self.refused,
            self.cut_off,
            self.empty,
            self.faulty,
            self.judged,
            self.invalid,
        )


@dataclass(slots=True)
class _UnitDay:
    """What this batch adds to one row of unit_days."""

    share: float
    first_at: float
    last_at: float
    exchanges: int = 0
    counted: int = 0
    failed: int = 0
    latency: list[float] = field(default_factory=list)
    ttft: list[float] = field(default_factory=list)
    cost_n: int = 0
    cost_sum: float = 0.0
    tokens_n: int = 0
    tokens_sum: float = 0.0
    answers: _Answers = field(default_factory=_Answers)
    ended: int = 0
    abandoned: int = 0

    def add(self, outcome: Outcome) -> None:
        self.exchanges += 1
        if outcome.at >= self.last_at:
            self.last_at, self.share = outcome.at, outcome.share
        elif outcome.at < self.first_at:
            self.first_at = outcome.at
        measured = outcome.measured
        if measured or outcome.outcome == "aborted":
            self.ended += 1
            self.abandoned += outcome.abandoned
        if measured:
            self._count(outcome)

    def _count(self, outcome: Outcome) -> None:
        self.counted += 1
        self.failed += outcome.failed
        if outcome.finish is not None:
            self.answers.add(outcome)
        if outcome.latency_s is not None:
            self.latency.append(outcome.latency_s)
        if outcome.ttft_s is not None:
            self.ttft.append(outcome.ttft_s)
        usage = outcome.usage
        if outcome.cost_usd is not None and not usage.estimated:
            self.cost_n += 1
            self.cost_sum += outcome.cost_usd
        if usage.input_tokens is not None and usage.output_tokens is not None:
            self.tokens_n += 1
            self.tokens_sum += usage.input_tokens + usage.output_tokens

    def row(self) -> Row:
        return (
            self.share,
            self.first_at,
            self.last_at,
            self.exchanges,
            self.counted,
            self.failed,
            len(self.latency),
            sum(self.latency, 0.0),
            len(self.ttft),
            sum(self.ttft, 0.0),
            self.cost_n,
            self.cost_sum,
            self.tokens_n,
            self.tokens_sum,
            pack(self.latency),
            pack(self.ttft),
            *self.answers.row(),
            self.ended,
            self.abandoned,
        )


@dataclass(slots=True)
class _Session:
    """What this batch adds to one row of sessions. `newest` is the session's newest exchange."""

    newest: Outcome
    first_at: float
    exchanges: int = 0
    repeats: int = 0
    asked: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.exchanges += 1
        self.first_at = min(self.first_at, outcome.at)
        if outcome.at >= self.newest.at:
            self.newest = outcome
        if outcome.fingerprint:
            self.repeats += outcome.fingerprint in self.asked
            self.asked.append(outcome.fingerprint)

    def row(self) -> Row:
        newest = self.newest
        return (
            newest.unit,
            newest.arm,
            newest.phase,
            newest.category,
            _tags(newest),
            self.first_at,
            newest.at,
            self.exchanges,
            self.repeats,
            canary_asked("", " ".join(self.asked)) if self.asked else "",
        )


def _unit_day_key(outcome: Outcome) -> Row:
    return (
        outcome.canary,
        outcome.run,
        outcome.phase,
        outcome.arm,
        outcome.mirror,
        outcome.unit,
        int(outcome.at // _DAY_S),
        outcome.category,
        _tags(outcome),
    )


def _tags(outcome: Outcome) -> str:
    return _canonical(outcome.tags).decode() if outcome.tags else _NO_TAGS


# Totals of a batch's outcomes by day: of failures, for the ways to fail; of models, for what they cost.


EXAMPLES = 3
"""The ids that a row keeps at least, of its newest exchanges."""

_ENDED = frozenset({"ok", "fallback", "error", "aborted"})
_ANSWERED = frozenset({"ok", "fallback"})


def failure_days(outcomes: Iterable[Outcome]) -> list[Row]:
    """Rows of `tables.failure_days` in key order: a canary's exchanges with an error type or an answer fault,
    assigned by the hash while both arms had a share."""
    found: dict[Row, list[tuple[float, str]]] = {}
    for outcome in outcomes:
        if (outcome.error_type or outcome.faults) and _is_concurrent(outcome):
            found.setdefault(_failure(outcome), []).append((outcome.at, outcome.exchange_id))
    rows = sorted(found.items(), key=itemgetter(0))
    return [(*key, len(exchanges), _newest(exchanges)) for key, exchanges in rows]


def model_days(outcomes: Iterable[Outcome]) -> list[Row]:
    """Rows of `tables.model_days` in key order: the answered requests, with what is known of their cost."""
    found: dict[Row, _ModelDay] = {}
    for outcome in outcomes:
        if outcome.outcome in _ANSWERED and not outcome.mirror and outcome.reason != "pinned":
            key = _model(outcome)
            day = found.get(key)
            if day is None:
                day = found[key] = _ModelDay(outcome.at)
            day.add(outcome)
    return [(*key, *day.row()) for key, day in sorted(found.items(), key=itemgetter(0))]


def _is_concurrent(outcome: Outcome) -> bool:
    assigned = bool(outcome.canary) and outcome.reason == "cohort" and not outcome.mirror
    return assigned and 0 < outcome.share < 1 and outcome.outcome in _ENDED


def _failure(outcome: Outcome) -> Row:
    return (
        outcome.canary,
        outcome.run,
        int(outcome.at // _DAY_S),
        outcome.arm,
        outcome.outcome,
        outcome.error_type or "",
        outcome.finish or "",
        ",".join(outcome.faults),
        outcome.output_check,
        outcome.stream,
        outcome.ttfb_s is None,
    )


def _newest(exchanges: list[tuple[float, str]]) -> str:
    return " ".join(name for _, name in sorted(exchanges, reverse=True)[:EXAMPLES])


def _model(outcome: Outcome) -> Row:
    day, asked = int(outcome.at // _DAY_S), without_nul(outcome.model_requested)
    return day, outcome.canary, outcome.run, outcome.arm, outcome.provider, asked


@dataclass(slots=True)
class _ModelDay:
    """What this batch adds to one row of model_days."""

    first_at: float
    answered: int = 0
    costs: list[float] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.first_at = min(self.first_at, outcome.at)
        self.answered += 1
        if outcome.cost_usd is not None:
            self.costs.append(outcome.cost_usd)

    def row(self) -> Row:
        return self.first_at, self.answered, len(self.costs), sum(self.costs, 0.0)


# Totals of what units did outside any run: before a canary began, or without one. No I/O.


WEEK_S = 7 * 86400
MOST_ROWS = 5_000_000
"""With more, the oldest weeks are deleted."""

_UNTREATED = frozenset({"", "stopped", "no_plan"})


def prior_weeks(outcomes: Iterable[Outcome]) -> list[Row]:
    """Return rows of `tables.prior_weeks` in key order. A week is a UTC day number // 7."""
    found: dict[Row, _UnitWeek] = {}
    for outcome in outcomes:
        if outcome.unit and is_prior(outcome) and outcome.measured:
            key = (
                int(outcome.at // WEEK_S),
                outcome.provider,
                without_nul(outcome.model_requested),
                outcome.unit,
            )
            week = found.get(key)
            if week is None:
                week = found[key] = _UnitWeek()
            week.add(outcome)
    return [(*key, *week.row()) for key, week in sorted(found.items(), key=itemgetter(0))]


def is_prior(outcome: Outcome) -> bool:
    """True for a real exchange without a canary, or of a canary that never had a share yet (phase 0)."""
    return outcome.phase == 0 and outcome.reason in _UNTREATED and not outcome.mirror


@dataclass(slots=True)
class _UnitWeek:
    """What this batch adds to one row of prior_weeks."""

    last_at: float = 0.0
    counted: int = 0
    failed: int = 0
    latency_n: int = 0
    latency_sum: float = 0.0
    ttft_n: int = 0
    ttft_sum: float = 0.0
    cost_n: int = 0
    cost_sum: float = 0.0
    tokens_n: int = 0
    tokens_sum: float = 0.0

    def add(self, outcome: Outcome) -> None:
        self.last_at = max(self.last_at, outcome.at)
        self.counted += 1
        self.failed += outcome.failed
        if outcome.latency_s is not None:
            self.latency_n += 1
            self.latency_sum += outcome.latency_s
        if outcome.ttft_s is not None:
            self.ttft_n += 1
            self.ttft_sum += outcome.ttft_s
        usage = outcome.usage
        if outcome.cost_usd is not None and not usage.estimated:
            self.cost_n += 1
            self.cost_sum += outcome.cost_usd
        if usage.input_tokens is not None and usage.output_tokens is not None:
            self.tokens_n += 1
            self.tokens_sum += usage.input_tokens + usage.output_tokens

    def row(self) -> Row:
        return (
            self.last_at,
            self.counted,
            self.failed,
            self.latency_n,
            self.latency_sum,
            self.ttft_n,
            self.ttft_sum,
            self.cost_n,
            self.cost_sum,
            self.tokens_n,
            self.tokens_sum,
        )
