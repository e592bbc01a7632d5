"""The Prometheus families, and that docs/metrics.md tells the truth about them."""

import json
import re
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from records.exports.prometheus import GUARDRAIL_VALUES, LLM_BOUNDS, REMEMBERED_FEEDBACK, SESSIONS, Meters
from records.facts.counts import MOST_LEFT, CallerCount
from records.facts.metric import BUILT_IN
from records.outcome import Feedback, Heartbeat, Outcome, Usage
from records.store import SpoolCounts
from routing.states import Holdback, State, States

DOC = Path(__file__).parents[2] / "docs" / "metrics.md"

# The promise to users: family and labels.
PROMISED = {
    "canary_requests": {"canary", "arm", "outcome"},
    "canary_errors": {"canary", "arm", "error_type"},
    "canary_throttled_requests": {"canary", "arm"},
    "canary_answers": {"canary", "arm", "finish"},
    "canary_answer_faults": {"canary", "arm", "fault"},
    "canary_answers_not_judged": {"canary", "arm"},
    "canary_request_duration_seconds": {"canary", "arm"},
    "canary_time_to_first_token_seconds": {"canary", "arm"},
    "canary_time_per_output_token_seconds": {"canary", "arm"},
    "canary_tokens": {"canary", "arm", "kind"},
    "canary_cost_usd": {"canary", "arm"},
    "canary_unpriced_requests": {"canary", "arm"},
    "canary_feedback": {"canary", "arm", "metric"},
    "canary_feedback_value": {"canary", "arm", "metric"},
    "canary_assignments": {"canary", "arm", "reason"},
    "canary_fallbacks": {"canary", "reason"},
    "canary_share_ratio": {"canary"},
    "canary_lane_ratio": {"canary"},
    "canary_holdback_ratio": {"canary"},
    "canary_state": {"canary", "state"},
    "canary_guardrail_state": {"canary", "rule"},
    "canary_rollbacks": {"canary", "rule"},
    "canary_pages": {"canary"},
    "canary_metric_info": {"metric", "kind", "per"},
    **{family: {"canary", "arm"} for family, _ in SESSIONS.values()},
    "canary_proxy_overhead_seconds": set(),
    "canary_breaker_open": {"canary"},
    "canary_records": {"state"},
    "canary_records_spooled": set(),
    "canary_spool_room_bytes": set(),
    "canary_inflight_requests": set(),
    "canary_mirror_requests": {"canary", "outcome"},
    "canary_mirror_errors": {"canary", "error_type"},
    "canary_mirror_cost_usd": {"canary"},
    "canary_mirror_dropped": {"canary"},
    "canary_caller_requests": {"caller", "outcome"},
}
OF_REPLICAS: dict[str, set[str]] = {  # shown by control/fleet/metrics.py
    "canary_leader": set(),
    "canary_evidence_lag_seconds": set(),
    "canary_shared_up": set(),
    "canary_clock_offset_seconds": set(),
    "canary_stream_dropped": set(),
}
OF_THE_CONFIG: dict[str, set[str]] = {"canary_config_stale": set()}  # by control/fleet/metrics.py
OF_ROLLING: dict[str, set[str]] = {  # shown by control/jobs/segment_job.py
    "canary_outcomes_fresh": set(),
    "canary_segments": set(),
    "canary_rolling_failures": set(),
}
OF_THE_JUDGE: dict[str, set[str]] = {  # shown by judge/runs/metrics.py
    "canary_judged_pairs": {"canary", "result"},
    "canary_judged_answers": {"canary", "arm", "result"},
    "canary_judged_mark": {"canary", "arm"},
    "canary_judged_sessions": {"canary", "arm", "result"},
    "canary_judged_session_mark": {"canary", "arm"},
    "canary_judged_session_done": {"canary", "arm"},
    "canary_judge_cost_usd": set(),
    "canary_judge_budget_usd": set(),
    "canary_judge_paused": {"reason"},
}
OF_DRIFT = {  # shown by control/jobs/drift.py
    "canary_model_info": {"model", "name"},
    "canary_model_changes": {"model", "kind"},
    "canary_probes_rounds": {"model"},
    "canary_probes_cost_usd": set(),
    "canary_probes_budget_usd": set(),
    "canary_probes_evidence": {"model"},
    "canary_probes_outside_ratio": {"model"},
}

