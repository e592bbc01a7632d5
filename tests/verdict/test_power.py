"""The chance to ship, told beforehand: against simulations, and as traffic grows."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats

from records.facts.metric import BUILT_IN, Metric
from routing.canary import Step
from tests.verdict.reference import ratio
from tests.verdict.simulated_looks import row
from verdict.planner.assumptions import Assumptions, ExpectedTraffic, ValuesPerUser
from verdict.planner.power import Power, power_of_plan, power_of_sequence
from verdict.rows.comparison import FEW, GATE
from verdict.statistics.boundaries import Shape, boundaries, effective_units, skewness
from verdict.statistics.sequence import multiplier, tuning
from verdict.statistics.types import Floats
from verdict.terms.plan import VerdictPlan
from verdict.terms.rubric import Criterion, parse_bound

FORTNIGHT = VerdictPlan(days=14, first_day=7)
VALUES = {"task_completed": 0.88, "latency_p95": 1.2, "cost_per_request": 0.08, "csat": 4.33}
TAKEN = Assumptions(values=VALUES)


README = (row("error_rate", "< 5%", "< 1%"), row("csat", ">= baseline - 5%", ">= baseline + 0%"))


def course(share: float, requests: float, users: float = 20_000, days: float = 14) -> ExpectedTraffic:
    return ExpectedTraffic(users_per_day=users / days, requests=requests, steps=(Step(share=share),))


def readme(share: float, requests: float, *, days: int = 14, until: int | None = None) -> Power:
    return power_of_plan(README, VerdictPlan(days=days, first_day=7), course(share, requests), until=until)


@pytest.mark.parametrize(
    ("share", "requests", "ships", "extended"),
    # Simulated of the whole verdict: within 14 days, and by the end of the extension.
    [
        (0.05, 1, 0.22, 0.31), (0.05, 3, 0.49, 0.65), (0.05, 8, 0.80, 0.93),
        (0.10, 1, 0.38, 0.51), (0.10, 3, 0.72, 0.87), (0.10, 8, 0.96, 1.00),
    ],
)  # fmt: skip
def test_the_readmes_rubric_ships_as_often_as_told(
    share: float, requests: float, ships: float, extended: float
) -> None:
    assert readme(share, requests).ship == pytest.approx(ships, abs=0.055)
    assert readme(share, requests, until=28).ship == pytest.approx(extended, abs=0.05)


def test_more_share_more_days_and_more_requests_only_help() -> None:
    for grown in (
        [readme(0.05, m).ship for m in (1, 2, 4, 8)],
        [readme(w, 3).ship for w in (0.02, 0.05, 0.2, 0.5)],
        [readme(0.05, 3, days=d).ship for d in (7, 14, 21, 28)],
    ):
        assert grown == sorted(grown)


def _effective(events: Floats, counts: Floats) -> float:
    size = float(np.sum(counts**2) / np.sum(counts))
    deff = (np.sum(events**2) + size**2) / (np.sum(events) + size)
    return float(np.sum(counts)) / max(1.0, float(deff))


def _passes(events: Floats, counts: Floats, bound: float, c: float) -> bool:
    """How a share is judged at one look: few events by Clopper and Pearson, others by Hall's reach."""
    share = float(np.sum(events) / np.sum(counts))
    if min(int(np.sum(events > 0)), int(np.sum(events < counts))) < FEW:
        units = _effective(events, counts)
        x = share * units
        return bool(special.betainc(units - x, x + 1, 1 - bound) <= special.ndtr(-c))
    found = ratio(events, counts)
    shape = Shape(skewness=skewness(-found.influence), units=effective_units(counts))
    return bound - share >= found.se * shape.reach(c)


def _ships(rng: np.random.Generator, users: int, requests: float, value: float, bound: float) -> bool:
    """One world: does some look of a fortnight pass `error_rate < bound`, if `value` is true?"""
    counts = 1 + rng.poisson(requests - 1, size=users)
    both = 1 / 0.4 - 1
    events = rng.binomial(counts, rng.beta(value * both, (1 - value) * both, size=users))
    day = rng.random(users) * 14
    seen = [
        (look, events[day < look].astype(float), counts[day < look].astype(float))
        for look in FORTNIGHT.looks("ship")
        if look <= 14 and np.sum(day < look) >= GATE
    ]
    found = boundaries(
        [FORTNIGHT.spent("ship", look, 0.05) for look, _, _ in seen], [_effective(f, n) for _, f, n in seen]
    )
    return any(_passes(f, n, bound, c) for (_, f, n), c in zip(seen, found, strict=True))


