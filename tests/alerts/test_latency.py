"""The latency rules with exchanges in flight, through a whole watch. `test_absolute.py` has their windows."""

import json
from dataclasses import replace
from typing import Any

import pytest

from alerts.guardrails import Watch
from alerts.rules.rule import DEFAULT_RULES, Rule
from alerts.wording import on_call
from records.outcome import InFlight

P95 = Rule(rule="latency_p95", limit=3.0, window_s=600.0, minimum=50, action="rollback")
VERSUS = Rule(rule="latency_vs_baseline", limit=1.5, window_s=None, minimum=3, action="rollback")
WORKER = ("", 0, 4711)
EPOCH = 1_790_000_000.0
JSON = {"operation": "chat", "stream": False}
STREAM = {"operation": "chat", "stream": True}
LEFT = {"outcome": "aborted", "error_type": "aborted"}


class Flying:
    """A watch with a known baseline, and requests that start now and do not end."""

    def __init__(self, traffic: Any) -> None:
        self.traffic = traffic

    def warm(self, count: int = 120, **baseline: Any) -> None:
        self.traffic.send(count, gap_s=0.5, **{**JSON, "latency_s": 1.0, **baseline})

    def start(self, count: int = 1, *, arm: str = "candidate", **changed: Any) -> list[str]:
        started = []
        for _ in range(count):
            self.traffic.sent += 1
            fields: dict[str, Any] = {
                "exchange_id": f"x{self.traffic.sent}",
                "at": 1_790_000_000.0 + self.traffic.now,
                "mono": self.traffic.now,
                "canary": "support-nov",
                "run": 1,
                "phase": 1,
                "share": 0.05,
                "arm": arm,
                "reason": "cohort",
                "unit": f"unit-{self.traffic.sent}",
                **JSON,
            }
            self.traffic.watch.observe_in_flight(WORKER, InFlight(**{**fields, **changed}))
            started.append(f"x{self.traffic.sent}")
        return started

    def after(self, seconds: float) -> Any:
        self.traffic.now += seconds
        return self.traffic.decide()


@pytest.fixture
def flying(traffic_of: Any) -> Flying:
    return Flying(traffic_of(Watch("support-nov", [VERSUS])))


@pytest.fixture
def absolute(traffic_of: Any) -> Flying:
    return Flying(traffic_of(Watch("support-nov", [P95])))


def test_a_candidate_that_never_answers_goes_seconds_after_the_bound(flying: Flying) -> None:
    flying.warm()
    flying.start(8)
    assert flying.after(1.4)["latency_vs_baseline"].evidence["bad"] == 0
    status = flying.after(2.0)["latency_vs_baseline"]
    assert (status.state, status.action) == ("latched", "rollback")
    assert "8 of 8 exchanges slower than 1.5× the baseline's p95" in status.sentence
    assert "0.99 s for chat/json" in status.sentence


def test_a_candidate_that_hangs_before_the_first_outcome_is_dated_today(
    absolute: Flying,
) -> None:
    first = EPOCH + absolute.traffic.now
    for _ in range(60):
        absolute.start(1)
        absolute.after(1.0)
    status = absolute.after(602.0)["latency_p95"]
    assert status.action == "rollback"
    trouble = absolute.traffic.watch.trouble(status)
    assert trouble.since == pytest.approx(first, abs=60.0)
    points = next(iter(absolute.traffic.watch.state.paths.values())).points()
    assert min(point.at for point in points) >= first
    noted = [mark.at for mark in absolute.traffic.watch.state.incidence.marks]
    assert all(at >= first for at in noted)


def test_in_flight_counts_for_the_plain_limit_too(absolute: Flying) -> None:
    absolute.warm()
    absolute.start(8)
    assert absolute.after(2.9)["latency_p95"].evidence["bad"] == 0
    assert absolute.after(1.0)["latency_p95"].action == "rollback"


def test_a_hang_is_told_as_no_answer_and_a_time_that_was_cut_as_over(absolute: Flying) -> None:
    absolute.warm()
    absolute.start(6)
    status = absolute.after(3.6)["latency_p95"]
    assert status.sentence.startswith("candidate: p95 latency over 3.")
    assert (status.evidence["cut"], status.evidence["no_answer"]) == (1.0, 6.0)
    trouble = absolute.traffic.watch.trouble(status)
    said = on_call(trouble, "", absolute.traffic.now)
    assert said.startswith("The candidate does not answer: no answer within 3.6 s (6 of 6), since ")
    assert "Users waited that long." in said  # nobody has got another answer yet


