"""The breaker, by the table that opens its file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.network.upstream.breaker import (
    IN_A_ROW,
    LATER_S,
    LONGEST_S,
    SOON,
    SOON_AGAIN_S,
    SOON_S,
    WINDOW,
    CandidateBreaker,
)


def after(answers: str, breaker: CandidateBreaker | None = None) -> CandidateBreaker:
    """A breaker that has seen them at second 0: `+` succeeded, `-` failed."""
    seen = breaker or CandidateBreaker()
    for answer in answers:
        if answer == "+":
            seen.succeeded()
        else:
            seen.failed(0.0)
    return seen


@pytest.mark.parametrize(
    ("answers", "opens"),
    [
        ("", False),
        ("----", False),
        ("-----", True),
        ("----+----", False),
        ("----+-----", True),
        ("+-" * 9, False),
        ("+-" * 10, True),
        ("-+" * 9 + "+-", True),
        ("+++-" * 20, False),
        ("+" * 100 + "-" * 4, False),
        ("+" * 100 + "+----" * 2, False),
        ("+" * 100 + "+----" * 3, True),
    ],
)
def test_it_opens_after_five_failures_in_a_row_or_half_of_twenty(answers: str, opens: bool) -> None:
    breaker = after(answers)
    assert breaker.open is opens
    assert breaker.allows(0.0) is not opens


def test_closed_it_lets_everything_through() -> None:
    breaker = after("+-+-")
    assert all(breaker.allows(float(now)) for now in range(100))


def test_open_it_keeps_requests_away_until_it_is_time_to_probe() -> None:
    breaker = after("-" * IN_A_ROW)
    assert not breaker.allows(SOON_S - 0.01)
    assert breaker.allows(SOON_S)


def test_one_request_at_a_time_probes() -> None:
    breaker = after("-" * IN_A_ROW)
    assert breaker.allows(SOON_S)
    assert not any(breaker.allows(SOON_S + wait / 10) for wait in range(100))
    assert breaker.open


def test_a_probe_that_succeeds_closes_it_with_a_clean_slate() -> None:
    breaker = after("-" * IN_A_ROW)
    assert breaker.allows(SOON_S)
    breaker.succeeded()
    assert not breaker.open
    assert breaker.allows(SOON_S)
    assert not after("----", breaker).open
    assert after("-", breaker).open


def test_what_was_before_a_probe_that_succeeded_no_longer_counts() -> None:
    breaker = after("+-" * (WINDOW // 2))
    assert breaker.open and breaker.allows(SOON_S)
    breaker.succeeded()
    assert not after("-", breaker).open


def test_a_probe_that_fails_opens_it_for_as_long_again() -> None:
    breaker = after("-" * IN_A_ROW)
    assert breaker.allows(SOON_S)
    breaker.failed(SOON_S + 3.0)
    assert not breaker.allows(2 * SOON_S + 2.9)
    assert breaker.allows(2 * SOON_S + 3.0)


def probes(breaker: CandidateBreaker, since: float, until: float, retry_after_s: float = 0.0) -> list[float]:
    """When requests at every half second reach a candidate that is down."""
    reached = []
    for half in range(int(2 * since), int(2 * until)):
        if breaker.allows(half / 2):
            breaker.ended("provider_5xx", half / 2, retry_after_s)
            reached.append(half / 2)
    return reached


def test_a_dead_candidate_is_probed_twenty_times_soon_and_then_now_and_then() -> None:
    reached = probes(after("-" * IN_A_ROW), 0.0, 60.0)
    assert reached == [float(second) for second in range(1, SOON + 1)] + [30.0, 40.0, 50.0]


def test_a_candidate_that_comes_and_goes_is_probed_soon_only_twenty_times_in_ten_minutes() -> None:
    breaker = after("-" * IN_A_ROW)
    assert len(probes(breaker, 0.0, SOON + 1.0)) == SOON
    breaker.succeeded()
    for at in (100.0, SOON_AGAIN_S - 100.0):
        for _ in range(IN_A_ROW):
            breaker.failed(at)
        assert probes(breaker, at, at + LATER_S + 1.0) == [at + LATER_S]
        breaker.succeeded()
    for _ in range(IN_A_ROW):
        breaker.failed(SOON_AGAIN_S)
    assert probes(breaker, SOON_AGAIN_S, SOON_AGAIN_S + 4.0) == [601.0, 602.0, 603.0]


@pytest.mark.parametrize(
    ("asked_s", "gap_s"), [(0.0, SOON_S), (0.5, SOON_S), (7.0, 7.0), (30.0, 30.0), (86_400.0, LONGEST_S)]
)
def test_a_provider_is_left_alone_for_as_long_as_it_asks_but_no_longer_than_a_minute(
    asked_s: float, gap_s: float
) -> None:
    breaker = after("-" * (IN_A_ROW - 1))
    breaker.ended("provider_5xx", 0.0, asked_s)
    assert probes(breaker, 0.0, 4 * gap_s, asked_s) == [gap_s, 2 * gap_s, 3 * gap_s]


def test_a_probe_that_is_throttled_waits_as_the_provider_asks() -> None:
    breaker = after("-" * IN_A_ROW)
    assert breaker.allows(SOON_S)
    breaker.ended("provider_throttled", SOON_S, 20.0)
    assert not breaker.allows(SOON_S + 19.9)
    assert breaker.allows(SOON_S + 20.0)


def test_a_probe_whose_caller_left_lets_the_next_one_probe() -> None:
    breaker = after("-" * IN_A_ROW)
    assert breaker.allows(SOON_S)
    breaker.abandoned()
    assert breaker.allows(SOON_S)
    assert not breaker.allows(SOON_S)


def test_a_probe_that_never_tells_does_not_keep_it_open_for_ever() -> None:
    breaker = after("-" * IN_A_ROW)
    assert breaker.allows(SOON_S)
    assert not breaker.allows(SOON_S + LATER_S - 0.01)
    assert breaker.allows(SOON_S + LATER_S)


def test_a_caller_who_leaves_a_closed_one_changes_nothing() -> None:
    breaker = after("----")
    breaker.abandoned()
    assert breaker.allows(0.0)
    assert after("-", breaker).open


@given(st.text(alphabet="+-", max_size=120))
def test_while_closed_it_opens_exactly_by_the_two_rules(answers: str) -> None:
    breaker = CandidateBreaker()
    for seen in range(1, len(answers) + 1):
        after(answers[seen - 1], breaker)
        past = answers[:seen]
        half = len(past) >= WINDOW and past[-WINDOW:].count("-") * 2 >= WINDOW
        trips = past.endswith("-") and (half or past.endswith("-" * IN_A_ROW))
        assert breaker.open is trips
        if trips:
            break


def test_a_run_that_somebody_resumed_is_not_kept_from_a_candidate_that_failed_in_the_one_before() -> None:
    breaker = CandidateBreaker()
    assert breaker.allows(0.0, 1)
    for _ in range(IN_A_ROW):
        breaker.failed(0.0)
    assert not breaker.allows(0.5, 1)
    assert breaker.allows(0.5, 2) and not breaker.open
    breaker.failed(0.5)
    assert breaker.allows(0.6, 2)
