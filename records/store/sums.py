"""Totals of outcomes: by unit and day for reports, by session for repeated questions. No I/O.

Totals include a canary's exchanges assigned by the hash, and mirror copies, with every outcome except `shed`.
Failures, latency, cost, tokens and answer faults include only exchanges that the arm answered or failed
(`counted`, by `Outcome.measured`); abandonment includes those that the caller aborted, too. Sessions leave
out exchanges that did not reach their arm though it is not to blame.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import msgspec

from records.durations import pack
from records.outcome import INVALID_OUTPUT, Outcome
from records.store.asked import canary_asked

Row = tuple[Any, ...]

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
