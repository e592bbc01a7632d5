"""Boundaries of a group-sequential test, from the information that its looks measured.

Lan, DeMets, Biometrika 1983; Jennison, Turnbull, Group Sequential Methods, 2000, chapter 19. The looks' z
are a Markov chain: the squared correlation of neighbours is the ratio of their information.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from scipy import optimize, special

from verdict.statistics.types import Floats

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
    found: list[float] = []
    walk = _Walk([information[place] for place in places])
    used = 0.0
    for place in places:
        found.append(walk.bound(spent[place] - used))
        walk.stop_above(found[-1])
        used = spent[place]
    latest = np.searchsorted(places, np.arange(len(information)), side="right") - 1
    return [found[place] for place in latest.tolist()]


def crossings(bounds: Sequence[float], information: Sequence[float], drift: float) -> list[float]:
    """The probability to cross first at each look, (looks,), if z has the mean `drift` at the last look.

    All looks must tell something new.
    """
    found: list[float] = []
    walk = _Walk(information)
    for bound, told in zip(bounds, information, strict=True):
        shifted = bound - drift * math.sqrt(told / information[-1])
        found.append(walk.crossing(shifted))
        walk.stop_above(shifted)
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


class _Walk:
    """The chain, look by look. With no drift; a drift shifts the bounds."""

    def __init__(self, information: Sequence[float]) -> None:
        self._steps = [_step(*pair) for pair in pairwise(information)]
        self._look = 0
        self._inside: _Inside | None = None

    def crossing(self, bound: float) -> float:
        """The probability to reach this look and be at or above `bound` there."""
        if self._inside is None:
            return float(special.ndtr(-bound))
        return self._inside.crossing(bound, self._steps[self._look - 1])

    def bound(self, risk: float) -> float:
        """The bound that is crossed at this look with the probability `risk`; FAR if there is none."""
        if risk <= self.crossing(FAR):
            return FAR
        root: Any = optimize.brentq(lambda bound: self.crossing(bound) - risk, -FAR, FAR, xtol=1e-10)
        return float(root)

    def stop_above(self, bound: float) -> None:
        """Go on to the next look without what was at or above `bound`."""
        if self._look < len(self._steps):
            spread = self._steps[self._look][1]
            if self._inside is None:
                z, weight = _points(bound, spread)
                self._inside = _Inside(z, weight * _density(z))
            else:
                self._inside = self._inside.next(bound, self._steps[self._look - 1], spread)
        self._look += 1


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
