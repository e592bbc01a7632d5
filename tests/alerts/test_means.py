"""`cost_per_request`, `csat`, `thumbs`, through a whole watch."""

import math
import random
from typing import Any

import pytest

from alerts.evidence.exchanges import RecentMean
from alerts.evidence.statistics import PAGE_MIXTURE, ROLLBACK_MIXTURE, Evidence, betting_steps
from alerts.guardrails import Watch
from alerts.rules.rule import Rule
from records.facts.metric import Metric
from records.outcome import Usage

COST = Rule(rule="cost_per_request", limit=2.0, window_s=1800.0, minimum=30, action="rollback")
CSAT = Rule(rule="csat", limit=0.95, window_s=86400.0, minimum=30, action="page")
THUMBS = Rule(rule="thumbs", limit=0.95, window_s=86400.0, minimum=30, action="page")


@pytest.fixture
def cost(traffic_of: Any) -> Any:
    return traffic_of(Watch("support-nov", [COST]))


@pytest.fixture
def ratings(traffic_of: Any) -> Any:
    traffic = traffic_of(Watch("support-nov", [CSAT, THUMBS]))
    traffic.send(1)
    return traffic


def test_the_candidates_values_wait_for_thirty_of_the_baseline(cost: Any) -> None:
    cost.send(29, gap_s=0.1, cost_usd=0.04)
    for usd in [0.05, 0.2, 0.09]:
        cost.send(1, arm="candidate", cost_usd=usd)
    status = cost.decide()["cost_per_request"]
    assert status.evidence["observations"] == 0
    assert (status.evidence["baseline_values"], status.evidence["baseline_values_needed"]) == (29, 30)
    assert status.sentence.endswith("; waits: 29 of 30 baseline values")
    cost.send(1, cost_usd=0.04)
    for usd in [0.4, 0.3, 0.1]:
        cost.send(1, arm="candidate", cost_usd=usd)
    status = cost.decide()["cost_per_request"]
    assert status.evidence["ln_mixture"] == pytest.approx(2.088347, abs=5e-7)
    assert status.evidence["ln_cusum"] == pytest.approx(2.295453, abs=5e-7)
    assert status.sentence.endswith("; waits: 6 of 30 values of the candidate")


def test_a_baseline_of_few_values_is_taken_at_its_cautious_mean() -> None:
    known = RecentMean()
    for value in [1.0, 3.0] * 15:
        known.add(value)
    assert known.cautious(upward=True) == pytest.approx(2 + 2 / math.sqrt(29))
    assert known.cautious(upward=False) == pytest.approx(2 - 2 / math.sqrt(29))


def test_nobody_is_certain_after_thirty_best_ratings() -> None:
    known = RecentMean()
    for _ in range(30):
        known.add(5.0)
    assert known.cautious(upward=False) == pytest.approx(5.0)
    assert known.cautious(upward=False, worst=1.0) == pytest.approx(4.747, abs=1e-3)


def test_the_recent_mean_is_that_of_the_last_two_thousand() -> None:
    known, draw = RecentMean(), random.Random(3)
    values = [draw.expovariate(1.0) for _ in range(4_700)]
    for value in values:
        known.add(value)
    last = values[-2_000:]
    mean = sum(last) / 2_000
    error = math.sqrt(sum((value - mean) ** 2 for value in last) / 1_999 / 2_000)
    assert known.cautious(upward=True) == pytest.approx(mean + 2 * error)


@pytest.mark.parametrize("first", ["baseline", "candidate", "mixed"])
def test_the_lowest_ratings_beside_thirty_of_the_highest_page_within_thirty(ratings: Any, first: str) -> None:
    turns = [False] * 30 + [True] * 150
    if first != "baseline":
        turns = turns[::-1] if first == "candidate" else random.Random(1).sample(turns, len(turns))
    seen = [0, 0]
    for candidate in turns:
        ratings.rate("csat", 1 if candidate else 5, candidate=candidate)
        seen[candidate] += 1
        if min(seen) >= 30:
            break
    assert ratings.decide()["csat"].action == "page"


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_nearly_eight_times_the_price_is_rolled_back_soon(traffic_of: Any, share: float) -> None:
    spread = math.sqrt(math.log(1 + 0.75**2))
    for seed in range(20):
        draw, traffic = random.Random(seed), traffic_of(Watch("support-nov", [COST]))

        def price(mean_usd: float, draw: random.Random = draw) -> float:
            return mean_usd * draw.lognormvariate(-spread * spread / 2, spread)

        for _ in range(30):
            traffic.send(1, gap_s=0.1, cost_usd=price(0.01))
        sent = 0
        while traffic.decide()["cost_per_request"].action != "rollback":
            for _ in range(round((1 - share) / share)):
                traffic.send(1, gap_s=0.1, cost_usd=price(0.01))
            traffic.send(1, arm="candidate", cost_usd=price(0.077))
            sent += 1
            assert sent <= 45


def test_a_candidate_at_three_times_the_price_is_rolled_back(cost: Any) -> None:
    cost.send(200, gap_s=0.1, cost_usd=0.01)
    cost.send(12, arm="candidate", cost_usd=0.03)
    assert cost.decide()["cost_per_request"].action is None
    cost.send(60, arm="candidate", cost_usd=0.03)
    status = cost.decide()["cost_per_request"]
    assert status.action == "rollback"
    assert "limit 2× the baseline" in status.sentence


