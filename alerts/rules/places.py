"""Where the candidate's failing exchanges lie, by category and segment, and what its provider said last.

Each kind of failing exchange and the traffic are counted by part, over the run and over the last hour, in
bounded memory. `common.concentration` says which parts are named; naming a part decides nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from alerts.rules.rule import FAULT_RULES, FAULTS
from common.concentration import CATEGORY, Breakdown, Concentration, FailingPart, failing_parts
from records.outcome import ErrorType, Outcome

VALUES = 200
"""The values of a category or tag that are counted by name. Exchanges of any further value count only in the
totals."""
HALF_HOUR_S = 1800.0
ANY = "any"
"""The kind of an exchange that failed in any way."""
_SLOW = "slower than "
_SEVERAL = tuple(each for each in FAULTS if len(each.faults) > 1)
"""Rules that count several faults. One that counts a single fault has its name."""


@dataclass(slots=True)
class ValueCounts:
    """Exchanges by the value of one category or tag. `total` includes those beyond VALUES."""

    total: int = 0
    values: dict[str, int] = field(default_factory=dict)

    def add(self, value: str) -> None:
        """Count one exchange."""
        self.total += 1
        if value in self.values or len(self.values) < VALUES:
            self.values[value] = self.values.get(value, 0) + 1


@dataclass(slots=True)
class PartCounts:
    """The traffic of one period by part (`by` → values), and each kind of failing exchange in it."""

    traffic: dict[str, ValueCounts] = field(default_factory=dict)
    failing: dict[str, dict[str, ValueCounts]] = field(default_factory=dict)

    def add(self, parts: Mapping[str, str], kinds: Iterable[str]) -> None:
        """Count one exchange that lies in these parts (`by` → value) and fails in these ways."""
        _count(self.traffic, parts)
        self.add_failing(parts, kinds)

    def add_failing(self, parts: Mapping[str, str], kinds: Iterable[str]) -> None:
        """Count it among those that fail alone."""
        for kind in kinds:
            _count(self.failing.setdefault(kind, {}), parts)


def _count(counts: dict[str, ValueCounts], parts: Mapping[str, str]) -> None:
    for by, value in parts.items():
        counts.setdefault(by, ValueCounts()).add(value)


NEWEST = 500
"""Failing exchanges that are known one by one."""


@dataclass(slots=True)
class FailingTally:
    """The counts behind `Concentration`, JSON-able: the run, and two periods of half an hour. `newest` are
    the failing exchanges that came last out of `failed`, with their parts and kinds."""

    run: PartCounts = field(default_factory=PartCounts)
    older: PartCounts = field(default_factory=PartCounts)
    newer: PartCounts = field(default_factory=PartCounts)
    newer_from: float = 0.0
    failed: int = 0
    newest: list[tuple[dict[str, str], tuple[str, ...]]] = field(default_factory=list)

    def add(self, at: float, parts: Mapping[str, str], kinds: Iterable[str]) -> None:
        """Count one exchange of the candidate that started at monotonic `at`."""
        if at - self.newer_from >= HALF_HOUR_S:
            fresh = at - self.newer_from < 2.0 * HALF_HOUR_S
            self.older, self.newer, self.newer_from = self.newer if fresh else PartCounts(), PartCounts(), at
        failing = tuple(kinds)
        self.run.add(parts, failing)
        self.newer.add(parts, failing)
        if failing:
            self.failed += 1
            self.newest.append((dict(parts), failing))
            del self.newest[:-NEWEST]

    def concentration(self, kind: str, by: Iterable[str], after: int | None = None) -> Concentration:
        """Where exchanges of this kind are concentrated: in the run, or else in the last hour; with `after`,
        among those after so many failing ones, as long as these are known one by one."""
        dimensions = tuple(by)
        noun = "slow exchanges" if kind.startswith(_SLOW) else "failing exchanges"
        if after is not None and self.failed - after <= len(self.newest):
            since = PartCounts(traffic=self.run.traffic)
            for lies_in, kinds in self.newest[len(self.newest) - (self.failed - after) :]:
                since.add_failing(lies_in, kinds)
            return Concentration(parts=_concentrated((since,), kind, dimensions), noun=noun)
        parts = _concentrated((self.run,), kind, dimensions)
        if parts:
            return Concentration(parts=parts, noun=noun)
        return Concentration(
            parts=_concentrated((self.older, self.newer), kind, dimensions), noun=noun, recent=True
        )


_KINDS: Mapping[str, str] = {
    "error_rate": "failed",
    "error_rate_vs_baseline": "failed",
    "abandoned": "abandoned",
    **{rule: rule for rule in FAULT_RULES},
}


def kind_of(rule: str, threshold: float | None) -> str:
    """The kind of exchange that a rule counts; "" for rules about the baseline, means or feedback."""
    if rule == "latency_p95":
        return slower_than(threshold) if threshold is not None else ""
    return _KINDS.get(rule, "")


def slower_than(limit_s: float) -> str:
    """The kind of an exchange that took longer than a latency rule's limit."""
    return f"{_SLOW}{limit_s:g} s"


