"""What is known of the units beforehand: over the phases of a ramp, and by their first category."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from tests.verdict.reference import adjusted, narrower
from verdict.rows.comparison import Quantiles
from verdict.sample.sample import Sample, TextColumn, Values
from verdict.statistics.ratio import LEAST, Arms, UnitSums, arms, unit_sums
from verdict.statistics.types import Floats, Ints

Z = 1.959964


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """Users with a habit of cost, in the candidate at 10, 25 and then 50 %: many are in both arms."""

    sums: UnitSums
    before: Floats
    category: Ints


def ramp(rng: np.random.Generator, *, users: int = 1500, effect: float = 0.0, requests: float = 3.0) -> Ramp:
    """Before it, a user made about as many requests; a fifth made none. Categories differ in cost by half."""
    category = rng.choice(4, p=[0.5, 0.3, 0.15, 0.05], size=users)
    habit = np.exp(0.5 * rng.normal(size=users)) * np.array([1.0, 1.5, 0.8, 1.2])[category]
    bucket = rng.random(users)
    pieces = []
    for phase, share in enumerate((0.1, 0.25, 0.5)):
        count = rng.poisson(requests / 3, size=users)
        unit = np.repeat(np.arange(users), count)
        side = bucket[unit] < share
        cost = habit[unit] * np.exp(0.7 * rng.normal(size=len(unit))) * np.where(side, 1 + effect, 1.0)
        pieces.append((unit, np.full(len(unit), phase), side, cost))
    unit, at, side, cost = (np.concatenate(column) for column in zip(*pieces, strict=True))
    earlier = rng.poisson(requests, size=users) * (rng.random(users) > 0.2)
    whose = np.repeat(np.arange(users), earlier)
    spent = np.bincount(whose, habit[whose] * np.exp(0.7 * rng.normal(size=len(whose))), minlength=users)
    with np.errstate(invalid="ignore"):
        mean = spent / earlier
    before = np.column_stack([mean, spent - spent.sum() / earlier.sum() * earlier])
    return Ramp(sums=unit_sums(unit, at, side, cost, np.ones(len(unit))), before=before, category=category)


def _errors(worlds: int, *, seed: int) -> tuple[Floats, Floats, Floats]:
    """The estimated differences of equal arms, their standard errors, and these without adjustment."""
    rng = np.random.default_rng(seed)
    found: list[tuple[float, float, float]] = []
    for _ in range(worlds):
        world = ramp(rng)
        both = narrower(world.sums, world.before, world.category)
        found.append((both.value(1), both.se(1), arms(world.sums).se(1)))
    value, se, plain = np.array(found).T
    return value, se, plain


def test_over_the_phases_of_a_ramp_the_error_is_smaller_and_still_the_true_one() -> None:
    value, se, plain = _errors(300, seed=11)
    assert np.mean(se**2) < 0.85 * np.mean(plain**2)
    assert value.std() == pytest.approx(se.mean(), rel=0.12)
    assert np.mean(np.abs(value) > Z * se) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


@pytest.mark.slow
def test_over_the_phases_of_a_ramp_the_error_is_smaller_and_still_the_true_one_in_full() -> None:
    value, se, plain = _errors(3_000, seed=12)
    covered = float(np.mean(np.abs(value) <= Z * se))
    saved = 1 - float(np.mean(se**2) / np.mean(plain**2))
    print(f"\nover phases, with the past: coverage {covered:.1%}, variance {-saved:.0%}")
    assert covered == pytest.approx(0.95, abs=0.015)


def test_a_real_difference_stays() -> None:
    rng = np.random.default_rng(13)
    worlds = [ramp(rng, effect=0.2) for _ in range(100)]
    plain = np.mean([arms(world.sums).value(1) for world in worlds])
    found = np.mean([narrower(world.sums, world.before, world.category).value(1) for world in worlds])
    assert found == pytest.approx(plain, rel=0.1)


def test_one_phase_alone_is_the_published_formula() -> None:
    """Computed here once more, as `statistics.md` gives it."""
    rng = np.random.default_rng(14)
    world = ramp(rng)
    sums = world.sums.only(world.sums.phase == 2)
    x = np.where(np.isnan(world.before[:, 0]), 0.0, world.before[:, 0])
    found = adjusted(sums, x.reshape(-1, 1))
    of_row, mine = x[sums.unit], sums.candidate
    residual, centred = np.zeros(len(mine)), np.zeros(len(mine))
    for arm in (mine, ~mine):
        mean = sums.count[arm].mean()
        residual[arm] = (
            sums.total[arm] - sums.total[arm].sum() / sums.count[arm].sum() * sums.count[arm]
        ) / mean
        centred[arm] = of_row[arm] - of_row[arm].mean()
    theta = residual @ centred / (centred @ centred)
    left = residual - theta * centred
    variance = sum(float(np.sum(left[arm] ** 2)) / arm.sum() / (arm.sum() - 1) for arm in (mine, ~mine))
    assert found.se(1) == pytest.approx(math.sqrt(variance), rel=1e-9)
    moved = theta * (of_row[mine].mean() - of_row.mean())
    assert found.candidate.value == pytest.approx(sums.total[mine].sum() / sums.count[mine].sum() - moved)


def test_categories_explain_what_differs_between_them() -> None:
    rng = np.random.default_rng(15)
    world = ramp(rng, users=4000)
    assert narrower(world.sums, None, world.category).se(1) < 0.98 * arms(world.sums).se(1)


def _same(found: Arms, plain: Arms) -> bool:
    return found.candidate.value == plain.candidate.value and found.se(1) == plain.se(1)


def test_categories_that_explain_nothing_move_nothing() -> None:
    rng = np.random.default_rng(16)
    world = ramp(rng)
    assert _same(narrower(world.sums, None, rng.permutation(world.category)), arms(world.sums))


def test_categories_of_few_units_are_one_stratum() -> None:
    rng = np.random.default_rng(17)
    world = ramp(rng, users=LEAST // 2)
    assert _same(narrower(world.sums, None, np.arange(LEAST // 2)), arms(world.sums))
    many = adjusted(world.sums, world.before, np.arange(LEAST // 2))
    assert many.se(1) == adjusted(world.sums, world.before).se(1)


def test_a_past_in_millionths_counts_like_one_in_millions() -> None:
    rng = np.random.default_rng(18)
    world = ramp(rng)
    small, large = (adjusted(world.sums, scale * world.before, world.category).se(1) for scale in (1e-9, 1e9))
    assert small == pytest.approx(large)


def _reads_p90(rng: np.random.Generator, users: int) -> tuple[float, float]:
    """The difference of two equal arms' p90 without and with the users' earlier mean, at equal sizes."""
    habit = rng.normal(size=users)
    size = 1 + rng.poisson(4, size=users)
    whose = np.repeat(np.arange(users), size)
    seconds = np.exp(0.6 * habit[whose] + 0.4 * rng.normal(size=len(whose)))
    scale = np.exp(np.linspace(-5, 5, 3000))
    side = rng.random(users) < 0.5
    values = Values.grouped(
        row=np.arange(users), size=size, code=np.searchsorted(scale, seconds), scale=scale
    )
    nothing = np.zeros(users)
    sample = Sample(
        units=range(users),  # type: ignore[arg-type]
        unit=np.arange(users), candidate=side, phase=np.zeros(users, dtype=np.int64), first_at=nothing,
        last_at=nothing, candidate_at=nothing, category=TextColumn(names=("",), code=nothing.astype(int)),
    )  # fmt: skip
    found = Quantiles.of(sample, values, 0.9)
    slower, count = found.slower(values), size.astype(np.float64)
    sums = UnitSums(unit=sample.unit, phase=sample.phase, candidate=side, total=slower, count=count)
    plain, known = arms(sums), adjusted(sums, (habit + 0.3 * rng.normal(size=users)).reshape(-1, 1))
    return tuple(found.compare(both, 2.0).contrast(1, 0).estimate for both in (plain, known))  # type: ignore[return-value]


def test_a_percentile_moves_as_its_share_does() -> None:
    """Its interval is of the adjusted share, so the estimate must vary as little as that."""
    rng = np.random.default_rng(19)
    plain, known = np.array([_reads_p90(rng, 1200) for _ in range(150)]).T
    assert abs(known.mean()) < 0.05
    assert known.std() < 0.92 * plain.std()