def test_what_was_given_up_before_it_was_judged_is_told_as_no_answer(absolute: Flying) -> None:
    absolute.warm()
    given_up = {"outcome": "fallback", "error_type": "provider_timeout", "latency_s": 12.4, "ttft_s": 12.1}
    absolute.traffic.send(6, arm="candidate", **{**STREAM, **given_up})
    status = absolute.after(1.0)["latency_p95"]
    assert (status.evidence["no_answer"], status.evidence["bad"]) == (6.0, 6.0)
    said = on_call(absolute.traffic.watch.trouble(status), "", absolute.traffic.now)
    assert said.startswith("The candidate does not answer: no answer within 12 s (6 of 6), since ")


def test_what_was_slow_and_then_answered_is_no_hang(absolute: Flying) -> None:
    absolute.warm()
    started, at = absolute.start(6), absolute.traffic.now
    assert absolute.after(3.6)["latency_p95"].evidence["no_answer"] == 6.0
    for number, each in enumerate(started, 121):
        late = {"exchange_id": each, "unit": f"unit-{number}", "mono": at, "latency_s": 5.0}
        absolute.traffic.watch.observe(absolute.traffic.outcome(arm="candidate", **{**JSON, **late}))
    status = absolute.after(2.0)["latency_p95"]
    assert ("cut" in status.evidence, "no_answer" in status.evidence) == (True, False)
    said = on_call(absolute.traffic.watch.trouble(status), "", absolute.traffic.now)
    assert "6 of 6 requests took longer than 3 s" in said


@pytest.mark.parametrize("come", [{"ttft_s": 0.5}, {"begun": True}])
def test_a_slow_stream_that_has_begun_is_no_silent_one(absolute: Flying, come: dict[str, Any]) -> None:
    absolute.warm()
    absolute.start(6, **come, **STREAM)
    status = absolute.after(3.6)["latency_p95"]
    assert ("cut" in status.evidence, "no_answer" in status.evidence) == (True, False)
    said = on_call(absolute.traffic.watch.trouble(status), "", absolute.traffic.now)
    assert "6 of 6 requests took longer than 3 s, 6 users, p95 over 3.6 s, since " in said
    assert "Users waited that long." in said


def test_a_time_that_was_measured_whole_is_not_cut(absolute: Flying) -> None:
    absolute.warm()
    absolute.traffic.send(60, arm="candidate", **{**JSON, "latency_s": 4.0})
    status = absolute.after(10.0)["latency_p95"]
    assert "cut" not in status.evidence
    assert "p95 latency 4." in status.sentence or "p95 latency 3.9" in status.sentence


@pytest.mark.parametrize("ending", [{"latency_s": 30.0}, {**LEFT, "latency_s": 0.0}])
def test_an_exchange_counts_once_whatever_becomes_of_it(flying: Flying, ending: dict[str, Any]) -> None:
    flying.warm()
    (started,) = flying.start()
    at = flying.traffic.now
    flying.after(5.0)
    late = flying.traffic.outcome(
        arm="candidate", exchange_id=started, unit="unit-121", mono=at, **JSON, **ending
    )
    flying.traffic.watch.observe(late)
    evidence = flying.after(5.0)["latency_vs_baseline"].evidence
    assert (evidence["outcomes"], evidence["bad"]) == (1, 1)
    assert evidence["adverse_units"] == 1
    assert flying.traffic.watch.state.running.exchanges == {}


def test_an_exchange_for_which_the_other_arm_is_asked_does_not_count_any_more(flying: Flying) -> None:
    flying.warm()
    started = flying.start(8)
    for exchange_id in started:
        flying.start(exchange_id=exchange_id, reason="foreign_state")
    status = flying.after(5.0)["latency_vs_baseline"]
    assert (status.action, status.evidence["bad"]) == (None, 0)


def test_both_arms_hanging_alike_convict_nobody(traffic_of: Any) -> None:
    flying = Flying(traffic_of(Watch("support-nov", [P95, VERSUS])))
    flying.warm()
    for _ in range(30):
        flying.start(19, arm="baseline")
        flying.start(1)
        statuses = flying.after(1.0)
    assert {status.action for status in statuses.values()} == {None}


