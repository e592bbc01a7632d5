"""`abandoned` and the rules about answer faults, through a whole watch."""

import json
import random
from statistics import median
from typing import Any

import pytest

from alerts.guardrails import Watch
from alerts.rules.rule import DEFAULT_RULES, RuleName
from alerts.wording import on_call

RULES = {rule.rule: rule for rule in DEFAULT_RULES}
LEFT = {"outcome": "aborted", "error_type": "aborted", "latency_s": None}
GOOD = {"finish": "stop"}


def watching(traffic_of: Any, *names: RuleName, share: float = 0.05) -> Any:
    return traffic_of(Watch("support-nov", [RULES[name] for name in names]), share=share)


def test_callers_who_leave_the_candidate_alone_roll_it_back(traffic_of: Any) -> None:
    traffic = watching(traffic_of, "abandoned")
    traffic.both(8, baseline={}, candidate=LEFT)
    status = traffic.decide()["abandoned"]
    assert (status.state, status.action) == ("latched", "rollback")
    assert "callers who left without an answer: 8 of the candidate, 0 of the baseline" in status.sentence
    assert "8 of 8 of the candidate's exchanges were left since 17:00 UTC (100.0 %)" in status.sentence


def test_before_three_of_its_users_left_nothing_is_known_and_then_it_is_never_ok(traffic_of: Any) -> None:
    traffic = watching(traffic_of, "abandoned", "error_rate")
    traffic.both(2, baseline={}, candidate=LEFT)
    assert traffic.decide()["abandoned"].state == "not_enough_data"
    traffic.both(1, baseline={}, candidate=LEFT)
    assert traffic.decide()["abandoned"].state in ("warn", "firing")
    assert traffic.decide()["error_rate"].state == "not_enough_data"


def test_where_all_callers_of_both_arms_leave_the_rule_warns_and_convicts_nobody(traffic_of: Any) -> None:
    traffic = watching(traffic_of, "abandoned")
    traffic.both(60, baseline=LEFT, candidate=LEFT)
    status = traffic.decide()["abandoned"]
    assert (status.state, status.action) == ("warn", None)


@pytest.mark.parametrize("common", [0.2, 0.6])
def test_an_app_that_cancels_both_arms_alike_convicts_nobody(traffic_of: Any, common: float) -> None:
    draw = random.Random(3)
    traffic = watching(traffic_of, "abandoned", "error_rate", "error_rate_vs_baseline")
    for _ in range(6000):
        arm = "candidate" if draw.random() < 0.05 else "baseline"
        traffic.send(1, arm=arm, **(LEFT if draw.random() < common else {}))
    assert {status.action for status in traffic.decide().values()} == {None}


def test_a_caller_who_left_a_stream_after_its_first_byte_had_an_answer(traffic_of: Any) -> None:
    traffic = watching(traffic_of, "abandoned")
    traffic.both(20, baseline={}, candidate={**LEFT, "stream": True, "ttfb_s": 0.2})
    assert traffic.decide()["abandoned"].state == "ok"


def test_only_exchanges_that_the_hash_assigned_count(traffic_of: Any) -> None:
    traffic = watching(traffic_of, "abandoned")
    traffic.both(20, baseline={}, candidate={**LEFT, "reason": "pinned"})
    traffic.send(20, arm="candidate", **LEFT, mirror=True)
    traffic.send(20, arm="candidate", **LEFT, run=2)
    assert traffic.decide()["abandoned"].evidence["outcomes"] == 0


def test_callers_who_leave_are_no_errors(traffic_of: Any) -> None:
    traffic = watching(traffic_of, "error_rate", "error_rate_vs_baseline", "cost_per_request")
    before = traffic.watch.snapshot()["guardrails"]
    traffic.send(50, arm="candidate", **LEFT)
    traffic.decide()
    assert traffic.watch.snapshot()["guardrails"] == before


