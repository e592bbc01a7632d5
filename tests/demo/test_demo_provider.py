"""The demo provider as its callers meet it: through the real SDKs, and bare where those hide the wire."""

import asyncio
import gzip
import io
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import anthropic
import httpx2
import msgspec
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types

from demo.provider.behaviour import Behaviour, Fault, chance, conduct
from demo.provider.server import LocalProvider
from tests.serving import eventually

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
ASK: list[Any] = [{"role": "user", "content": "Where is my refund?"}]


def with_provider(story: Callable[[LocalProvider], Awaitable[None]], **options: Any) -> None:
    """Run one story against a provider of its own."""

    async def run() -> None:
        async with asyncio.timeout(30), LocalProvider(**options) as provider:
            await story(provider)

    asyncio.run(run())


def openai_sdk(provider: LocalProvider, **options: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{provider.url}/v1", api_key="sk-test", max_retries=0, **options)


def anthropic_sdk(provider: LocalProvider) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=provider.url, api_key="ak-test", max_retries=0)


def gemini_sdk(provider: LocalProvider) -> genai.Client:
    return genai.Client(api_key="gk-test", http_options=genai_types.HttpOptions(base_url=provider.url))


async def raw_post(provider: LocalProvider, path: str, body: dict[str, Any], headers: str = "") -> bytes:
    """Everything the provider sends for one POST, up to the end of the connection."""
    host, port = provider.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    sent = json.dumps(body).encode()
    writer.write(
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer sk-test\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(sent)}\r\n{headers}\r\n".encode()
        + sent
    )
    try:
        return await reader.read()
    finally:
        writer.close()


async def raw_chat(provider: LocalProvider, headers: str = "", **fields: Any) -> bytes:
    body = {"model": "gpt-4o", "messages": ASK, **fields}
    return await raw_post(provider, "/v1/chat/completions", body, headers)


def unchunk(answer: bytes) -> bytes:
    """The body of a chunked answer; fails when its last chunk is missing."""
    rest, body = answer.partition(b"\r\n\r\n")[2], b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return body
        body, rest = body + rest[:length], rest[length + 2 :]


def chunks_of(answer: bytes) -> list[dict[str, Any]]:
    events = unchunk(answer).decode().removesuffix("data: [DONE]\n\n").strip().split("\n\n")
    return [json.loads(event.removeprefix("data: ")) for event in events]


# OpenAI


def test_a_chat_completion_has_text_usage_and_a_request_id() -> None:
    async def story(provider: LocalProvider) -> None:
        async with openai_sdk(provider) as sdk:
            raw = await sdk.chat.completions.with_raw_response.create(model="gpt-4o", messages=ASK, user="u1")
        done = raw.parse()
        assert done.choices[0].message.content
        assert done.choices[0].finish_reason == "stop"
        assert done.usage is not None
        assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
        assert (done.model, done.id[:9]) == ("gpt-4o-2024-08-06", "chatcmpl-")
        assert raw.headers["x-request-id"].startswith("req_")
        assert raw.headers["openai-processing-ms"].isdigit()
        assert raw.headers["set-cookie"]

    with_provider(story, behaviours={"gpt-4o": Behaviour(snapshot="gpt-4o-2024-08-06")})


def test_a_chat_stream_says_the_same_as_the_document() -> None:
    async def story(provider: LocalProvider) -> None:
        async with openai_sdk(provider) as sdk:
            stream = await sdk.chat.completions.create(
                model="gpt-4o", messages=ASK, stream=True, stream_options={"include_usage": True}, n=2
            )
            chunks = [chunk async for chunk in stream]
        assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
        assert chunks[-1].choices == []
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == 48
        for index in (0, 1):
            said = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
            assert "".join(choice.delta.content or "" for choice in said)
            assert said[-1].finish_reason == "stop"

    with_provider(story)


