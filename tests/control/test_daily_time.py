"""A time of day comes once a day of its zone, by the wall clock."""

from datetime import UTC, datetime, time

import pytest

from control.settings import DailyTime


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("now", "day", "due"),
    [
        ("2026-11-26T12:00", "2026-11-26", "2026-11-26T08:00"),
        ("2026-11-26T23:30", "2026-11-27", "2026-11-27T08:00"),
        ("2026-07-01T00:00", "2026-07-01", "2026-07-01T07:00"),
    ],
)
def test_nine_in_berlin_is_eight_or_seven_in_utc(now: str, day: str, due: str) -> None:
    nine = DailyTime(at=time(9), timezone="Europe/Berlin")
    assert nine.today(at(now)) == (day, at(due))


@pytest.mark.parametrize(
    ("day", "due"), [("2027-03-28", "2027-03-28T01:30"), ("2027-10-31", "2027-10-31T00:30")]
)
def test_the_hour_that_is_skipped_or_comes_twice_gives_one_moment(day: str, due: str) -> None:
    early = DailyTime(at=time(2, 30), timezone="Europe/Berlin")
    assert early.today(at(f"{day}T12:00")) == (day, at(due))


def test_without_a_zone_it_is_utc() -> None:
    assert DailyTime(at=time(9)).today(at("2026-11-26T08:59")) == ("2026-11-26", at("2026-11-26T09:00"))
