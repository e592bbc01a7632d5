"""What the releases of one vendor family have in common: mean changes with intervals, and how many shipped.

A release is a candidate model, however many runs tried it: its newest run with a value counts. A model that a
benchmark refused is one too, even if no user tried it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from report.measures import Unit
from report.statistics.types import Interval
from report.trend_step import TrendStep

NEEDED = 5
"""The fewest releases with a mean, and with a pattern that a quick check may rest on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One vendor family. `releases` are its candidates, oldest first, tried in `evaluations` runs or refused
    by a benchmark; `shipped` of them were promoted or decided to ship; `last_shipped`: the last five were.

    Mean changes have Student's interval over releases, and are None below `needed` releases with a value.
    `accuracy` is over those of `accuracy_metric`, the newest release's.
    """

    vendor: str
    evaluations: int
    releases: tuple[str, ...]
    shipped: int
    last_shipped: bool
    needed: int
    accuracy: Interval | None
    accuracy_metric: str | None
    accuracy_unit: Unit
    cost: Interval | None
    latency: Interval | None


def family_of(vendor: str, steps: Sequence[TrendStep], refused: Mapping[str, float]) -> Family:
    """The family's pattern, from its runs in order of time, and the models that a benchmark refused, with the
    UTC second."""
    releases = _releases(steps, refused)
    shipped = [_shipped(runs) for runs in releases.values()]
    told = next((step for step in reversed(steps) if step.accuracy is not None), None)
    metric = told.accuracy_metric if told is not None else None
    return Family(
        vendor=vendor,
        evaluations=len(steps),
        releases=tuple(releases),
        shipped=sum(shipped),
        last_shipped=len(shipped) >= NEEDED and all(shipped[-NEEDED:]),
        needed=NEEDED,
        accuracy=_mean([_newest(runs, "accuracy", metric) for runs in releases.values()]),
        accuracy_metric=metric,
        accuracy_unit=told.accuracy_unit if told is not None else "share",
        cost=_mean([_newest(runs, "cost") for runs in releases.values()]),
        latency=_mean([_newest(runs, "latency") for runs in releases.values()]),
    )


def _releases(steps: Sequence[TrendStep], refused: Mapping[str, float]) -> dict[str, list[TrendStep]]:
    """The runs by candidate, the release that was tried, or refused, last at the end."""
    found: dict[str, list[TrendStep]] = {}
    for step in steps:
        name = step.candidate or f"the candidate of {step.canary}"
        found[name] = [*found.pop(name, []), step]
    found |= {name: [] for name in refused if name not in found}
    last = {name: runs[-1].at if runs else refused[name] for name, runs in found.items()}
    return dict(sorted(found.items(), key=lambda each: last[each[0]]))


def _shipped(runs: Sequence[TrendStep]) -> bool:
    return next((step.shipped for step in reversed(runs) if step.shipped is not None), False)


def _newest(
    runs: Sequence[TrendStep], name: Literal["accuracy", "cost", "latency"], metric: str | None = None
) -> float | None:
    """The newest known change; of accuracy, the newest of this metric."""
    for step in reversed(runs):
        change = getattr(step, name)
        if change is not None and (name != "accuracy" or step.accuracy_metric == metric):
            return float(change.estimate)
    return None


def _mean(changes: Sequence[float | None]) -> Interval | None:
    """The mean with Student's 95 % interval."""
    known = [change for change in changes if change is not None]
    if len(known) < NEEDED:
        return None
    mean = float(np.mean(known))
    half = float(special.stdtrit(len(known) - 1, 0.975) * np.std(known, ddof=1)) / math.sqrt(len(known))
    return Interval(low=mean - half, estimate=mean, high=mean + half)
