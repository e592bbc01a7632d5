"""Whole sessions before the judge: which wait, what is read of them, and what is stored of its word."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as changed

from judge.judgements import Judgements, session_id
from judge.model import SESSION_BOUND, said, session_text
from judge.runs.due import SILENCE_S, choose, due_now, subject_of, unjudged
from judge.terms import JudgedRun
from records.captures.capture import Capture, CapturedMessage, CapturedToolCall, takes_session
from records.store import Store, tables
from records.store.captures import CaptureStore
from tests.judge.test_unjudged import JUDGED
from tests.records.test_capture_store import NOW, a_capture

OVER = NOW - SILENCE_S
RUN = JudgedRun(canary="support", run=1, kind="session", number=9, criteria="Polite.")


def named(number: int) -> str:
    """A session's hash; the first digits tell whether a rate takes it."""
    return f"{number:02x}{'0' * 30}"


def an_exchange(session: str, *, at: float = OVER, serial: int = 0, **more: Any) -> Capture:
    about = {"session": session, "at": at, "rate": 0.5, "arm": "baseline"} | more
    return a_capture(f"{session}-{serial}", **about)


def ended(store: Store, *captures: Capture, abandoned: bool = False) -> None:
    """What the store knows of the sessions of these exchanges, of which the last may have failed."""
    with store.writing() as connection:
        for about in (capture.about for capture in captures):
            named = {
                name: getattr(about, name) for name in ("canary", "run", "session", "unit", "arm", "phase")
            }
            of_it = tables.sessions.c.session == about.session
            connection.execute(tables.sessions.delete().where(of_it))
            connection.execute(
                tables.sessions.insert().values(
                    **named, **NOTHING, first_at=about.at, last_at=about.at, abandoned=abandoned
                )
            )


COUNTS = (
    "exchanges",
    "repeats",
    "cost_n",
    "tokens_n",
    "input_tokens",
    "cached_tokens",
    "tool_calls",
    "faulty",
)
SUMS, TEXTS = ("cost_sum", "tokens_sum"), ("category", "tags", "asked")
NOTHING: dict[str, Any] = dict.fromkeys(COUNTS, 0) | dict.fromkeys(SUMS, 0.0) | dict.fromkeys(TEXTS, "")


def waiting(store: Store, *captures: Capture) -> list[tuple[str, str]]:
    CaptureStore(store).add(captures, now=NOW)
    ended(store, *captures)
    return waiting_now(store)


def waiting_now(store: Store) -> list[tuple[str, str]]:
    found = unjudged(store, "support", 1, "session", each=99, now=NOW, newest=1)
    return [(each.exchange_id.removeprefix("support/1/")[:2], each.arm) for each in found]


def test_a_rate_takes_whole_sessions_and_its_part_of_them() -> None:
    assert [takes_session(named(number), 0.25) for number in (0x00, 0x3F, 0x40, 0xFF)] == [1, 1, 0, 0]
    assert takes_session(named(0xFF), 1.0) and not takes_session(named(0), 0.0)


def test_sessions_wait_once_they_are_over_were_drawn_and_had_one_arm(store: Store) -> None:
    found = waiting(
        store,
        an_exchange(named(1), at=OVER - 60),
        an_exchange(named(1), serial=1),
        an_exchange(named(2), arm="candidate", served_by="baseline"),  # a fallback is the candidate's
        an_exchange(named(3), at=OVER - 60),
        an_exchange(named(3), at=NOW - 60, serial=1),  # goes on
        an_exchange(named(4)),
        an_exchange(named(4), arm="candidate", serial=1),
        an_exchange(named(0x90)),  # of which the rate took nothing: captured for its category
        an_exchange(named(5), run=2),
        an_exchange(named(6), canary="sales"),
        an_exchange(""),
        changed(an_exchange(named(7)), truncated=True),
        an_exchange(named(8), at=NOW - 3 * 86400),
    )
    assert sorted(found) == [("01", "baseline"), ("02", "candidate")]


def test_a_session_whose_last_answer_is_unknown_does_not_wait_but_one_that_failed_does(store: Store) -> None:
    """One that was too long, or had an image; a candidate that failed at the end is marked as it stood."""
    assert waiting(store, an_exchange(named(1), at=OVER - 60)) == [("01", "baseline")]
    last = an_exchange(named(1), serial=1)
    ended(store, last)
    assert waiting_now(store) == []
    ended(store, last, abandoned=True)
    assert waiting_now(store) == [("01", "baseline")]


def test_where_no_session_comes_the_status_says_so(store: Store) -> None:
    assert "no session is whole yet" in due_now(store, RUN, NOW, most=9).held
    waiting(store, an_exchange(named(1)))
    due = due_now(store, RUN, NOW, most=9)
    assert (len(due.now), due.held) == (1, "")


