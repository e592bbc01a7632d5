"""How much of the variance the users' past explains: the users of `docs/statistics.md`, the report's code."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from records.facts.metric import BUILT_IN
from tests.verdict.simulated import GRID
from verdict.rows.comparison import LogMeanComparison, MeanComparison, RecoveredComparison
from verdict.rows.reading import read
from verdict.sample.cohort import of_units
from verdict.sample.observations import observe
from verdict.sample.sample import MeasureTotals, Ratings, Sample, TextColumn, Values
from verdict.statistics.types import Floats, Ints

METRICS = ("cost_per_request", "latency_p95", "task_completed", "csat", "error_rate")


class Habits:
    """What is a user's own, as in `tests.report.simulated.world`; `uneven` is the activity's σ."""

    def __init__(self, rng: np.random.Generator, users: int, *, requests: float, uneven: float) -> None:
        self.rng, self.users = rng, users
        self.rate = requests * np.exp(uneven * rng.normal(size=users) - uneven**2 / 2)
        self.habit = rng.normal(size=users)
        self.completes = rng.beta(0.88 * 3, 0.12 * 3, size=users)
        self.fails = rng.beta(0.03 * 20, 0.97 * 20, size=users)
        self.taste = 1.0 + rng.binomial(4, 3.3 / 4, size=users)

    def whose(self, *, least: int) -> Ints:
        """The user of each request in some time."""
        count = np.maximum(self.rng.poisson(self.rate), least)
        return np.repeat(np.arange(self.users), count)

    def values(self, whose: Ints, *, rated: float) -> Mapping[str, Floats]:
        """The requests' values, NaN where nothing is known."""
        rng, n = self.rng, len(whose)
        return {
            "cost_per_request": np.exp(0.5 * self.habit[whose] + 0.7 * rng.normal(size=n)),
            "latency_p95": np.exp(0.3 * self.habit[whose] + 0.5 * rng.normal(size=n)),
            "task_completed": np.asarray(rng.random(n) < self.completes[whose], dtype=np.float64),
            "csat": np.where(rng.random(n) < rated, self.taste[whose], np.nan),
            "error_rate": np.asarray(rng.random(n) < self.fails[whose], dtype=np.float64),
        }


def _past(habits: Habits, *, rated: float) -> Mapping[str, Floats]:
    whose = habits.whose(least=0)
    found: dict[str, Floats] = {}
    for name, value in habits.values(whose, rated=rated).items():
        given = ~np.isnan(value)
        count, total = (
            np.bincount(whose[given], weights=each[given], minlength=habits.users)
            for each in (np.ones(len(whose)), value)
        )
        found[name] = of_units(count, total)
    return found


def _sample(habits: Habits, *, rated: float) -> Sample:
    whose, users = habits.whose(least=1), np.arange(habits.users)
    values = habits.values(whose, rated=rated)
    count = np.bincount(whose, minlength=habits.users)

    def totals(name: str) -> MeasureTotals:
        return MeasureTotals(
            count=count.astype(np.float64), total=np.bincount(whose, weights=values[name]).astype(np.float64)
        )

    def ratings(name: str) -> Ratings:
        given = np.flatnonzero(~np.isnan(values[name]))
        return Ratings(row=whose[given], value=values[name][given], at=np.zeros(len(given)))

    nothing = np.zeros(habits.users)
    return Sample(
        units=range(habits.users),  # type: ignore[arg-type]
        unit=users,
        candidate=habits.rng.random(habits.users) < 0.1,
        phase=np.zeros(habits.users, dtype=np.int64),
        first_at=nothing,
        last_at=nothing,
        candidate_at=nothing,
        category=TextColumn(names=("",), code=np.zeros(habits.users, dtype=np.int64)),
        totals={"cost": totals("cost_per_request"), "errors": totals("error_rate")},
        values={
            "latency": Values.grouped(
                row=users, size=count, code=np.searchsorted(GRID, values["latency_p95"]), scale=GRID
            )
        },
        feedback={name: ratings(name) for name in ("task_completed", "csat")},
        before=_past(habits, rated=rated),
    )


def saved(*, requests: float, uneven: float, worlds: int, rated: float = 0.125) -> dict[str, float]:
    """The part of each metric's variance that the past explains: 1 − SE² with it / SE² without it."""
    rng = np.random.default_rng(21)
    widths: dict[str, list[tuple[float, float]]] = {name: [] for name in METRICS}
    for _ in range(worlds):
        sample = _sample(Habits(rng, 6000, requests=requests, uneven=uneven), rated=rated)
        for name in METRICS:
            seen = observe(sample, name, BUILT_IN, now=0.0)
            known, plain = (
                read(sample, each, planned=500).comparison for each in (seen, replace(seen, before=None))
            )
            assert known is not None
            assert plain is not None
            # Not where few events, or a difference in the answers, have no variance of their own.
            arms = [
                each.arms
                for each in (known, plain)
                if isinstance(each, MeanComparison | LogMeanComparison | RecoveredComparison)
            ]
            both = [each.se(1) for each in arms if each is not None]
            if len(both) == 2:
                widths[name].append((both[0], both[1]))
    return {
        name: 1 - float(np.mean([known**2 for known, _ in pairs]) / np.mean([plain**2 for _, plain in pairs]))
        for name, pairs in widths.items()
    }


def test_the_past_explains_a_part_of_the_variance() -> None:
    found = saved(requests=3, uneven=0.0, worlds=3)
    assert found["cost_per_request"] > 0.15
    assert found["latency_p95"] > 0.04
    assert min(found.values()) >= 0.0


@pytest.mark.slow
@pytest.mark.parametrize("uneven", [0.0, 1.0])
@pytest.mark.parametrize("requests", [3, 8])
def test_the_past_explains_a_part_of_the_variance_in_full(requests: float, uneven: float) -> None:
    found = saved(requests=requests, uneven=uneven, worlds=100)
    print(
        f"\n{requests} requests, activity σ {uneven}: {', '.join(f'{n} -{v:.0%}' for n, v in found.items())}"
    )
    assert found["cost_per_request"] > 0.15
