"""The check of the split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdict.statistics.sequence import ALARM, LEAST_EXPECTED, Split, chi_square
from verdict.statistics.sequence import split_evidence as log_evidence


def test_the_worked_example_of_one_phase() -> None:
    splits = [Split(candidate=5300, baseline=94700, share=0.05)]
    assert log_evidence(splits) == pytest.approx(5.791699, abs=5e-7)
    assert chi_square(splits) == pytest.approx(1.344e-5, rel=5e-4)


def test_the_phases_of_a_ramp_are_multiplied() -> None:
    splits = [
        Split(candidate=50, baseline=9950, share=0.01),
        Split(candidate=400, baseline=9600, share=0.05),
    ]
    assert log_evidence(splits) == pytest.approx(22.157434, abs=5e-7)
    assert log_evidence(splits) == pytest.approx(sum(log_evidence([one]) for one in splits))
    assert log_evidence(splits) > ALARM


def test_without_units_there_is_nothing_to_check() -> None:
    assert chi_square([]) is None
    assert chi_square([Split(candidate=0, baseline=0, share=0.1)]) is None
    assert log_evidence([Split(candidate=0, baseline=0, share=0.1)]) == pytest.approx(0)


@given(st.integers(100, 10**6), st.floats(0.01, 0.5))
def test_a_perfect_split_is_no_alarm(units: int, share: float) -> None:
    candidate = round(units * share)
    splits = [Split(candidate=candidate, baseline=units - candidate, share=share)]
    p = chi_square(splits)
    if splits[0].least_expected < LEAST_EXPECTED:
        assert p is None
        return
    assert p is not None
    assert p > 0.5
    assert log_evidence(splits) < ALARM


def test_one_user_who_meets_a_small_candidate_proves_nothing() -> None:
    splits = [Split(candidate=1, baseline=0, share=0.05)]
    assert chi_square(splits) is None
    assert log_evidence(splits) < ALARM