def test_a_stream_is_judged_by_its_first_token_and_before_it_ends(flying: Flying) -> None:
    flying.warm(**STREAM, ttft_s=0.5, latency_s=40.0)
    flying.start(10, **STREAM, ttft_s=0.6)
    status = flying.after(10.0)["latency_vs_baseline"]
    assert (status.state, status.evidence["outcomes"], status.evidence["bad"]) == ("ok", 10, 0)
    flying.start(8, **STREAM)
    assert flying.after(4.0)["latency_vs_baseline"].action == "rollback"


def test_the_first_token_of_an_exchange_in_flight_comes_as_a_second_record(flying: Flying) -> None:
    flying.warm(**STREAM, ttft_s=2.0)
    (started,) = flying.start(**STREAM)
    at = flying.traffic.now
    assert flying.after(2.5)["latency_vs_baseline"].evidence["outcomes"] == 0
    flying.start(**STREAM, exchange_id=started, unit="unit-121", mono=at, ttft_s=2.4)
    evidence = flying.after(9.0)["latency_vs_baseline"].evidence
    assert (evidence["outcomes"], evidence["bad"]) == (1, 0)


def test_each_operation_and_kind_has_its_own_p95(flying: Flying) -> None:
    flying.warm(latency_s=4.0)
    flying.warm(operation="embeddings", latency_s=0.1)
    flying.traffic.both(10, baseline={**JSON, "latency_s": 4.0}, candidate={**JSON, "latency_s": 4.5})
    assert flying.after(20.0)["latency_vs_baseline"].state == "ok"
    slow = {"operation": "embeddings", "latency_s": 0.4}
    flying.traffic.both(10, baseline={**JSON, "latency_s": 4.0}, candidate=slow)
    assert flying.after(20.0)["latency_vs_baseline"].action == "rollback"


def test_outcomes_wait_for_fifty_of_the_baseline(flying: Flying) -> None:
    flying.warm(30)
    flying.traffic.send(10, arm="candidate", **JSON, latency_s=3.0)
    waiting = flying.after(5.0)["latency_vs_baseline"]
    assert (waiting.state, waiting.evidence["outcomes"]) == ("not_enough_data", 0)
    flying.warm(30)
    assert flying.after(5.0)["latency_vs_baseline"].action == "rollback"


def test_a_few_milliseconds_are_never_slow(flying: Flying) -> None:
    flying.warm(latency_s=0.02)
    flying.traffic.both(20, baseline={**JSON, "latency_s": 0.02}, candidate={**JSON, "latency_s": 0.06})
    assert flying.after(5.0)["latency_vs_baseline"].evidence["bad"] == 0


def test_a_failed_exchange_says_nothing_about_the_baselines_p95(flying: Flying) -> None:
    flying.warm(60, failed=True, latency_s=60.0)
    assert flying.after(5.0)["latency_vs_baseline"].state == "not_enough_data"
    assert "(–, limit" in flying.after(1.0)["latency_vs_baseline"].sentence


def test_a_caller_who_left_early_says_nothing(flying: Flying) -> None:
    flying.warm()
    flying.traffic.send(10, arm="candidate", **JSON, **LEFT, latency_s=0.5)
    assert flying.after(5.0)["latency_vs_baseline"].evidence["outcomes"] == 0


def test_a_worker_that_died_takes_its_exchanges_along(flying: Flying) -> None:
    flying.warm()
    flying.start(8)
    flying.traffic.watch.forget_worker(("", 1, 4711))
    assert len(flying.traffic.watch.state.running.exchanges) == 8
    flying.traffic.watch.forget_worker(WORKER)
    assert flying.after(60.0)["latency_vs_baseline"].evidence["outcomes"] == 0


def test_an_exchange_without_an_end_is_forgotten_after_the_longest(flying: Flying) -> None:
    flying.warm()
    flying.start()
    flying.after(690.0)
    assert len(flying.traffic.watch.state.running.exchanges) == 1
    flying.after(20.0)
    assert flying.traffic.watch.state.running.exchanges == {}


def test_exchanges_of_another_run_or_that_the_hash_did_not_assign_are_left_out(flying: Flying) -> None:
    flying.start(run=2)
    flying.start(reason="pinned")
    flying.start(canary="another")
    assert flying.traffic.watch.state.running.exchanges == {}


def test_what_is_in_flight_outlives_a_checkpoint_and_no_reboot(flying: Flying) -> None:
    flying.warm()
    flying.start(8)
    flying.after(1.0)
    document = json.loads(json.dumps(flying.traffic.watch.snapshot()))
    for new_boot, action in [(None, "rollback"), (1_790_000_100.0, None)]:
        flying.traffic.watch = Watch("support-nov", [VERSUS])
        flying.traffic.watch.restore(document, new_boot=new_boot)
        assert flying.after(3.0)["latency_vs_baseline"].action == action


