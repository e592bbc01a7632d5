"""Where the candidate's failing exchanges lie: the categories and segments in which they are concentrated.

Counts each kind of failing exchange and the traffic by part, over the run and over the last hour, in bounded
memory. A part is named if it has at least three failing exchanges and a third of all of them, and if that
many are hardly chance (p < .001, Fisher's exact test) given the part's share of the traffic.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from alerts.wording import short_percent
from records.outcome import INVALID_OUTPUT, Outcome

CATEGORY = "category"
VALUES = 200
"""The values of a category or tag that are counted by name. Exchanges of any further value count only in the
totals."""
HALF_HOUR_S = 1800.0
LEAST_FAILING = 3
LEAST_PART = 1.0 / 3.0
CHANCE = 0.001
SHOWN = 3
ANY = "any"
"""The kind of an exchange that failed in any way."""
_SLOW = "slower than "


class FailingPart(NamedTuple):
    """A part of the traffic in which failing exchanges are concentrated.

    `by`: "category" or the tag's name. `failing` of the `of` failing exchanges lie in it. `share`: its share
    of the candidate's traffic, in [0, 1].
    """

    by: str
    value: str
    failing: int
    of: int
    share: float

    @property
    def place(self) -> str:
        """`category refund`, `plan pro`, `no category`."""
        return f"{self.by} {self.value}" if self.value else f"no {self.by}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Concentration:
    """The parts that hold the failing exchanges, the least likely by chance first; none if they are spread.

    `noun`: what the exchanges are called. `recent`: counted over the last hour, not the whole run.
    """

    parts: tuple[FailingPart, ...] = ()
    noun: str = "failing exchanges"
    recent: bool = False

    @property
    def sentence(self) -> str:
        """`12 of 12 failing exchanges are in category refund (5 % of the traffic)`; "" for none."""
        if not self.parts:
            return ""
        first, *others = (f"{part.place} ({short_percent(part.share)} of the traffic)" for part in self.parts)
        when = " of the last hour" if self.recent else ""
        opening = f"{self.parts[0].failing} of {self.parts[0].of} {self.noun}{when} are in {first}"
        more = [f"{part.failing} in {place}" for part, place in zip(self.parts[1:], others, strict=True)]
        return ", ".join([opening, *more])

    @property
    def document(self) -> list[dict[str, Any]]:
        """The parts, JSON-able: `[{by, value, failing, of, share}]`."""
        return [part._asdict() for part in self.parts]


NOWHERE = Concentration()


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
        for counts in (self.traffic, *(self.failing.setdefault(kind, {}) for kind in kinds)):
            for by, value in parts.items():
                counts.setdefault(by, ValueCounts()).add(value)


@dataclass(slots=True)
class FailingTally:
    """The counts behind `Concentration`, JSON-able: the run, and two periods of half an hour."""

    run: PartCounts = field(default_factory=PartCounts)
    older: PartCounts = field(default_factory=PartCounts)
    newer: PartCounts = field(default_factory=PartCounts)
    newer_from: float = 0.0

    def add(self, at: float, parts: Mapping[str, str], kinds: Iterable[str]) -> None:
        """Count one exchange of the candidate that started at monotonic `at`."""
        if at - self.newer_from >= HALF_HOUR_S:
            fresh = at - self.newer_from < 2.0 * HALF_HOUR_S
            self.older, self.newer, self.newer_from = self.newer if fresh else PartCounts(), PartCounts(), at
        failing = tuple(kinds)
        self.run.add(parts, failing)
        self.newer.add(parts, failing)

    def concentration(self, kind: str, by: Iterable[str]) -> Concentration:
        """Where exchanges of this kind are concentrated: in the run, or else in the last hour."""
        dimensions = tuple(by)
        noun = "slow exchanges" if kind.startswith(_SLOW) else "failing exchanges"
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
    "answer_faults": "answer_faults",
    "refused": "refused",
    "cut_off": "cut_off",
    "empty": "empty",
    "invalid_output": "invalid_output",
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
    ways = {
        "failed": outcome.failed,
        "abandoned": outcome.abandoned,
        "answer_faults": bool(outcome.faults),
        "invalid_output": not INVALID_OUTPUT.isdisjoint(outcome.faults),
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
    found = [part for by in dimensions for part in _parts(periods, kind, by)]
    return tuple(part for _, part in sorted(found)[:SHOWN])


def _parts(periods: tuple[PartCounts, ...], kind: str, by: str) -> list[tuple[float, FailingPart]]:
    """(chance, part) of each part that has enough failing exchanges for its share of the traffic."""
    none: dict[str, ValueCounts] = {}
    failing = _sum([period.failing.get(kind, none).get(by) for period in periods])
    if failing.total < LEAST_FAILING:
        return []
    traffic = _sum([period.traffic.get(by) for period in periods])
    found = []
    for value, count in failing.values.items():
        known = traffic.values.get(value)
        if known is None or count < LEAST_FAILING or count < LEAST_PART * failing.total:
            continue
        chance = chance_of(count, failing.total, max(known, count), traffic.total)
        if chance < CHANCE:
            found.append((chance, FailingPart(by, value, count, failing.total, known / traffic.total)))
    return found


def _sum(counts: list[ValueCounts | None]) -> ValueCounts:
    total = ValueCounts()
    for each in counts:
        if each is not None:
            total.total += each.total
            for value, count in each.values.items():
                total.values[value] = total.values.get(value, 0) + count
    return total


def chance_of(failing: int, of: int, part: int, traffic: int) -> float:
    """P(X ≥ `failing`) if the `of` failing exchanges were drawn at random from the `traffic`, of which `part`
    lie in the part: Fisher's exact test. The sum stops where its terms no longer add."""
    first, last = max(failing, of + part - traffic, 0), min(of, part)
    if failing <= of + part - traffic:
        return 1.0
    term = math.exp(_ln_comb(part, first) + _ln_comb(traffic - part, of - first) - _ln_comb(traffic, of))
    total = 0.0
    for lying in range(first, last + 1):
        total += term
        if lying * traffic > of * part and term < 1e-12 * total:
            break
        term *= (part - lying) * (of - lying) / ((lying + 1) * (traffic - part - of + lying + 1))
    return min(1.0, total)


def _ln_comb(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