OF_RELEASES = {  # shown by control/jobs/release_metrics.py
    "canary_look_day": {"canary"},
    "canary_release_info": {"release", "model", "fingerprint"},
    "canary_release_score": {"release", "layer"},
    "canary_release_verdict": {"release", "verdict"},
    "canary_bench_completion_ratio": {"release", "dataset"},
    "canary_bench_cost_ratio": {"release", "dataset"},
    "canary_bench_latency_ratio": {"release", "dataset"},
}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def new_meters(clock: Clock | None = None) -> Meters:
    return Meters(canaries=["support-nov"], feedback_metrics=["csat"], callers=["web"], mono=clock or Clock())


def an_outcome(**changes: object) -> Outcome:
    outcome = Outcome(
        exchange_id="e",
        at=1.0,
        mono=1.0,
        outcome="ok",
        canary="support-nov",
        arm="candidate",
        reason="cohort",
        latency_s=2.1,
        ttft_s=0.1,
        overhead_s=0.0002,
        usage=Usage(input_tokens=100, cached_input_tokens=40, output_tokens=21, reasoning_tokens=5),
        cost_usd=0.25,
    )
    return replace(outcome, **changes)  # type: ignore[arg-type]


def a_heartbeat(*, worker: int = 0, started: int = 5, finished: int = 2, mono: float = 100.0) -> Heartbeat:
    return Heartbeat(
        worker=worker,
        pid=worker + 10,
        at=1.0,
        mono=mono,
        started=started,
        finished=finished,
        dropped=0,
        lag_s=0.0,
        plan_version=1,
        breakers_open=("support-nov",) if worker == 0 else (),
    )


def some_feedback(key: str, value: float) -> Feedback:
    return Feedback(
        key=key, metric="csat", value=value, at=1.0, mono=1.0, canary="support-nov", arm="candidate"
    )


def fill(meters: Meters) -> None:
    meters.observe(an_outcome())
    meters.observe(an_outcome(outcome="fallback", error_type="provider_5xx", cost_usd=None))
    meters.observe_feedback(some_feedback("k", 4))
    meters.observe(an_outcome(mirror=True, outcome="error", error_type="provider_5xx"))
    meters.beat(replace(a_heartbeat(), mirrors_dropped={"support-nov": 2}))
    held = Holdback(phase=2, since=0.0, until=1.0)
    promoted = State(state="promoted", share=0.98, holdback=held)
    meters.set_states(States(version=1, states={"support-nov": promoted}))
    meters.set_guardrails({("support-nov", "error_rate"): "ok"})
    meters.set_sessions({("support-nov", "baseline"): dict.fromkeys(SESSIONS, 0.5)})
    meters.count_rollback("support-nov", "error_rate")
    meters.count_page("support-nov")
    meters.set_metrics({"csat": BUILT_IN["csat"]})
    meters.set_records(SpoolCounts(accepted=3, stored=2, dropped=1), 4)


def shown(meters: Meters) -> str:
    registry = CollectorRegistry()
    registry.register(meters)
    return generate_latest(registry).decode()


def samples(meters: Meters) -> dict[tuple[str, ...], float]:
    """(sample name, canary, arm, other label values) → value"""
    return {
        (
            sample.name,
            *(sample.labels[name] for name in sorted(sample.labels, key=_canary_then_arm)),
        ): sample.value
        for family in text_string_to_metric_families(shown(meters))
        for sample in family.samples
    }


def _canary_then_arm(label: str) -> tuple[bool, bool, str]:
    return label != "canary", label != "arm", label


def documented() -> dict[str, set[str]]:
    rows = re.findall(r"^\| `(canary_\w+)` \| \w+ \| ([^|]*)\|", DOC.read_text(), re.MULTILINE)
    split = {name.removesuffix("_total"): labels for name, labels in rows}
    return {
        name: {label.strip() for label in labels.split(",") if label.strip()}
        for name, labels in split.items()
    }