def test_the_usage_field_stands_in_chunks_only_when_it_was_asked_for() -> None:
    async def story(provider: LocalProvider) -> None:
        plain = chunks_of(await raw_chat(provider, stream=True))
        assert all("usage" not in chunk and chunk["choices"] for chunk in plain)
        asked = chunks_of(await raw_chat(provider, stream=True, stream_options={"include_usage": True}))
        assert all(chunk["usage"] is None and chunk["choices"] for chunk in asked[:-1])
        assert asked[-1]["choices"] == []
        assert asked[-1]["usage"]["prompt_tokens"] > 0

    with_provider(story)


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_on_offer_is_called_and_its_result_answered_in_text(stream: bool) -> None:
    tools: list[Any] = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]

    async def story(provider: LocalProvider) -> None:
        async with openai_sdk(provider) as sdk:
            if stream:
                parts = await sdk.chat.completions.create(model="m", messages=ASK, tools=tools, stream=True)
                calls = [c async for part in parts for c in part.choices[0].delta.tool_calls or ()]
                named, arguments = calls[0], "".join(call.function.arguments for call in calls)
                name, call_id = named.function.name, named.id
            else:
                done = await sdk.chat.completions.create(model="m", messages=ASK, tools=tools)
                call = done.choices[0].message.tool_calls[0]
                name, arguments, call_id = call.function.name, call.function.arguments, call.id
                assert done.choices[0].finish_reason == "tool_calls"
            assert (name, json.loads(arguments)) == ("weather", {"city": "Zürich", "days": 1})
            result = [*ASK, {"role": "tool", "tool_call_id": call_id, "content": "sunny"}]
            final = await sdk.chat.completions.create(model="m", messages=result, tools=tools)
            assert final.choices[0].message.content

    with_provider(story)


def test_the_responses_api_answers_as_a_document_and_by_named_events() -> None:
    async def story(provider: LocalProvider) -> None:
        async with openai_sdk(provider) as sdk:
            first = await sdk.responses.create(model="gpt-4o", input="hello")
            assert first.output_text
            assert first.usage is not None
            again = await sdk.responses.retrieve(first.id)
            assert again.output_text == first.output_text
            stream = await sdk.responses.create(
                model="gpt-4o", input="and then?", previous_response_id=first.id, stream=True
            )
            events = [event async for event in stream]
            assert [event.sequence_number for event in events] == list(range(len(events)))
            assert events[0].type == "response.created"
            last = events[-1]
            assert last.type == "response.completed"
            said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
            assert (last.response.output_text, last.response.usage.output_tokens) == (said, 24)
            with pytest.raises(openai.BadRequestError, match="not found"):
                await sdk.responses.create(model="gpt-4o", input="x", previous_response_id="resp_none")

    with_provider(story)


def test_the_responses_api_calls_functions() -> None:
    tools: list[Any] = [{"type": "function", "name": "weather", "parameters": WEATHER, "strict": False}]

    async def story(provider: LocalProvider) -> None:
        async with openai_sdk(provider) as sdk:
            done = await sdk.responses.create(model="gpt-4o", input="hello", tools=tools)
            call = done.output[0]
            assert call.type == "function_call"
            assert json.loads(call.arguments)["city"] == "Zürich"
            async with sdk.responses.stream(model="gpt-4o", input="hello", tools=tools) as stream:
                streamed = (await stream.get_final_response()).output[0]
            assert streamed.type == "function_call"
            assert streamed.arguments == call.arguments

    with_provider(story)


def test_embeddings_depend_on_the_text_alone() -> None:
    async def story(provider: LocalProvider) -> None:
        async with openai_sdk(provider) as sdk:
            done = await sdk.embeddings.create(model="e", input=["a", "b", "a"], encoding_format="float")
        first, second, third = (row.embedding for row in done.data)
        assert first == third != second
        assert sum(value * value for value in first) == pytest.approx(1.0)
        assert done.usage.total_tokens == 12

    with_provider(story)


def test_texts_of_one_meaning_have_one_embedding_in_both_apis() -> None:
    async def story(provider: LocalProvider) -> None:
        provider.behave("e", Behaviour(means={"big": "large"}))
        texts = ["big", "large", "small"]
        async with openai_sdk(provider) as sdk:
            done = await sdk.embeddings.create(model="e", input=texts, encoding_format="float")
        found = await gemini_sdk(provider).aio.models.embed_content(model="e", contents=texts)
        assert found.embeddings is not None
        big, large, small = (row.values for row in found.embeddings)
        assert big == large != small
        assert [row.embedding for row in done.data] == [big, large, small]

    with_provider(story)


def test_an_uploaded_file_comes_back_byte_for_byte() -> None:
    content = bytes(range(256)) * 40 + b"\r\n--\r\n\r"

    async def story(provider: LocalProvider) -> None:
        async with openai_sdk(provider) as sdk:
            sent = await sdk.files.create(file=("data.jsonl", io.BytesIO(content)), purpose="batch")
            assert (sent.filename, sent.bytes, sent.purpose) == ("data.jsonl", len(content), "batch")
            assert (await sdk.files.content(sent.id)).content == content

    with_provider(story)


