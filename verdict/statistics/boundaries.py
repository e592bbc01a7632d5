"""Boundaries of a group-sequential test, and how far skewed or few units let an interval's end reach there.

Lan, DeMets, Biometrika 1983; Jennison, Turnbull, Group Sequential Methods, 2000, chapter 19. The looks' z
are a Markov chain: the squared correlation of neighbours is the ratio of their information. The reach of an
end, in standard errors with the sign of the boundary: Hall, "On the removal of skewness by transformation",
JRSS B 1992, with Student's t for the effective number of units.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from scipy import optimize, special

from verdict.statistics.types import Floats, NotComputed

FAR = 9.0
"""A z beyond which a normal distribution has nothing that could be spent."""

_SAME = 0.999
"""From this squared correlation on, a look tells nothing new."""

_Step: TypeAlias = tuple[float, float]
"""A transition of the chain: the correlation ρ, and the spread √(1−ρ²)."""

_X, _W = np.polynomial.legendre.leggauss(20)


@dataclass(frozen=True, slots=True)
class _Inside:
    """The part of the chain that has not crossed: `mass` (n,) at the points `z` (n,)."""

    z: Floats
    mass: Floats

    def crossing(self, bound: float, step: _Step) -> float:
        """The probability that the next z is at or above `bound`."""
        correlation, spread = step
        return float(self.mass @ special.ndtr((correlation * self.z - bound) / spread))

    def next(self, bound: float, step: _Step, next_spread: float) -> "_Inside":
        """The next z below `bound`, at points as fine as the step after it needs."""
        correlation, spread = step
        z, weight = _points(bound, next_spread)
        kernel = _density((z[:, None] - correlation * self.z) / spread) / spread
        return _Inside(z, weight * (kernel @ self.mass))


def boundaries(spent: Sequence[float], information: Sequence[float]) -> list[float]:
    """c_k of each look: P(Z_j < c_j for all j < k, Z_k ≥ c_k) is the part of the risk that look k may spend.

    `spent` (looks,) is the risk that may be spent up to each look, rising. `information` (looks,) is above
    0, in any unit. A look that tells nothing new has the boundary of the look before, and its risk waits.
    """
    places = _telling(information)
    spends, tells = tuple(spent[place] for place in places), tuple(information[place] for place in places)
    found = [_reached(spends[:look], tells[:look])[0] for look in range(1, len(places) + 1)]
    latest = np.searchsorted(places, np.arange(len(information)), side="right") - 1
    return [found[place] for place in latest.tolist()]


@lru_cache(maxsize=128)
def _reached(spent: tuple[float, ...], information: tuple[float, ...]) -> tuple[float, "_Walk"]:
    """The last look's boundary, and the chain that has come to it. Each look takes up that of the look
    before."""
    if len(spent) == 1:
        walk, risk = _Walk(), spent[0]
    else:
        bound, before = _reached(spent[:-1], information[:-1])
        walk, risk = before.beyond(bound, _step(*information[-2:])), spent[-1] - spent[-2]
    return walk.bound(risk), walk


def crossings(bounds: Sequence[float], information: Sequence[float], drift: float) -> list[float]:
    """The probability to cross first at each look, (looks,), if z has the mean `drift` at the last look.

    All looks must tell something new.
    """
    found: list[float] = []
    walk, steps = _Walk(), [_step(*pair) for pair in pairwise(information)]
    for look, (bound, told) in enumerate(zip(bounds, information, strict=True)):
        shifted = bound - drift * math.sqrt(told / information[-1])
        found.append(walk.crossing(shifted))
        if look < len(steps):
            walk = walk.beyond(shifted, steps[look])
    return found


def _telling(information: Sequence[float]) -> list[int]:
    """The places of the looks that tell something new against the last such look."""
    places = [0] if information else []
    for place in range(1, len(information)):
        if _squared_correlation(information[places[-1]], information[place]) <= _SAME:
            places.append(place)
    return places


def _squared_correlation(one: float, other: float) -> float:
    return min(one / other, other / one)


@dataclass(frozen=True, slots=True)
class _Walk:
    """The chain at a look: what was `inside` at the look before, and the `step` from there; None at the
    first look. With no drift; a drift shifts the bounds."""

    inside: _Inside | None = None
    step: _Step = (0.0, 1.0)

    def crossing(self, bound: float) -> float:
        """The probability to reach this look and be at or above `bound` there."""
        if self.inside is None:
            return float(special.ndtr(-bound))
        return self.inside.crossing(bound, self.step)

    def bound(self, risk: float) -> float:
        """The bound that is crossed at this look with the probability `risk`; FAR if there is none."""
        if risk <= self.crossing(FAR):
            return FAR
        root: Any = optimize.brentq(lambda bound: self.crossing(bound) - risk, -FAR, FAR, xtol=1e-10)
        return float(root)

    def beyond(self, bound: float, step: _Step) -> "_Walk":
        """The next look, this step away, without what is at or above `bound` here."""
        if self.inside is not None:
            return _Walk(self.inside.next(bound, self.step, step[1]), step)
        z, weight = _points(bound, step[1])
        return _Walk(_Inside(z, weight * _density(z)), step)


def _step(one: float, other: float) -> _Step:
    squared = _squared_correlation(one, other)
    return math.sqrt(squared), math.sqrt(1 - squared)


def _points(bound: float, spread: float) -> tuple[Floats, Floats]:
    """Points from −FAR to `bound` and their weights, (n,) each: panels of Gauss and Legendre's rule, fine
    enough to integrate a normal density of this spread."""
    width = max(bound + FAR, 0.0)
    panels = max(2, math.ceil(width / (6 * spread)))
    edges = np.linspace(-FAR, -FAR + width, panels + 1)
    half = width / panels / 2
    middle = (edges[:-1] + edges[1:]) / 2
    return (middle[:, None] + half * _X).ravel(), np.tile(half * _W, panels)


def _density(z: Floats) -> Floats:
    return np.asarray(np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi), dtype=np.float64)


# How far an end of an interval lies from the estimate, if units are skewed or few.


_NONE = 1e-6
"""Below this skewness, the limit of the formulas for 0."""

_FAR = 1e6
"""No reach is longer, so that a reach times a standard error of 0 is a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The shape of an estimate: its skewness κ = Σψ³/(Σψ²)^1.5, and ν, the effective number of units."""

    skewness: float
    units: float

    def __post_init__(self) -> None:
        """Raises NotComputed: a reach that is no number would be cut to the longest one, at either end."""
        if not (math.isfinite(self.skewness) and math.isfinite(self.units)):
            raise NotComputed("their skewness is not a number")

    def reach(self, bound: float) -> float:
        """T(c): the distance of the lower end below the estimate at the boundary c; of the upper end,
        −T(−c)."""
        q = _student(bound, self.units)
        k = self.skewness
        if abs(k) < _NONE:
            return q
        return max(-_FAR, min(_FAR, 3 / k * (float(np.cbrt(1 + k * (q - k / 6))) - 1)))

    def level(self, reach: float) -> float:
        """The one-sided level at which the end has this reach: the inverse of `reach`, as 1 − Φ(c)."""
        k = self.skewness
        q = reach if abs(k) < _NONE else ((1 + k * reach / 3) ** 3 - 1) / k + k / 6
        return float(special.stdtr(_freedom(self.units), -q))

    def quantile_reach(self, bound: float) -> tuple[float, float]:
        """The reach of a quantile's lower and upper end at the boundary c: max(q, q ± κ(q²−1)/6)."""
        q = _student(bound, self.units)
        shift = self.skewness * (q * q - 1) / 6
        return max(q, q + shift), max(q, q - shift)