def collected() -> dict[str, set[str]]:
    meters = new_meters()
    fill(meters)
    return {
        family.name: {label for sample in family.samples for label in sample.labels} - {"le"}
        for family in text_string_to_metric_families(shown(meters))
    }


def test_the_promised_families_the_shown_and_the_documented_are_the_same() -> None:
    assert collected() == PROMISED
    assert documented() == {
        **PROMISED, **OF_REPLICAS, **OF_THE_CONFIG, **OF_RELEASES, **OF_ROLLING, **OF_THE_JUDGE, **OF_DRIFT
    }  # fmt: skip


def test_every_closed_set_is_documented() -> None:
    text = DOC.read_text() + DOC.with_name("sdks.md").read_text()  # which has the error types
    for word in GUARDRAIL_VALUES:
        assert word in text
    for name, *labels in samples_of(filled()):
        for label in set(labels) - {"support-nov", "csat", "error_rate", "provider_5xx", "candidate", "web"}:
            assert label == "" or f"`{label}`" in text or re.fullmatch(r"[\d.]+|\+Inf", label), (name, label)


def filled() -> Meters:
    meters = new_meters()
    fill(meters)
    return meters


def samples_of(meters: Meters) -> Iterable[tuple[str, ...]]:
    return samples(meters).keys()


def test_an_exchange_counts_to_its_assigned_arm() -> None:
    meters = new_meters()
    meters.observe(an_outcome(outcome="fallback", error_type="provider_429", served_by="baseline"))
    found = samples(meters)
    assert found[("canary_requests_total", "support-nov", "candidate", "fallback")] == 1
    assert found[("canary_errors_total", "support-nov", "candidate", "provider_429")] == 1
    assert found[("canary_fallbacks_total", "support-nov", "provider_429")] == 1
    assert found[("canary_assignments_total", "support-nov", "candidate", "cohort")] == 1


def test_what_has_not_happened_yet_is_shown_as_0_before_and_after_a_restart() -> None:
    fresh, restored = new_meters(), new_meters()
    restored.restore({"families": {}, "feedback_heard": {}})
    for found in (samples(fresh), samples(restored)):
        assert found[("canary_requests_total", "support-nov", "candidate", "fallback")] == 0
        assert found[("canary_errors_total", "support-nov", "candidate", "provider_429")] == 0
        assert found[("canary_errors_total", "", "", "lost_outcome")] == 0


def test_answers_count_by_their_end_and_by_each_of_their_faults() -> None:
    meters = new_meters()
    meters.observe(an_outcome(finish="length", faults=("cut_off", "json_invalid")))
    meters.observe(an_outcome(finish="stop", output_check="not_judged"))
    meters.observe(an_outcome(outcome="fallback", error_type="provider_5xx"))
    meters.observe(an_outcome(finish="stop", faults=("empty",), mirror=True))
    restored = new_meters()
    restored.restore(json.loads(json.dumps(meters.snapshot())))
    for found in (samples(meters), samples(restored)):
        counted = {key[0::3]: value for key, value in found.items() if value and "answer" in key[0]}
        assert counted == {
            ("canary_answers_total", "length"): 1,
            ("canary_answers_total", "stop"): 1,
            ("canary_answer_faults_total", "cut_off"): 1,
            ("canary_answer_faults_total", "json_invalid"): 1,
            ("canary_answers_not_judged_total",): 1,
        }
        assert found[("canary_answer_faults_total", "support-nov", "candidate", "refused")] == 0
        assert found[("canary_answers_total", "support-nov", "baseline", "content_filter")] == 0


def test_tokens_and_cost_add_up_and_the_unknown_adds_nothing() -> None:
    meters = new_meters()
    meters.observe(an_outcome())
    meters.observe(an_outcome(usage=Usage(), cost_usd=None))
    found = samples(meters)
    tokens = {key[-1]: value for key, value in found.items() if key[0] == "canary_tokens_total"}
    assert tokens == {"input": 100, "cached_input": 40, "output": 21, "reasoning": 5}
    assert found[("canary_cost_usd_total", "support-nov", "candidate")] == 0.25
    assert found[("canary_unpriced_requests_total", "support-nov", "candidate")] == 1