def test_known_models_are_listed() -> None:
    async def story(provider: LocalProvider) -> None:
        async with openai_sdk(provider) as sdk:
            assert [model.id async for model in sdk.models.list()] == ["gpt-4o", "o3"]
            assert (await sdk.models.retrieve("o3")).id == "o3"

    with_provider(story, behaviours={"gpt-4o": Behaviour(), "o3": Behaviour()})


def test_openai_errors_arrive_as_the_sdk_s_own_types() -> None:
    async def story(provider: LocalProvider) -> None:
        async with openai_sdk(provider) as sdk:
            with pytest.raises(openai.NotFoundError) as missing:
                await sdk.chat.completions.create(model="none", messages=ASK)
            assert missing.value.code == "model_not_found"
            with pytest.raises(openai.BadRequestError) as refused:
                await sdk.chat.completions.create(model="strict", messages=ASK, temperature=0.2)
            assert (refused.value.param, refused.value.code) == ("temperature", "unsupported_parameter")
            with pytest.raises(openai.RateLimitError) as limited:
                await sdk.chat.completions.create(model="busy", messages=ASK)
            assert limited.value.response.headers["retry-after"] == "2"
        async with openai.AsyncOpenAI(
            base_url=f"{provider.url}/v1", api_key="sk-wrong", max_retries=0
        ) as sdk:
            with pytest.raises(openai.AuthenticationError):
                await sdk.chat.completions.create(model="busy", messages=ASK)

    models = {
        "strict": Behaviour(rejects=("temperature",)),
        "busy": Behaviour(faults={"status": 1.0}, status=429, retry_after_s=2.0),
    }
    with_provider(story, behaviours=models, other=None, keys=frozenset({"sk-test"}))


@pytest.mark.parametrize(
    ("path", "member", "value", "got"),
    [
        ("chat/completions", "max_completion_tokens", "4096", "a string"),
        ("chat/completions", "max_tokens", 0.5, "a decimal number"),
        ("chat/completions", "n", True, "a boolean"),
        ("responses", "max_output_tokens", [1], "an array"),
    ],
)
def test_a_number_of_another_type_is_refused_as_openai_refuses_it(
    path: str, member: str, value: Any, got: str
) -> None:
    async def story(provider: LocalProvider) -> None:
        async with openai_sdk(provider) as sdk:
            with pytest.raises(openai.BadRequestError) as refused:
                body = {"model": "m", "messages": ASK, "input": "hello", member: value}
                await sdk.post(f"/{path}", cast_to=object, body=body)
            assert (refused.value.type, refused.value.param, refused.value.code) == (
                "invalid_request_error",
                member,
                "invalid_type",
            )
            said = f"Invalid type for '{member}': expected an integer, but got {got} instead."
            assert said in refused.value.message
            await sdk.chat.completions.create(model="m", messages=ASK)

    with_provider(story)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": ["hello"]}),
        ("/v1/chat/completions", {"messages": ASK, "tools": [{"type": "function"}]}),
        ("/v1/responses", {"input": "hello", "previous_response_id": ["r"]}),
        ("/v1/embeddings", {"input": "hello", "dimensions": "64"}),
        ("/v1/messages", {"messages": ASK, "max_tokens": "4096"}),
        ("/v1beta/models/m:generateContent", {"contents": "hello"}),
        ("/v1beta/interactions", {"input": "hello", "continuation_token": "none"}),
    ],
)
def test_a_misshapen_request_gets_400_and_the_next_one_its_answer(path: str, body: dict[str, Any]) -> None:
    async def story(provider: LocalProvider) -> None:
        version = "anthropic-version: 2023-06-01\r\n" if path == "/v1/messages" else ""
        refused = await raw_post(provider, path, {"model": "m", **body}, version)
        assert refused.startswith(b"HTTP/1.1 400 ")
        assert "Invalid request" in refused.decode()
        assert (await raw_chat(provider)).startswith(b"HTTP/1.1 200 ")

    with_provider(story)


def test_an_error_inside_a_stream_reaches_the_openai_sdk() -> None:
    async def story(provider: LocalProvider) -> None:
        async with openai_sdk(provider) as sdk:
            stream = await sdk.chat.completions.create(model="gpt-4o", messages=ASK, stream=True)
            with pytest.raises(openai.APIError, match="server had an error"):
                _ = [chunk async for chunk in stream]

    with_provider(story, other=Behaviour(faults={"stream_error": 1.0}))


# Anthropic