def test_a_limit_that_does_not_suit_the_baseline_names_the_rule_that_watches_instead(traffic_of: Any) -> None:
    slow = {"latency_s": 4.0}
    for rules, words in [(DEFAULT_RULES, "latency_vs_baseline watches instead"), ([P95], "add latency_vs")]:
        traffic = traffic_of(Watch("support-nov", rules))
        traffic.both(60, baseline=slow, candidate=slow)
        traffic.now += 20.0
        status = traffic.decide()["latency_p95"]
        assert status.state == "not_applicable"
        assert words in status.sentence


def test_three_times_as_slow_as_a_slow_baseline_is_rolled_back(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", DEFAULT_RULES))
    traffic.both(20, baseline={**JSON, "latency_s": 4.0}, candidate={**JSON, "latency_s": 12.0})
    traffic.now += 20.0
    assert traffic.decide()["latency_vs_baseline"].action == "rollback"


def test_a_rule_for_a_category_times_only_that_category(traffic_of: Any) -> None:
    flying = Flying(traffic_of(Watch("support-nov", [replace(VERSUS, category="refund")])))
    flying.warm(category="refund")
    flying.start(8, category="other")
    assert flying.after(5.0)["latency_vs_baseline[category=refund]"].evidence["outcomes"] == 0
    flying.start(8, category="refund")
    assert flying.after(5.0)["latency_vs_baseline[category=refund]"].action == "rollback"


def test_a_failure_counts_while_the_baseline_still_answers_in_its_place_and_once(traffic_of: Any) -> None:
    rule = Rule(rule="error_rate", limit=0.05, window_s=None, minimum=3, action="rollback")
    flying = Flying(traffic_of(Watch("support-nov", [rule])))
    flying.warm()
    began = flying.traffic.now
    started = flying.start(2)
    failed = {"unit": f"unit-{flying.traffic.sent}", "mono": began, "error_type": "provider_timeout"}
    flying.start(exchange_id=started[-1], **failed)
    assert flying.after(5.0)["error_rate"].evidence["adverse_units"] == 1
    ended = flying.traffic.outcome(
        **failed, exchange_id=started[-1], arm="candidate", outcome="fallback", latency_s=9.0
    )
    flying.traffic.watch.observe(ended)
    evidence = flying.after(20.0)["error_rate"].evidence
    assert (evidence["observations"], evidence["adverse_units"], evidence["bad"]) == (1, 1, 1)


def test_an_exchange_that_the_breaker_kept_away_is_no_failure_in_flight_either(traffic_of: Any) -> None:
    rule = Rule(rule="error_rate", limit=0.05, window_s=None, minimum=3, action="rollback")
    flying = Flying(traffic_of(Watch("support-nov", [rule])))
    flying.warm()
    flying.start(8, error_type="breaker_open")
    assert flying.after(5.0)["error_rate"].evidence["observations"] == 0


def test_a_throttled_exchange_that_waits_for_the_baseline_is_not_slow(flying: Flying) -> None:
    flying.warm()
    started = flying.start(8)
    for place, exchange_id in enumerate(started):
        news = {"unit": f"unit-{flying.traffic.sent - 8 - place}", "error_type": "provider_throttled"}
        flying.start(exchange_id=exchange_id, **news)
    assert flying.after(4.0)["latency_vs_baseline"].evidence["bad"] == 0


def test_where_both_arms_hang_and_only_the_candidates_wait_ends_nobody_is_convicted(traffic_of: Any) -> None:
    """The baseline may take minutes; the candidate is given up after 30 s."""
    errors = [rule for rule in DEFAULT_RULES if rule.rule.startswith("error_rate")]
    flying = Flying(traffic_of(Watch("support-nov", errors)))
    flying.warm()
    waiting: list[tuple[str, float]] = []
    for second in range(90):
        flying.start(19, arm="baseline")
        waiting += [(each, flying.traffic.now) for each in flying.start(1)]
        statuses = flying.after(1.0)
        if second >= 30:
            given_up, began = waiting[second - 30]
            news = {"unit": f"unit-{given_up[1:]}", "mono": began, "error_type": "provider_timeout"}
            flying.start(exchange_id=given_up, **news)
    assert statuses["error_rate_vs_baseline"].evidence["observations"] > 500
    assert {status.action for status in statuses.values()} <= {None, "hold"}
    assert statuses["outage"].action == "hold"
