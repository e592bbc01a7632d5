"""Guardrails on any metric: opinions, events that should or should not happen, amounts; through a watch."""

import math
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from alerts.guardrails import Watch
from alerts.rules.events import worth_steps
from alerts.rules.rule import Action, Rule
from canary.config import guardrails
from canary.config.sections import GuardrailSection
from records.facts.metric import BUILT_IN, Metric, MetricKind, Per

DECLARED = {
    "resolved": Metric(name="resolved", kind="bool", low=0, high=1, per="session", question="?"),
    "effort": Metric(name="effort", kind="rating", low=1, high=7, higher_is_better=False, question="?"),
    "saved": Metric(name="saved", kind="amount", question="How much time did an answer save?"),
    "edits": Metric(name="edits", kind="count", higher_is_better=False, question="?"),
    "refunds": Metric(name="refunds", kind="amount", per="user", higher_is_better=False, question="?"),
}
METRICS = {**BUILT_IN, **DECLARED}


def rule_on(metric: str, limit: str | None = None, action: Action = "page") -> Rule:
    section = GuardrailSection(metric=metric, limit=limit, action=action)
    (rule,) = guardrails.rules([section], metrics=METRICS)
    return rule


def watching(traffic_of: Any, rule: Rule, share: float = 0.5) -> Any:
    traffic = traffic_of(Watch("support-nov", [rule], metrics=METRICS))
    traffic.send(1, share=share)
    return traffic


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5, 0.9])
@pytest.mark.parametrize(("limit", "higher"), [(0.9, True), (0.5, True), (1.5, False), (1.0, False)])
@pytest.mark.parametrize("worth", [1.0, 0.3])
def test_at_its_limit_a_candidate_makes_a_fair_game_of_events(
    share: float, limit: float, higher: bool, worth: float
) -> None:
    mine = share * limit / (share * limit + 1.0 - share)
    of_candidate, of_baseline = (
        worth_steps(worth=worth, candidate=candidate, share=share, limit=limit, higher=higher)
        for candidate in (True, False)
    )
    for k in (0, 1, 2):
        mean = mine * math.exp(of_candidate[k]) + (1.0 - mine) * math.exp(of_baseline[k])
        assert mean == pytest.approx(1.0)


def always_one(draw: random.Random) -> float:
    return 1.0


def order_value(draw: random.Random) -> float:
    return draw.lognormvariate(3.0, 0.7)


def events(
    traffic: Any,
    metric: str,
    draw: random.Random,
    *,
    users: int,
    share: float,
    rates: tuple[float, float],
    value: Callable[[random.Random], float] = always_one,
) -> None:
    """Users of both arms, of whom these shares (baseline's, candidate's) have the event. Nobody says "no"."""
    for _ in range(users):
        candidate = draw.random() < share
        if draw.random() < rates[candidate]:
            traffic.rate(metric, value(draw), candidate=candidate, exchange_id="", unit=f"u{draw.random()}")


@pytest.mark.parametrize("share", [0.05, 0.5])
@pytest.mark.parametrize("metric", ["conversion", "resolved"])
def test_half_as_many_good_events_page_and_as_many_do_not(traffic_of: Any, metric: str, share: float) -> None:
    for rates, action in (((0.3, 0.15), "page"), ((0.3, 0.3), None)):
        traffic, draw = watching(traffic_of, rule_on(metric, "10%"), share), random.Random(5)
        events(traffic, metric, draw, users=8_000, share=share, rates=rates)
        status = traffic.decide()[metric]
        assert status.action == action, status
        assert status.threshold == 0.9
    assert f"users with {metric}: " in status.sentence


def test_half_the_buyers_at_the_same_order_value_page(traffic_of: Any) -> None:
    for rates, action in (((0.2, 0.1), "page"), ((0.2, 0.2), None)):
        traffic, draw = watching(traffic_of, rule_on("revenue")), random.Random(2)
        events(traffic, "revenue", draw, users=6_000, share=0.5, rates=rates, value=order_value)
        assert traffic.decide()["revenue"].action == action


def test_twice_as_many_bad_events_roll_back_where_the_rule_says_so(traffic_of: Any) -> None:
    for metric in ("churn", "escalated", "refunds"):
        traffic = watching(traffic_of, rule_on(metric, "1.1x", "rollback"), 0.2)
        events(traffic, metric, random.Random(1), users=6_000, share=0.2, rates=(0.05, 0.2))
        assert traffic.decide()[metric].action == "rollback", metric


