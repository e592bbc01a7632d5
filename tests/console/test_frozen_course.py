"""How the evidence of a rollback is drawn."""

import math

from alerts.incidents.rollback import EvidencePoint
from pages.status.rules import HEIGHT, WIDTH, reach


def places(points: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (each.split(",") for each in points.split())]


def test_the_course_runs_from_left_to_right_and_up_through_what_convicts() -> None:
    path = [EvidencePoint(100.0 + i, math.log(10.0) * i, -1.0, float(i)) for i in range(5)]
    course = reach(path)
    assert course is not None
    found = places(course.whole.points)
    assert [x for x, _ in found] == [0.0, 150.0, 300.0, 450.0, WIDTH]
    assert found[0][1] == HEIGHT
    assert abs(found[3][1] - course.whole.limit_y) < 0.2  # a thousand convicts
    assert (course.whole.limit, course.since.limit) == ("1,000", "100,000")
    assert {y for _, y in places(course.since.points)} == {HEIGHT}


def test_one_moment_is_no_course() -> None:
    assert reach([]) is None
    assert reach([EvidencePoint(1.0, 2.0, 3.0, 4.0)]) is None
    at_once = reach([EvidencePoint(1.0, 2.0, 3.0, 4.0), EvidencePoint(1.0, 3.0, 3.0, 5.0)])
    assert at_once is not None
    assert {x for x, _ in places(at_once.whole.points)} == {0.0}
