"""Rules of their own for critical parts of the traffic: how soon they act, and the budget they share."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from alerts.evidence.statistics import PAGE_MIXTURE, ROLLBACK_CUSUM, ROLLBACK_MIXTURE, Evidence
from alerts.guardrails import Watch
from alerts.rules.rule import DEFAULT_RULES, GuardrailStatus, Rule
from canary.config import guardrails

ERROR_RULES = DEFAULT_RULES[:2]
CATEGORIES = ("refund", "order", "login", "invoice", "parcel")
CRITICAL = guardrails.rules(None, categories=CATEGORIES)
STEP = math.log(10.0)
BUDGET = 60
SEEDS = [pytest.param(seed, marks=() if seed == 0 else pytest.mark.more) for seed in range(8)]


def one(traffic: Any, draw: random.Random, *, bad: float, base: float) -> bool:
    """One exchange. 5 % of the users have the candidate, 5 % ask about a refund, which fails with `bad` of
    the candidate. True if it was such a one."""
    candidate, refund = draw.random() < 0.05, draw.random() < 0.05
    category = "refund" if refund else draw.choice(CATEGORIES[1:])
    traffic.send(
        1,
        gap_s=0.1,
        arm="candidate" if candidate else "baseline",
        category=category,
        failed=draw.random() < (bad if candidate and refund else base),
        unit=f"{'c' if candidate else 'b'}{draw.randrange(4000)}",
    )
    return candidate and refund


def rolled_back_after(traffic: Any, seed: int, *, base: float) -> tuple[int, GuardrailStatus]:
    """The candidate's refunds up to the rollback, and the rule that did it."""
    draw, own = random.Random(seed), 0
    while own < 4 * BUDGET:
        if one(traffic, draw, bad=0.4, base=base):
            own += 1
            for status in traffic.decide().values():
                if status.action == "rollback":
                    return own, status
    raise AssertionError("never rolled back")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("base", [0.0, 0.01, 0.02])
def test_a_critical_category_that_fails_rolls_back_within_60_of_its_own_outcomes(
    traffic_of: Any, seed: int, base: float
) -> None:
    own, status = rolled_back_after(traffic_of(Watch("support-nov", CRITICAL)), seed, base=base)
    assert own <= BUDGET
    assert status.where.parts[0].value == "refund"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_category_that_is_not_critical_does_too_while_the_rest_of_the_traffic_works(
    traffic_of: Any, seed: int
) -> None:
    own, status = rolled_back_after(traffic_of(Watch("support-nov", DEFAULT_RULES)), seed, base=0.0)
    assert own <= BUDGET
    assert status.category is None
    assert "failing exchanges are in category refund" in status.sentence


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_healthy_parts_neither_page_nor_roll_back(traffic_of: Any, seed: int) -> None:
    traffic, draw = traffic_of(Watch("support-nov", CRITICAL)), random.Random(seed)
    for turn in range(8000):
        one(traffic, draw, bad=0.01, base=0.01)
        if turn % 100 == 0:
            assert {status.action for status in traffic.decide().values()} == {None}


def grown(parts: int, until: float) -> Evidence:
    """Evidence of many units, whose mixture and CUSUM have just passed `until`."""
    evidence = Evidence(parts=parts)
    for number in range(40):
        if evidence.mixture >= until:
            break
        evidence.add(f"unit-{number}", (STEP / 4, STEP / 4, STEP / 4))
    return evidence


@pytest.mark.parametrize("parts", [2, 5, 20])
def test_a_rule_of_k_parts_needs_k_times_the_evidence(parts: int) -> None:
    more = math.log(parts)
    assert not grown(parts, ROLLBACK_MIXTURE + more - STEP / 2).convicts_run(3)
    assert grown(parts, ROLLBACK_MIXTURE + more).convicts_run(3)
    assert not grown(parts, ROLLBACK_CUSUM + more - STEP / 2).convicts_since(3)
    assert grown(parts, ROLLBACK_CUSUM + more).convicts_since(3)
    assert not grown(parts, PAGE_MIXTURE + more - STEP / 2).pages(3)
    assert grown(parts, PAGE_MIXTURE + more).pages(3)


def of_refund(parts: int) -> Sequence[Rule]:
    return [replace(rule, category="refund", parts=parts) for rule in ERROR_RULES]


def failing_refunds(watch: Watch, traffic_of: Any) -> Mapping[str, GuardrailStatus]:
    traffic = traffic_of(watch)
    traffic.send(40, category="refund")
    traffic.send(6, arm="candidate", category="refund", failed=True)
    statuses: Mapping[str, GuardrailStatus] = traffic.decide()
    return statuses


def test_the_number_of_parts_stands_in_the_evidence_and_in_the_limits_of_why(traffic_of: Any) -> None:
    watch = Watch("support-nov", of_refund(5))
    statuses = failing_refunds(watch, traffic_of)
    key = "error_rate[category=refund]"
    assert statuses[key].evidence["parts"] == 5
    why = watch.why([*statuses.values()], rule=key, who=f"guardrail {key}", reason="", at=1.79e9, share=0.05)
    assert why.limits == {
        "ln_mixture": ROLLBACK_MIXTURE + math.log(5),
        "ln_cusum": ROLLBACK_CUSUM + math.log(5),
    }


def test_another_number_of_parts_keeps_the_evidence_and_moves_its_limit(traffic_of: Any) -> None:
    before = Watch("support-nov", of_refund(5))
    statuses = failing_refunds(before, traffic_of)
    after = Watch("support-nov", of_refund(2))
    after.restore(before.snapshot())
    (again, *_) = after.decide(20_000.0, routed=False)
    first = statuses["error_rate[category=refund]"].evidence
    assert (first["parts"], again.evidence["parts"]) == (5.0, 2.0)
    assert again.evidence["ln_mixture"] == first["ln_mixture"] > 0.0
