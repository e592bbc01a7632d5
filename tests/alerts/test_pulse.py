"""What a canary's figures take in, and what stands apart from them."""

import statistics

import msgspec
import pytest

from alerts import pulse as pulses
from alerts.pulse import Pulse
from common.interval import Z
from records.outcome import Feedback, Outcome, Usage


def exchange(**changed: object) -> Outcome:
    given: dict[str, object] = {
        "exchange_id": "e", "at": 100.0, "mono": 100.0, "outcome": "ok", "canary": "support-nov", "run": 1,
        "arm": "candidate", "reason": "cohort", "latency_s": 2.0, "ttft_s": 0.5, "cost_usd": 0.25, **changed,
    }  # fmt: skip
    return Outcome(**given)  # type: ignore[arg-type]


def pulse_of(*outcomes: Outcome) -> Pulse:
    pulse = Pulse(run=1)
    for outcome in outcomes:
        pulse.observe(outcome)
    return pulse


def test_mirror_copies_are_in_no_arm_and_in_no_share() -> None:
    real = exchange(arm="baseline")
    with_copies = pulse_of(
        real,
        exchange(mirror=True),
        exchange(mirror=True, outcome="error", error_type="provider_5xx", cost_usd=None),
        exchange(mirror=True, outcome="aborted", error_type="aborted", cost_usd=None),
    )
    assert with_copies.document(105.0) == pulse_of(real).document(105.0)
    assert with_copies.actual_share() == 0.0


def test_of_exchanges_that_went_on_at_the_other_arm_only_the_number_counts() -> None:
    pulse = pulse_of(exchange(), exchange(reason="foreign_state", latency_s=90.0, cost_usd=9.0))
    told = pulse.document(105.0)["candidate"]
    assert (told["requests"], told["foreign_state"], told["counted"], told["cost_usd"]) == (2, 1, 1, 0.25)
    assert told["p95_s"] < 3.0
    assert pulse.actual_share() == 1.0


def test_exchanges_that_never_reached_the_arm_are_told_and_measure_nothing() -> None:
    missed = exchange(outcome="fallback", error_type="proxy_no_credential", latency_s=90.0, cost_usd=9.0)
    pulse = pulse_of(exchange(), missed, missed)
    told = pulse.document(105.0)["candidate"]
    assert (told["requests"], told["counted"], told["errors"], told["ended"]) == (3, 1, 0, 1)
    assert told["unreached"] == {"proxy_no_credential": 2}
    assert told["p95_s"] < 3.0
    assert told["cost_usd"] == 0.25
    assert pulses.from_document(msgspec.to_builtins(pulse, str_keys=True)).document(105.0) == pulse.document(
        105.0
    )


def test_mirror_copies_are_told_in_the_arms_words() -> None:
    pulse = pulse_of(
        exchange(mirror=True),
        exchange(mirror=True, latency_s=4.0),
        exchange(mirror=True, outcome="error", error_type="provider_5xx", latency_s=None, cost_usd=None),
        exchange(mirror=True, outcome="aborted", error_type="aborted", cost_usd=None),
        exchange(mirror=True, run=2),
    )
    pulse.mirrors_dropped = 7
    told = pulse.mirror_document(105.0)
    assert (told["requests"], told["errors"], told["aborted"], told["dropped"]) == (4, 1, 1, 7)
    assert told["cost_usd"] == 0.5
    assert 2.0 <= told["p50_s"] <= told["p95_s"] <= 4.2
    assert told.keys() - {"dropped"} == pulse.document(105.0)["baseline"].keys()


def test_a_pulse_survives_its_checkpoint_and_one_from_before_there_were_copies_is_read() -> None:
    pulse = pulse_of(exchange(), exchange(mirror=True))
    document = msgspec.to_builtins(pulse, str_keys=True)
    assert pulses.from_document(document).mirror_document(105.0) == pulse.mirror_document(105.0)
    del document["mirror"], document["mirrors_dropped"]
    older = pulses.from_document(document)
    assert older.document(105.0) == pulse.document(105.0)
    assert older.mirror_document(105.0)["requests"] == 0


