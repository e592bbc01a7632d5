"""How numbers read in a guardrail's sentence, and the one sentence that people on call get."""

from dataclasses import replace
from typing import Any

import pytest

from alerts.wording import TITLE, FailuresSeen, Trouble, on_call, title
from common.numbers import dollars
from pages.words.status import users_needed_sentence

NOW = 1_790_000_000.0
"""14:13 UTC on 21 September."""
REFUND = Trouble(
    rule="error_rate",
    own="candidate: 4 of 17 outcomes failed",
    baseline="assistant-1",
    candidate="assistant-2",
    category="refund",
    value=4 / 17,
    threshold=0.05,
    numbers={"bad": 4.0, "outcomes": 17.0, "adverse_units": 4.0},
    since=NOW - 1800.0,
    seen=FailuresSeen(covered=4),
    said="tool schema mismatch",
)


def about(rule: str, **changed: Any) -> Trouble:
    return replace(REFUND, rule=rule, category=None, said="", **changed)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0000525, "$0.0000525"), (0.0123456, "$0.0123"), (12345.6, "$12,346"), (1.0, "$1.00"), (None, "–")],
)
def test_dollars_are_written_without_an_exponent(value: float | None, words: str) -> None:
    assert dollars(value) == words


def test_the_sentence_says_what_fails_since_when_what_users_saw_what_was_done_and_the_provider_s_words() -> (
    None
):
    assert on_call(REFUND, "Rolled back at 14:13 UTC", NOW) == (
        "Refund answers of assistant-2 fail: 4 of 17 requests, 4 users, since 13:43 UTC. Users got "
        "assistant-1's answers instead. "
        'Rolled back at 14:13 UTC. The provider says: "tool schema mismatch".'
    )
    assert "tool schema" not in on_call(REFUND, "", NOW, quoting=False)


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (
            about("error_rate", seen=FailuresSeen(fall_back=False)),
            "Answers of assistant-2 fail: 4 of 17 requests, 4 users, since 13:43 UTC. Users got an error.",
        ),
        (about("error_rate", seen=FailuresSeen(broken=3)), "Users saw answers break off."),
        (
            about("error_rate", seen=FailuresSeen(covered=13, errors=4, broken=2)),
            "Of the last 19, assistant-1 answered 13 instead; 4 ended in an error and 2 broke off in"
            " mid-answer.",
        ),
        (
            about("error_rate", seen=FailuresSeen(covered=6, silent=6, silent_s=12.0, waited_s=12.0)),
            "assistant-2 does not answer: no answer within 12 s, 4 of 17 requests, 4 users, since 13:43 UTC."
            " Users got assistant-1's answers instead, after 12 s.",
        ),
        (
            about("latency_p95", value=3.18, threshold=3.0, numbers={**REFUND.numbers, "cut": 1.0}),
            "Answers of assistant-2 are slow: 4 of 17 requests took longer than 3 s, 4 users, p95 over 3.2 s,"
            " since 13:43 UTC. Users waited that long.",
        ),
        (
            about("latency_p95", numbers={"outcomes": 6.0, "no_answer": 6.0, "no_answer_s": 12.0}),
            "assistant-2 does not answer: no answer within 12 s (6 of 6), since 13:43 UTC."
            " Users got assistant-1's answers instead.",
        ),
        (
            about(
                "latency_p95",
                numbers={"outcomes": 6.0, "no_answer": 6.0, "no_answer_s": 12.0},
                seen=FailuresSeen(),
            ),
            "within 12 s (6 of 6), since 13:43 UTC. Users waited that long.",
        ),
        (about("error_rate", seen=FailuresSeen()), " 13:43 UTC. What users saw is not recorded."),
        (
            about("latency_p95", numbers={**REFUND.numbers, "no_answer": 4.0, "no_answer_s": 3.0}),
            "assistant-2 is slow to answer: no answer within 3 s (4 of 17), since 13:43 UTC.",
        ),
        (
            about("answer_faults", seen=FailuresSeen(fault="empty")),
            "Answers of assistant-2 are empty: 4 of 17 requests, 4 users, since 13:43 UTC.",
        ),
        (about("answer_faults"), "Answers of assistant-2 are faulty: 4 of 17 requests"),
        (
            about("empty", where="all in category refund (5 % of the traffic)"),
            "Answers of assistant-2 are empty: 4 of 17 requests, 4 users, all in category refund (5 % of the"
            " traffic), since 13:43 UTC. Users got these answers.",
        ),
    ],
)  # fmt: skip
def test_what_users_saw_is_said_as_it_was(trouble: Trouble, says: str) -> None:
    assert says in on_call(trouble, "", NOW)