def test_an_exchange_without_an_answer_is_not_unpriced() -> None:
    meters = new_meters()
    meters.observe(an_outcome(outcome="error", error_type="provider_5xx", cost_usd=None))
    meters.observe(an_outcome(canary="", outcome="ok", usage=Usage(), cost_usd=None))  # a list of models, say
    found = samples(meters).items()
    assert not [key for key, value in found if key[0] == "canary_unpriced_requests_total" and value]


def test_times_fall_into_documented_buckets_up_to_655_seconds() -> None:
    assert (LLM_BOUNDS[0], LLM_BOUNDS[-1]) == (0.01, 655.36)
    meters = new_meters()
    meters.observe(an_outcome(latency_s=600.0, ttft_s=0.01))
    meters.observe(an_outcome(latency_s=656.0, ttft_s=None))
    found = samples(meters)
    name, arm = "canary_request_duration_seconds", ("support-nov", "candidate")
    assert found[(f"{name}_bucket", *arm, "327.68")] == 0
    assert found[(f"{name}_bucket", *arm, "655.36")] == 1
    assert found[(f"{name}_bucket", *arm, "+Inf")] == found[(f"{name}_count", *arm)] == 2
    assert found[(f"{name}_sum", *arm)] == 1256.0
    assert found[("canary_time_to_first_token_seconds_bucket", *arm, "0.01")] == 1


def test_time_per_output_token_leaves_the_first_one_out() -> None:
    meters = new_meters()
    meters.observe(an_outcome(latency_s=2.1, ttft_s=0.1))
    meters.observe(an_outcome(usage=Usage(output_tokens=1)))
    meters.observe(an_outcome(usage=Usage(output_tokens=50, estimated=True)))
    name, arm = "canary_time_per_output_token_seconds", ("support-nov", "candidate")
    found = samples(meters)
    assert found[(f"{name}_count", *arm)] == 1
    assert found[(f"{name}_sum", *arm)] == pytest.approx(0.1)


@pytest.mark.parametrize("outcome", ["aborted", "shed"])
def test_exchanges_cut_short_have_no_time(outcome: str) -> None:
    meters = new_meters()
    meters.observe(an_outcome(outcome=outcome))
    found = samples(meters)
    assert ("canary_requests_total", "support-nov", "candidate", outcome) in found
    assert not [key for key in found if key[0] == "canary_request_duration_seconds_count"]


def test_mirror_copies_count_in_their_own_families_and_in_no_other() -> None:
    meters = new_meters()
    before = samples(meters)
    meters.observe(an_outcome(mirror=True))
    meters.observe(an_outcome(mirror=True, outcome="error", error_type="provider_5xx", cost_usd=None))
    assert {key: value for key, value in samples(meters).items() if before.get(key) != value} == {
        ("canary_mirror_requests_total", "support-nov", "ok"): 1,
        ("canary_mirror_requests_total", "support-nov", "error"): 1,
        ("canary_mirror_errors_total", "support-nov", "provider_5xx"): 1,
        ("canary_mirror_cost_usd_total", "support-nov"): 0.25,
    }


def test_copies_without_room_add_up_over_heartbeats_and_workers() -> None:
    meters = new_meters()
    for worker, dropped in [
        (0, {"support-nov": 2}),
        (0, {"support-nov": 1}),
        (1, {"support-nov": 4}),
        (1, {}),
    ]:
        meters.beat(replace(a_heartbeat(worker=worker), mirrors_dropped=dropped))
    meters.beat(replace(a_heartbeat(), closing=True, mirrors_dropped={"support-nov": 1, "gone": 5}))
    found = samples(meters)
    assert found[("canary_mirror_dropped_total", "support-nov")] == 8
    assert found[("canary_mirror_dropped_total", "")] == 5


