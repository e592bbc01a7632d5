"""Totals of outcomes: by unit and day for reports, by session for repeated questions, by week for what units
did before a run, by day for failures and models. No I/O.

Totals by unit include a canary's exchanges assigned by the hash, and mirror copies, with every outcome except
`shed`. Failures, latency, cost, tokens and answer faults include only exchanges that the arm answered or
failed (`counted`, by `Outcome.measured`); abandonment includes those that the caller aborted, too. Sessions,
and the exchanges without one, leave out those that did not reach their arm though it is not to blame.
"""

import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from sys import byteorder
from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec import structs

from records.outcome import FINGERPRINT, INVALID_OUTPUT, Outcome, Usage
from records.store.database import canary_asked
from records.store.segments.columns import Row, without_nul

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_SYSTEMS = 8
"""Fingerprints of one model's systems in one batch."""

SHORTEST_S, LONGEST_S = 1e-4, 1e4
"""The ends of the logarithmic scale on which a duration takes two bytes, accurate to 0.015 %."""

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
WEEK_S = 7 * _DAY_S
MOST_ROWS = 5_000_000
"""Rows of `prior_weeks`. With more, the oldest weeks are deleted."""

EXAMPLES = 3
"""The ids that a row of `failure_days` keeps at least, of its newest exchanges."""

EXPOSED = frozenset({"ok", "fallback", "error", "caller_error", "aborted"})
"""Outcomes of exchanges that their unit saw."""
_ENDED = frozenset({"ok", "fallback", "error", "aborted"})
_ANSWERED = frozenset({"ok", "fallback"})
_UNTREATED = frozenset({"", "stopped", "no_plan"})
_NO_TAGS = "{}"
_canonical = msgspec.json.Encoder(order="sorted").encode


