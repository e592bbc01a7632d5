"""The course of a difference: always valid in the order in which users came, and ending at the report's."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from verdict.decision import figures
from verdict.decision.document import Report
from verdict.decision.verdict import build
from verdict.sample.csv_log import from_csv
from verdict.terms.judged_canary import JudgedCanary

Log = Callable[[Any], Path]


@pytest.fixture(scope="module")
def report(write_log: Log, world: type[Any], canary: JudgedCanary, now: float) -> Report:
    return build(from_csv(write_log(world(latency_s=(0.4, 0.8)))), canary, now=now)


def test_a_course_ends_at_the_reports_own_difference(report: Report) -> None:
    courses = {course.metric: course for course in report.details.over_time}
    assert list(courses) == [line.metric for line in report.metrics]
    for line in report.metrics:
        last = courses[line.metric].points[-1]
        assert (last.low, last.estimate, last.high) == (
            line.difference.low,
            line.difference.estimate,
            line.difference.high,
        )
        assert last.units == line.units


def test_a_point_is_what_a_report_of_the_users_so_far_says(
    write_log: Log, world: type[Any], canary: JudgedCanary, report: Report, now: float, tmp_path: Path
) -> None:
    point = next(course for course in report.details.over_time if course.metric == "latency_p95").points[0]
    rows = write_log(world(latency_s=(0.4, 0.8))).read_text().splitlines()
    sample = from_csv(write_log(world(latency_s=(0.4, 0.8))))
    day = sample.exposed_at() // 86400
    come = {sample.units[i] for i in range(len(sample.units)) if day[i] <= _day(point.day)}
    some = tmp_path / "some.csv"
    some.write_text("\n".join([rows[0], *(row for row in rows[1:] if row.split(",")[0] in come)]) + "\n")
    line = next(
        line for line in build(from_csv(some), canary, now=now).metrics if line.metric == "latency_p95"
    )
    assert point.units == line.units
    assert (point.low, point.estimate, point.high) == pytest.approx(
        (line.difference.low, line.difference.estimate, line.difference.high)
    )


def test_there_is_no_point_before_a_hundred_users(report: Report) -> None:
    assert all(point.units >= 100 for course in report.details.over_time for point in course.points)


def test_a_large_sample_is_judged_again_at_few_points_only(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "LARGE", 1000)
    found = build(from_csv(write_log(world(latency_s=(0.4, 0.8)))), canary, now=now).details.over_time
    assert {len(course.points) for course in found} <= set(range(2, figures.FEW_POINTS + 1))


def test_a_log_of_one_day_has_no_course(write_log: Log, world: type[Any], canary: JudgedCanary) -> None:
    found = build(from_csv(write_log(world(days=0.9))), replace(canary, minimum_days=0), now=2e9)
    assert found.details.over_time == ()


def _day(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() // 86400)
