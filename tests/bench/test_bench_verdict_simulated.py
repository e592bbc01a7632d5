"""How often a benchmark's verdict errs, simulated with fixed seeds. docs/bench.md quotes what `-s` prints."""

from dataclasses import dataclass

import numpy as np
import pytest

from bench.answers.results import ExampleResult
from bench.benchmark.figures import ResultPair, figures
from bench.benchmark.reasons import of_dataset, verdict
from bench.dataset.example import Example
from bench.models.asker import Answer
from bench.settings import DatasetSource
from tests.bench.examples import dataset_of

RUNS = 400


@dataclass(frozen=True, kw_only=True)
class World:
    """Two models over `n` examples: each is right with its own chance, alike on some of them by `shared`."""

    n: int
    old: float
    new: float
    floor: float | None = None
    shared: float = 0.6


def verdicts(world: World) -> dict[str, float]:
    """The share of runs that end with each verdict."""
    random = np.random.default_rng(11)
    lines = [{"task": "exact", "expected": "x", "input": str(n)} for n in range(world.n)]
    dataset = dataset_of(*lines)
    examples = dataset.examples
    source = DatasetSource(name="d", file="d", layer="synthetic", floor=world.floor)
    found = {"ship": 0, "extend": 0, "dont_ship": 0}
    for _ in range(RUNS):
        # An example that is as hard for either has one draw for both, else each has its own.
        theirs = random.random(world.n)
        ours = np.where(random.random(world.n) < world.shared, theirs, random.random(world.n))
        pairs: list[ResultPair] = [
            (_result(example, a), _result(example, b))
            for example, a, b in zip(examples, theirs < world.old, ours < world.new, strict=True)
        ]
        found[verdict(tuple(of_dataset(source, figures(pairs, ratios=False), dataset)))] += 1
    return {name: count / RUNS for name, count in found.items()}


def _result(example: Example, right: bool) -> ExampleResult:
    return ExampleResult(example=example, answer=Answer(text="x"), score=float(right), right=bool(right))


def _tell(world: World, found: dict[str, float]) -> None:
    print(f"{world}: " + ", ".join(f"{name} {share:.1%}" for name, share in found.items()))


SIZES = [pytest.param(100, marks=pytest.mark.more), 200, pytest.param(500, marks=pytest.mark.more)]


@pytest.mark.parametrize("n", SIZES)
def test_an_equal_model_is_seldom_refused(n: int) -> None:
    world = World(n=n, old=0.92, new=0.92)
    found = verdicts(world)
    _tell(world, found)
    assert found["dont_ship"] <= 0.05


@pytest.mark.parametrize("n", SIZES)
def test_a_model_that_is_five_points_worse_is_seldom_shipped(n: int) -> None:
    world = World(n=n, old=0.92, new=0.87)
    found = verdicts(world)
    _tell(world, found)
    assert found["ship"] <= 0.05


@pytest.mark.parametrize("n", SIZES)
def test_a_model_at_the_floor_is_seldom_shipped(n: int) -> None:
    world = World(n=n, old=0.85, new=0.85, floor=0.85)
    found = verdicts(world)
    _tell(world, found)
    assert found["ship"] <= 0.05


@pytest.mark.more
def test_a_model_that_is_ten_points_worse_is_mostly_refused_with_two_hundred_examples() -> None:
    world = World(n=200, old=0.92, new=0.82)
    found = verdicts(world)
    _tell(world, found)
    assert found["dont_ship"] >= 0.8
    assert found["ship"] == 0


@pytest.mark.more
def test_an_equal_model_mostly_ships_with_five_hundred_examples() -> None:
    world = World(n=500, old=0.92, new=0.92)
    found = verdicts(world)
    _tell(world, found)
    assert found["ship"] >= 0.8
