"""Numbers as people say them."""

from dataclasses import replace

import pytest

from pages.words.figures import (
    all_chance,
    amount,
    between,
    bound_words,
    days,
    defined,
    distance,
    joined,
    label,
    look_words,
    signed,
    sooner,
    span,
    to_come,
    users_of,
)
from pages.words.verdict import evidence
from tests.verdict.planned import look_line, metric_line, planned_report
from verdict.terms.measures import Unit, unit_of


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.852, "share", "85.2 %"),
        (0.00002, "share", "0.002 %"),
        (3.5e-17, "share", "0.0 %"),
        (0.0, "share", "0.0 %"),
        (1.434, "s", "1.43 s"),
        (0.0412, "s", "41 ms"),
        (0.0127, "usd", "$0.0127"),
        (-12.5, "usd", "−$12.50"),
        (50000.0, "usd", "$50,000"),
        (4.31, "number", "4.31"),
        (None, "s", "–"),
        (float("inf"), "s", "–"),
    ],
)
def test_an_amount_has_its_unit_and_no_false_precision(value: float | None, unit: Unit, text: str) -> None:
    assert amount(value, unit) == text


def test_differences_of_shares_are_points() -> None:
    assert signed(-0.034, "share") == "−3.4 points"
    assert distance(-0.034, "share") == "3.4 points"
    assert between(-0.034, 0.043, "share") == "−3.4 to +4.3 points"
    assert distance(0.00081234, "usd") == "$0.00081"


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(-0.024, 0.077, "−24 to +77 ms"), (-0.066, 0.12, "−0.07 to +0.12 s"), (1.5, 7.1, "+1.50 to +7.10 s")],
)
def test_both_ends_of_a_time_s_interval_are_in_one_unit(low: float, high: float, text: str) -> None:
    assert between(low, high, "s") == text


@pytest.mark.parametrize(
    ("more_days", "text"),
    [
        (None, "about 1,200 more candidate users"),
        (11.2, "about 1,200 more candidate users, 12 more days"),
        (200.0, "about 1,200 more candidate users, about 1 year at this traffic"),
        (2649.0, "about 1,200 more candidate users, about 7 years at this traffic"),
    ],
)
def test_what_is_still_to_come_is_told_as_precisely_as_it_is_known(
    more_days: float | None, text: str
) -> None:
    assert to_come("csat", 1200, more_days) == text


def test_an_open_end_is_said_to_be_open() -> None:
    assert span(None, 2.0, "s") == "at most 2.00 s"
    assert span(2.0, None, "s") == "at least 2.00 s"
    assert span(None, None, "s") == "any value"
    assert between(1.0, None, "s") == "+1.00 s to no upper limit"


@pytest.mark.parametrize(
    ("metric", "acceptable", "unit"),
    [
        ("latency_p95", "< 2s", "s"),
        ("error_rate", "<= 1.2x baseline", "share"),
        ("answer_faults", "<= 1.2x baseline", "share"),
        ("abandoned", "<= baseline", "share"),
        ("cost_per_request", "<= baseline", "usd"),
        ("task_completed", ">= baseline - 2%", "share"),
        ("csat", ">= baseline - 2%", "number"),
        ("settled", ">= 80%", "share"),
        ("settled", ">= baseline - 2pp", "share"),
        ("revenue", ">= baseline - 2%", "usd"),
        ("cost_total", "<= 1.2x baseline", "usd"),
        ("session_length_s", "<= 1.2x baseline", "s"),
        ("session_repeats", "<= 1.2x baseline", "share"),
        ("tokens", "<= 1.2x baseline", "number"),
    ],
)
def test_the_unit_is_told_from_the_name_and_the_bound(metric: str, acceptable: str, unit: Unit) -> None:
    assert unit_of(metric, acceptable) == unit


def test_bounds_and_names_read_aloud() -> None:
    assert bound_words(">= 85%") == "at least 85%"
    assert bound_words("<= 1.2x baseline") == "at most 1.2x baseline"
    assert bound_words("85–92%") == "at least 85–92%"
    assert label("ttft_p95") == "time to first token p95"
    assert joined(["a", "b", "c"]) == "a, b and c"
    assert joined(["a"]) == "a"
    assert days(0.2) == "less than a day"
    assert days(3.2, more=True) == "4 more days"


def test_units_of_pairs_are_users_with_a_judged_pair() -> None:
    assert users_of("judged_preference", 1) == "1 user with a judged pair"
    assert to_come("judged_preference", 900, 12) == "about 900 more users with a judged pair, 12 more days"


@pytest.mark.parametrize(
    ("metrics", "more"),
    [
        (["csat"], "a larger share"),
        (["judged_preference"], "more judged pairs"),
        (["csat", "judged_preference"], "a larger share and more judged pairs"),
        (["judged_mark"], ""),
    ],
)
def test_a_larger_share_is_no_cure_for_pairs(metrics: list[str], more: str) -> None:
    assert sooner(metrics) == more


def test_a_declared_metric_has_the_unit_of_its_definition() -> None:
    first = replace(metric_line(look_line(9, -0.02, 0.03)), metric="resolved", acceptable="> 3")
    assert first.unit == "number"
    event = replace(first, kind="bool", per="session")
    assert (event.unit, event.of_business) == ("share", False)
    cost = replace(first, cost_per="resolved")
    assert (cost.unit, cost.of_business) == ("usd", True)
    assert defined(event.metric, event.per) == "resolved per session"
    assert defined("cost_per_case", None, "resolved") == "cost per case (cost per resolved)"
    assert defined("csat", "value") == "satisfaction"


def test_of_an_event_every_user_tells() -> None:
    line = metric_line(look_line(9, -0.02, 0.03))
    report = planned_report(line, day=9)
    assert evidence(line, report).startswith("400 candidate users with a value")
    assert evidence(replace(line, kind="bool", per="session"), report).startswith("400 candidate users")
    assert "with a value" not in evidence(replace(line, kind="bool", per="session"), report)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ((0.9, 0.5, 1.0), "45 %"),
        ((0.79, None), "at most 79 %"),
        ((0.995, None), ""),
        ((None, None), ""),
        ((0.0, 0.9), "under 1 %"),
    ],
)
def test_the_chance_of_all_rows_is_at_most_that_of_those_known(
    rows: tuple[float | None, ...], text: str
) -> None:
    assert all_chance(rows) == text


def test_a_look_is_told_with_each_row_s_room_to_its_bound() -> None:
    seen = {"error_rate": 0.028, "csat": -0.2, "nps": None}
    said = look_words(5, seen, {"error_rate": "< 5%", "csat": "> 4"})
    assert said == (
        "look of day 5, room to the bounds: error rate +2.8 points and satisfaction −0.20; too few "
        "users for NPS"
    )