def skewness(influence: Floats) -> float:
    """κ of an estimate with these influences of units, (units,); 0 without any spread."""
    square = influence * influence
    spread = float(np.sum(square))
    return float(np.sum(square * influence)) / spread**1.5 if spread > 0 else 0.0


def effective_units(counts: Floats) -> float:
    """ν = (ΣN²)²/ΣN⁴ of units with these counts, (units,): few busy units count as few."""
    square = counts * counts
    return float(np.sum(square)) ** 2 / float(np.sum(square * square)) if len(counts) else 0.0


def _student(bound: float, units: float) -> float:
    """Student's quantile at the level of the normal boundary."""
    # The lower tail is exact where 1 − Φ(c) is not.
    tail = float(special.stdtrit(_freedom(units), special.ndtr(-abs(bound))))
    return -tail if bound > 0 else tail


def _freedom(units: float) -> float:
    return max(units - 1, 2.0)


# What the units' influences say about an estimate: its error, its skewness, and how much hangs on one


HEAVY = 0.1
"""A unit with more than this part of Σψ² is counted twice. In 100 users' ratings, one bad rating has 9 %: the
skewness tells of it well enough, and counting it twice would cost 8 points of power."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateSpread:
    """An estimate that is `off` by so much from the plain one, with its standard error and skewness κ."""

    off: float
    se: float
    skewness: float


def spreads(influence: Floats) -> tuple[EstimateSpread, EstimateSpread]:
    """The spread of an estimate with these influences, (units,), and that with a heavy unit counted twice.

    A claim must hold for both: the heavy unit's next visit must not reverse the claim. Without such a unit,
    both are the same.
    """
    variance = float(np.sum(influence**2))
    se = math.sqrt(variance)
    plain = EstimateSpread(off=0.0, se=se, skewness=skewness(influence))
    heaviest = float(influence[np.argmax(influence**2)]) if variance > 0 else 0.0
    if heaviest**2 <= HEAVY * variance:
        return plain, plain
    wider = math.hypot(se, heaviest)
    third = plain.skewness * se**3 + heaviest**3
    return plain, EstimateSpread(off=heaviest, se=wider, skewness=third / wider**3)


def at_least(influence: Floats, variance: float) -> Floats:
    """The influences, stretched so that their squares sum to at least this variance."""
    own = float(np.sum(influence**2))
    return influence * math.sqrt(max(1.0, variance / own)) if own > 0 else influence


def lent_skewness(influence: Floats, lender: Floats, *, units: tuple[int, int]) -> float:
    """Σψ³ of an arm with these influences if its units were as skewed as the lender's; `units` of arm and
    lender.

    The third moment of a mean over n units is γ·V^1.5/√n, with γ the skewness of one unit.
    """
    gamma = math.sqrt(units[1]) * skewness(lender)
    variance = float(np.sum(influence**2))
    return gamma * math.sqrt(variance) ** 3 / math.sqrt(units[0])