@pytest.mark.parametrize(
    ("users", "requests", "value", "bound"),
    [
        (400, 3, 0.03, 0.05),
        (200, 3, 0.03, 0.05),
        (2000, 1, 0.005, 0.01),
        (1000, 3, 0.003, 0.01),
        (600, 3, 0.2, 0.24),
    ],
)
def test_a_simulated_share_passes_as_often_as_told(
    users: int, requests: float, value: float, bound: float
) -> None:
    worlds, rng = 300, np.random.default_rng(4)
    came = sum(_ships(rng, users, requests, value, bound) for _ in range(worlds)) / worlds
    rows = [row("error_rate", f"< {bound}", "< 0")]
    told = power_of_plan(
        rows,
        FORTNIGHT,
        course(0.5, requests, users=2 * users),
        assumptions=Assumptions(values={"error_rate": value}),
    ).ship
    assert told == pytest.approx(came, abs=0.05 + 3 * math.sqrt(came * (1 - came) / worlds))


def test_a_bound_on_rare_events_needs_its_units_even_without_an_event() -> None:
    # Clopper and Pearson at the last boundary, 1.8011: ln(.0359)/ln(1 − .01) = 331 units.
    rows = [row("error_rate", "< 1%", "< 0%")]
    flawless = Assumptions(values={"error_rate": 0.0})

    def ships(users: int) -> float:
        return power_of_plan(rows, FORTNIGHT, course(0.5, 1, users=2 * users), assumptions=flawless).ship

    assert (ships(325), ships(340)) == (0.0, 1.0)


def test_a_rare_good_thing_is_counted_from_its_own_side() -> None:
    rows = [row("conversion", ">= 0.5%", ">= 1%")]
    taken = Assumptions(values={"conversion": 0.01})
    few, many = (
        power_of_plan(rows, FORTNIGHT, course(0.5, 1, users=users), assumptions=taken).ship
        for users in (800, 3_600)
    )
    assert 0 < few < 0.5 < many < 1


def test_a_dear_tail_of_costs_lowers_the_chance() -> None:
    rows = [row("cost_per_request", "< 0.12", "< 0.10")]
    even, skewed = (
        power_of_plan(rows, FORTNIGHT, course(0.05, 1, users=6_000), assumptions=assumed).ship
        for assumed in (Assumptions(sds={"cost_per_request": 0.11}), Assumptions(cost_cv=1.0))
    )
    assert 0.2 < skewed <= even + 0.02 < 0.9


def test_a_ramp_tells_what_its_steps_let_through() -> None:
    week = 7 * 86400.0
    slow = ExpectedTraffic(
        users_per_day=20_000 / 14, requests=3, steps=(Step(share=0.02, for_s=week), Step(share=0.08))
    )
    ships = power_of_plan(README, FORTNIGHT, slow).ship
    # As many candidate users as at 5 % throughout, but more of them late.
    assert ships == pytest.approx(readme(0.05, 3).ship, abs=0.06)
    assert slow.until(14).candidate == pytest.approx(course(0.05, 3).until(14).candidate)
    assert slow.until(14).odds == pytest.approx((0.02 * 0.02 / 0.98 + 0.08 * 0.08 / 0.92) / 0.1)


def test_users_at_a_share_of_all_are_compared_with_nobody() -> None:
    day = 86400.0
    whole = ExpectedTraffic(
        users_per_day=100, requests=1, steps=(Step(share=0.5, for_s=2 * day), Step(share=1.0))
    )
    assert whole.until(9).candidate == 100


def test_values_that_mature_late_leave_fewer_looks() -> None:
    rows = [row("churn", "<= baseline + 2pp", "<= baseline")]
    late = replace(BUILT_IN["churn"], matures_after_s=7 * 86400.0)
    known = power_of_plan(rows, FORTNIGHT, course(0.1, 1)).criteria[0]
    matured = power_of_plan(
        rows, VerdictPlan(days=14, first_day=14), course(0.1, 1), metrics={"churn": late}
    ).criteria[0]
    assert (known.units, matured.units) == (2000, 1000)
    assert matured.power < known.power


def test_under_the_gate_there_is_no_chance() -> None:
    rows = [row("csat", ">= baseline - 50%", ">= baseline")]
    assert power_of_plan(rows, FORTNIGHT, course(0.05, 1, users=15_000)).ship == 0
    assert power_of_plan(rows, FORTNIGHT, course(0.05, 1, users=20_000)).ship > 0.9


def test_a_rows_own_risk_counts() -> None:
    strict, light = (
        power_of_plan(
            [
                Criterion(
                    metric="csat",
                    acceptable=parse_bound(">= baseline - 5%"),
                    ideal=parse_bound(">= baseline"),
                    weight=1,
                    question="?",
                    risk=risk,
                )
            ],
            FORTNIGHT,
            course(0.05, 3),
        ).ship
        for risk in (0.025, 0.2)
    )
    assert strict < readme(0.05, 3).ship < light


