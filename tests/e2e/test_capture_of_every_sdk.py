"""What the real SDKs ask and hear is what is captured of it, in every wire API, whole and streamed."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types as genai_types

from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from records.captures.capture import CapturedMessage
from records.store import Store
from records.store.captures import CaptureStore
from tests.e2e.stage import Stage, on_stage
from tests.serving import eventually

pytestmark = pytest.mark.more  # for more SDKs

CANARY = """
  - name: NAME
    match: {{models: [NAME]}}
    baseline: {{provider: NAME, model: old}}
    candidate: {{provider: NAME, model: new}}
    share: 50%
    guardrails: []
    capture: {{rate: 100%}}
"""
CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
  anthropic: {{api: anthropic, base_url: "{url}"}}
  gemini: {{api: gemini, base_url: "{url}"}}
canaries:
""" + "".join(CANARY.replace("NAME", name) for name in ("openai", "anthropic", "gemini"))
SYSTEM, ASKED = "Be brief.", "Where is my refund? Zürich 🙂"
MESSAGES: Any = [{"role": "user", "content": ASKED}]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    models = {name: Behaviour(words=40, reasoning_tokens=5, gzip=True) for name in ("old", "new")}
    with on_stage(tmp_path_factory.mktemp("sdks"), CONFIG, provider=LocalProvider(models)) as up:
        yield up


def openai_sdk(url: str, user: str) -> openai.OpenAI:
    headers = {"x-canary-unit": user, "x-canary-category": user}
    return openai.OpenAI(base_url=f"{url}/v1", api_key="sk", max_retries=0, default_headers=headers)


def chat(url: str, user: str) -> str:
    messages = [{"role": "system", "content": SYSTEM}, *MESSAGES]
    answer = openai_sdk(url, user).chat.completions.create(model="openai", messages=messages)
    return str(answer.choices[0].message.content)


def chat_stream(url: str, user: str) -> str:
    messages = [{"role": "system", "content": SYSTEM}, *MESSAGES]
    stream = openai_sdk(url, user).chat.completions.create(model="openai", messages=messages, stream=True)
    return "".join(each.choices[0].delta.content or "" for each in stream if each.choices)


def responses(url: str, user: str) -> str:
    sdk = openai_sdk(url, user)
    return str(
        sdk.responses.create(model="openai", instructions=SYSTEM, input=ASKED, store=False).output_text
    )


def responses_stream(url: str, user: str) -> str:
    sdk = openai_sdk(url, user)
    with sdk.responses.stream(model="openai", instructions=SYSTEM, input=ASKED, store=False) as stream:
        return str(stream.get_final_response().output_text)


def anthropic_sdk(url: str, user: str) -> anthropic.Anthropic:
    headers = {"x-canary-unit": user, "x-canary-category": user}
    return anthropic.Anthropic(base_url=url, api_key="ak", max_retries=0, default_headers=headers)


def claude(url: str, user: str) -> str:
    sdk = anthropic_sdk(url, user)
    answer = sdk.messages.create(model="anthropic", max_tokens=99, system=SYSTEM, messages=MESSAGES)
    return "".join(each.text for each in answer.content if each.type == "text")


def claude_stream(url: str, user: str) -> str:
    sdk = anthropic_sdk(url, user)
    with sdk.messages.stream(model="anthropic", max_tokens=99, system=SYSTEM, messages=MESSAGES) as stream:
        return "".join(stream.text_stream)


def gemini_sdk(url: str, user: str) -> genai.Client:
    headers = {"x-canary-unit": user, "x-canary-category": user}
    return genai.Client(api_key="gk", http_options=genai_types.HttpOptions(base_url=url, headers=headers))


BRIEF = genai_types.GenerateContentConfig(system_instruction=SYSTEM)


def gemini(url: str, user: str) -> str:
    sdk = gemini_sdk(url, user)
    answer = sdk.models.generate_content(model="gemini", contents=ASKED, config=BRIEF)
    return str(answer.text)


def gemini_stream(url: str, user: str) -> str:
    sdk = gemini_sdk(url, user)
    stream = sdk.models.generate_content_stream(model="gemini", contents=ASKED, config=BRIEF)
    return "".join(each.text or "" for each in stream)


CALLS: list[Callable[[str, str], str]] = [
    chat,
    chat_stream,
    responses,
    responses_stream,
    claude,
    claude_stream,
    gemini,
    gemini_stream,
]


@pytest.fixture(scope="module")
def heard(stage: Stage) -> dict[str, str]:
    """What every SDK heard, all asked before the first look."""
    return {call.__name__: call(stage.server.traffic, call.__name__) for call in CALLS}