@pytest.mark.parametrize(("enough", "median"), [(PAGE_MIXTURE, 23), (ROLLBACK_MIXTURE, 50)])
def test_three_times_the_price_is_seen_after_the_known_number_of_exchanges(
    enough: float, median: int
) -> None:
    spread = math.sqrt(math.log(1 + 0.75**2))  # log-normal, coefficient of variation .75
    needed = []
    for seed in range(200):
        draw, evidence = random.Random(seed), Evidence()
        while evidence.mixture < enough:
            cost_usd = 0.03 * draw.lognormvariate(-spread * spread / 2, spread)
            evidence.add(f"u{evidence.observations}", betting_steps(cost_usd, 0.02))
        needed.append(evidence.observations)
    assert sorted(needed)[100] == pytest.approx(median, abs=4)


def median_responders(mean: float, *, extreme: bool) -> int:
    """How many raters around `mean` it takes to page beside a baseline of 4.3; all of them rate 1 or 5, or
    they spread binomially."""
    needed = []
    for seed in range(100):
        draw, evidence = random.Random(seed), Evidence()
        allowed = (5 - 0.95 * 4.3) / 4
        while evidence.mixture < PAGE_MIXTURE and evidence.observations < 5000:
            happy = [draw.random() < (mean - 1) / 4 for _ in range(1 if extreme else 4)]
            rating = 1 + 4 * sum(happy) / len(happy)
            evidence.add(f"u{evidence.observations}", betting_steps((5 - rating) / 4, allowed))
        needed.append(evidence.observations)
    return sorted(needed)[50]


@pytest.mark.parametrize(("drop", "median"), [(0.9, 223), (0.8, 32)])
def test_the_known_number_of_responders_lies_between_those_of_mild_and_of_extreme_raters(
    drop: float, median: int
) -> None:
    mild = median_responders(drop * 4.3, extreme=False)
    extreme = median_responders(drop * 4.3, extreme=True)
    print(f"ratings {1 - drop:.0%} lower: {mild} to {extreme} responders")
    assert mild <= median <= extreme


def test_equal_prices_are_ok_and_few_are_not_enough(cost: Any) -> None:
    cost.both(29, baseline={"cost_usd": 0.01}, candidate={"cost_usd": 0.01})
    assert cost.decide()["cost_per_request"].state == "not_enough_data"
    cost.both(5, baseline={"cost_usd": 0.01}, candidate={"cost_usd": 0.01})
    status = cost.decide()["cost_per_request"]
    assert (status.state, status.value) == ("ok", pytest.approx(1.0))


def test_unpriced_and_estimated_exchanges_are_left_out_not_counted_as_free(cost: Any) -> None:
    cost.both(30, baseline={"cost_usd": 0.01}, candidate={"cost_usd": None})
    cost.send(30, arm="candidate", cost_usd=9.0, usage=Usage(estimated=True))
    status = cost.decide()["cost_per_request"]
    assert (status.state, status.value) == ("not_enough_data", None)


def test_a_free_baseline_bets_nothing(cost: Any) -> None:
    cost.both(40, baseline={"cost_usd": 0.0}, candidate={"cost_usd": 1.0})
    assert cost.decide()["cost_per_request"].evidence["observations"] == 0


def test_one_dear_unit_does_not_convict(cost: Any) -> None:
    cost.send(300, gap_s=0.1, cost_usd=0.01)
    cost.send(1, arm="candidate", cost_usd=1_000_000.0)
    cost.send(3, arm="candidate", cost_usd=0.021)
    status = cost.decide()["cost_per_request"]
    assert status.evidence["ln_mixture"] > math.log(1000)
    assert status.action != "rollback"


def test_users_who_rate_the_candidate_far_lower_page(ratings: Any) -> None:
    for _ in range(200):
        ratings.rate("csat", 4, candidate=False)
    for _ in range(40):
        ratings.rate("csat", 2, candidate=True)
    statuses = ratings.decide()
    assert (statuses["csat"].state, statuses["csat"].action) == ("firing", "page")
    assert statuses["csat"].threshold == pytest.approx(3.8)
    assert statuses["thumbs"].state == "not_enough_data"


def test_equal_ratings_are_ok(ratings: Any) -> None:
    for index in range(400):
        ratings.rate("thumbs", index % 5 > 0, candidate=index % 4 == 0)
    assert ratings.decide()["thumbs"].state == "ok"


def test_a_unit_rates_once_and_a_correction_is_not_a_second_rating(ratings: Any) -> None:
    for _ in range(200):
        ratings.rate("csat", 4, candidate=False)
    for value in (1, 2, 1):
        ratings.rate("csat", value, candidate=True, exchange_id="", unit="one")
    assert ratings.decide()["csat"].evidence["observations"] == 1


def test_feedback_of_another_run_or_of_an_unknown_arm_is_not_taken(ratings: Any) -> None:
    for _ in range(200):
        ratings.rate("csat", 4, candidate=False)
    ratings.rate("csat", 1, candidate=True, run=7)
    ratings.rate("csat", 1, candidate=True, arm=None)
    ratings.rate("csat", 1, candidate=True, canary="another")
    assert ratings.decide()["csat"].evidence["observations"] == 0


def test_a_scale_without_ends_is_refused() -> None:
    open_ended = Metric(name="csat", kind="rating", question="?", low=1)
    with pytest.raises(ValueError, match="with `low` and `high`"):
        Watch("support-nov", [CSAT], metrics={"csat": open_ended})
