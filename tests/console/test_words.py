"""Figures in words."""

from typing import Any

import pytest

from pages.words import status


@pytest.mark.parametrize(
    ("told", "text"),
    [
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
    assert told == text


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
            "; the candidate has 100.0 % of the signed requests, and `share` is 10 %: relative guardrails "
            "are wrong until they agree",
        ),
    ],
)
def test_who_assigns_and_what_is_wrong_with_it(assigned: dict[str, Any], said: str) -> None:
    told = status.assignment({"assignment": NOTHING_WRONG | assigned})
    assert told == f"by a flag system, whose split is not checked{said}"
    assert status.assignment({"assignment": None}) == ""
