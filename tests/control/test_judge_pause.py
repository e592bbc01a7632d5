"""Why the judge pauses, for how long, and what ends it."""

from typing import Literal

import pytest

from judge.runs.job import LONGEST_S, JudgePause

DAY = 86400.0


def test_failures_wait_ever_longer_up_to_ten_minutes_and_an_answer_forgets_them() -> None:
    pause, now, waits = JudgePause(), 1000.0, []
    for _ in range(9):
        pause.failed("provider_5xx", now)
        waits.append(pause.until - now)
        now = pause.until
    assert waits == [10, 20, 40, 80, 160, 320, LONGEST_S, LONGEST_S, LONGEST_S]
    assert (pause.reason, pause.words, pause.holds(now)) == ("provider", "provider_5xx", False)
    pause.answered()
    assert (pause.reason, pause.words) == ("", "")
    pause.failed("provider_connect", now)
    assert pause.until - now == 10


def test_calls_that_were_in_flight_when_the_pause_began_do_not_make_it_longer() -> None:
    pause = JudgePause()
    for _ in range(4):
        pause.failed("provider_reset", 1000.0)
    assert (pause.until, pause.failures) == (1010.0, 1)


def test_a_spent_budget_lasts_until_the_utc_day_ends() -> None:
    pause, noon = JudgePause(), 20_000 * DAY + DAY / 2
    pause.budget_spent("no room", noon)
    pause.answered()  # one that was in flight
    pause.failed("provider_5xx", noon)
    pause.look(20_001 * DAY - 1)
    assert (pause.reason, pause.until) == ("budget", 20_001 * DAY)
    pause.look(20_001 * DAY)
    assert pause.reason == ""


def test_a_budget_that_no_day_has_room_in_waits_for_a_shorter_call_or_another_config() -> None:
    pause, noon = JudgePause(), 20_000 * DAY + DAY / 2
    pause.budget_too_small("too small for one call", noon)
    assert (pause.reason, pause.has_end, pause.holds(noon + LONGEST_S)) == ("budget", False, False)
    pause.look(20_001 * DAY)
    assert pause.reason == "budget", "a new day does not help"
    pause.answered()
    assert (pause.reason, pause.has_end) == ("", True)
    pause.budget_too_small("too small for one call", noon)
    pause.failed("provider_5xx", noon + LONGEST_S)
    assert (pause.reason, pause.has_end) == ("provider", True)


@pytest.mark.parametrize("reason", ["no price", "no credential"])
def test_what_the_config_lacks_is_looked_at_again_after_a_minute(
    reason: Literal["no price", "no credential"],
) -> None:
    pause = JudgePause()
    pause.cannot(reason, "set it", 1000.0)
    assert (pause.reason, pause.holds(1059.0), pause.holds(1060.0)) == (reason, True, False)
    pause.forget()
    assert (pause.reason, pause.holds(0.5)) == ("", False)