@pytest.mark.parametrize(
    "trouble",
    [REFUND, about("latency_vs_baseline"), about("csat"), about("records_dropped", own="r " * 200)],
)
@pytest.mark.parametrize("name", ["assistant-2", "vendor/" + "m" * 80])
def test_a_title_is_whole_sentences_in_120_characters_without_a_quotation(
    trouble: Trouble, name: str
) -> None:
    named = replace(trouble, candidate=name, baseline=name, category=trouble.category and "c" * 80)
    shown = title(named, "Rolled back at 14:13 UTC", NOW)
    assert len(shown) <= TITLE
    assert shown.endswith((".", "…"))
    assert "vendor/" not in shown
    assert REFUND.said not in shown


def test_a_title_keeps_what_users_saw_and_a_rollback_before_the_users_and_the_time() -> None:
    told = replace(REFUND, candidate="gpt-6.1-terra", baseline="gpt-5.6-terra")
    fails = "Refund answers of gpt-6.1-terra fail: 4 of 17 requests"
    assert title(told, "Rolled back at 14:13 UTC", NOW) == (
        f"{fails}. Users got gpt-5.6-terra's answers. Rolled back at 14:13 UTC."
    )
    assert title(told, "the candidate keeps its share until it is rolled back", NOW) == (
        f"{fails}, 4 users, since 13:43 UTC. Users got gpt-5.6-terra's answers."
    )
    many = replace(told, seen=FailuresSeen(covered=13, errors=4, broken=2))
    assert title(many, "Rolled back at 14:13 UTC", NOW) == (
        f"{fails}, 4 users, since 13:43 UTC. Rolled back at 14:13 UTC."
    )


def test_a_trouble_of_another_day_names_the_day() -> None:
    assert "since 20 September 14:13 UTC" in on_call(replace(REFUND, since=NOW - 86400.0), "", NOW)


def test_the_users_that_rules_need_are_one_sentence_and_none_where_few_are_enough() -> None:
    needs = {"empty": 7, "abandoned": 10, "invalid_output": 7}
    assert users_needed_sentence(needs, 0.5) == (
        "At a share of 50 %, a candidate that gets everything wrong is rolled back after about so many of its"
        " users: 7 (empty, invalid_output); 10 (abandoned)"
    )
    assert users_needed_sentence({"empty": 4}, 0.05, many=True) == ""
    assert users_needed_sentence({}, 0.05) == ""


@pytest.mark.parametrize(
    ("covered", "share", "says"),
    [
        (
            200.0,
            1.0,
            "assistant-2, which everybody is to get, is not answering: 200 of 200 requests were answered by "
            "assistant-1 instead, since 13:43 UTC.",
        ),
        (
            150.0,
            0.8,
            "assistant-2, which 80 % of the users are to get, is not answering: 200 of 200 requests failed, "
            "since 13:43 UTC. assistant-1 answered 150 of them instead; the others ended in an error.",
        ),
        (
            0.0,
            1.0,
            "assistant-2, which everybody is to get, is not answering: 200 of 200 requests failed, since "
            "13:43 UTC. Users got its errors.",
        ),
    ],
)
def test_a_promoted_models_outage_says_who_answered_in_its_place(
    covered: float, share: float, says: str
) -> None:
    numbers = {"bad": 200.0, "outcomes": 200.0, "covered": covered, "share": share}
    trouble = about("outage", numbers=numbers)
    assert on_call(trouble, "", NOW) == says
    assert len(title(trouble, "The candidate keeps its share until it is rolled back", NOW)) <= TITLE
    assert title(trouble, "", NOW).startswith("assistant-2, which ")
