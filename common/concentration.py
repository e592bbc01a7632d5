"""Where failing exchanges lie: the parts of the traffic in which they are concentrated. Pure.

A part is named if it has at least three failing exchanges and a third of all of them, and if that many are
hardly chance (p < .001, Fisher's exact test) given the part's share of the traffic.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from common.numbers import rough_percent

CATEGORY = "category"
LEAST_FAILING = 3
LEAST_PART = 1.0 / 3.0
CHANCE = 0.001
SHOWN = 3


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
        first, *others = (f"{part.place} ({rough_percent(part.share)} of the traffic)" for part in self.parts)
        when = " of the last hour" if self.recent else ""
        opening = f"{self.parts[0].failing} of {self.parts[0].of} {self.noun}{when} are in {first}"
        more = [f"{part.failing} in {place}" for part, place in zip(self.parts[1:], others, strict=True)]
        return ", ".join([opening, *more])

    @property
    def brief(self) -> str:
        """The first part alone: `all in category refund (5 % of the traffic)`; "" for none."""
        if not self.parts:
            return ""
        first = self.parts[0]
        many = "all" if first.failing == first.of else f"{first.failing} of {first.of}"
        return f"{many} in {first.place} ({rough_percent(first.share)} of the traffic)"

    @property
    def document(self) -> list[dict[str, Any]]:
        """The parts, JSON-able: `[{by, value, failing, of, share}]`."""
        return [part._asdict() for part in self.parts]


NOWHERE = Concentration()


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """The failing exchanges and the traffic by value of one category or tag (`by`), and in all.

    `of` and `total` count exchanges of every value, also of those that are not in the mappings.
    """

    by: str
    failing: Mapping[str, int]
    of: int
    traffic: Mapping[str, int]
    total: int


def failing_parts(breakdowns: Iterable[Breakdown]) -> tuple[FailingPart, ...]:
    """The parts in which the failing exchanges are concentrated, at most SHOWN, the least likely first."""
    found = [each for breakdown in breakdowns for each in _unlikely(breakdown)]
    return tuple(part for _, part in sorted(found)[:SHOWN])


def _unlikely(found: Breakdown) -> list[tuple[float, FailingPart]]:
    """(chance, part) of each part that has too many failing exchanges for its share of the traffic."""
    parts = []
    for value, count in found.failing.items():
        traffic = found.traffic.get(value)
        if traffic is None or count < LEAST_FAILING or count < LEAST_PART * found.of:
            continue
        chance = chance_of(count, found.of, max(traffic, count), found.total)
        if chance < CHANCE:
            part = FailingPart(found.by, value, count, found.of, traffic / found.total)
            parts.append((chance, part))
    return parts


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