def test_a_cost_per_request_is_that_of_the_requests_whose_cost_is_known() -> None:
    arm = pulse_of(exchange(), exchange(cost_usd=None)).document(105.0)["candidate"]
    assert (arm["cost_usd"], arm["cost_per_request_usd"]) == (0.25, 0.25)
    assert pulse_of(exchange(cost_usd=None)).document(105.0)["candidate"]["cost_per_request_usd"] is None


def test_what_the_caller_caused_or_left_is_no_request_that_could_have_failed() -> None:
    pulse = pulse_of(exchange(), exchange(outcome="aborted"), exchange(outcome="caller_error"))
    arm = pulse.document(105.0)["candidate"]
    assert (arm["requests"], arm["counted"]) == (3, 1)


def rating(**changed: object) -> Feedback:
    given = {"key": "k", "metric": "csat", "value": 4.0, "at": 1.0, "mono": 1.0, "run": 1, "arm": "candidate"}
    return Feedback(**{**given, **changed})  # type: ignore[arg-type]


def test_ratings_of_this_run_whose_arm_is_known_have_a_mean() -> None:
    pulse = Pulse(run=1)
    for each in (rating(), rating(value=5.0), rating(run=2, value=1.0), rating(arm=None, value=1.0)):
        pulse.observe_feedback(each)
    told = pulses.from_document(msgspec.to_builtins(pulse, str_keys=True)).document(2.0)
    assert told["candidate"]["feedback"] == {"csat": {"mean": 4.5, "count": 2, "interval": None}}
    assert told["baseline"]["feedback"] == {}


@pytest.mark.parametrize("cost", [0.0, 0.1])
def test_a_mean_of_values_that_are_all_alike_has_no_interval_without_width(cost: float) -> None:
    told = pulse_of(*[exchange(cost_usd=cost)] * 30).document(105.0)["candidate"]
    assert told["intervals"]["cost_per_request_usd"] is None


def test_a_mean_has_an_interval_once_there_are_ten_values() -> None:
    pulse = pulse_of(*[exchange(cost_usd=cost) for cost in (0.1, 0.3) * 5])
    told = pulses.from_document(msgspec.to_builtins(pulse, str_keys=True)).document(105.0)["candidate"]
    low, high = told["intervals"]["cost_per_request_usd"]
    assert (low + high) / 2 == pytest.approx(0.2)
    assert high - low == pytest.approx(2 * Z * statistics.stdev([0.1, 0.3] * 5) / 10**0.5)
    assert pulse_of(exchange()).document(105.0)["candidate"]["intervals"]["cost_per_request_usd"] is None


def test_the_pace_is_the_median_streams_tokens_a_second_after_its_first() -> None:
    streams = [exchange(usage=Usage(output_tokens=tokens)) for tokens in (31, 61, 91) * 20]
    told = pulse_of(*streams, exchange(ttft_s=None)).document(105.0)["candidate"]
    assert told["tokens_per_s"] == pytest.approx(60 / 1.5, rel=0.011)
    low, high = told["intervals"]["tokens_per_s"]
    assert low < told["tokens_per_s"] + 0.5 and high > told["tokens_per_s"] - 0.5
    assert pulse_of(exchange(ttft_s=None)).document(105.0)["candidate"]["tokens_per_s"] is None


def test_the_course_has_what_the_arms_answered_and_no_mirror_copies() -> None:
    pulse = pulse_of(exchange(), exchange(arm="baseline"), exchange(mirror=True), exchange(reason="pinned"))
    kept = pulses.elsewhere(pulses.from_document(msgspec.json.decode(msgspec.json.encode(pulse))))
    arms = kept.course.document("10min", 160.0)["arms"]
    assert [sum(arm["requests"]) for arm in arms.values()] == [1, 1]


def test_what_was_answered_in_the_last_ten_minutes_is_counted() -> None:
    failed = exchange(outcome="fallback", error_type="provider_5xx")
    told = pulse_of(exchange(), failed)
    assert told.document(105.0)["candidate"]["last_ten_minutes"] == {"counted": 2, "errors": 1}
    assert told.document(9000.0)["candidate"]["last_ten_minutes"] == {"counted": 0, "errors": 0}


