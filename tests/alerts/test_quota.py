"""How a candidate's quota holds its ramp and caps its share: known answers on a hand clock."""

import pytest

from alerts.quota import CandidateQuota


def asked(good: int, throttled: int, *, phase: int = 1, at: float = 1000.0) -> CandidateQuota:
    found = CandidateQuota()
    more(found, good, throttled, phase=phase, at=at)
    return found


def more(quota: CandidateQuota, good: int, throttled: int, *, phase: int = 1, at: float = 1000.0) -> None:
    quota.add(phase, [at] * max(1, good), throttled=False)
    if throttled:
        quota.add(phase, [at] * throttled, throttled=True)


@pytest.mark.parametrize(
    ("good", "throttled", "holds"),
    [(100, 0, False), (1, 2, False), (7, 3, True), (70, 30, True), (95, 5, False), (94, 6, True)],
)
def test_more_than_five_percent_throttled_hold_the_ramp(good: int, throttled: int, holds: bool) -> None:
    assert asked(good, throttled).status(None, 1000.0).holds == holds


def test_what_was_throttled_is_said_for_ten_minutes() -> None:
    quota = asked(70, 30)
    assert quota.status(None, 1500.0).sentence == "quota: 30 % of requests throttled"
    assert quota.status(0.035, 1500.0).sentence == (
        "quota: 30 % of requests throttled, the share is capped at 3.5 %"
    )
    assert quota.status(None, 1700.0).sentence == ""
    assert quota.status(0.035, 1700.0).sentence == "quota: the share is capped at 3.5 %"


@pytest.mark.parametrize(
    ("good", "throttled", "share", "cap"),
    [
        (70, 30, 0.05, 0.035),
        (0, 50, 0.05, 0.01),
        (0, 50, 0.005, None),
        (96, 4, 0.05, None),
        (10, 5, 0.05, None),
        (45, 5, 0.1, 0.09),
    ],
)
def test_the_share_is_capped_at_what_was_let_through(
    good: int, throttled: int, share: float, cap: float | None
) -> None:
    quota = CandidateQuota()
    quota.add(1, [1000.0] * good, throttled=False) if good else None
    quota.add(1, [1000.0] * throttled, throttled=True)
    assert quota.wanted_cap(1, share, None, 1059.0) is None
    assert quota.wanted_cap(1, share, None, 1060.0) == cap


def test_a_cap_is_lowered_by_what_a_new_phase_shows_only() -> None:
    quota = asked(70, 30)
    assert quota.wanted_cap(2, 0.05, 0.035, 1100.0) == 0.035
    more(quota, 50, 50, phase=2, at=1100.0)
    assert quota.wanted_cap(2, 0.05, 0.035, 1150.0) == 0.035
    assert quota.wanted_cap(2, 0.05, 0.035, 1160.0) == 0.0175
    more(quota, 900, 0, phase=1, at=1160.0)  # of users who keep an arm from before
    assert quota.wanted_cap(2, 0.05, 0.035, 1160.0) == 0.0175


def test_a_cap_ends_when_headers_leave_room_for_the_whole_share() -> None:
    quota = asked(100, 0, phase=2)
    quota.hear(0.62, 1650.0)  # at 5 % instead of 3.5 %: 0.886 of the limit
    assert quota.wanted_cap(2, 0.05, 0.035, 1599.0) == 0.035
    more(quota, 100, 0, phase=2, at=1600.0)
    assert quota.wanted_cap(2, 0.05, 0.035, 1660.0) is None
    quota.hear(0.65, 1660.0)
    assert quota.wanted_cap(2, 0.05, 0.035, 1661.0) == 0.035
    quota.hear(0.10, 1661.0)  # of another worker: the most that one heard counts for a minute
    assert quota.wanted_cap(2, 0.05, 0.035, 1662.0) == 0.035
    quota.hear(0.10, 1720.0)
    assert quota.wanted_cap(2, 0.05, 0.035, 1721.0) is None


def test_without_headers_a_cap_ends_after_six_hours() -> None:
    quota = asked(100, 0, phase=2)
    assert quota.wanted_cap(2, 0.05, 0.035, 1000.0 + 6 * 3600 - 1) == 0.035
    assert quota.wanted_cap(2, 0.05, 0.035, 1000.0 + 6 * 3600) is None
