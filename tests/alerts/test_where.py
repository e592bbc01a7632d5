"""Where failing exchanges lie: what is named, what is not, and what is kept of it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from alerts.guardrails import Watch
from alerts.incidents.incident import step
from alerts.incidents.notice import describe, slack_payload, webhook_payload
from alerts.rules.places import VALUES, FailingTally, kinds_of, parts_of
from alerts.rules.rule import DEFAULT_RULES, Rule
from common.concentration import FailingPart
from records.outcome import ProviderError

ERROR_RATE = Rule(rule="error_rate", limit=0.05, window_s=None, minimum=3, action="rollback")
LATENCY = Rule(rule="latency_p95", limit=3.0, window_s=600.0, minimum=50, action="rollback")
REFUND = "12 of 12 failing exchanges are in category refund (5 % of the traffic)"


def bad_refunds(traffic: Any) -> Any:
    """Candidate exchanges: 12 of refund, which all fail, and 228 others, which do not."""
    traffic.send(40)
    for _ in range(12):
        traffic.send(19, arm="candidate", category="order", tags={"plan": "pro"})
        traffic.send(1, arm="candidate", category="refund", failed=True, tags={"plan": "pro"})
    return traffic


@pytest.fixture
def refunds(traffic_of: Any) -> Any:
    return bad_refunds(traffic_of(Watch("support-nov", [ERROR_RATE], segments=("plan",))))


def test_a_guardrail_names_the_category_in_which_the_failing_exchanges_lie(refunds: Any) -> None:
    status = refunds.decide()["error_rate"]
    assert status.where.document == [
        {"by": "category", "value": "refund", "failing": 12, "of": 12, "share": 0.05}
    ]
    assert status.sentence.endswith(f"; {REFUND}")
    assert "plan" not in status.where.sentence  # all are in plan pro, as all of the traffic is


def test_failures_that_lie_everywhere_name_no_part(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [ERROR_RATE], segments=("plan",)))
    for number in range(120):
        category, plan = ("refund", "order", "login")[number % 3], ("pro", "free")[number % 2]
        traffic.send(1, arm="candidate", category=category, tags={"plan": plan}, failed=number % 5 == 0)
    status = traffic.decide()["error_rate"]
    assert (status.where.document, status.where.sentence) == ([], "")
    assert "failing exchanges" not in status.sentence


def test_a_segment_is_named_by_its_tag(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [ERROR_RATE], segments=("plan",)))
    traffic.send(90, arm="candidate", tags={"plan": "free"})
    traffic.send(10, arm="candidate", tags={"plan": "pro"}, failed=True)
    where = traffic.decide()["error_rate"].where
    assert where.sentence == "10 of 10 failing exchanges are in plan pro (10 % of the traffic)"


def test_exchanges_without_a_category_are_named_as_such(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [ERROR_RATE]))
    traffic.send(90, arm="candidate", category="order")
    traffic.send(10, arm="candidate", failed=True)
    where = traffic.decide()["error_rate"].where
    assert where.sentence == "10 of 10 failing exchanges are in no category (10 % of the traffic)"


def test_two_parts_stand_in_one_sentence_the_less_likely_first() -> None:
    tally = FailingTally()
    for number in range(400):
        failing = number % 20 == 0
        parts = {"category": "refund" if failing else "order", "plan": "pro" if number % 4 == 0 else "free"}
        tally.add(float(number), parts, ["failed"] if failing else [])
    found = tally.concentration("failed", ("plan", "category"))
    assert found.sentence == (
        "20 of 20 failing exchanges are in category refund (5 % of the traffic),"
        " 20 in plan pro (25 % of the traffic)"
    )


def test_three_failing_exchanges_in_a_small_part_are_enough_and_two_are_not() -> None:
    def named(failing: int) -> tuple[FailingPart, ...]:
        tally = FailingTally()
        for number in range(100):
            small = number < 5
            tally.add(0.0, {"category": "a" if small else "b"}, ["failed"] if number < failing else [])
        return tally.concentration("failed", ("category",)).parts

    assert named(2) == ()
    assert named(3) == (FailingPart("category", "a", 3, 3, 0.05),)


def test_what_began_in_the_last_hour_is_named_after_a_week_of_failures_everywhere() -> None:
    tally = FailingTally()
    for number in range(2000):
        tally.add(300.0 * number, {"category": f"c{number % 20}"}, ["failed"] if number % 20 < 19 else [])
    for number in range(100):
        refund = number % 10 == 0
        tally.add(610_000.0 + 10.0 * number, {"category": "refund" if refund else "c1"}, ["failed"] * refund)
    found = tally.concentration("failed", ("category",))
    assert found.recent
    assert found.sentence.startswith("10 of 10 failing exchanges of the last hour are in category refund (")


def test_a_latency_rule_names_where_the_slow_exchanges_lie(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [LATENCY, ERROR_RATE]))
    traffic.send(80, arm="candidate", category="order", latency_s=1.0)
    traffic.send(20, arm="candidate", category="summary", latency_s=4.0)
    statuses = traffic.decide()
    assert statuses["latency_p95"].sentence.endswith(
        "20 of 20 slow exchanges are in category summary (20 % of the traffic)"
    )
    assert not statuses["error_rate"].where.parts


def test_every_way_to_fail_is_counted_by_its_own_name(traffic_of: Any) -> None:
    made = traffic_of(Watch("support-nov", []))
    assert kinds_of(made.outcome(failed=True)) == ["failed", "any"]
    assert kinds_of(made.outcome(outcome="aborted", error_type="aborted")) == ["abandoned", "any"]
    assert kinds_of(made.outcome(faults=("empty", "json_invalid"))) == [
        "answer_faults", "invalid_output", "any", "empty", "json_invalid"
    ]  # fmt: skip
    assert kinds_of(made.outcome(latency_s=4.0), (3.0, 5.0)) == ["slower than 3 s"]
    assert parts_of(made.outcome(category="a", tags={"plan": "pro", "x": "y"}), ("plan", "region")) == {
        "category": "a", "plan": "pro", "region": ""
    }  # fmt: skip


def test_callers_who_leave_are_located_though_they_are_no_evidence_of_errors(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [ERROR_RATE]))
    traffic.send(90, arm="candidate", category="order")
    traffic.send(10, arm="candidate", category="refund", outcome="aborted", error_type="aborted")
    traffic.send(10, arm="candidate", category="refund", outcome="aborted", reason="forced")
    found = traffic.watch.concentration("abandoned")
    assert found.sentence == "10 of 10 failing exchanges are in category refund (10 % of the traffic)"
    assert not traffic.watch.concentration("failed").parts


def test_a_rule_over_one_part_names_only_that_part(traffic_of: Any) -> None:
    rules = [ERROR_RATE, replace(ERROR_RATE, category="refund"), replace(ERROR_RATE, category="order")]
    traffic = bad_refunds(traffic_of(Watch("support-nov", rules)))
    statuses = traffic.decide()
    assert statuses["error_rate[category=refund]"].where == statuses["error_rate"].where
    assert statuses["error_rate[category=order]"].where.parts == ()
    assert "failing exchanges" not in statuses["error_rate[category=refund]"].sentence


def test_a_message_says_once_where_exchanges_fail(traffic_of: Any) -> None:
    rules = [ERROR_RATE, replace(ERROR_RATE, category="refund")]
    found = list(bad_refunds(traffic_of(Watch("support-nov", rules))).decide().values())
    statuses = [replace(each, action="page") for each in (*found, replace(found[0], rule="empty"))]
    _, (page,) = step(None, statuses, canary="support-nov", run=1, now=1.79e9, rolled_back=False)
    assert describe(page).count("failing exchanges are in category refund") == 1
    named = replace(page, headline=f"Answers fail, all in {REFUND.partition(' are in ')[2]}.")
    assert "failing exchanges" not in describe(named)
    assert "empty: candidate: 12 of 240 outcomes failed" in describe(named)


def test_other_traffic_and_the_baseline_are_not_counted(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [ERROR_RATE]))
    traffic.send(50, category="refund", failed=True)
    traffic.send(50, arm="candidate", canary="another", category="refund", failed=True)
    traffic.send(50, arm="candidate", run=2, category="refund", failed=True)
    traffic.send(50, arm="candidate", mirror=True, category="refund", failed=True)
    traffic.send(50, arm="candidate", category="order")
    assert traffic.watch.state.failing.run.failing == {}
    assert traffic.watch.state.failing.run.traffic["category"].total == 50


def test_values_beyond_the_bound_are_counted_only_in_the_totals() -> None:
    tally = FailingTally()
    for number in range(2 * VALUES):
        tally.add(0.0, {"category": f"c{number}"}, [])
    for _ in range(100):
        tally.add(0.0, {"category": "too-late"}, ["failed"])
    counts = tally.run.traffic["category"]
    assert (len(counts.values), counts.total) == (VALUES, 2 * VALUES + 100)
    assert tally.concentration("failed", ("category",)).parts == ()


def test_where_outlives_a_checkpoint(refunds: Any) -> None:
    before = refunds.decide()["error_rate"]
    document = json.loads(json.dumps(refunds.watch.snapshot()))
    refunds.watch = Watch("support-nov", [ERROR_RATE], segments=("plan",))
    refunds.watch.restore(document)
    assert refunds.decide()["error_rate"] == before


def test_why_and_the_page_carry_the_place(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [ERROR_RATE]))
    traffic.send(40)
    traffic.send(30, arm="candidate", category="order")
    traffic.send(10, arm="candidate", category="refund", failed=True)
    statuses = list(traffic.decide().values())
    at, place = (
        1.79e9 + traffic.now,
        "10 of 10 failing exchanges are in category refund (25 % of the traffic)",
    )
    why = traffic.watch.why(
        statuses, rule="error_rate", who="guardrail error_rate", reason="", at=at, share=0.05
    )
    assert (why.where.sentence, why.rules[0].where) == (place, why.where)
    assert why.sentence.endswith(place)
    _, notices = step(None, statuses, canary="support-nov", run=1, now=at, rolled_back=False)
    assert place in notices[0].details["error_rate"]
    assert webhook_payload(notices[0])["where"] == why.where.document
    assert place in slack_payload(notices[0])["text"]


def test_a_rollback_by_a_person_names_the_place_too(traffic_of: Any) -> None:
    traffic = bad_refunds(traffic_of(Watch("support-nov", ())))
    assert traffic.watch.where([]).sentence == REFUND


def test_the_newest_words_of_the_candidate_s_provider_are_kept(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [ERROR_RATE]))
    older = ProviderError(message="Overloaded")
    said = ProviderError(
        code="unsupported_parameter", type="invalid_request_error", param="max_tokens",
        message="Unsupported parameter: 'max_tokens'",
    )  # fmt: skip
    for each in (older, said, None):
        traffic.send(1, arm="candidate", outcome="fallback", error_type="candidate_rejects", status=400,
                     provider_error=each)  # fmt: skip
    traffic.send(1, failed=True, provider_error=older)
    error = traffic.watch.state.provider_error
    assert (error.status, error.error_type, error.param) == (400, "candidate_rejects", "max_tokens")
    assert error.sentence == "candidate rejects: Unsupported parameter: 'max_tokens'"
    assert [each.message for each in traffic.watch.state.failures] == ["Overloaded", said.message, ""]
    document = json.loads(json.dumps(traffic.watch.snapshot()))
    traffic.watch.restore(document)
    assert traffic.watch.state.provider_error == error


def test_four_failures_are_named_although_the_part_is_a_fifth_of_twenty_exchanges() -> None:
    tally = FailingTally()
    for number in range(20):
        failing = number % 5 == 0
        tally.add(0.0, {"category": "refund" if failing else "order"}, ["failed"] * failing)
    assert tally.concentration("failed", ("category",)).parts[0].value == "refund"


def test_the_default_rules_name_no_part_of_healthy_traffic(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", DEFAULT_RULES, segments=("plan",)))
    traffic.send(200, arm="candidate", category="order", tags={"plan": "pro"}, cost_usd=0.01)
    assert all(not each.where.parts for each in traffic.decide().values())