@pytest.mark.parametrize(
    ("kind", "per", "higher", "share"),
    [
        ("bool", "user", True, 0.05),
        ("bool", "session", True, 0.5),
        ("amount", "user", True, 0.5),
        ("amount", "user", False, 0.05),
        ("bool", "user", False, 0.2),
    ],
)
def test_of_equal_arms_hardly_any_is_convicted(
    traffic_of: Any, kind: MetricKind, per: Per, higher: bool, share: float
) -> None:
    metric = Metric(name="m", kind=kind, per=per, higher_is_better=higher, question="?")
    convicted = paged = 0
    for seed in range(40):
        rule = Rule(rule="m", metric=metric, limit=1.0, window_s=None, minimum=30, action="rollback")
        traffic, draw = watching(traffic_of, rule, share), random.Random(seed)
        worth = order_value if kind == "amount" else always_one
        events(traffic, "m", draw, users=1_500, share=share, rates=(0.5, 0.5), value=worth)
        status = traffic.decide()["m"]
        convicted += status.action == "rollback"
        paged += status.action is not None
    assert (convicted, paged <= 4) == (0, True)


@pytest.mark.parametrize(
    ("metric", "limit", "good", "bad"),
    [
        ("task_completed", "5%", 1, 0),
        ("effort", "1.2x", 2, 6),
        ("saved", "10%", 10.0, 2.0),
        ("edits", "1.5x", 1, 4),
        ("csat", "0.9x", 5, 3),
    ],
)
def test_worse_opinions_page_and_equal_ones_do_not(
    traffic_of: Any, metric: str, limit: str, good: float, bad: float
) -> None:
    for worse, action in ((True, "page"), (False, None)):
        traffic = watching(traffic_of, rule_on(metric, limit))
        for number in range(60):
            traffic.rate(metric, good if number % 5 else bad, candidate=False)
            traffic.rate(metric, bad if worse or not number % 5 else good, candidate=True)
        assert traffic.decide()[metric].action == action, (metric, worse)


def test_a_rule_that_waits_says_for_what(traffic_of: Any) -> None:
    told = {
        "revenue": "0 of 30 baseline values",
        "conversion": "0 of 30 users with",
        "churn": "0 of 3 users who have churn",
        "escalated": "0 of 3 users who escalated",
    }
    for metric, waits in told.items():
        status = watching(traffic_of, rule_on(metric)).decide()[metric]
        assert status.state == "not_enough_data"
        assert f"; waits: {waits}" in status.sentence


def test_a_unit_counts_once_in_a_day_and_no_event_is_no_news(traffic_of: Any) -> None:
    traffic = watching(traffic_of, rule_on("conversion"))
    for value in (0, 1, 1):
        traffic.rate("conversion", value, candidate=True, exchange_id="", unit="one")
    assert traffic.decide()["conversion"].evidence["events"] == 1


WEEKS = 2 * int(os.environ.get("CANARY_SIMULATED_RUNS", "500"))


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_ratings_and_events_of_equal_arms_roll_nothing_back(traffic_of: Any, share: float) -> None:
    """A week of 2,000 users with each metric, and rules that may all roll back."""
    rules = [rule_on(metric, action="rollback") for metric in ("csat", "thumbs", "conversion", "revenue")]
    rules += [rule_on("escalated", action="rollback")]
    seen: dict[str, list[int]] = {rule.rule: [0, 0] for rule in rules}
    for seed in range(WEEKS):
        draw = random.Random(seed)
        traffic = traffic_of(Watch("support-nov", rules, metrics=METRICS))
        traffic.send(1, share=share)
        for number in range(2_000):
            candidate, about = draw.random() < share, {"exchange_id": "", "unit": f"u{number}"}
            traffic.rate("csat", draw.choice((1, 3, 4, 4, 5, 5, 5)), candidate=candidate, **about)
            traffic.rate("thumbs", draw.random() < 0.9, candidate=candidate, **about)
            for metric, rate in (("conversion", 0.1), ("revenue", 0.1), ("escalated", 0.05)):
                if draw.random() < rate:
                    worth = order_value(draw) if metric == "revenue" else 1.0
                    traffic.rate(metric, worth, candidate=candidate, **about)
            if number % 100 == 99:
                for name, status in traffic.decide().items():
                    if status.action is not None:
                        seen[name][status.action == "rollback"] |= 1 << seed
    found = {name: [each.bit_count() for each in pair] for name, pair in seen.items()}
    print(f"\nequal arms, {share:.0%}, {WEEKS} weeks: paged and rolled back {found}")
    assert all(back <= 0.01 * WEEKS for _, back in found.values())