def test_a_message_has_text_usage_and_a_request_id() -> None:
    async def story(provider: LocalProvider) -> None:
        async with anthropic_sdk(provider) as sdk:
            done = await sdk.messages.create(model="claude", max_tokens=100, messages=ASK)
            counted = await sdk.messages.count_tokens(model="claude", messages=ASK)
        assert done.content[0].type == "text"
        assert (done.stop_reason, done.usage.output_tokens) == ("end_turn", 24)
        assert counted.input_tokens == done.usage.input_tokens
        assert (done._request_id or "").startswith("req_01")

    with_provider(story)


def test_a_message_stream_adds_up_to_the_message() -> None:
    async def story(provider: LocalProvider) -> None:
        async with (
            anthropic_sdk(provider) as sdk,
            sdk.messages.stream(model="claude", max_tokens=10, messages=ASK) as stream,
        ):
            kinds = [event.type async for event in stream]
            final = await stream.get_final_message()
        assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
        assert [block.type for block in final.content] == ["thinking", "text"]
        assert (final.stop_reason, final.usage.output_tokens) == ("max_tokens", 15)
        assert final.usage.input_tokens > 0

    with_provider(story, other=Behaviour(reasoning_tokens=5))


@pytest.mark.parametrize("stream", [False, True])
def test_a_message_uses_tools(stream: bool) -> None:
    tools: list[Any] = [{"name": "weather", "input_schema": WEATHER}]

    async def story(provider: LocalProvider) -> None:
        async with anthropic_sdk(provider) as sdk:
            ask: dict[str, Any] = {"model": "claude", "max_tokens": 100, "messages": ASK, "tools": tools}
            if stream:
                async with sdk.messages.stream(**ask) as parts:
                    done = await parts.get_final_message()
            else:
                done = await sdk.messages.create(**ask)
        block = done.content[0]
        assert block.type == "tool_use"
        assert (block.name, block.input) == ("weather", {"city": "Zürich", "days": 1})
        assert (done.stop_reason, block.id[:8]) == ("tool_use", "toolu_01")

    with_provider(story)


def test_cached_tokens_are_left_out_of_anthropic_s_input_tokens() -> None:
    async def story(provider: LocalProvider) -> None:
        long: list[Any] = [{"role": "user", "content": "word " * 1000}]
        async with anthropic_sdk(provider) as sdk:
            usage = (await sdk.messages.create(model="claude", max_tokens=9, messages=long)).usage
        async with openai_sdk(provider) as openai_client:
            counted = (await openai_client.chat.completions.create(model="gpt-4o", messages=long)).usage
        assert counted is not None
        assert counted.prompt_tokens_details is not None
        assert counted.prompt_tokens_details.cached_tokens == usage.cache_read_input_tokens == 1152
        assert counted.prompt_tokens == usage.input_tokens + 1152

    with_provider(story)


def test_anthropic_errors_arrive_as_the_sdk_s_own_types() -> None:
    async def story(provider: LocalProvider) -> None:
        async with anthropic_sdk(provider) as sdk:
            with pytest.raises(anthropic.BadRequestError, match="temperature"):
                await sdk.messages.create(
                    model="claude", max_tokens=9, messages=ASK, extra_body={"temperature": 0.5}
                )
            with pytest.raises(anthropic.APIStatusError) as busy:
                await sdk.messages.create(model="busy", max_tokens=9, messages=ASK)
            assert (busy.value.status_code, busy.value.type) == (529, "overloaded_error")
            with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
                async with sdk.messages.stream(model="broken", max_tokens=9, messages=ASK) as stream:
                    await stream.get_final_message()

    models = {
        "busy": Behaviour(faults={"status": 1.0}, status=529),
        "broken": Behaviour(faults={"stream_error": 1.0}),
    }
    with_provider(story, behaviours=models)


# Gemini


def test_gemini_answers_with_text_and_usage() -> None:
    async def story(provider: LocalProvider) -> None:
        async with gemini_sdk(provider).aio as sdk:
            done = await sdk.models.generate_content(model="gemini-pro", contents="hello")
            counted = await sdk.models.count_tokens(model="gemini-pro", contents="hello")
        assert done.text
        assert done.usage_metadata is not None
        assert done.usage_metadata.prompt_token_count == counted.total_tokens
        assert done.usage_metadata.candidates_token_count == 24
        assert done.usage_metadata.thoughts_token_count == 7

    with_provider(story, other=Behaviour(reasoning_tokens=7))


