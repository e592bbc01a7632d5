"""A run of any length in a few slices of time."""

from itertools import pairwise

import pytest

from alerts.evidence.statistics import Slice
from alerts.pulse import MOST, DatedSlice, RunCourse

BEGUN = 1_790_000_000.0


def part(at: float, latency_s: float = 1.0, *, failed: bool = False) -> DatedSlice:
    """A slice of one value."""
    found = Slice()
    found.add([latency_s], over=failed, binned=True)
    return at, found


@pytest.mark.parametrize("lasts_s", [5.0, 600.0, 86_400.0, 90 * 86_400.0])
def test_a_run_of_any_length_is_told_in_few_slices_that_hold_every_value(lasts_s: float) -> None:
    course = RunCourse()
    for number in range(200):
        course.add("baseline", [part(BEGUN + lasts_s * number / 199, failed=number % 4 == 0)])
    told = course.document()
    assert told is not None
    slices = told["arms"]["baseline"]
    assert len(slices["requests"]) <= MOST
    assert (sum(slices["requests"]), sum(slices["errors"])) == (200, 50)
    assert told["start"] <= BEGUN
    assert told["start"] + told["slice_s"] * len(slices["requests"]) > BEGUN + lasts_s


def test_slices_widen_by_doubling_and_keep_their_quantiles() -> None:
    course, widths = RunCourse(), [20.0]
    for at in range(0, 100_000, 10):
        course.add("candidate", [part(float(at), 2.0)])
        widths.append(course.slice_s)
    assert {after / before for before, after in pairwise(widths)} == {1.0, 2.0}
    told = course.document()
    assert told is not None
    assert told["arms"]["candidate"]["p95_s"] == [pytest.approx(2.0, rel=0.01)] * len(
        told["arms"]["candidate"]["p95_s"]
    )


def test_both_arms_have_the_same_slices_and_an_empty_one_has_no_latency() -> None:
    course = RunCourse()
    course.add("baseline", [part(40.0)])
    course.add("candidate", [part(0.0, failed=True), part(80.0, 3.0, failed=True)])
    told = course.document()
    assert told is not None
    assert told["arms"]["baseline"]["requests"] == [0, 0, 1, 0, 0]
    assert told["arms"]["candidate"]["errors"] == [1, 0, 0, 0, 1]
    assert told["arms"]["candidate"]["p95_s"][1:4] == [None] * 3


def test_a_run_without_values_has_no_course() -> None:
    assert RunCourse().document() is None


def test_a_course_begins_and_ends_with_the_run_and_not_with_its_slices() -> None:
    course = RunCourse()
    for at in (1_000.0, 10_000.0):
        course.add("baseline", [part(at)])
        course.reach(at + 3.0, at + 7.0)
    told = course.document()
    assert told is not None and told["slice_s"] > 20.0
    assert (told["first_at"], told["last_at"]) == (1_003.0, 10_007.0)
    assert course.with_more({}).document() == told


def test_a_course_from_before_its_ends_were_noted_ends_with_its_slices() -> None:
    course = RunCourse()
    course.add("baseline", [part(1_000.0), part(2_000.0)])
    told = course.document()
    assert told is not None
    end = told["start"] + told["slice_s"] * len(told["arms"]["baseline"]["requests"])
    assert (told["first_at"], told["last_at"]) == (told["start"], end)
    course.reach(2_000.0, 2_001.0)
    assert course.document() == {**told, "last_at": 2_001.0}
