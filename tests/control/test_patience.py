"""How long requests wait for a candidate follows the baseline's last hour, kind by kind."""

import json
from typing import Any

import pytest

from control.monitor.wait_limits import FEWEST, CandidatePatience
from records.outcome import Outcome


def answer(mono: float, took_s: float, **changed: Any) -> Outcome:
    fields: dict[str, Any] = {
        "outcome": "ok",
        "canary": "trial",
        "arm": "baseline",
        "reason": "cohort",
        "operation": "chat",
        "latency_s": took_s,
    } | changed
    return Outcome(exchange_id=f"x{mono}", at=mono, mono=mono, **fields)


def after(
    count: int, took_s: float, patience: CandidatePatience | None = None, **changed: Any
) -> CandidatePatience:
    """So many answers of the baseline from second 1000 on, one a second."""
    patience = patience or CandidatePatience()
    for number in range(count):
        patience.observe(answer(1000.0 + number, took_s, **changed))
    return patience


def test_with_fewer_than_twenty_answers_in_the_hour_nothing_is_known() -> None:
    assert after(FEWEST - 1, 3.0).by_canary(1100.0) == {}
    assert after(FEWEST, 3.0).by_canary(1100.0) == {"trial": {"chat/json": 16.0}}


def test_it_is_five_times_the_p99_and_at_least_ten_seconds() -> None:
    patience = after(99, 0.5)
    assert patience.by_canary(1100.0) == {"trial": {"chat/json": 10.0}}
    after(2, 8.0, patience)
    assert patience.by_canary(1105.0) == {"trial": {"chat/json": 41.0}}  # 5 × 8 s, within 1 %, rounded up


def test_of_streams_the_time_to_the_first_byte_counts() -> None:
    patience = after(FEWEST, 90.0, stream=True, ttfb_s=4.0)
    after(FEWEST, 6.0, patience)
    after(FEWEST, 6.0, patience, operation="embeddings")
    assert patience.by_canary(1100.0) == {
        "trial": {"chat/stream": 21.0, "chat/json": 31.0, "embeddings/json": 31.0}
    }


def test_only_good_answers_of_the_baseline_count() -> None:
    patience = after(FEWEST, 60.0, arm="candidate")
    for changed in (
        {"outcome": "error", "error_type": "provider_timeout"},
        {"outcome": "aborted", "error_type": "aborted"},
        {"outcome": "caller_error", "error_type": "caller_rejected"},
        {"reason": "pinned"},
        {"mirror": True},
        {"stream": True, "ttfb_s": None},
    ):
        after(FEWEST, 60.0, patience, **changed)
    assert patience.by_canary(1100.0) == {}


def test_after_an_hour_answers_are_forgotten() -> None:
    patience = after(FEWEST, 3.0)
    assert patience.by_canary(1000.0 + 3500.0) != {}
    assert patience.by_canary(1100.0 + 2 * 3600.0) == {}


def test_it_is_computed_every_five_seconds() -> None:
    patience = after(FEWEST, 3.0)
    first = patience.by_canary(1100.0)
    after(FEWEST, 30.0, patience)
    assert patience.by_canary(1104.9) is first
    assert patience.by_canary(1105.0) == {"trial": {"chat/json": pytest.approx(151.0, rel=0.01)}}


def test_what_was_known_holds_for_an_hour_after_a_restart_or_until_the_baseline_is_known_again() -> None:
    before = after(FEWEST, 3.0)
    before.by_canary(1100.0)
    document = json.loads(json.dumps(before.snapshot()))
    later = CandidatePatience()
    later.restore(document)
    assert later.snapshot() == document
    assert later.by_canary(5.0) == {"trial": {"chat/json": 16.0}}  # another boot
    after(FEWEST, 9.0, later)
    assert later.by_canary(1100.0) == {"trial": {"chat/json": pytest.approx(46.0, rel=0.03)}}
    idle = CandidatePatience()
    idle.restore(document)
    assert idle.by_canary(5.0) != {}
    assert idle.by_canary(3605.0) == {}


def test_the_silence_of_a_stream_is_five_times_the_baselines_longest_and_at_least_five_seconds() -> None:
    patience = after(FEWEST - 1, 9.0, stream=True, ttfb_s=1.0, longest_gap_s=0.1)
    assert patience.silence(1100.0) == {}
    after(1, 9.0, patience, stream=True, ttfb_s=1.0, longest_gap_s=0.1)
    after(FEWEST, 9.0, patience)  # JSON has no silence
    assert patience.silence(1105.0) == {"trial": {"chat/stream": 5.0}}
    after(2, 9.0, patience, stream=True, ttfb_s=1.0, longest_gap_s=4.0)
    assert patience.silence(1110.0) == {"trial": {"chat/stream": 21.0}}  # 5 × 4 s, within 1 %, rounded up
    later = CandidatePatience()
    later.restore(json.loads(json.dumps(patience.snapshot())))
    assert later.silence(5.0) == {"trial": {"chat/stream": 21.0}}


def test_a_canary_that_left_the_config_is_forgotten() -> None:
    patience = after(FEWEST, 3.0)
    patience.keep_only(["other"])
    assert patience.by_canary(1100.0) == {}
