"""The demo provider's answer faults: complete answers with status 200, as each API writes them."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from demo.provider.behaviour import AnswerFault, Behaviour
from demo.provider.server import LocalProvider

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
GEMINI = "/v1beta/models/m:generateContent"
PLAIN: dict[str, dict[str, Any]] = {
    CHAT: {"model": "m", "messages": [{"role": "user", "content": "hello"}]},
    RESPONSES: {"model": "m", "input": "hello"},
    MESSAGES: {"model": "m", "max_tokens": 999, "messages": [{"role": "user", "content": "hello"}]},
    GEMINI: {"contents": [{"parts": [{"text": "hello"}]}]},
}
FUNCTION = {"name": "weather", "parameters": SCHEMA}
TOOLS: dict[str, dict[str, Any]] = {
    CHAT: {"tools": [{"type": "function", "function": FUNCTION}]},
    RESPONSES: {"tools": [{"type": "function", **FUNCTION}]},
    MESSAGES: {"tools": [{"name": "weather", "input_schema": SCHEMA}]},
    GEMINI: {"tools": [{"functionDeclarations": [FUNCTION]}]},
}
FORMATS: dict[str, dict[str, Any]] = {
    CHAT: {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
    RESPONSES: {"text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}}},
    MESSAGES: {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    GEMINI: {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}},
}


def asked(path: str, fault: AnswerFault | None, body: dict[str, Any]) -> Any:
    """The JSON answer of a provider that always has this fault."""

    async def ask() -> Any:
        behaviour = Behaviour(answer_faults={fault: 1.0} if fault else {})
        async with LocalProvider(other=behaviour) as provider, httpx2.AsyncClient() as http:
            headers = {"authorization": "Bearer k", "anthropic-version": "2023-06-01"}
            answer = await http.post(provider.url + path, json=body, headers=headers)
            assert answer.status_code == 200
            return answer.json()

    return asyncio.run(ask())


def said(path: str, answer: Any) -> tuple[str, str | None]:
    """Text (or refusal, or arguments as JSON) and the reason for the end."""
    match path:
        case "/v1/chat/completions":
            message = answer["choices"][0]["message"]
            calls = [call["function"]["arguments"] for call in message.get("tool_calls", ())]
            text = message["content"] or message["refusal"] or "".join(calls)
            return text, answer["choices"][0]["finish_reason"]
        case "/v1/responses":
            items = [item.get("arguments") or item["content"][0] for item in answer["output"]]
            text = "".join(
                [item if isinstance(item, str) else item.get("text") or item["refusal"] for item in items]
            )
            return text, (answer["incomplete_details"] or {}).get("reason", answer["status"])
        case "/v1/messages":
            texts = [block.get("text") or block.get("input") for block in answer["content"]]
            return "".join(map(plain, filter(None, texts))), answer["stop_reason"]
        case _:
            candidates = answer.get("candidates") or [{"content": {}}]
            parts = [part for part in candidates[0]["content"].get("parts", ()) if not part.get("thought")]
            text = "".join([plain(part.get("text") or part["functionCall"]["args"]) for part in parts])
            blocked = answer.get("promptFeedback", {}).get("blockReason")
            return text, candidates[0].get("finishReason") or blocked


def plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize(
    ("path", "fault", "reason"),
    [
        (CHAT, "empty", "stop"),
        (CHAT, "spent", "length"),
        (CHAT, "filtered", "content_filter"),
        (RESPONSES, "empty", "completed"),
        (RESPONSES, "spent", "max_output_tokens"),
        (RESPONSES, "filtered", "content_filter"),
        (MESSAGES, "empty", "end_turn"),
        (MESSAGES, "spent", "max_tokens"),
        (MESSAGES, "filtered", "refusal"),
        (GEMINI, "empty", "STOP"),
        (GEMINI, "spent", "MAX_TOKENS"),
        (GEMINI, "refused", "SAFETY"),
        (GEMINI, "filtered", "PROHIBITED_CONTENT"),
    ],
)
def test_some_faults_leave_no_text(path: str, fault: AnswerFault, reason: str) -> None:
    text, why = said(path, asked(path, fault, PLAIN[path]))
    assert (text, why) == ("", reason)


@pytest.mark.parametrize(
    ("path", "reason"), [(CHAT, "stop"), (RESPONSES, "completed"), (MESSAGES, "refusal")]
)
def test_a_refusal_says_so(path: str, reason: str) -> None:
    text, why = said(path, asked(path, "refused", PLAIN[path]))
    assert (text, why) == ("I'm sorry, but I can't help with that.", reason)


@pytest.mark.parametrize("path", PLAIN)
def test_wanted_json_is_good_fenced_or_off_its_schema(path: str) -> None:
    body = PLAIN[path] | FORMATS[path]
    assert json.loads(said(path, asked(path, None, body))[0]) == {"city": "Zürich", "days": 1}
    assert said(path, asked(path, "json_invalid", body))[0].startswith("```json\n{")
    assert json.loads(said(path, asked(path, "json_off_schema", body))[0]) == {"city": 7, "days": "seven"}
    assert len(said(path, asked(path, "json_invalid", PLAIN[path]))[0].split()) == 24  # no JSON was wanted


@pytest.mark.parametrize("path", PLAIN)
def test_arguments_are_good_broken_or_off_their_schema(path: str) -> None:
    body = PLAIN[path] | TOOLS[path]
    assert json.loads(said(path, asked(path, None, body))[0]) == {"city": "Zürich", "days": 1}
    assert json.loads(said(path, asked(path, "tool_args_off_schema", body))[0]) == {
        "city": 7,
        "days": "seven",
    }
    broken, why = said(path, asked(path, "tool_args_invalid", body))
    assert why == "MALFORMED_FUNCTION_CALL" if path == GEMINI else broken == '{"city":"Zürich","days":1'
    assert "no_such_tool" in json.dumps(asked(path, "tool_unknown", body))


def test_a_cut_off_answer_has_half_its_text() -> None:
    for path in PLAIN:
        text, why = said(path, asked(path, "cut_off", PLAIN[path]))
        assert len(text.split()) == 12
        assert why in ("length", "max_output_tokens", "max_tokens", "MAX_TOKENS")


def test_rates_of_answer_faults_are_bounded() -> None:
    with pytest.raises(ValueError, match="at most 1"):
        Behaviour(answer_faults={"empty": 0.7, "refused": 0.4})