def test_a_session_is_judged_once_also_if_it_goes_on(store: Store) -> None:
    assert waiting(store, an_exchange(named(1))) == [("01", "baseline")]
    judgements, id = Judgements(store), session_id("support", 1, named(1))
    judged = replace(JUDGED, exchange_id=id, kind="session", arm="baseline")
    call = judgements.begin(judged, {1: 0.1}, budget_usd=9.0, expires_at=NOW)[1]
    assert waiting(store) == []
    judgements.failed(call)
    assert waiting(store) == [("01", "baseline")]
    again = judgements.begin(judged, {1: 0.1}, budget_usd=9.0, expires_at=NOW)[1]
    judgements.answered(again, said="4 yes", reason="", cost_usd=0.1)
    assert waiting(store, an_exchange(named(1), at=OVER, serial=1)) == []
    (known,) = judgements.of("support")
    assert (known.mark, known.done, known.result) == (4.0, True, "mark")


def test_both_arms_get_as_many_drawn_without_regard_to_time(store: Store) -> None:
    captures = [
        an_exchange(named(number), at=OVER - number, arm="candidate" if number % 8 == 0 else "baseline")
        for number in range(1, 65)
    ]
    CaptureStore(store).add(captures, now=NOW)
    ended(store, *captures)
    due = unjudged(store, "support", 1, "session", each=99, now=NOW)
    chosen = choose(due, {}, number=12, of_day=1.0, most=12)
    assert sorted(each.arm for each in chosen) == ["baseline"] * 6 + ["candidate"] * 6
    newest = {session_id("support", 1, named(number)) for number in range(1, 15)}
    assert not {each.exchange_id for each in chosen if each.arm == "baseline"} <= newest
    assert choose(due, {}, number=12, of_day=1.0, most=12) == chosen


def test_its_text_has_each_conversation_once_as_it_stood_at_its_end() -> None:
    user = CapturedMessage("user", "Mail it.")
    call = CapturedMessage("assistant", "I do.", (CapturedToolCall("c1", "mail", '{"to":"[email]"}'),))
    result = CapturedMessage("tool", "sent", tool_call_id="c1")
    first = said_by((user,), "", call.tool_calls)
    last = said_by((user, call, result), "It is sent.")
    helper = said_by((CapturedMessage("user", "Give it a title."),), "A mail")
    assert session_text([first, helper, last]) == (
        "user: Give it a title.\nassistant: A mail\n\n"
        'user: Mail it.\nassistant: I do.\n[calls mail {"to":"[email]"}]\ntool: sent\nassistant: It is sent.'
    )
    assert session_text([first]) == 'user: Mail it.\nassistant: [calls mail {"to":"[email]"}]'


def test_requests_that_bring_only_what_is_new_are_all_read() -> None:
    """As those do that name the response before them: the same words twice are two messages."""
    turns = [said_by((CapturedMessage("user", "Go on."),), answer) for answer in ("One.", "Two.")]
    assert session_text(turns) == "user: Go on.\nassistant: One.\n\nuser: Go on.\nassistant: Two."


@pytest.mark.parametrize("results", [1, 40, 2000])
def test_a_long_session_is_cut_in_its_longest_texts(results: int) -> None:
    tools = [CapturedMessage("tool", "x" * 30_000, tool_call_id=f"c{number}") for number in range(results)]
    text = session_text([said_by((CapturedMessage("user", "The task."), *tools), "Done at last.")])
    assert len(text) <= SESSION_BOUND
    assert text.startswith("user: The task.") and text.endswith("assistant: Done at last.")
    assert ("characters left out" in text) == (results > 1)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("It did.\nMARK: 5, DONE: YES", "5 yes"),
        ("**MARK: 2**, **DONE: no**", "2 no"),
        ("MARK: 3\nDONE: NO", "3 no"),
        ("DONE: NO at first.\nMARK: 4, DONE: YES", "4 yes"),
        ("MARK: 4", ""),
        ("DONE: YES", ""),
    ],
)
def test_a_mark_and_whether_it_is_done_are_read(text: str, stored: str) -> None:
    assert said("session", text) == stored


def test_it_is_asked_about_blind_until_its_texts_expire(store: Store) -> None:
    CaptureStore(store).add(
        [
            an_exchange(named(1), arm="candidate", model="new-model", provider="openai"),
            an_exchange(named(1), arm="candidate", serial=1, expires_at=NOW + 5),
        ],
        now=NOW,
    )
    id = session_id("support", 1, named(1))
    subject = subject_of(store, RUN, id, "openai/judge")
    assert subject is not None
    judged, (question,) = subject.judgement, subject.questions[1]
    assert (judged.exchange_id, judged.kind, judged.arm, judged.category) == (id, "session", "candidate", "")
    assert (judged.baseline, judged.candidate, judged.baseline_length) == ("", "openai/new-model", None)
    assert subject.expires_at == NOW + 5
    assert "Polite." in question.content and "Wärum?" in question.content
    assert not [word for word in ("new-model", "candidate", "baseline") if word in question.content]
    CaptureStore(store).expire(NOW + 2 * 86400)
    assert subject_of(store, RUN, id, "openai/judge") is None


def said_by(
    messages: Sequence[CapturedMessage], answer: str, calls: Sequence[CapturedToolCall] = ()
) -> Capture:
    return changed(a_capture("e", answer=answer), messages=tuple(messages), answer_calls=tuple(calls))
