"""A benchmark's questions in the URLs of each kind of entry, and signed where Bedrock wants that."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from anthropic.types import MessageParam
from google.genai import types
from pydantic import TypeAdapter

from bench.models.asker import Asker, EntryAuth, client_for, direct
from bench.models.tools import AgentTool
from bench.models.wires import NO_EXTRAS, WIRES, RequestExtras
from proxy.dialects.operation import Api
from proxy.providers.provider import Kind, Provider
from proxy.providers.urls import addressed
from records.captures.capture import CapturedMessage, CapturedToolCall
from records.facts.prices import Prices
from tests.bench.asking import waited
from tests.servers.aws_issuers import NOWHERE
from tests.servers.bedrock import ACCESS_KEY, SECRET_KEY, LocalBedrock
from tests.servers.bedrock_answers import says

PLACE = "projects/p/locations/eu"
ASK = [CapturedMessage(role="user", content="hello")]


@pytest.mark.parametrize(
    ("kind", "api", "path", "model"),
    [
        ("plain", "openai", "/chat/completions", "m"),
        ("azure", "openai", "/openai/v1/chat/completions", "m"),
        ("azure", "anthropic", "/anthropic/v1/messages", "m"),
        ("bedrock", "openai", "/openai/v1/chat/completions", "m"),
        ("bedrock", "anthropic", "/anthropic/v1/messages", "m"),
        ("vertex", "gemini", f"/v1beta1/{PLACE}/publishers/google/models/m:generateContent", None),
        ("vertex", "anthropic", f"/v1/{PLACE}/publishers/anthropic/models/m:rawPredict", None),
    ],
)  # fmt: skip
def test_a_question_is_written_as_the_entrys_kind_takes_it(
    kind: Kind, api: Api, path: str, model: str | None
) -> None:
    provider = Provider(
        name="e", api=api, kind=kind, base_url="https://e.example", api_key="k", project="p", region="eu"
    )
    plain, question = WIRES[api].asks("m", ASK, NO_EXTRAS)
    asked, sent = addressed(provider, "m", plain, msgspec.json.encode(question))
    body = msgspec.json.decode(sent)
    assert (asked, body.get("model")) == (path, model)
    assert ("anthropic_version" in body) == (kind == "vertex" and api == "anthropic")


@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_a_benchmark_reaches_bedrock_with_the_machines_keys(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        NOWHERE | {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    ).items():
        monkeypatch.setenv(name, value)
    with LocalBedrock() as bedrock:
        provider = Provider(name="aws", api=api, kind="bedrock", base_url=bedrock.url, region="eu-west-1")
        target = direct(provider, "m", Prices({}), {})

        async def asked() -> str | None:
            async with client_for(provider, at_once=1) as client:
                return (await Asker(client, target).ask(ASK)).text

        assert waited(asked()) == says("m")
        assert isinstance(target.auth, EntryAuth)
        target.auth.close()
        assert [request.is_signed for request in bedrock.taken] == [True]
        assert bedrock.refused == []


TOOL = AgentTool("search", "Finds orders.", {"type": "object", "properties": {"q": {"type": "string"}}})
WITH_TOOL = RequestExtras(tools=(TOOL,))
STEPS = [
    CapturedMessage("system", "Be short."),
    CapturedMessage("user", "Where are my orders?"),
    CapturedMessage(
        "assistant",
        "I look.",
        (
            CapturedToolCall("call:1", "search", '{"q": "a"}'),
            CapturedToolCall("call:2", "search", '{"q": "b"}'),
        ),
    ),
    CapturedMessage("tool", '{"found": 1}', (), "call:1"),
    CapturedMessage("tool", "none", (), "call:2"),
    CapturedMessage("user", "And now?"),
]


def body_of(api: Api, extras: RequestExtras) -> dict[str, Any]:
    wire = WIRES[api]
    extras = wire.own(extras)
    return wire.at(extras.path).asks("m", STEPS, extras)[1]


def test_openais_chat_has_calls_and_results_as_they_were_recorded() -> None:
    body = body_of("openai", WITH_TOOL)
    assert [each["role"] for each in body["messages"]] == [
        "system", "user", "assistant", "tool", "tool", "user",
    ]  # fmt: skip
    call = body["messages"][2]["tool_calls"][0]
    assert call == {
        "id": "call:1",
        "type": "function",
        "function": {"name": "search", "arguments": '{"q": "a"}'},
    }
    assert body["messages"][3] == {"role": "tool", "tool_call_id": "call:1", "content": '{"found": 1}'}
    assert body["tools"][0]["function"]["parameters"] == TOOL.parameters


def test_the_responses_api_has_them_as_items_and_keeps_a_tools_text() -> None:
    free = {"tools": [{"type": "custom", "name": "search"}]}
    body = body_of("openai", replace(WITH_TOOL, path="/v1/responses"))
    assert [each.get("type", "message") for each in body["input"]] == [
        "message", "message", "message", "function_call", "function_call",
        "function_call_output", "function_call_output", "message",
    ]  # fmt: skip
    assert body["tools"][0] | {"strict": False} == body["tools"][0]
    body = body_of("openai", replace(WITH_TOOL, parameters=free, path="/v1/responses"))
    assert body["input"][3]["type"] == "custom_tool_call"
    assert body["input"][3]["input"] == '{"q": "a"}'
    assert body["input"][5]["type"] == "custom_tool_call_output"


def test_the_responses_api_has_calls_in_the_namespaces_of_their_tools() -> None:
    for kind in ("custom", "function"):
        inner = [{"type": kind, "name": "search"}]
        tools = {"tools": [{"type": "namespace", "name": "functions", "tools": inner}]}
        body = body_of("openai", replace(WITH_TOOL, parameters=tools, path="/v1/responses"))
        assert body["tools"] == tools["tools"]
        assert {each.get("namespace") for each in body["input"][3:5]} == {"functions"}
        assert body["input"][3]["type"] == ("custom_tool_call" if kind == "custom" else "function_call")
        assert "namespace" not in body["input"][5]


def test_anthropic_has_the_results_of_one_answer_in_one_message_with_matching_ids() -> None:
    body = body_of(
        "anthropic", RequestExtras(tools=(TOOL,), api="openai", parameters={"n": 1}, path="/v1/responses")
    )
    TypeAdapter(list[MessageParam]).validate_python(body["messages"])
    assert "n" not in body
    assert body["system"] == "Be short."
    assert [each["role"] for each in body["messages"]] == ["user", "assistant", "user"]
    _, calls, results = (each["content"] for each in body["messages"])
    assert [each["type"] for each in calls] == ["text", "tool_use", "tool_use"]
    assert [each["type"] for each in results] == ["tool_result", "tool_result", "text"]
    assert (
        [each["id"] for each in calls[1:]]
        == [each["tool_use_id"] for each in results[:2]]
        == ["call_1", "call_2"]
    )
    assert calls[1]["input"] == {"q": "a"}
    assert body["tools"][0]["input_schema"] == TOOL.parameters


def test_anthropic_is_not_asked_to_think_before_calls_whose_thoughts_are_gone() -> None:
    enabled = RequestExtras(
        tools=(TOOL,), parameters={"thinking": {"type": "enabled", "budget_tokens": 1024}}
    )
    assert "thinking" not in body_of("anthropic", enabled)
    adaptive = RequestExtras(tools=(TOOL,), parameters={"thinking": {"type": "adaptive"}})
    assert "thinking" in body_of("anthropic", adaptive)


def test_gemini_has_a_result_by_its_tools_name_and_the_first_call_signed() -> None:
    body = body_of("gemini", WITH_TOOL)
    found = [types.Content.model_validate(each) for each in body["contents"]]
    types.Tool.model_validate(body["tools"][0])
    assert [each.role for each in found] == ["user", "model", "user"]
    calls, results = found[1].parts or [], found[2].parts or []
    assert [part.thought_signature is not None for part in calls] == [False, True, False]
    responses = [part.function_response for part in results[:2]]
    assert [each.name for each in responses if each is not None] == ["search", "search"]
    assert [each.response for each in responses if each is not None] == [{"found": 1}, {"result": "none"}]
    assert results[2].text == "And now?"
