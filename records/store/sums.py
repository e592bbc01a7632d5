"""Outcomes added up: by unit, day and kind for reports, by session for what was asked again. No I/O here.

What counts: an exchange that the hash assigned, or a mirror copy, of a canary, however it ended (`shed` never
began). Failures, latency, cost and tokens are of exchanges that the arm answered or failed (`counted`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import msgspec

from records.durations import pack
from records.outcome import Outcome
from records.store.asked import canary_asked

Row = tuple[Any, ...]

_DAY_S = 86400
_EXPOSED = frozenset({"ok", "fallback", "error", "caller_error", "aborted"})
_COUNTED = frozenset({"ok", "fallback", "error"})
_NO_TAGS = "{}"
_canonical = msgspec.json.Encoder(order="sorted").encode


def unit_days(outcomes: Iterable[Outcome]) -> list[Row]:
    """Rows of `tables.unit_days`, by key: writers that take the rows' locks in one order cannot deadlock."""
    cells: dict[Row, _Cell] = {}
    for each in outcomes:
        if each.outcome in _EXPOSED and each.canary and (each.mirror or each.reason == "cohort"):
            key = _cell_key(each)
            cell = cells.get(key)
            if cell is None:
                cell = cells[key] = _Cell(each.share, each.at, each.at)
            cell.add(each)
    return [(*key, *cell.row()) for key, cell in sorted(cells.items(), key=itemgetter(0))]


def sessions(outcomes: Iterable[Outcome]) -> list[Row]:
    """Rows of `tables.sessions`, by key."""
    found: dict[Row, _Session] = {}
    for each in outcomes:
        if not each.session or not each.canary or each.mirror:
            continue
        if each.outcome in _EXPOSED and each.reason == "cohort":
            key = (each.canary, each.run, each.session)
            session = found.get(key)
            if session is None:
                session = found[key] = _Session(each, each.at)
            session.add(each)
    return [(*key, *session.row()) for key, session in sorted(found.items(), key=itemgetter(0))]


@dataclass(slots=True)
class _Cell:
    """One row of unit_days as this batch adds to it."""

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

    def add(self, outcome: Outcome) -> None:
        self.exchanges += 1
        if outcome.at >= self.last_at:
            self.last_at, self.share = outcome.at, outcome.share
        elif outcome.at < self.first_at:
            self.first_at = outcome.at
        if outcome.outcome in _COUNTED:
            self._count(outcome)

    def _count(self, outcome: Outcome) -> None:
        self.counted += 1
        self.failed += outcome.failed
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
        )


@dataclass(slots=True)
class _Session:
    """One row of sessions as this batch adds to it; `newest` names what it was about last."""

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


def _cell_key(each: Outcome) -> Row:
    return (
        each.canary,
        each.run,
        each.phase,
        each.arm,
        each.mirror,
        each.unit,
        int(each.at // _DAY_S),
        each.category,
        _tags(each),
    )


def _tags(outcome: Outcome) -> str:
    return _canonical(outcome.tags).decode() if outcome.tags else _NO_TAGS
