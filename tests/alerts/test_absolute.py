"""`error_rate` and `latency_p95`, through a whole watch."""

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from alerts.guardrails import Watch
from alerts.rules.rule import DEFAULT_RULES, Rule

ERROR_RATE = Rule(rule="error_rate", limit=0.05, window_s=None, minimum=3, action="rollback")
LATENCY = Rule(rule="latency_p95", limit=3.0, window_s=600.0, minimum=50, action="rollback")


@pytest.fixture
def errors(traffic_of: Callable[[Watch], Any]) -> Any:
    return traffic_of(Watch("support-nov", [ERROR_RATE]))


@pytest.fixture
def latency(traffic_of: Callable[[Watch], Any]) -> Any:
    return traffic_of(Watch("support-nov", [LATENCY]))


def test_a_canary_without_outcomes_has_not_enough_data_and_never_reads_ok(traffic_of: Any) -> None:
    statuses = traffic_of(Watch("support-nov", DEFAULT_RULES)).decide(routed=False)
    assert {status.state for status in statuses.values()} == {"not_enough_data"}
    assert set(statuses) == {rule.rule for rule in DEFAULT_RULES} | {"outage"}


def test_four_failures_of_four_units_roll_the_candidate_back(errors: Any) -> None:
    errors.send(20)
    errors.send(3, arm="candidate", failed=True)
    assert errors.decide()["error_rate"].action == "page"
    errors.send(1, arm="candidate", failed=True)
    status = errors.decide()["error_rate"]
    assert (status.state, status.action) == ("latched", "rollback")
    assert status.evidence["ln_mixture"] == pytest.approx(math.log((2**4 + 4**4 + 8**4) / 3))
    assert "4 of 4 outcomes failed since 17:00 UTC (100.0 %, limit 5.0 %)" in status.sentence


def test_a_healthy_candidate_is_ok(errors: Any) -> None:
    errors.both(50, baseline={}, candidate={})
    assert errors.decide()["error_rate"].state == "ok"


def test_one_unit_that_always_fails_does_not_convict(errors: Any) -> None:
    errors.send(20)
    for _ in range(9):  # its first exchange of each minute counts
        errors.send(1, arm="candidate", failed=True, unit="one")
        errors.send(20, gap_s=3.0)
    status = errors.decide()["error_rate"]
    assert status.evidence["ln_mixture"] > math.log(1000)
    assert status.action is None


def test_a_unit_counts_once_a_minute(errors: Any) -> None:
    errors.send(20)
    errors.send(30, gap_s=0.1, arm="candidate", failed=True, unit="one")
    assert errors.decide()["error_rate"].evidence["observations"] == 1


def test_the_first_started_exchange_counts_even_if_a_later_one_ends_sooner(errors: Any) -> None:
    errors.send(40, latency_s=5.0)
    slow = errors.outcome(arm="candidate", unit="one", latency_s=5.0)
    errors.now += 1.0
    errors.watch.observe(errors.outcome(arm="candidate", unit="one", latency_s=0.1, failed=True))
    errors.now += 1.0
    errors.decide()
    errors.watch.observe(slow)
    errors.now += 15.0
    status = errors.decide()["error_rate"]
    assert (status.evidence["observations"], status.evidence["adverse_units"]) == (1, 0)


def test_outcomes_that_blame_nobody_are_no_evidence(errors: Any) -> None:
    errors.send(20)
    errors.send(10, arm="candidate", outcome="fallback", error_type="breaker_open")
    errors.send(10, arm="candidate", outcome="fallback", error_type="proxy_full")
    errors.send(10, arm="candidate", outcome="shed", error_type="shed")
    errors.send(10, arm="candidate", outcome="caller_error", error_type="caller_rejected")
    errors.send(10, arm="candidate", outcome="aborted", error_type="aborted")
    errors.send(10, arm="candidate", failed=True, reason="pinned")
    errors.send(10, arm="candidate", failed=True, mirror=True)
    errors.send(10, arm="candidate", failed=True, canary="another")
    assert errors.decide()["error_rate"].evidence["observations"] == 0


def test_a_fallback_is_a_failure_of_the_candidate(errors: Any) -> None:
    errors.send(20)
    errors.send(4, arm="candidate", outcome="fallback", error_type="provider_timeout", served_by="baseline")
    assert errors.decide()["error_rate"].action == "rollback"


