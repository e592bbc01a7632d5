"""The plan of looks: its days, its spending and boundaries, against published tables and known answers."""

import math
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import stats

from tests.verdict.reference import ratio
from verdict.statistics.boundaries import Shape, boundaries, crossings, effective_units, skewness
from verdict.terms.plan import DAY_S, VerdictPlan, default_days, first_day, midnights

FORTNIGHT = VerdictPlan(days=14, first_day=7)


def _bounds(plan: VerdictPlan, risk: float, side: str = "ship") -> list[float]:
    """With information that grows evenly."""
    assert side in ("ship", "refuse")
    days = plan.looks("ship" if side == "ship" else "refuse")
    spent = [plan.spent("ship" if side == "ship" else "refuse", day, risk) for day in days]
    return boundaries(spent, [float(day) for day in days])


def test_the_looks_are_daily_then_weekly_and_end_at_twice_the_days() -> None:
    assert FORTNIGHT.looks("ship") == (7, 8, 9, 10, 11, 12, 13, 14, 21, 28)
    assert FORTNIGHT.looks("refuse") == (*range(1, 15), 21, 28)
    assert VerdictPlan(days=10, first_day=10).looks("ship") == (10, 17, 20)
    assert (FORTNIGHT.next_look(0), FORTNIGHT.next_look(14), FORTNIGHT.next_look(28)) == (1, 21, None)


def test_the_days_follow_from_the_minimum_and_the_slowest_metric() -> None:
    assert (default_days(7, 0), default_days(7, 2.5), default_days(0, 7)) == (14, 17, 0)
    assert (default_days(20, 0), default_days(20.5, 7)) == (20, 28)
    assert (first_day(7, 7), first_day(0, 0), first_day(0.5, 0)) == (14, 1, 1)


@pytest.mark.parametrize(
    ("risk", "wanted"),
    [
        (0.05, [2.5514, 2.5602, 2.4621, 2.3450, 2.2188, 2.0860, 1.9469, 1.8011, 2.3233, 2.3880]),
        (0.025, [2.7843, None, None, None, None, None, None, 2.1209, 2.6304, 2.6900]),
        (0.2, [2.0246, None, None, None, None, None, None, 0.9873, None, None]),
        (0.5, [1.6105, None, None, None, None, None, None, 0.1589, None, None]),
    ],
)
def test_boundaries_to_ship(risk: float, wanted: list[float | None]) -> None:
    found = _bounds(FORTNIGHT, risk)
    assert [None if w is None else round(f, 4) for f, w in zip(found, wanted, strict=True)] == wanted


def test_a_plan_with_one_look_spends_nine_tenths_there() -> None:
    assert _bounds(VerdictPlan(days=7, first_day=7), 0.05) == pytest.approx([1.6954, 2.2628], abs=5e-5)


@pytest.mark.parametrize(
    ("risk", "wanted"),
    [
        (0.025, {1: 2.9465, 3: 2.8273, 7: 2.6385, 14: 2.4255, 21: 2.7112, 28: 2.7358}),
        (0.0125, {1: 3.1546, 3: 3.0551, 7: 2.8898, 14: 2.7030}),
    ],
)
def test_boundaries_to_refuse(risk: float, wanted: dict[int, float]) -> None:
    found = dict(zip(FORTNIGHT.looks("refuse"), _bounds(FORTNIGHT, risk, "refuse"), strict=True))
    assert {day: round(found[day], 4) for day in wanted} == wanted


def test_boundaries_follow_the_information_that_was_measured() -> None:
    told = [41.0, 55, 60, 61, 75, 90, 88, 110, 150, 190]
    spent = [FORTNIGHT.spent("ship", day, 0.05) for day in FORTNIGHT.looks("ship")]
    wanted = [2.5514, 2.6480, 2.4779, 2.2911, 2.2787, 2.1658, 1.9438, 1.9039, 2.2887, 2.3440]
    assert [round(bound, 4) for bound in boundaries(spent, told)] == wanted
    late = boundaries(spent[2:], told[2:])
    assert [round(bound, 4) for bound in late[:2]] == [2.3209, 2.2167]


def test_a_look_that_tells_nothing_new_spends_nothing() -> None:
    spent = [0.01, 0.02, 0.05]
    first, same, last = boundaries(spent, [50.0, 50.01, 100.0])
    assert first == same
    assert last == pytest.approx(boundaries([0.01, 0.05], [50.0, 100.0])[1])
    assert boundaries([], []) == []