def test_nothing_that_a_stranger_wrote_becomes_a_label() -> None:
    meters = new_meters()
    stranger = an_outcome(canary="evil", reason="evil", model="evil", category="evil", tags={"evil": "evil"})
    meters.observe(replace(stranger, unit="evil", session="evil", request_id="evil", provider="evil"))
    meters.observe_feedback(replace(some_feedback("evil", 1), canary="evil", metric="evil", comment="evil"))
    assert "evil" not in shown(meters)
    assert samples(meters)[("canary_requests_total", "", "candidate", "ok")] == 1
    meters.observe(replace(stranger, mirror=True))
    assert "evil" not in shown(meters)


def test_only_callers_of_the_config_become_a_label() -> None:
    meters = new_meters()
    meters.count_callers([CallerCount("web", "ok", False, 3, 1.0), CallerCount("evil", "ok", False, 1, 1.0)])
    assert "evil" not in shown(meters)
    calls = {key: n for key, n in samples(meters).items() if key[0] == "canary_caller_requests_total"}
    assert calls[("canary_caller_requests_total", "web", "ok")] == 3
    assert calls[("canary_caller_requests_total", "web", "caller_error")] == 0
    snapshot = json.loads(json.dumps(meters.snapshot()))
    meters.configure(canaries=[], feedback_metrics=[], callers=["app"])
    meters.restore(snapshot)
    assert '"web"' not in shown(meters)
    assert ("canary_caller_requests_total", "app", "ok") in samples(meters)


def test_the_counter_of_a_caller_that_is_put_back_does_not_fall() -> None:
    meters = new_meters()
    meters.count_callers([CallerCount("web", "ok", False, 3, 1.0)])
    meters.configure(canaries=[], feedback_metrics=[], callers=["app"])
    meters.count_callers([CallerCount("web", "error", False, 1, 2.0)])
    assert '"web"' not in shown(meters)
    after = new_meters()
    after.restore(json.loads(json.dumps(meters.snapshot())))
    meters.configure(canaries=[], feedback_metrics=[], callers=["web"])
    for each in (meters, after):
        counted = samples(each)
        assert counted[("canary_caller_requests_total", "web", "ok")] == 3
        assert counted[("canary_caller_requests_total", "web", "error")] == 1


def test_counters_of_callers_that_left_take_no_memory_without_end() -> None:
    meters = new_meters()
    for number in range(MOST_LEFT + 5):
        meters.configure(canaries=[], feedback_metrics=[], callers=[f"c{number}"])
    rows = meters.snapshot()["families"]["canary_caller_requests_total"]
    assert len({row[0] for row in rows}) == MOST_LEFT + 1


def test_a_reloaded_config_brings_its_names() -> None:
    meters = new_meters()
    meters.configure(canaries=["other"], feedback_metrics=[])
    meters.observe(an_outcome(canary="other"))
    assert ("canary_requests_total", "other", "candidate", "ok") in samples(meters)


def test_a_correction_of_feedback_is_counted_once() -> None:
    meters = new_meters()
    for value in (4, 5, 1):
        meters.observe_feedback(some_feedback("k", value))
    meters.observe_feedback(some_feedback("other", 2))
    found = samples(meters)
    labels = ("support-nov", "candidate", "csat")
    assert found[("canary_feedback_total", *labels)] == found[("canary_feedback_value_count", *labels)] == 2
    assert found[("canary_feedback_value_sum", *labels)] == 6


def test_what_is_remembered_of_feedback_is_bounded() -> None:
    meters = new_meters()
    for n in range(REMEMBERED_FEEDBACK + 10):
        meters.observe_feedback(some_feedback(str(n), 1))
    assert len(json.dumps(meters.snapshot())) < 22 * REMEMBERED_FEEDBACK