def test_a_bound_on_the_baseline_pays_for_the_baselines_noise() -> None:
    taken = Assumptions(values={"task_completed": 0.88}, baselines={"task_completed": 0.88})

    def chance(acceptable: str, ideal: str) -> float:
        rows = [row("task_completed", acceptable, ideal)]
        return power_of_plan(rows, FORTNIGHT, course(0.5, 2, users=1500), assumptions=taken).ship

    assert chance(">= baseline - 4pp", ">= baseline") < chance(">= 84%", ">= 88%")


@pytest.mark.parametrize(
    ("share", "requests", "ships"),
    [(0.05, 1, 0.09), (0.05, 3, 0.61), (0.05, 8, 0.87), (0.10, 1, 0.61), (0.10, 3, 0.96), (0.10, 8, 0.99)],
)
def test_without_a_plan_the_confidence_sequence_decides(
    criteria: Sequence[Criterion], share: float, requests: float, ships: float
) -> None:
    told = power_of_sequence(criteria, course(share, requests), 14, assumptions=TAKEN)
    assert told.ship == pytest.approx(ships, abs=0.03)


def test_a_share_that_answers_can_be_given_for_each_metric(criteria: Sequence[Criterion]) -> None:
    half = Assumptions(values=VALUES, responses={"task_completed": 0.5, "csat": 0.5})
    found = power_of_plan(criteria, FORTNIGHT, course(0.05, 1), assumptions=half).criteria
    assert [each.units for each in found] == [500, 1000, 1000, 500]
    asked = power_of_plan(criteria, FORTNIGHT, course(0.05, 1), assumptions=TAKEN).criteria
    assert [each.units for each in asked] == [1000, 1000, 1000, 125]


def test_users_who_ask_unequally_often_tell_less_than_their_number(criteria: Sequence[Criterion]) -> None:
    # 1 + Poisson(3) requests, by hand: of opinions each user has one voice, E[1/N] = (1 − e⁻³)/3; of events
    # each request counts, E[N] = 4 and E[N²] = 19.
    opinion, event = BUILT_IN["task_completed"], replace(BUILT_IN["task_completed"], per="exchange")
    limit = multiplier(1000 * tuning(alpha=0.05, planned=500), 0.05)
    for metric, spread in (
        (opinion, 0.4 + 0.6 * (1 - math.exp(-3)) / 3),
        (event, 0.6 / 4 + 0.4 * 19 / 16),
    ):
        (found,) = power_of_sequence(
            [criteria[0]],
            course(0.1, 4, users=10_000),
            14,
            assumptions=TAKEN,
            metrics={"task_completed": metric},
        ).criteria
        se = math.sqrt(0.88 * 0.12 / 1000 * spread)
        assert found.power == pytest.approx(float(stats.norm.cdf(0.03 / se - limit)))


@pytest.mark.parametrize(
    ("requests", "response"), [(1, 0.125), (3, 0.125), (8, 1.0), (200, 0.9), (1.0001, 1.0)]
)
def test_the_mean_of_a_users_values_is_as_exact_as_its_number_of_values(
    requests: float, response: float
) -> None:
    rng = np.random.default_rng(5)
    given = rng.binomial(1, response, 400_000) + rng.poisson((requests - 1) * response, 400_000)
    found = ValuesPerUser.one_voice(requests, response)
    assert found.inverse == pytest.approx(np.mean(1 / given[given > 0]), rel=0.01)
    assert found.variance(1.0) == 1.0


PER = {
    name: Metric(name=name, kind="bool", question="?", low=0, high=1, higher_is_better=False, per=name)
    for name in ("exchange", "session", "user")
}
COSTS = Metric(name="price", kind="amount", question="?", low=0, higher_is_better=False, cost_per="user")


def told(
    metric: str, acceptable: str, ideal: str, assumptions: Assumptions | None = None
) -> tuple[int, float]:
    (found,) = power_of_plan(
        [row(metric, acceptable, ideal)],
        FORTNIGHT,
        course(0.05, 3),
        assumptions=assumptions,
        metrics={**PER, "price": COSTS},
    ).criteria
    return found.units, round(found.power, 3)


def test_of_an_event_every_exposed_user_counts_and_more_sessions_and_exchanges_tell_more() -> None:
    user, session, exchange = (told(name, "<= 8%", "<= 4%") for name in ("user", "session", "exchange"))
    assert (user[0], session[0], exchange[0]) == (1000, 1000, 1000)
    assert user == session
    two = told("session", "<= 8%", "<= 4%", Assumptions(sessions=2))
    assert session[1] < two[1] < exchange[1]


def test_a_cost_of_an_event_is_as_uncertain_as_the_event_is_rare() -> None:
    often, seldom = (
        told("price", "<= 1.5x baseline", "<= 1x baseline", Assumptions(baselines={"user": rate}))
        for rate in (0.3, 0.05)
    )
    assert often[0] == seldom[0] == 1000
    assert often[1] > seldom[1]
    assert told("price", "<= 1.5x baseline", "<= 1x baseline", Assumptions(baselines={"user": 0.02}))[1] == 0