def test_a_gemini_stream_ends_with_the_usage_of_all() -> None:
    async def story(provider: LocalProvider) -> None:
        async with gemini_sdk(provider).aio as sdk:
            parts = [
                part async for part in await sdk.models.generate_content_stream(model="g", contents="hello")
            ]
        counts = [part.usage_metadata.candidates_token_count for part in parts if part.usage_metadata]
        assert counts == list(range(1, 25))
        assert parts[-1].candidates is not None
        assert parts[-1].candidates[0].finish_reason == genai_types.FinishReason.STOP
        assert "".join(part.text or "" for part in parts)

    with_provider(story)


@pytest.mark.parametrize("stream", [False, True])
def test_gemini_calls_functions(stream: bool) -> None:
    tool = genai_types.Tool(
        function_declarations=[
            genai_types.FunctionDeclaration(name="weather", parameters_json_schema=WEATHER)
        ]
    )
    config = genai_types.GenerateContentConfig(tools=[tool])

    async def story(provider: LocalProvider) -> None:
        async with gemini_sdk(provider).aio as sdk:
            if stream:
                parts = await sdk.models.generate_content_stream(model="g", contents="hello", config=config)
                calls = [call async for part in parts for call in part.function_calls or ()]
            else:
                done = await sdk.models.generate_content(model="g", contents="hello", config=config)
                calls = done.function_calls or []
        assert [(call.name, call.args) for call in calls] == [("weather", {"city": "Zürich", "days": 1})]

    with_provider(story)


def test_gemini_errors_arrive_as_the_sdk_s_own_types() -> None:
    async def story(provider: LocalProvider) -> None:
        async with gemini_sdk(provider).aio as sdk:
            with pytest.raises(genai_errors.ServerError) as busy:
                await sdk.models.generate_content(model="busy", contents="hello")
        assert (busy.value.code, busy.value.status) == (503, "UNAVAILABLE")

    with_provider(story, behaviours={"busy": Behaviour(faults={"status": 1.0}, status=503)})


# Faults, on the wire


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["truncate", "cut"])
def test_a_broken_answer_has_begun_and_never_ends_cleanly(fault: Fault, stream: bool) -> None:
    async def story(provider: LocalProvider) -> None:
        if fault == "cut":
            with pytest.raises(ConnectionResetError):
                await raw_chat(provider, stream=stream)
        else:
            answer = await raw_chat(provider, stream=stream)
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert not answer.endswith(b"0\r\n\r\n")
            assert stream or len(answer.partition(b"\r\n\r\n")[2]) < int(_header(answer, b"content-length"))
        entry = provider.log.entries[0]
        assert (entry.fault, entry.ending, entry.status) == (fault, "broken", 200)

    with_provider(story, other=Behaviour(faults={fault: 1.0}))


def _header(answer: bytes, name: bytes) -> bytes:
    lines = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return next(line.partition(b": ")[2] for line in lines if line.startswith(name))


def test_faults_before_the_first_byte_send_none() -> None:
    async def story(provider: LocalProvider) -> None:
        with pytest.raises(ConnectionResetError):
            await raw_post(provider, "/v1/chat/completions", {"model": "reset", "messages": ASK})
        assert await raw_post(provider, "/v1/chat/completions", {"model": "close", "messages": ASK}) == b""

    with_provider(story, behaviours={name: Behaviour(faults={name: 1.0}) for name in ("reset", "close")})


def test_whole_but_wrong_answers_are_framed_rightly() -> None:
    async def story(provider: LocalProvider) -> None:
        answers = {
            name: await raw_post(provider, "/v1/chat/completions", {"model": name, "messages": ASK})
            for name in ("empty", "html", "bad_json")
        }
        for answer in answers.values():
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert len(answer.partition(b"\r\n\r\n")[2]) == int(_header(answer, b"content-length"))
        assert answers["empty"].endswith(b"\r\n\r\n")
        assert b"<html>" in answers["html"]
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(answers["bad_json"].partition(b"\r\n\r\n")[2])

    faults: tuple[Fault, ...] = ("empty", "html", "bad_json")
    with_provider(story, behaviours={name: Behaviour(faults={name: 1.0}) for name in faults})


