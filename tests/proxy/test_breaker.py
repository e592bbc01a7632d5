"""The breaker, by the table that opens its file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.network.upstream.breaker import IN_A_ROW, RETRY_AFTER_S, WINDOW, CandidateBreaker


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
    assert not breaker.allows(RETRY_AFTER_S - 0.01)
    assert breaker.allows(RETRY_AFTER_S)


def test_one_request_at_a_time_probes() -> None:
    breaker = after("-" * IN_A_ROW)
    assert breaker.allows(RETRY_AFTER_S)
    assert not any(breaker.allows(RETRY_AFTER_S + wait / 10) for wait in range(100))
    assert breaker.open


def test_a_probe_that_succeeds_closes_it_with_a_clean_slate() -> None:
    breaker = after("-" * IN_A_ROW)
    assert breaker.allows(RETRY_AFTER_S)
    breaker.succeeded()
    assert not breaker.open
    assert breaker.allows(RETRY_AFTER_S)
    assert not after("----", breaker).open
    assert after("-", breaker).open


def test_what_was_before_a_probe_that_succeeded_no_longer_counts() -> None:
    breaker = after("+-" * (WINDOW // 2))
    assert breaker.open and breaker.allows(RETRY_AFTER_S)
    breaker.succeeded()
    assert not after("-", breaker).open


def test_a_probe_that_fails_opens_it_for_as_long_again() -> None:
    breaker = after("-" * IN_A_ROW)
    assert breaker.allows(RETRY_AFTER_S)
    breaker.failed(RETRY_AFTER_S + 3.0)
    assert not breaker.allows(2 * RETRY_AFTER_S)
    assert breaker.allows(2 * RETRY_AFTER_S + 3.0)


def test_a_probe_whose_caller_left_lets_the_next_one_probe() -> None:
    breaker = after("-" * IN_A_ROW)
    assert breaker.allows(RETRY_AFTER_S)
    breaker.abandoned()
    assert breaker.allows(RETRY_AFTER_S)
    assert not breaker.allows(RETRY_AFTER_S)


def test_a_probe_that_never_tells_does_not_keep_it_open_for_ever() -> None:
    breaker = after("-" * IN_A_ROW)
    assert breaker.allows(RETRY_AFTER_S)
    assert breaker.allows(2 * RETRY_AFTER_S)


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
    assert not breaker.allows(1.0, 1)
    assert breaker.allows(1.0, 2) and not breaker.open
    breaker.failed(1.0)
    assert breaker.allows(2.0, 2)
