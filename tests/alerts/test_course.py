"""Both arms over time: what slots hold, what outlives a restart, how much memory a year takes."""

from typing import Any

import msgspec
import pytest

from alerts.course import GRAINS, LATE_S, ChartSpan, Course
from records.outcome import Outcome

NOW = 1_790_000_000.0
HOUR_S, DAY_S = 3_600, 86_400


def ended(at: float, **changed: Any) -> Outcome:
    """A request that ended then."""
    fields = {"exchange_id": "x", "at": at - 1.0, "mono": 5.0, "outcome": "ok", "canary": "support", "run": 1}
    fields |= {
        "phase": 1,
        "share": 0.2,
        "arm": "candidate",
        "reason": "cohort",
        "unit": "u1",
        "latency_s": 1.0,
    }
    return Outcome(**{**fields, "cost_usd": 0.01, **changed})


def course_of(*outcomes: Outcome) -> Course:
    course = Course()
    for each in outcomes:
        course.add([each])
    return course


def told(course: Course, span: ChartSpan, now: float = NOW, **since: float) -> dict[str, Any]:
    return course.document(span, now, **since)


def test_ten_minutes_have_a_slot_each_second_with_both_arms_figures() -> None:
    failed = {"outcome": "error", "error_type": "provider_5xx", "latency_s": 1.0}
    course = course_of(
        ended(NOW - 2.0),
        ended(NOW - 2.0, unit="u2", faults=("empty",), cost_usd=0.03),
        ended(NOW - 2.0, arm="baseline", **failed),
    )
    found = told(course, "10min")
    assert (found["slice_s"], found["start"], found["keeps"]) == (1, NOW - 599, 600)
    arms = found["arms"]
    assert [len(values) for arm in arms.values() for values in arm.values()] == [600] * 12
    assert {name: values[-3] for name, values in arms["candidate"].items()} == {
        "requests": 2,
        "errors": 0,
        "faults": 1,
        "users": 2,
        "cost_usd": 0.02,
        "p95_s": pytest.approx(1.0, rel=0.02),
    }
    assert arms["baseline"]["errors"][-3] == 1
    assert arms["baseline"]["p95_s"][-4] is None


def test_seconds_add_up_to_minutes_and_hours_also_what_comes_late() -> None:
    course = course_of(*(ended(NOW - 7_200.0 + 10 * n, unit=f"u{n % 50}") for n in range(700)))
    course.add([ended(NOW - 7_000.0)])
    day = told(course, "24h")
    assert day["slice_s"] == 60
    assert sum(day["arms"]["candidate"]["requests"]) == 701
    assert day["arms"]["candidate"]["users"][5] == 6
    for width, most in GRAINS[1:]:
        assert len(course.arms["candidate"][GRAINS.index((width, most))].ended) > 0


@pytest.mark.parametrize(("lasts_s", "slice_s"), [(300, 1), (5 * HOUR_S, 60), (30 * DAY_S, HOUR_S)])
def test_the_run_has_the_narrowest_slots_that_cover_it(lasts_s: int, slice_s: int) -> None:
    course = course_of(*(ended(NOW - lasts_s * (1 - n / 50)) for n in range(51)))
    found = told(course, "run", NOW + LATE_S + 1)
    assert found["slice_s"] == slice_s
    assert sum(found["arms"]["candidate"]["requests"]) == 51
    assert found["start"] <= NOW - lasts_s + slice_s


def test_only_what_is_new_is_told_since_a_moment() -> None:
    course = course_of(*(ended(NOW - n) for n in range(60, 0, -1)))
    found = told(course, "10min", since=NOW - 5.0)
    assert found["start"] == NOW - 5.0
    assert found["arms"]["candidate"]["requests"] == [1, 1, 1, 1, 1, 0]


def test_it_goes_on_after_a_restart_and_on_another_machine() -> None:
    course = course_of(*(ended(NOW - n, unit=f"u{n}") for n in range(900, 1, -1)))
    kept = msgspec.convert(msgspec.json.decode(msgspec.json.encode(course)), Course, str_keys=True)
    for each in (course, kept):
        each.add([ended(NOW - 1.0)])
    for span in ("10min", "24h", "run"):
        assert told(kept, span) == told(course, span)


def test_many_users_are_estimated() -> None:
    course = Course()
    for n in range(20_000):
        course.add([ended(NOW - 1.0, unit=f"user-{n}")])
    users = told(course, "10min")["arms"]["candidate"]["users"][-2]
    assert users == pytest.approx(20_000, rel=0.2)
    slot = course.arms["candidate"][0].open[int(NOW - 1)]
    assert len(slot.users) <= 512


def test_a_year_takes_no_more_memory_than_is_kept() -> None:
    course = course_of(*(ended(NOW + HOUR_S * n) for n in range(365 * 24)))
    told(course, "run", NOW + 365 * DAY_S)
    rings = course.arms["candidate"]
    assert [len(ring.ended) // 28 <= most for ring, (_, most) in zip(rings, GRAINS, strict=True)] == [
        True
    ] * 3
    assert len(rings[2].ended) == 28 * GRAINS[2][1]
    assert sum(len(ring.open) for ring in rings) < 10
