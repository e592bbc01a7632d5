"""A captured request keeps its form and loses what names a person."""

import json
from functools import partial
from typing import Any

from records.captures.capture import WireRequest
from records.captures.redaction import redacted, redacted_request

CLEAN = partial(redacted, patterns=(r"K-\d+",))


def request(body: Any, path: str = "/v1/chat/completions", **headers: str) -> WireRequest | None:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return redacted_request(path, headers, text, CLEAN)


def body(**members: Any) -> Any:
    found = request(members)
    assert found is not None
    return json.loads(found.body)


def test_members_stay_in_their_form_and_order() -> None:
    sent = {
        "model": "gpt-4o-2024-08-06",
        "temperature": 0.2,
        "max_tokens": 4096,
        "stream": True,
        "tools": [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}],
        "seed": None,
    }
    assert list(body(**sent).items()) == list(sent.items())


def test_every_text_is_redacted_wherever_it_stands() -> None:
    found = body(
        messages=[{"role": "user", "content": [{"type": "text", "text": "I am K-17, anna@example.com"}]}],
        tools=[{"function": {"description": "mail to bob@example.com"}}],
        metadata={"carol@example.com": "sk-proj-abcdefghijklmnopqrst"},
    )
    assert found["messages"][0]["content"][0]["text"] == "I am [redacted], [email]"
    assert found["tools"][0]["function"]["description"] == "mail to [email]"
    assert found["metadata"] == {"[email]": "[secret]"}


def test_a_number_that_is_a_card_or_a_telephone_is_zero() -> None:
    assert body(card=4111111111111111, temperature=0.7, top_p=1) == {
        "card": 0,
        "temperature": 0.7,
        "top_p": 1,
    }


def test_the_unit_is_replaced_whole() -> None:
    found = body(
        user="anna",
        safety_identifier=17,
        session_id="s1",
        metadata={"user_id": "anna", "plan": "pro"},
        client_metadata={"x-codex-installation-id": "i1", "session_id": "s1"},
    )
    assert found == {
        "session_id": "[unit]",
        "user": "[unit]",
        "safety_identifier": "[unit]",
        "metadata": {"user_id": "[unit]", "plan": "pro"},
        "client_metadata": {"x-codex-installation-id": "[unit]", "session_id": "[unit]"},
    }


def test_path_and_headers_are_redacted_too() -> None:
    found = request(
        {}, path="/v1/x?mail=anna@example.com", **{"anthropic-beta": "a, sk-proj-abcdefghijklmnopq"}
    )
    assert found is not None
    assert (found.path, found.headers) == ("/v1/x?mail=[email]", {"anthropic-beta": "a, [secret]"})


def test_what_is_no_object_is_not_kept() -> None:
    assert request(b"[1]") is None
    assert request(b"{") is None
