"""What is counted of many runs, and which runs are played."""

import math
from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.incidents.notice import Notice
from alerts.simulation.trials import (
    Detection,
    RunSpread,
    Scenario,
    alarms,
    calm_week,
    detected,
    going_bad,
    spread,
)


def run(
    rule: str | None = None, *, at_s: float = 900.0, outcomes: int = 10, paged: float | None = None
) -> Detection:
    told = () if paged is None else (page(rule or "csat"),)
    return Detection(
        rolled_back_by=rule,
        at_s=at_s,
        candidate_outcomes=outcomes,
        candidate_exchanges=outcomes,
        notices=told,
        paged_at_s=paged,
        outcomes_at_page=None if paged is None else outcomes - 2,
    )


def page(rule: str) -> Notice:
    return Notice(
        event="page",
        dedup_key="canary:a:b",
        sequence=0,
        at=0.0,
        canary="a",
        incident="b",
        opened_at=0.0,
        headline="",
        rules=(rule,),
        details={},
        done="",
    )


def test_runs_that_were_never_rolled_back_are_later_than_any() -> None:
    runs = [run("error_rate", at_s=660.0, outcomes=n, paged=630.0) for n in range(1, 9)] + [run(), run()]
    found = detected(runs, 600.0)
    assert found.runs == 10
    assert found.rolled_back == {"error_rate": 8}
    assert found.outcomes == RunSpread(6, None)
    assert found.minutes == RunSpread(1.0, None)
    assert found.minutes_to_page == RunSpread(0.5, None)
    assert found.outcomes_to_page == RunSpread(4, None)


def test_alarms_are_counted_by_their_rule() -> None:
    found = alarms([run("error_rate", paged=1.0), run(paged=1.0), run(), run()])
    assert (found.runs, found.rolled_back, found.paged) == (
        4,
        {"error_rate": 1},
        {"error_rate": 1, "csat": 1},
    )


@given(st.lists(st.floats(0, 1e6), max_size=40), st.integers(0, 40))
def test_a_spread_is_that_of_all_runs(values: list[float], others: int) -> None:
    whole = sorted([*values, *[math.inf] * others])
    if not whole:
        return
    found = [each if each is not None else math.inf for each in astuple(spread(values, len(whole)))]
    assert found == [whole[int(0.5 * len(whole))], whole[int(0.95 * len(whole))]]


@pytest.mark.parametrize("rate", [6.0, 600.0])
def test_a_fault_begins_once_the_baseline_is_known(rate: float) -> None:
    scenario = going_bad(Scenario(exchanges_per_minute=rate), within_s=60.0)
    assert scenario.fault_at_s >= 600.0
    assert scenario.fault_at_s / 60.0 * rate * 0.95 >= 300 - 1e-6
    assert scenario.duration_s == scenario.fault_at_s + 60.0


def test_a_calm_week_lasts_a_week() -> None:
    assert calm_week(Scenario()).duration_s == 604_800.0