def kinds_of(outcome: Outcome, limits_s: Iterable[float] = ()) -> list[str]:
    """The ways in which an exchange fails. `limits_s` are the limits of the latency rules."""
    ways: dict[str, bool] = {
        "failed": outcome.failed,
        "abandoned": outcome.abandoned,
        **{each.rule: not each.faults.isdisjoint(outcome.faults) for each in _SEVERAL},
        ANY: outcome.failed or outcome.abandoned or bool(outcome.faults),
    }
    latency_s = outcome.latency_s
    slow = [slower_than(limit) for limit in limits_s if latency_s is not None and latency_s > limit]
    return [*(kind for kind, true in ways.items() if true), *outcome.faults, *slow]


def parts_of(outcome: Outcome, tags: Iterable[str]) -> dict[str, str]:
    """The parts in which an exchange lies: its category, and its values of these tags. "" is absent."""
    return {tag: outcome.tags.get(tag, "") for tag in tags} | {CATEGORY: outcome.category}


def _concentrated(
    periods: tuple[PartCounts, ...], kind: str, dimensions: tuple[str, ...]
) -> tuple[FailingPart, ...]:
    return failing_parts(_breakdown(periods, kind, by) for by in dimensions)


def _breakdown(periods: tuple[PartCounts, ...], kind: str, by: str) -> Breakdown:
    none: dict[str, ValueCounts] = {}
    failing = _sum([period.failing.get(kind, none).get(by) for period in periods])
    traffic = _sum([period.traffic.get(by) for period in periods] if failing.total else [])
    return Breakdown(
        by=by, failing=failing.values, of=failing.total, traffic=traffic.values, total=traffic.total
    )


def _sum(counts: list[ValueCounts | None]) -> ValueCounts:
    total = ValueCounts()
    for each in counts:
        if each is not None:
            total.total += each.total
            for value, count in each.values.items():
                total.values[value] = total.values.get(value, 0) + count
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateError:
    """One error of the candidate's provider: UTC seconds, HTTP status, canary's type, the provider's words.

    `code`, `type`, `param` and `message` are as in `ProviderError`; "" is not said. `request_id` is the
    provider's, "" without one.
    """

    status: int | None
    error_type: ErrorType | None
    code: str
    type: str
    param: str
    message: str
    at: float
    request_id: str = ""

    @property
    def sentence(self) -> str:
        """`candidate rejects: Unsupported parameter: 'max_tokens'`."""
        what = (self.error_type or "error").replace("_", " ")
        return f"{what}: {self.words}" if self.words else what

    @property
    def words(self) -> str:
        """What the provider said, alone: its message, else its code, type and parameter."""
        named = (f"{name} {value}" for name, value in self._named if value)
        return self.message or ", ".join(named)

    @property
    def _named(self) -> tuple[tuple[str, str], ...]:
        return ("code", self.code), ("type", self.type), ("param", self.param)


def candidate_error(outcome: Outcome) -> CandidateError | None:
    """What the provider said about this exchange; None if it did not fail or the provider said nothing."""
    said = outcome.provider_error
    if said is None or not outcome.failed:
        return None
    return CandidateError(
        status=_status_of(outcome),
        error_type=outcome.error_type,
        code=said.code,
        type=said.type,
        param=said.param,
        message=said.message,
        at=outcome.at,
        request_id=outcome.provider_request_id,
    )


def to_document(error: CandidateError | None) -> dict[str, Any] | None:
    """The error as a JSON-able document, with its sentence; None for none."""
    if error is None:
        return None
    document: dict[str, Any] = msgspec.to_builtins(error)
    return document | {"sentence": error.sentence}


def _status_of(outcome: Outcome) -> int | None:
    """The status that the arm's own attempt got; the caller's may be the fallback's."""
    tried = [attempt.status for attempt in outcome.attempts if attempt.arm == outcome.arm]
    return tried[-1] if tried else outcome.status