def unit_days(outcomes: Iterable[Outcome]) -> list[Row]:
    """Return rows of `tables.unit_days` in key order."""
    return _rows(
        (
            each
            for each in outcomes
            if each.outcome in EXPOSED and each.canary and (each.mirror or each.reason == "cohort")
        ),
        lambda each: (
            each.canary,
            each.run,
            each.phase,
            each.arm,
            each.mirror,
            each.unit,
            int(each.at // _DAY_S),
            each.category,
            _tags(each),
        ),
        lambda first: _UnitDay(first.share, first.at, first.at),
    )


def sessions(outcomes: Iterable[Outcome]) -> list[Row]:
    """Return rows of `tables.sessions` in key order."""
    return _rows(
        (
            each
            for each in outcomes
            if each.session and each.canary and not each.mirror and not each.unreached
            if each.outcome in EXPOSED and each.reason == "cohort"
        ),
        lambda each: (each.canary, each.run, each.session),
        lambda first: _Session(first, first.at),
    )


def failure_days(outcomes: Iterable[Outcome]) -> list[Row]:
    """Rows of `tables.failure_days` in key order: a canary's exchanges with an error type or an answer fault,
    assigned by the hash while both arms had a share."""
    return _rows(
        (each for each in outcomes if (each.error_type or each.faults) and _is_concurrent(each)),
        lambda each: (
            each.canary,
            each.run,
            int(each.at // _DAY_S),
            each.arm,
            each.outcome,
            each.error_type or "",
            each.finish or "",
            ",".join(each.faults),
            each.output_check,
            each.stream,
            each.ttfb_s is None,
        ),
        lambda _: _FailureDay(),
    )


def model_days(outcomes: Iterable[Outcome]) -> list[Row]:
    """Rows of `tables.model_days` in key order: the answered requests, with what is known of their cost."""
    return _rows(
        (
            each
            for each in outcomes
            if each.outcome in _ANSWERED
            and not each.mirror
            and each.reason not in ("pinned", "prompt_missed")
        ),
        lambda each: (
            int(each.at // _DAY_S),
            each.canary,
            each.run,
            each.arm,
            each.provider,
            without_nul(each.model_requested),
        ),
        lambda first: _ModelDay(first.at),
    )


def served_models(outcomes: Iterable[Outcome]) -> list[Row]:
    """Rows of `tables.served_models` in key order: the answered requests whose answer names a model, or has
    the fingerprint of a system. A model with more of these than MOST_SYSTEMS numbers its answers."""

    def rows(served: Callable[[Outcome], str]) -> list[Row]:
        return _rows(
            (each for each in answered if served(each)),
            lambda each: (
                each.provider,
                without_nul(each.model),
                without_nul(served(each)),
                int(each.at // _DAY_S),
            ),
            lambda first: _ServedModel(first.at),
        )

    answered = [each for each in outcomes if each.outcome in _ANSWERED]
    marked = rows(lambda each: FINGERPRINT + each.system_fingerprint if each.system_fingerprint else "")
    systems = Counter(row[:2] for row in marked)
    few = [row for row in marked if systems[row[:2]] <= MOST_SYSTEMS]
    return sorted([*rows(lambda each: each.response_model), *few])


def prior_weeks(outcomes: Iterable[Outcome]) -> list[Row]:
    """Return rows of `tables.prior_weeks` in key order: what units did outside any run. A week is a UTC day
    number // 7."""
    return _rows(
        (each for each in outcomes if each.unit and is_prior(each) and each.measured),
        lambda each: (int(each.at // WEEK_S), each.provider, without_nul(each.model_requested), each.unit),
        lambda _: _UnitWeek(),
    )


def is_prior(outcome: Outcome) -> bool:
    """True for a real exchange without a canary, or of a canary that never had a share yet (phase 0)."""
    return outcome.phase == 0 and outcome.reason in _UNTREATED and not outcome.mirror


class _Total(Protocol):
    """What a batch adds to one row."""

    def add(self, outcome: Outcome) -> None: ...

    def row(self) -> Row:
        """The row without its key."""
        ...


def _rows(
    outcomes: Iterable[Outcome], key: Callable[[Outcome], Row], begin: Callable[[Outcome], _Total]
) -> list[Row]:
    """A total of each key's outcomes, begun with the first of them. The rows are in key order, so that
    writers that lock them cannot deadlock."""
    found: dict[Row, _Total] = {}
    for outcome in outcomes:
        named = key(outcome)
        total = found.get(named)
        if total is None:
            total = found[named] = begin(outcome)
        total.add(outcome)
    return [(*named, *total.row()) for named, total in sorted(found.items(), key=itemgetter(0))]


def _is_concurrent(outcome: Outcome) -> bool:
    assigned = bool(outcome.canary) and outcome.reason == "cohort" and not outcome.mirror
    return assigned and 0 < outcome.share < 1 and outcome.outcome in _ENDED


def _tags(outcome: Outcome) -> str:
    return _canonical(outcome.tags).decode() if outcome.tags else _NO_TAGS


class _Answers(msgspec.Struct):
    """Complete answers, and what was wrong with them, in the order of the columns."""

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


class _Spent(msgspec.Struct):
    """The known costs and tokens of exchanges, in the order of the columns."""

    cost_n: int = 0
    cost_sum: float = 0.0
    tokens_n: int = 0
    tokens_sum: float = 0.0

    def add(self, outcome: Outcome) -> None:
        usage = outcome.usage
        if outcome.cost_usd is not None and not usage.estimated:
            self.cost_n += 1
            self.cost_sum += outcome.cost_usd
        if usage.input_tokens is not None and usage.output_tokens is not None:
            self.tokens_n += 1
            self.tokens_sum += usage.input_tokens + usage.output_tokens


class _CacheHits(msgspec.Struct):
    """The input tokens of exchanges of which the cached ones are known, and those."""

    input_tokens: int = 0
    cached_tokens: int = 0

    def add(self, usage: Usage) -> None:
        if usage.input_tokens is not None and usage.cached_input_tokens is not None and not usage.estimated:
            self.input_tokens += usage.input_tokens
            self.cached_tokens += usage.cached_input_tokens


@dataclass(slots=True)
class _Measured:
    """Exchanges that the arm answered or failed."""

    counted: int = 0
    failed: int = 0
    latency: list[float] = field(default_factory=list)
    ttft: list[float] = field(default_factory=list)
    spent: _Spent = field(default_factory=_Spent)

    def add(self, outcome: Outcome) -> None:
        self.counted += 1
        self.failed += outcome.failed
        if outcome.latency_s is not None:
            self.latency.append(outcome.latency_s)
        if outcome.ttft_s is not None:
            self.ttft.append(outcome.ttft_s)
        self.spent.add(outcome)

    def row(self) -> Row:
        """The columns from `counted` to `tokens_sum`."""
        latency, ttft = (len(self.latency), sum(self.latency, 0.0)), (len(self.ttft), sum(self.ttft, 0.0))
        return (self.counted, self.failed, *latency, *ttft, *structs.astuple(self.spent))


@dataclass(slots=True)
class _Alone:
    """Exchanges without a session, each a session of its own."""

    exchanges: int = 0
    spent: _Spent = field(default_factory=_Spent)
    tool_calls: int = 0
    faulty: int = 0
    abandoned: int = 0

    def add(self, outcome: Outcome) -> None:
        self.exchanges += 1
        if outcome.measured:
            self.spent.add(outcome)
        self.tool_calls += len(outcome.tool_calls)
        self.faulty += bool(outcome.faults)
        self.abandoned += outcome.broken_off

    def row(self) -> Row:
        counts = (self.tool_calls, self.faulty, self.abandoned)
        return (self.exchanges, *structs.astuple(self.spent), *counts)


@dataclass(slots=True)
class _UnitDay:
    share: float
    first_at: float
    last_at: float
    exchanges: int = 0
    measured: _Measured = field(default_factory=_Measured)
    answers: _Answers = field(default_factory=_Answers)
    ended: int = 0
    abandoned: int = 0
    cache_hits: _CacheHits = field(default_factory=_CacheHits)
    alone: _Alone = field(default_factory=_Alone)

    def add(self, outcome: Outcome) -> None:
        self.exchanges += 1
        if not outcome.session and not outcome.unreached:
            self.alone.add(outcome)
        if outcome.at >= self.last_at:
            self.last_at, self.share = outcome.at, outcome.share
        elif outcome.at < self.first_at:
            self.first_at = outcome.at
        measured = outcome.measured
        if measured or outcome.outcome == "aborted":
            self.ended += 1
            self.abandoned += outcome.abandoned
        if measured:
            self.measured.add(outcome)
            self.cache_hits.add(outcome.usage)
            if outcome.finish is not None:
                self.answers.add(outcome)

    def row(self) -> Row:
        times = (pack(self.measured.latency), pack(self.measured.ttft))
        begin = (self.share, self.first_at, self.last_at, self.exchanges)
        answers = structs.astuple(self.answers)
        ended, hits = (self.ended, self.abandoned), structs.astuple(self.cache_hits)
        return (*begin, *self.measured.row(), *times, *answers, *ended, *hits, *self.alone.row())


@dataclass(slots=True)
class _Session:
    """`newest` is the session's newest exchange."""

    newest: Outcome
    first_at: float
    exchanges: int = 0
    repeats: int = 0
    asked: list[str] = field(default_factory=list)
    spent: _Spent = field(default_factory=_Spent)
    cache_hits: _CacheHits = field(default_factory=_CacheHits)
    tool_calls: int = 0
    faulty: int = 0

    def add(self, outcome: Outcome) -> None:
        self.exchanges += 1
        self.first_at = min(self.first_at, outcome.at)
        if outcome.at >= self.newest.at:
            self.newest = outcome
        if outcome.fingerprint:
            self.repeats += outcome.fingerprint in self.asked
            self.asked.append(outcome.fingerprint)
        self.tool_calls += len(outcome.tool_calls)
        self.faulty += bool(outcome.faults)
        if outcome.measured:
            self.spent.add(outcome)
            self.cache_hits.add(outcome.usage)

    def row(self) -> Row:
        newest = self.newest
        named = (newest.unit, newest.arm, newest.phase, newest.category, _tags(newest))
        asked = canary_asked("", " ".join(self.asked)) if self.asked else ""
        seen = (self.first_at, newest.at, self.exchanges, self.repeats, asked)
        spent, hits = structs.astuple(self.spent), structs.astuple(self.cache_hits)
        return (*named, *seen, *spent, *hits, self.tool_calls, self.faulty, newest.broken_off)


@dataclass(slots=True)
class _FailureDay:
    exchanges: list[tuple[float, str]] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.exchanges.append((outcome.at, outcome.exchange_id))

    def row(self) -> Row:
        newest = sorted(self.exchanges, reverse=True)[:EXAMPLES]
        return len(self.exchanges), " ".join(name for _, name in newest)


@dataclass(slots=True)
class _ModelDay:
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


@dataclass(slots=True)
class _ServedModel:
    first_at: float
    answered: int = 0

    def add(self, outcome: Outcome) -> None:
        self.first_at = min(self.first_at, outcome.at)
        self.answered += 1

    def row(self) -> Row:
        return self.first_at, self.answered


@dataclass(slots=True)
class _UnitWeek:
    last_at: float = 0.0
    measured: _Measured = field(default_factory=_Measured)

    def add(self, outcome: Outcome) -> None:
        self.last_at = max(self.last_at, outcome.at)
        self.measured.add(outcome)

    def row(self) -> Row:
        return (self.last_at, *self.measured.row())
