"""Figures in words."""

from typing import Any

import pytest

from pages.words import status


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (status.percent(None), "–"),
        (status.percent(0.05), "5 %"),
        (status.percent(0.0125), "1.2 %"),
        (status.percent(0.0004), "0.04 %"),
        (status.percent(0.0000004), "0.00004 %"),
        (status.percent(0.714), "71.4 %"),
        (status.percent(1.0), "100 %"),
        (status.seconds(0.08), "80 ms"),
        (status.seconds(1.24), "1.24 s"),
        (status.dollars(12.3), "$12.30"),
        (status.dollars(0.00012345), "$0.000123"),
        (status.dollars(0.0), "$0.00"),
        (status.times(1.24), "1.2×"),
        (status.times(1240), "1,240×"),
        (status.span(None), "–"),
        (status.span(0), "0 s"),
        (status.span(200), "3 min 20 s"),
        (status.span(3600), "1 h"),
        (status.span(187_300), "2 d 4 h"),
        (status.moment(1_764_025_500), "2025-11-24 23:05:00"),
        (status.verdict("dont_ship"), "Don't ship"),
        (status.verdict("ship_with_caveats"), "Ship with caveats"),
    ],
)
def test_a_figure_reads_as_a_person_says_it(told: str, text: str) -> None:
    assert told.replace("\u00a0", " ") == text


NOTHING_WRONG = {"no_assignment": 0, "bad_assignment": 0, "split_off": None}


@pytest.mark.parametrize(
    ("assigned", "said"),
    [
        ({}, ""),
        ({"bad_assignment": 2}, "; 2 requests had a wrong signature: the baseline served them"),
        (
            {"no_assignment": 1, "bad_assignment": 1},
            "; 1 request had no arm and 1 request had a wrong signature: the baseline served them",
        ),
        (
            {"split_off": {"share": 0.1, "actual": 1.0}},
            "; the candidate has 100 % of the signed requests, and `share` is 10 %: relative guardrails are "
            "wrong until they agree",
        ),
    ],
)
def test_who_assigns_and_what_is_wrong_with_it(assigned: dict[str, Any], said: str) -> None:
    told = status.assignment({"assignment": NOTHING_WRONG | assigned}).replace("\u00a0", " ")
    assert told == f"by a flag system, whose split is not checked{said}"
    assert status.assignment({"assignment": None}) == ""