def test_candidate_outcomes_wait_for_twenty_of_the_baseline(errors: Any) -> None:
    errors.send(19)
    errors.send(4, arm="candidate", failed=True)
    waiting = errors.decide()["error_rate"]
    assert (waiting.evidence["observations"], waiting.evidence["waiting"]) == (0, 4)
    errors.send(1)
    assert errors.decide()["error_rate"].action == "rollback"


def test_after_ten_minutes_of_waiting_they_are_scored_at_the_plain_limit(errors: Any) -> None:
    errors.send(4, arm="candidate", failed=True)
    errors.now += 596.0
    assert errors.decide()["error_rate"].evidence["observations"] == 0
    errors.now += 4.0
    assert errors.decide()["error_rate"].action == "rollback"


def test_a_promoted_candidate_waits_for_no_baseline(traffic_of: Any) -> None:
    alone = traffic_of(Watch("support-nov", [ERROR_RATE]), share=1.0)
    alone.send(4, arm="candidate", failed=True)
    assert alone.decide()["error_rate"].action == "rollback"


def test_a_failing_baseline_raises_the_limit(errors: Any) -> None:
    errors.send(45)
    errors.send(5, failed=True)  # 10 % of its last 50
    errors.send(1, arm="candidate", failed=True)
    status = errors.decide()["error_rate"]
    assert status.evidence["limit_now"] == pytest.approx(0.15)
    assert status.evidence["ln_mixture"] == pytest.approx(math.log((2 + 0.575 / 0.15 + 0.575 / 0.15) / 3))


def test_while_the_baseline_fails_a_third_of_the_time_nothing_is_scored(errors: Any) -> None:
    errors.send(30)
    errors.send(20, failed=True)
    errors.send(10, arm="candidate", failed=True)
    status = errors.decide()["error_rate"]
    assert status.evidence["observations"] == 0
    assert status.action is None


def test_an_outage_pages_and_holds_but_blames_nobody(errors: Any) -> None:
    errors.both(30, baseline={}, candidate={})
    errors.both(30, baseline={"failed": True}, candidate={"failed": True})
    statuses = errors.decide()
    assert (statuses["outage"].state, statuses["outage"].action) == ("firing", "hold")
    assert statuses["error_rate"].action != "rollback"
    errors.both(30, baseline={}, candidate={})
    assert errors.decide()["outage"].state == "ok"


def test_one_stray_failure_after_an_outage_is_no_outage(errors: Any) -> None:
    errors.send(60)
    errors.send(60, failed=True)
    errors.send(60)
    errors.send(3, failed=True)
    assert errors.decide()["outage"].state == "warn"


def test_a_conviction_stays_until_it_is_rearmed(errors: Any) -> None:
    errors.send(20)
    errors.send(4, arm="candidate", failed=True)
    errors.decide()
    errors.send(500, gap_s=0.1, arm="candidate")
    assert errors.decide()["error_rate"].state == "latched"
    errors.watch.rearm(2)
    assert errors.decide()["error_rate"].state == "not_enough_data"
    errors.send(30, run=2)
    errors.send(3, arm="candidate", run=2)
    errors.send(9, arm="candidate", failed=True)  # stragglers of the old run
    status = errors.decide()["error_rate"]
    assert (status.state, status.evidence["adverse_units"]) == ("ok", 0)


def test_a_rule_that_may_only_page_never_asks_for_a_rollback(traffic_of: Any) -> None:
    rule = Rule(rule="error_rate", limit=0.05, window_s=None, minimum=3, action="page")
    traffic = traffic_of(Watch("support-nov", [rule]))
    traffic.send(20)
    traffic.send(30, arm="candidate", failed=True)
    assert (traffic.decide()["error_rate"].state, traffic.decide()["error_rate"].action) == ("firing", "page")


def test_a_rule_for_a_category_looks_at_nothing_else(traffic_of: Any) -> None:
    rule = Rule(
        rule="error_rate", limit=0.05, window_s=None, minimum=3, action="rollback", category="billing"
    )
    traffic = traffic_of(Watch("support-nov", [rule]))
    traffic.send(20, category="billing")
    traffic.send(20, arm="candidate", failed=True, category="other")
    assert traffic.decide()["error_rate[category=billing]"].state == "not_enough_data"
    traffic.send(4, arm="candidate", failed=True, category="billing")
    assert traffic.decide()["error_rate[category=billing]"].action == "rollback"