def test_on_another_machine_the_counts_go_on_and_its_clocks_times_are_forgotten() -> None:
    told = pulses.elsewhere(pulse_of(exchange(), exchange())).document(105.0)["candidate"]
    assert (told["requests"], told["cost_usd"]) == (2, 0.5)
    assert {told[key] for key in ("p50_s", "p95_s", "ttft_p95_s", "tokens_per_s")} == {None}


def test_what_was_wrong_with_answers_is_told_in_counts_and_shares() -> None:
    pulse = pulse_of(
        exchange(finish="stop", output_check="judged"),
        exchange(finish="length", faults=("cut_off", "json_invalid"), output_check="judged"),
        exchange(finish="length", faults=("cut_off", "tool_unknown"), output_check="not_judged"),
        exchange(finish="stop"),
        exchange(outcome="fallback", error_type="provider_5xx"),
        exchange(outcome="aborted", error_type="aborted"),
        exchange(outcome="aborted", error_type="aborted", stream=True, ttfb_s=0.1),
        exchange(outcome="caller_error", error_type="caller_rejected"),
    )
    arms = pulse.document(105.0)
    told, shares = arms["candidate"], arms["candidate"]["shares"]
    assert (told["finished"], told["output_judged"], told["ended"]) == (4, 2, 7)
    assert (told["cut_off"], told["answer_faults"], told["refused"], told["empty"]) == (2, 2, 0, 0)
    assert (told["invalid_output"], told["abandoned"], told["aborted"]) == (1, 1, 2)
    assert (shares["cut_off"], shares["invalid_output"], shares["abandoned"]) == (0.5, 0.5, 1 / 7)
    assert shares["empty"] == 0.0
    nothing = arms["baseline"]
    assert nothing["answer_faults"] is nothing["abandoned"] is nothing["shares"]["cut_off"] is None


def test_a_checkpoint_from_before_answers_were_read_knows_nothing_of_them() -> None:
    document = msgspec.to_builtins(pulse_of(exchange(finish="stop")), str_keys=True)
    for arm in document["arms"].values():
        del arm["answers"]
    told = pulses.from_document(document).document(105.0)["candidate"]
    assert (told["requests"], told["finished"], told["answer_faults"]) == (1, 0, None)


@pytest.mark.parametrize(
    ("baseline", "candidate", "off"),
    [(0, 0, None), (0, 4, 1.0), (90, 10, None), (86, 14, None), (60, 40, 0.4), (20, 0, None), (900, 0, 0.0)],
)
def test_a_split_is_off_when_it_is_surely_far_from_the_share(
    baseline: int, candidate: int, off: float | None
) -> None:
    arms = [*["baseline"] * baseline, *["candidate"] * candidate]
    pulse = pulse_of(*(exchange(arm=arm, share=0.1, phase=0) for arm in arms))
    pulse.observe(exchange(mirror=True, share=0.1))
    assert pulse.split.actual() == off
    assert pulses.from_document(msgspec.to_builtins(pulse, str_keys=True)).split == pulse.split


def test_a_split_is_that_of_the_newest_phase() -> None:
    pulse = pulse_of(*[exchange(arm="baseline", share=0.1, phase=0)] * 900)
    assert pulse.split.actual() == 0.0
    pulse.observe(exchange(share=1.0, phase=1))
    pulse.observe(exchange(arm="baseline", share=0.1, phase=0))
    assert pulse.split.actual() is None


def test_a_replaced_rating_corrects_the_mean_and_counts_once() -> None:
    pulse = Pulse(run=1)
    for each in (rating(value=1.0), rating(value=4.0)):
        pulse.observe_feedback(each)
    pulse.observe_feedback(rating(value=5.0), before=1.0)
    assert pulse.document(2.0)["candidate"]["feedback"]["csat"] == {"mean": 4.5, "count": 2, "interval": None}