@pytest.mark.parametrize(
    ("rule", "answer"),
    [
        ("empty", {"faults": ("empty",)}),
        ("invalid_output", {"faults": ("tool_args_invalid",), "output_check": "judged"}),
        ("invalid_output", {"faults": ("json_off_schema",), "output_check": "judged"}),
    ],
)
def test_empty_and_invalid_answers_of_the_candidate_roll_it_back(
    traffic_of: Any, rule: RuleName, answer: dict[str, Any]
) -> None:
    traffic = watching(traffic_of, rule)
    fine = {**GOOD, "output_check": answer.get("output_check", "")}
    traffic.both(10, baseline=fine, candidate={**GOOD, **answer})
    assert (traffic.decide()[rule].state, traffic.decide()[rule].action) == ("latched", "rollback")


@pytest.mark.parametrize("fault", ["refused", "cut_off", "empty", "json_invalid"])
def test_any_fault_pages_and_its_own_rule_may_too(traffic_of: Any, fault: str) -> None:
    traffic = watching(traffic_of, "answer_faults", "refused", "cut_off")
    traffic.both(10, baseline=GOOD, candidate={**GOOD, "faults": (fault,)})
    statuses = traffic.decide()
    assert (statuses["answer_faults"].state, statuses["answer_faults"].action) == ("firing", "page")
    for own in ("refused", "cut_off"):
        assert (statuses[own].action == "page") is (own == fault)


def test_answers_that_nobody_read_do_not_count(traffic_of: Any) -> None:
    traffic = watching(traffic_of, "answer_faults", "empty")
    traffic.both(20, baseline={}, candidate={"failed": True})
    assert {status.state for status in traffic.decide().values()} == {"not_enough_data"}


@pytest.mark.parametrize("check", ["", "not_judged"])
def test_answers_that_nobody_checked_are_no_part_of_invalid_output(traffic_of: Any, check: str) -> None:
    traffic = watching(traffic_of, "invalid_output")
    traffic.both(20, baseline=GOOD, candidate={**GOOD, "output_check": check})
    status = traffic.decide()["invalid_output"]
    assert (status.state, status.evidence["outcomes"]) == ("not_enough_data", 0)
    assert status.sentence.endswith("; not judged: 20 of its answers") is (check == "not_judged")


def test_faults_that_both_arms_have_alike_convict_nobody(traffic_of: Any) -> None:
    draw = random.Random(4)
    traffic = watching(traffic_of, "answer_faults", "empty", "invalid_output")
    for _ in range(6000):
        fault = draw.choice(["cut_off", "empty", "tool_unknown"]) if draw.random() < 0.1 else None
        arm = "candidate" if draw.random() < 0.05 else "baseline"
        traffic.send(1, arm=arm, finish="stop", output_check="judged", faults=(fault,) if fault else ())
    assert {status.action for status in traffic.decide().values()} == {None}


def test_a_rule_for_a_category_hears_only_that_category(traffic_of: Any) -> None:
    rule = RULES["empty"]
    own = type(rule)(**{**{f: getattr(rule, f) for f in rule.__slots__}, "category": "refund"})
    traffic = traffic_of(Watch("support-nov", [own]))
    traffic.both(10, baseline=GOOD, candidate={**GOOD, "faults": ("empty",), "category": "other"})
    assert traffic.decide()["empty[category=refund]"].state == "not_enough_data"
    traffic.both(10, baseline=GOOD, candidate={**GOOD, "faults": ("empty",), "category": "refund"})
    assert traffic.decide()["empty[category=refund]"].action == "rollback"


def outcomes_to_a_rollback(
    traffic_of: Any, rule: RuleName, share: float, faulty: float, seed: int, *, base: float = 0.002
) -> int:
    """The candidate's outcomes until it is rolled back, from the start of a run; 400 if it is not."""
    draw, fault = random.Random(seed), "empty" if rule == "empty" else "tool_args_invalid"
    traffic, outcomes = watching(traffic_of, rule, share=share), 0
    while traffic.decide()[rule].action != "rollback" and outcomes < 400:
        candidate = draw.random() < share
        outcomes += candidate
        bad = draw.random() < (faulty if candidate else base)
        arm = "candidate" if candidate else "baseline"
        traffic.send(1, arm=arm, **GOOD, output_check="judged", faults=(fault,) if bad else ())
    return outcomes