def test_a_rule_for_a_segment_looks_at_its_tags(traffic_of: Any) -> None:
    rule = Rule(
        rule="error_rate", limit=0.05, window_s=None, minimum=3, action="rollback", segment={"region": "eu"}
    )
    traffic = traffic_of(Watch("support-nov", [rule]))
    traffic.send(20, tags={"region": "eu"})
    traffic.send(4, arm="candidate", failed=True, tags={"region": "us"})
    traffic.send(4, arm="candidate", failed=True, tags={"region": "eu", "plan": "pro"})
    assert traffic.decide()["error_rate[region=eu]"].evidence["adverse_units"] == 4


def test_a_slow_candidate_beside_a_fast_baseline_is_rolled_back(latency: Any) -> None:
    latency.both(60, baseline={"latency_s": 1.0}, candidate={"latency_s": 4.0})
    latency.now += 20.0
    status = latency.decide()["latency_p95"]
    assert (status.state, status.action) == ("latched", "rollback")
    assert status.value == pytest.approx(4.0, rel=0.01)
    assert status.threshold == 3.0


def test_a_slow_candidate_pages_only_with_its_minimum_of_exchanges(traffic_of: Any) -> None:
    rule = Rule(rule="latency_p95", limit=3.0, window_s=600.0, minimum=50, action="page")
    traffic = traffic_of(Watch("support-nov", [rule]))
    traffic.both(49, baseline={"latency_s": 1.0}, candidate={"latency_s": 4.0})
    traffic.now += 20.0
    assert traffic.decide()["latency_p95"].state == "not_enough_data"
    traffic.both(1, baseline={"latency_s": 1.0}, candidate={"latency_s": 4.0})
    assert traffic.decide()["latency_p95"].state == "firing"


def test_latency_does_not_apply_while_the_baseline_is_too_slow_itself(latency: Any) -> None:
    latency.both(60, baseline={"latency_s": 4.0}, candidate={"latency_s": 4.0})
    latency.now += 20.0
    status = latency.decide()["latency_p95"]
    assert (status.state, status.evidence["observations"]) == ("not_applicable", 0)


def test_a_p95_barely_over_the_limit_is_shown_but_neither_paged_nor_rolled_back(latency: Any) -> None:
    for index in range(100):
        slow = 4.0 if index % 15 == 14 else 1.0
        latency.both(1, baseline={"latency_s": 1.0}, candidate={"latency_s": slow})
    latency.now += 20.0
    status = latency.decide()["latency_p95"]
    assert (status.state, status.action) == ("warn", None)


def test_a_limit_that_no_evidence_can_judge_does_not_apply(traffic_of: Any) -> None:
    rule = Rule(rule="error_rate", limit=0.6, window_s=None, minimum=3, action="rollback")
    traffic = traffic_of(Watch("support-nov", [rule]))
    traffic.send(20)
    traffic.send(20, arm="candidate", failed=True)
    assert traffic.decide()["error_rate"].state == "not_applicable"


@pytest.mark.parametrize("failing", [0.3, 1.0])
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_an_outage_of_both_arms_blames_no_candidate_with_a_large_share(
    traffic_of: Any, share: float, failing: float
) -> None:
    convicted = 0
    for seed in range(10):
        draw, traffic = random.Random(seed), traffic_of(Watch("support-nov", [ERROR_RATE]), share=share)
        for number in range(500):
            arm = "candidate" if draw.random() < share else "baseline"
            traffic.send(1, arm=arm, failed=number >= 250 and draw.random() < failing)
        convicted += traffic.decide()["error_rate"].action == "rollback"
    assert convicted == 0


def test_a_candidate_with_a_large_share_waits_for_what_the_baseline_does_next(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [ERROR_RATE]), share=0.5)
    traffic.send(30)
    traffic.send(6, arm="candidate", failed=True)
    assert traffic.decide()["error_rate"].evidence["waiting"] == 6
    traffic.send(3)
    assert traffic.decide()["error_rate"].action == "rollback"


def test_it_does_not_wait_for_a_baseline_that_has_gone_quiet(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [ERROR_RATE]), share=0.5)
    traffic.send(30, gap_s=0.1)
    traffic.send(6, gap_s=0.1, arm="candidate", failed=True)
    assert traffic.decide()["error_rate"].action != "rollback"
    traffic.now += 3.5
    assert traffic.decide()["error_rate"].action == "rollback"
