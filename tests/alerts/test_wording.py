"""How numbers read in a guardrail's sentence, and the one sentence that people on call get."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import pytest

from alerts.guardrails import Watch
from alerts.rules.rule import DEFAULT_RULES, FURTHER_RULES, OF_SESSIONS, RuleName
from alerts.simulation.traffic import EPOCH, NAME, ArmBehaviour, Scenario, records
from alerts.simulation.trials import WORKER
from alerts.wording import TITLE, ArmNames, FailuresSeen, Trouble, capitalized, on_call, title
from common.numbers import dollars
from pages.words.status import users_needed_sentence
from records.outcome import Outcome

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
            about("latency_p95", numbers={**REFUND.numbers, "no_answer": 4.0, "no_answer_s": 3.0}),
            "assistant-2 is slow to answer: no answer within 3 s (4 of 17), since 13:43 UTC.",
        ),
        (
            about("answer_faults", seen=FailuresSeen(fault="empty")),
            "Answers of assistant-2 are empty: 4 of 17 requests, 4 users, since 13:43 UTC.",
        ),
        (about("answer_faults"), "Answers of assistant-2 are faulty: 4 of 17 requests"),
        (
            about("stalled", numbers={"outcomes": 9.0, "bad": 4.0, "stalled": 4.0, "stalled_s": 8.0}),
            "Answers of assistant-2 stall: silent for 8 s in mid-stream (4 of 9), since 13:43 UTC. Users saw"
            " answers stop for so long.",
        ),
        (
            about("latency_vs_baseline", threshold=1.5, segment={"plan": "pro"}),
            "Answers of assistant-2 for plan pro are slow: 4 of 17 requests took longer than 1.5× the p95 of"
            " assistant-1, 4 users",
        ),
        (
            about("empty", where="all in category refund (5 % of the traffic)"),
            "Answers of assistant-2 are empty: 4 of 17 requests, 4 users, all in category refund (5 % of the"
            " traffic), since 13:43 UTC. Users got these answers.",
        ),
        (about("refused"), "Answers of assistant-2 are refusals: 4 of 17 requests"),
        (about("abandoned"), "Users leave before assistant-2 answers: 4 of 17 requests, 4 users, since"),
        (
            about("cost_per_request", value=2.31, threshold=2.0, numbers={"outcomes": 140.0}),
            "Answers of assistant-2 cost 2.3× those of assistant-1, over 140 requests, since 13:43 UTC."
            " Users notice nothing of that.",
        ),
        (
            about("session_cost", value=3.06, threshold=2.0, numbers={"sessions": 24.0}),
            "Sessions of assistant-2 cost 3.1× those of assistant-1, over 24 sessions, since 13:43 UTC.",
        ),
        (
            about("session_exchanges", value=3.0, threshold=2.0, numbers={"sessions": 1.0}),
            "Sessions of assistant-2 take 3.0× the requests of assistant-1, over 1 session, since 13:43 UTC."
            " Users wait for longer.",
        ),
        (
            about("stuck", value=None, threshold=3.0),
            "Sessions of assistant-2 make the same tool call three times in a row: 4 of 17 sessions, 4 users",
        ),
        (
            about("session_abandoned"),
            "Sessions of assistant-2 end without an answer, or at an error: 4 of 17 sessions, 4 users, since"
            " 13:43 UTC. Users left, or got an error.",
        ),
        (
            about("session_tool_calls", value=2.2, numbers={"sessions": 163.0, "adverse_units": 30.0}),
            "Sessions of assistant-2 make 2.2× the tool calls of those of assistant-1, over 163 sessions",
        ),
        (
            about("csat", value=2.13, threshold=4.05, numbers={"outcomes": 31.0}),
            "Users rate answers of assistant-2 lower: csat 2.13 from 31 users, at least 4.05 wanted, since",
        ),
        (
            about("escalated", value=4.1),
            "Users of assistant-2 ask for a human 4.1× as often as those of assistant-1: 4 users so far",
        ),
        (
            about("repeat_question", value=None),
            "Users of assistant-2 have to ask again more often: 4 users so far, and none of assistant-1",
        ),
        (
            about("reopened", value=3.0),
            "Users of assistant-2 have reopened 3.0× as often as those of assistant-1: 4 users so far, since"
            " 13:43 UTC. Users got its answers.",
        ),
        (
            about(
                "handling_min",
                value=9.0,
                threshold=6.0,
                numbers={
                    "outcomes": 31.0,
                    "adverse_units": 9.0,
                    "baseline_mean": 5.0,
                    "higher_is_better": 0.0,
                },
            ),
            "Answers of assistant-2 do worse: handling_min 9.00 from 31 users, at most 6.00 wanted, since",
        ),
        (about("telemetry", value=900.0), "No record of a request has arrived for 900 s, though requests"),
        (about("outage", value=0.4), "assistant-1, the baseline, fails itself: 40.0 % of its last 17 "),
        (
            about("preflight_failed", own="chat: 400 no tools"),
            "assistant-2 refuses what canary asked of it before the start: chat: 400 no tools, since"
            " 13:43 UTC. No user has met it.",
        ),
        (
            about("records_dropped", own="9 records were dropped", numbers={}),
            "9 records were dropped, since 13:43 UTC. Users notice nothing.",
        ),
    ],
)  # fmt: skip
def test_each_rule_says_what_fails_in_users_words_and_what_they_saw(trouble: Trouble, says: str) -> None:
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


def test_a_title_keeps_what_was_done_where_it_fits() -> None:
    shown = title(REFUND, "Rolled back at 14:13 UTC", NOW)
    assert shown == (
        "Refund answers of assistant-2 fail: 4 of 17 requests, 4 users, since 13:43 UTC."
        " Rolled back at 14:13 UTC."
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


ENDINGS = ("", "Rolled back at 14:13 UTC", "the candidate keeps its share until it is rolled back")


@pytest.mark.parametrize("rule", [*get_args(RuleName), "outage", "preflight_failed", "prompt_missed", "own"])
@pytest.mark.parametrize("done", ENDINGS)
def test_every_rule_says_what_users_saw_and_how_many_and_fits_a_title(rule: str, done: str) -> None:
    trouble = about(rule, own="what it refuses", value=3.14, numbers={**REFUND.numbers, "sessions": 17.0})
    said, short = on_call(trouble, done, NOW), title(trouble, done, NOW)
    saw = said.partition("UTC. ")[2].removesuffix(f"{capitalized(done)}.").strip()
    assert saw.startswith(("Users ", "They ", "Their ", "What users saw", "No user", "Of the last"))
    assert capitalized(done) in said
    assert rule in UNCOUNTED or any(
        of in said for of in ("of 17", "17 sessions", "17 requests", "17 users", "×")
    )
    assert len(short) <= TITLE
    assert short.endswith(".")
    assert done != ENDINGS[1] or short.endswith("14:13 UTC.") or " 14:13 UTC. " in short or len(said) > 160


UNCOUNTED = {"telemetry", "preflight_failed", "prompt_missed"}
"""What counts no requests of the candidate."""
PLAYED: Mapping[str, ArmBehaviour] = {
    "error_rate": ArmBehaviour(error=0.5),
    "error_rate_vs_baseline": ArmBehaviour(error=0.3),
    "latency_p95": ArmBehaviour(latency_s=4.0),
    "latency_vs_baseline": ArmBehaviour(latency_s=2.5),
    "abandoned": ArmBehaviour(left=0.4),
    "empty": ArmBehaviour(faults=(("empty", 0.6),)),
    "stuck": ArmBehaviour(stuck=0.8),
    "session_tool_calls": ArmBehaviour(steps=4.0),
}


@pytest.mark.parametrize(
    "rule", [pytest.param(each, marks=[] if each == "empty" else pytest.mark.more) for each in PLAYED]
)
def test_what_a_real_watch_sees_is_counted_from_when_it_began(rule: str) -> None:
    rules = {each.rule: each for each in (*DEFAULT_RULES, *FURTHER_RULES)}
    watch, calls = Watch(NAME, [rules[rule]]), []
    scenario = Scenario(
        exchanges_per_minute=300.0,
        share=0.2,
        users=400,
        candidate=PLAYED[rule],
        fault_at_s=600.0,
        steps=6.0 if rule in OF_SESSIONS else 0.0,
        streams=0.5,
        duration_s=3600.0,
    )
    judged = 0.0
    for now, record in records(scenario, 3):
        watch.observe(record) if isinstance(record, Outcome) else watch.observe_in_flight(WORKER, record)
        if now - judged >= 2.0:
            judged = now
            calls = [each for each in watch.decide(now, routed=False) if each.action]
        if calls:
            break
    trouble = watch.trouble(calls[0], ArmNames(baseline="assistant-1", candidate="assistant-2"))
    said = on_call(trouble, "", EPOCH + judged)
    assert "assistant-2" in said
    if rule != "latency_p95" and "bad" in trouble.numbers:
        assert trouble.numbers["outcomes"] < calls[0].evidence["outcomes"]
        assert trouble.numbers["bad"] / trouble.numbers["outcomes"] > 0.1
    if "p95 " in said and "the p95" not in said:
        assert "p95 over" in said