@pytest.mark.parametrize("rule", ["empty", "invalid_output"])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_a_candidate_whose_answers_are_useless_is_rolled_back_soon_at_any_share(
    traffic_of: Any, rule: RuleName, share: float
) -> None:
    all_of_them = [outcomes_to_a_rollback(traffic_of, rule, share, 1.0, seed) for seed in range(11)]
    half = [outcomes_to_a_rollback(traffic_of, rule, share, 0.5, seed) for seed in range(11)]
    assert median(all_of_them) <= 12
    assert median(half) <= 45


def test_answers_that_are_empty_in_both_arms_raise_the_limit(traffic_of: Any) -> None:
    traffic = watching(traffic_of, "empty", share=0.5)
    draw = random.Random(1)
    for _ in range(600):  # three in ten, of either arm
        arm = "candidate" if draw.random() < 0.5 else "baseline"
        traffic.send(1, arm=arm, **GOOD, faults=("empty",) if draw.random() < 0.3 else ())
        assert traffic.decide()["empty"].action is None


def test_a_quarter_of_empty_answers_is_over_the_limit_whatever_the_ratio(traffic_of: Any) -> None:
    traffic = watching(traffic_of, "empty", share=0.5)
    for number in range(120):
        traffic.send(1, **GOOD, faults=("empty",) if number % 8 == 0 else ())
        traffic.send(1, arm="candidate", **GOOD, faults=("empty",) if number % 4 == 0 else ())
    status = traffic.decide()["empty"]
    assert status.state != "ok"
    assert "25.0 % of the candidate's answers are empty (limit 20.0 %)" in status.sentence


def test_one_user_with_empty_answers_rolls_nothing_back(traffic_of: Any) -> None:
    traffic = watching(traffic_of, "empty", share=0.5)
    for _ in range(40):
        traffic.send(4, gap_s=20.0, **GOOD)
        traffic.send(1, arm="candidate", **GOOD, faults=("empty",), unit="one")
    assert traffic.decide()["empty"].action is None


def test_evidence_about_useless_answers_survives_a_restart(traffic_of: Any) -> None:
    whole, broken = (watching(traffic_of, "empty", share=0.5) for _ in range(2))
    for number in range(80):
        for traffic in (whole, broken):
            traffic.send(1, **GOOD)
            traffic.send(1, arm="candidate", **GOOD, faults=("empty",) if number % 9 == 0 else ())
        document = broken.watch.snapshot()
        broken.watch = Watch("support-nov", [RULES["empty"]])
        broken.watch.restore(document)
    assert broken.decide()["empty"] == whole.decide()["empty"]
    assert len(json.dumps(broken.watch.snapshot()["guardrails"])) < 20_000


STALLED = {"stream": True, "finish": "stop", "faults": ("stalled",), "longest_gap_s": 8.0}


@pytest.mark.parametrize(
    "candidate", [STALLED, {**LEFT, **STALLED, "finish": None, "ttfb_s": 0.2}], ids=["whole", "left"]
)
def test_streams_that_stall_roll_back_with_the_silence_said(
    traffic_of: Any, candidate: dict[str, Any]
) -> None:
    traffic = watching(traffic_of, "stalled", "error_rate", "latency_vs_baseline")
    traffic.both(8, baseline={"stream": True, "finish": "stop"}, candidate=candidate)
    status = traffic.decide()["stalled"]
    assert (status.state, status.action) == ("latched", "rollback")
    assert (status.evidence["bad"], status.evidence["stalled"]) == (8.0, 8.0)
    assert status.evidence["stalled_s"] == pytest.approx(8.0, rel=0.01)
    said = on_call(traffic.watch.trouble(status), "", traffic.now)
    assert said.startswith("Answers of the candidate stall: silent for 8 s in mid-stream (8 of 8), since ")


def test_where_the_baseline_stalls_alike_nobody_is_convicted(traffic_of: Any) -> None:
    traffic = watching(traffic_of, "stalled")
    traffic.both(60, baseline=STALLED, candidate=STALLED)
    status = traffic.decide()["stalled"]
    assert status.state != "latched"