@pytest.mark.parametrize("name", [call.__name__ for call in CALLS])
def test_what_the_sdk_hears_is_what_is_captured(stage: Stage, heard: dict[str, str], name: str) -> None:
    canary = {"chat": "openai", "responses": "openai", "claude": "anthropic"}.get(
        name.split("_")[0], "gemini"
    )
    assert len(heard[name]) > 20
    with closing(Store.open("sqlite:///canary.db", stage.server.data)) as store:
        captures = CaptureStore(store)
        (found,) = eventually(lambda: list(captures.read(canary, category=name)))
    assert found.messages == (CapturedMessage("system", SYSTEM), CapturedMessage("user", ASKED))
    assert found.answer == heard[name]


SCHEMA: Any = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}
RESULT = '{"state": "sent"}'


def chat_agent(url: str, user: str) -> str:
    """Calls a tool and sends its result; returns the call's arguments."""
    tool: Any = {"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}
    messages, sdk = list(MESSAGES), openai_sdk(url, user).chat.completions
    with sdk.stream(model="openai", messages=messages, tools=[tool]) as stream:
        said: Any = stream.get_final_completion().choices[0].message
    (call,) = said.tool_calls
    messages += [said, {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
    sdk.create(model="openai", messages=messages, tools=[tool])
    return str(call.function.arguments)


def responses_agent(url: str, user: str) -> str:
    tool: Any = {"type": "function", "name": "look_up", "parameters": SCHEMA, "strict": False}
    asked, sdk = list(MESSAGES), openai_sdk(url, user).responses
    with sdk.stream(model="openai", input=asked, tools=[tool], store=False) as stream:
        items: Any = stream.get_final_response().output
    (call,) = [each for each in items if each.type == "function_call"]
    asked += [*items, {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}]
    sdk.create(model="openai", input=asked, tools=[tool], store=False)
    return str(call.arguments)


def claude_agent(url: str, user: str) -> str:
    options: Any = {"tools": [{"name": "look_up", "input_schema": SCHEMA}], "max_tokens": 99}
    messages, sdk = list(MESSAGES), anthropic_sdk(url, user).messages
    with sdk.stream(model="anthropic", messages=messages, **options) as stream:
        content: Any = stream.get_final_message().content
    (call,) = [each for each in content if each.type == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": RESULT}
    messages += [{"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
    sdk.create(model="anthropic", messages=messages, **options)
    return json.dumps(call.input)


def gemini_agent(url: str, user: str) -> str:
    declared = genai_types.FunctionDeclaration(name="look_up", parameters_json_schema=SCHEMA)
    config = genai_types.GenerateContentConfig(tools=[genai_types.Tool(function_declarations=[declared])])
    contents, sdk = [genai_types.UserContent(ASKED)], gemini_sdk(url, user)
    answers = list(sdk.models.generate_content_stream(model="gemini", contents=contents, config=config))
    (said,) = [each.candidates[0].content for each in answers if each.function_calls]
    part = genai_types.Part.from_function_response(name="look_up", response=json.loads(RESULT))
    sdk.models.generate_content(
        model="gemini", contents=[*contents, said, genai_types.UserContent(part)], config=config
    )
    return json.dumps(said.parts[-1].function_call.args)


@pytest.mark.parametrize("agent", [chat_agent, responses_agent, claude_agent, gemini_agent])
def test_what_an_agent_calls_and_is_told_is_what_is_captured(
    stage: Stage, agent: Callable[[str, str], str]
) -> None:
    name = agent.__name__
    arguments = json.loads(agent(stage.server.traffic, name))
    canary = {"chat": "openai", "responses": "openai", "claude": "anthropic"}.get(
        name.split("_")[0], "gemini"
    )
    with closing(Store.open("sqlite:///canary.db", stage.server.data)) as store:
        captures = CaptureStore(store)
        calling, told = eventually(
            lambda: found if len(found := list(captures.read(canary, category=name))) == 2 else None
        )
    (call,), (answer,) = told.messages[1].tool_calls, calling.answer_calls
    assert (call.name, answer.name) == ("look_up", "look_up")
    assert json.loads(call.arguments) == json.loads(answer.arguments) == arguments
    result = told.messages[2]
    assert (result.role, result.tool_call_id, json.loads(result.content)) == (
        "tool",
        call.id,
        json.loads(RESULT),
    )
    assert told.answer and not told.answer_calls
    assert json.loads(told.tools)[0]["function"]["parameters"] == SCHEMA