def test_inflight_and_breakers_come_from_living_workers() -> None:
    clock = Clock()
    meters = new_meters(clock)
    assert samples(meters)[("canary_breaker_open", "support-nov")] == 0
    meters.beat(a_heartbeat(worker=0))
    meters.beat(a_heartbeat(worker=1, started=9, finished=8))
    found = samples(meters)
    assert found[("canary_inflight_requests",)] == 4
    assert found[("canary_breaker_open", "support-nov")] == 1
    meters.beat(replace(a_heartbeat(worker=1), closing=True))
    assert samples(meters)[("canary_inflight_requests",)] == 3
    clock.now += 6
    found = samples(meters)
    assert (found[("canary_inflight_requests",)], found[("canary_breaker_open", "support-nov")]) == (0, 0)


def test_lost_exchanges_are_errors_of_nobody() -> None:
    meters = new_meters()
    meters.lose(0)
    meters.lose(3)
    assert samples(meters)[("canary_errors_total", "", "", "lost_outcome")] == 3


def test_the_plan_is_shown_and_a_canary_that_is_gone_is_not() -> None:
    meters = new_meters()
    states = {"a": State(state="paused", share=0.05), "b": State(state="rolled_back", share=0.0)}
    meters.set_states(States(version=1, states=states))
    found = samples(meters)
    assert (found[("canary_share_ratio", "a")], found[("canary_share_ratio", "b")]) == (0.05, 0.0)
    assert found[("canary_state", "a", "paused")] == 1
    assert sum(value for key, value in found.items() if key[:2] == ("canary_state", "b")) == 1
    meters.set_states(States(version=2, states={"a": states["a"]}))
    assert ("canary_share_ratio", "b") not in samples(meters)


def test_guardrails_are_shown_as_numbers() -> None:
    meters = new_meters()
    for state, value in GUARDRAIL_VALUES.items():
        meters.set_guardrails({("support-nov", "error_rate"): state})
        assert samples(meters)[("canary_guardrail_state", "support-nov", "error_rate")] == value


def test_accepted_is_stored_and_spooled_and_dropped_and_never_falls() -> None:
    meters = new_meters()
    meters.set_records(SpoolCounts(accepted=12, stored=10, dropped=2, quarantined=1), 5)
    found = samples(meters)
    assert found[("canary_records_total", "accepted")] == 17 == 10 + 2 + found[("canary_records_spooled",)]
    meters.set_records(SpoolCounts(accepted=13, stored=11, dropped=2), 0)
    assert samples(meters)[("canary_records_total", "accepted")] == 17


def test_totals_survive_a_restart_by_way_of_json() -> None:
    before = filled()
    after = new_meters()
    after.restore(json.loads(json.dumps(before.snapshot())))
    after.observe_feedback(some_feedback("k", 1))  # a correction of what was counted before the restart
    was, now = samples(before), samples(after)
    lasting = [key for key in was if key[0].endswith(("_total", "_bucket", "_count", "_sum"))]
    assert len(lasting) > 50
    assert {key: was[key] for key in lasting} == {key: now[key] for key in lasting}


def test_a_snapshot_with_other_buckets_or_families_does_no_harm() -> None:
    snapshot = json.loads(json.dumps(filled().snapshot()))
    snapshot["families"]["canary_request_duration_seconds"] = [["support-nov", "candidate", [1.0, 2.0]]]
    snapshot["families"]["canary_requests_total"] = [["too", "few"]]
    snapshot["families"]["canary_gone_total"] = [["a", 1.0]]
    after = new_meters()
    after.restore(snapshot)
    after.observe(an_outcome())
    found = samples(after)
    assert found[("canary_request_duration_seconds_count", "support-nov", "candidate")] == 1
    assert found[("canary_requests_total", "support-nov", "candidate", "ok")] == 1


def test_showing_while_counting_is_safe() -> None:
    meters = new_meters()
    stop = threading.Event()

    def count() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            meters.configure(canaries=[f"c{n % 40}"], feedback_metrics=[])
            meters.observe(an_outcome(canary=f"c{n % 40}"))
            meters.beat(a_heartbeat(worker=n % 50))

    thread = threading.Thread(target=count)
    thread.start()
    try:
        for _ in range(20):
            assert "canary_requests_total" in shown(meters)
    finally:
        stop.set()
        thread.join()
