"""What requests say, in the shapes of the APIs."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.calls.prompt import (
    LONGEST_BODY,
    LONGEST_QUESTION,
    PromptMessage,
    conversation,
    fingerprint,
    question,
)
from records.captures.capture import CapturedToolCall

KEY = b"k" * 32


def body(**members: Any) -> bytes:
    return json.dumps(members).encode()


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


ASSISTANT = {"role": "assistant", "content": "It is blue."}
ASKED = [
    pytest.param(body(messages=[user("no"), ASSISTANT, user("Why?")]), id="chat"),
    pytest.param(body(messages=[user([{"type": "text", "text": "Why?"}])]), id="chat, in parts"),
    pytest.param(
        body(
            messages=[
                user([{"type": "image_url", "image_url": {"url": "data:"}}, {"type": "text", "text": "Why?"}])
            ]
        ),
        id="chat, beside an image",
    ),
    pytest.param(
        body(messages=[user("Why?"), {"role": "system", "content": "Be brief."}]), id="chat, reminded"
    ),
    pytest.param(body(input="Why?"), id="responses, text"),
    pytest.param(
        body(input=[user([{"type": "input_text", "text": "Why?"}])], instructions="Be brief."), id="responses"
    ),
    pytest.param(
        body(system="Be brief.", messages=[user("Why?"), {"role": "assistant", "content": "{"}]),
        id="anthropic, its answer begun",
    ),
    pytest.param(body(contents=[{"parts": [{"text": "Why?"}]}]), id="gemini without a role"),
    pytest.param(body(contents=[{"role": "user", "parts": [{"text": "Why?"}]}]), id="gemini"),
    pytest.param(body(prompt="Why?"), id="completions"),
]
NOT_ASKED = [
    pytest.param(body(messages=[user("Why?"), ASSISTANT, {"role": "tool", "content": "42"}]), id="chat tool"),
    pytest.param(
        body(
            messages=[
                user("Why?"),
                user([{"type": "tool_result", "content": "42"}, {"type": "text", "text": "!"}]),
            ]
        ),
        id="anthropic tool",
    ),
    pytest.param(
        body(input=[user("Why?"), {"type": "function_call_output", "output": "42"}]), id="responses tool"
    ),
    pytest.param(
        body(contents=[{"role": "user", "parts": [{"functionResponse": {"name": "f"}}]}]), id="gemini tool"
    ),
    pytest.param(body(messages=[]), id="nothing"),
    pytest.param(body(messages="Why?"), id="another shape"),
    pytest.param(body(messages=[1, 2]), id="numbers"),
    pytest.param(body(input=7), id="a number"),
    pytest.param(b"", id="empty"),
    pytest.param(b"{", id="no JSON"),
    pytest.param(b"\xff", id="no UTF-8"),
    pytest.param(b"[" * 100_000, id="nested"),
    pytest.param(body(messages=[user("x" * LONGEST_BODY)]), id="too long to look"),
]


@pytest.mark.parametrize("request_body", ASKED)
def test_the_question_is_found_in_every_api(request_body: bytes) -> None:
    assert question(request_body) == "Why?"


@pytest.mark.parametrize("request_body", NOT_ASKED)
def test_what_no_user_has_just_said_is_no_question(request_body: bytes) -> None:
    assert question(request_body) == ""


def test_a_repeated_question_has_the_same_fingerprint_however_it_is_typed() -> None:
    asked = fingerprint(KEY, "session", "Where is my parcel?")
    assert len(asked) == 16
    for again in ("where is my  parcel", "WHERE IS MY PARCEL???", " where, is my parcel!\n"):
        assert fingerprint(KEY, "session", again) == asked
    assert fingerprint(KEY, "session", "Where is my money?") != asked


def test_another_session_or_key_gives_another_fingerprint() -> None:
    asked = fingerprint(KEY, "session", "Why?")
    assert asked not in (fingerprint(KEY, "another", "Why?"), fingerprint(b"x" * 32, "session", "Why?"))


@pytest.mark.parametrize("text", ["", "  \n", "?!…", "___"])
def test_where_nothing_is_asked_there_is_no_fingerprint(text: str) -> None:
    assert fingerprint(KEY, "session", text) == ""


def test_of_a_long_message_the_beginning_counts() -> None:
    long = "x" * LONGEST_QUESTION
    assert fingerprint(KEY, "s", long + "a") == fingerprint(KEY, "s", long + "b")


@given(st.text(max_size=50))
def test_any_text_has_a_fingerprint_or_none(text: str) -> None:
    assert len(fingerprint(KEY, "s", text)) in (0, 16)
    assert fingerprint(KEY, "s", text.upper().lower()) == fingerprint(KEY, "s", text.upper().upper().lower())


def test_a_conversation_is_read_with_what_was_said_before_it() -> None:
    system, why = PromptMessage(role="system", text="Be brief."), PromptMessage(role="user", text="Why?")
    blue = PromptMessage(role="assistant", text="It is blue.")
    assert conversation(body(messages=[{"role": "developer", "content": "Be brief."}, user("Why?")])) == [
        system,
        why,
    ]
    assert conversation(body(system="Be brief.", messages=[user("Why?"), ASSISTANT])) == [system, why, blue]
    assert conversation(body(instructions="Be brief.", input="Why?")) == [system, why]
    gemini = body(
        systemInstruction={"parts": [{"text": "Be brief."}]},
        contents=[
            {"role": "user", "parts": [{"text": "Why?"}]},
            {"role": "model", "parts": [{"text": "It is blue."}]},
        ],
    )
    assert conversation(gemini) == [system, why, blue]


def test_tools_and_attachments_are_told_apart_from_what_people_say() -> None:
    found = conversation(
        body(
            messages=[
                user([{"type": "text", "text": "What is this?"}, {"type": "image", "source": {}}]),
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
                user([{"type": "tool_result", "content": [{"type": "text", "text": "42"}]}]),
            ]
        )
    )
    assert found == [
        PromptMessage(role="user", text="What is this?", whole=False),
        PromptMessage(role="assistant", text="", calls=(CapturedToolCall("1", "", "{}"),)),
        PromptMessage(role="tool", text="42"),
    ]
    assert conversation(b"{") == []