@pytest.mark.parametrize("fault", ["hang", "stall"])
def test_the_log_knows_when_the_caller_left(fault: Fault) -> None:
    async def story(provider: LocalProvider) -> None:
        async def ask(sdk: openai.AsyncOpenAI) -> None:
            stream = await sdk.chat.completions.create(model="gpt-4o", messages=ASK, stream=True)
            _ = [chunk async for chunk in stream]

        async with openai_sdk(provider) as sdk:
            asking = asyncio.ensure_future(ask(sdk))
            await asyncio.to_thread(eventually, lambda: provider.log.entries)
            await asyncio.sleep(0.2)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        await provider.settled()
        entry = provider.log.entries[0]
        assert entry.ending == "caller_left"
        assert entry.left_mono is not None
        assert entry.left_mono - entry.mono > 0.1

    with_provider(story, other=Behaviour(faults={fault: 1.0}))


def test_a_compressed_stream_carries_the_same_text() -> None:
    async def story(provider: LocalProvider) -> None:
        fields = {"model": "gpt-4o", "messages": ASK, "stream": True}
        packed = await raw_post(provider, "/v1/chat/completions", fields, "accept-encoding: gzip\r\n")
        assert b"content-encoding: gzip" in packed
        body = gzip.decompress(unchunk(packed))
        assert body.endswith(b"data: [DONE]\n\n")
        body.decode()

    with_provider(story, other=Behaviour(gzip=True))


# Determinism


def test_equal_seeds_and_requests_meet_equal_faults_and_answers() -> None:
    async def faults(seed: int) -> list[tuple[Fault | None, bytes]]:
        met = []
        async with LocalProvider(
            other=Behaviour(faults={"status": 0.5}), seed=seed, clock=lambda: 1.0
        ) as provider:
            for _ in range(12):
                answer = await raw_chat(provider)
                met.append((provider.log.entries[-1].fault, answer))
        return met

    first, second, other = (asyncio.run(faults(seed)) for seed in (1, 1, 2))
    assert first == second != other
    assert {fault for fault, _ in first} == {None, "status"}


def test_rates_and_times_are_what_was_asked_for() -> None:
    behaviour = Behaviour(ttft_s=0.5, spread=0.4, faults={"status": 0.05, "slow": 0.1}, slow_s=9.0)
    met = [conduct(behaviour, chance(1, "m", b"", nth)) for nth in range(4000)]
    assert sum(one.fault == "status" for one in met) == pytest.approx(200, abs=45)
    assert all(one.ttft_s > 9.0 for one in met if one.fault == "slow")
    times = sorted(one.ttft_s for one in met if one.fault != "slow")
    assert times[len(times) // 2] == pytest.approx(0.5, rel=0.05)
    assert conduct(Behaviour(), Random(1)).ttft_s == 0.0


def test_rates_above_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 1"):
        Behaviour(faults={"status": 0.7, "hang": 0.4})


def test_behaviour_changes_while_it_runs() -> None:
    async def story(provider: LocalProvider) -> None:
        async with openai_sdk(provider) as sdk:
            await sdk.chat.completions.create(model="gpt-4o", messages=ASK)
            provider.behave("gpt-4o", Behaviour(faults={"status": 1.0}, status=503))
            with pytest.raises(openai.InternalServerError):
                await sdk.chat.completions.create(model="gpt-4o", messages=ASK)

    with_provider(story)


def test_as_a_process_it_says_where_it_listens_and_is_steered_over_http() -> None:
    command = [sys.executable, "-m", "demo.provider", "--json-ready", "--behaviour", 'a={"words": 3}']
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process, httpx2.Client() as http:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            ask = {"model": "a", "messages": ASK}
            bearer = {"authorization": "Bearer k"}
            answer = http.post(f"{url}/v1/chat/completions", json=ask, headers=bearer).json()
            assert answer["usage"]["completion_tokens"] == 3
            assert (
                http.put(f"{url}/_provider/behaviours/a", json={"faults": {"status": 1}}).status_code == 200
            )
            assert http.put(f"{url}/_provider/behaviours/a", json={"faults": {"nap": 1}}).status_code == 400
            assert http.post(f"{url}/v1/chat/completions", json=ask, headers=bearer).status_code == 500
        finally:
            process.terminate()
    assert process.returncode == 0


def test_the_log_holds_what_was_sent() -> None:
    async def story(provider: LocalProvider) -> None:
        async with openai_sdk(provider) as sdk:
            await sdk.chat.completions.create(model="gpt-4o", messages=ASK, user="u-7")
        (entry,) = provider.log.entries
        assert (entry.method, entry.target, entry.model) == ("POST", "/v1/chat/completions", "gpt-4o")
        assert entry.credentials == {"authorization": "Bearer sk-test"}
        assert entry.json["user"] == "u-7"
        assert (entry.ending, entry.status) == ("complete", 200)

    with_provider(story)