@pytest.mark.parametrize(
    ("spent", "told", "wanted"),
    [
        # gsDesign: Lan and DeMets' O'Brien and Fleming at .5, .75, 1 of .025.
        (
            [2 - 2 * stats.norm.cdf(stats.norm.ppf(1 - 0.0125) / math.sqrt(t)) for t in (0.5, 0.75, 1)],
            [2, 3, 4],
            [2.962588, 2.359018, 2.014084],
        ),
        # gsDesign: Hwang, Shih, DeCani −4 at thirds of .025.
        (
            [0.025 * math.expm1(4 * t) / math.expm1(4) for t in (1 / 3, 2 / 3, 1)],
            [1, 2, 3],
            [3.010739, 2.546531, 1.999226],
        ),
        # ld98, fifths of .025.
        (
            [
                2 - 2 * stats.norm.cdf(stats.norm.ppf(1 - 0.0125) / math.sqrt(t))
                for t in (0.2, 0.4, 0.6, 0.8, 1)
            ],
            [1, 2, 3, 4, 5],
            [4.8769, 3.3569, 2.6803, 2.2898, 2.0310],
        ),
    ],
)
def test_published_boundaries(spent: list[float], told: list[float], wanted: list[float]) -> None:
    # ld98 integrates more coarsely than gsDesign.
    assert boundaries(spent, told) == pytest.approx(wanted, abs=1.2e-4)


def test_the_power_of_a_drift() -> None:
    days = [float(day) for day in FORTNIGHT.looks("ship")[:8]]
    bounds = _bounds(FORTNIGHT, 0.05)[:8]
    found = [sum(crossings(bounds, days, drift)) for drift in (0.0, 1.75, 2.4, 3.0)]
    assert found == pytest.approx([0.045, 0.5088, 0.7468, 0.8959], abs=5e-5)


@pytest.mark.parametrize("looks", [2, 5, 10])
def test_equal_boundaries_of_pocock(looks: int) -> None:
    """Jennison and Turnbull, table 2.1: two-sided 5 %; one side of it."""
    constant = {2: 2.178, 5: 2.413, 10: 2.555}[looks]
    told = [float(look) for look in range(1, looks + 1)]
    # The chain of one side alone crosses a little less than half as often as both sides together.
    assert sum(crossings([constant] * looks, told, 0.0)) == pytest.approx(0.025, abs=3e-4)


def test_the_reach_of_a_skewed_estimate() -> None:
    shape = Shape(skewness=-0.2, units=300)
    assert shape.reach(1.8011) == pytest.approx(2.128629, abs=1e-6)
    assert shape.reach(-1.8011) == pytest.approx(-1.597914, abs=1e-6)
    assert shape.level(2.0) == pytest.approx(0.043980, abs=1e-6)
    assert shape.level(shape.reach(2.3)) == pytest.approx(float(stats.norm.sf(2.3)), rel=1e-9)
    straight = Shape(skewness=0.0, units=1e9)
    assert straight.reach(1.5) == pytest.approx(1.5, abs=1e-6)


def test_the_shape_of_the_worked_example() -> None:
    ours = ratio(np.array([3.0, 1, 4, 0, 2]), np.array([4.0, 2, 5, 1, 4]))
    theirs = ratio(np.array([5.0, 2, 2, 6]), np.array([6.0, 4, 3, 7]))
    psi = np.concatenate([ours.influence, -0.98 * theirs.influence])
    assert skewness(psi) == pytest.approx(0.130192, abs=1e-6)
    assert effective_units(np.array([4.0, 2, 5, 1, 4])) == pytest.approx(3.331023, abs=1e-6)
    assert (skewness(np.zeros(3)), effective_units(np.zeros(0))) == (0.0, 0.0)


def test_a_look_is_at_the_first_midnight_after_its_days() -> None:
    start = datetime(2026, 11, 3, 15, 0, tzinfo=UTC).timestamp()
    at = [start + hours * 3600.0 for hours in (0, 20, 30, 80, 100)]
    # Traffic in the periods 0, 1, 3 and 4; the third day with any ends four days after the start.
    found = midnights(at, (1, 2, 3, 4, 5), now=start + 4.9 * DAY_S)
    days = {day: datetime.fromtimestamp(moment, UTC).isoformat() for day, moment in found.items()}
    assert days == {
        1: "2026-11-05T00:00:00+00:00",
        2: "2026-11-06T00:00:00+00:00",
        3: "2026-11-08T00:00:00+00:00",
    }
    assert midnights([], (1,), now=start) == {}
