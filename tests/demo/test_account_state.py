"""State that only its maker's account reads, through the real SDKs: whole there, refused elsewhere."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from google.genai.client import AsyncClient

from demo.provider.behaviour import Behaviour
from demo.provider.connection import REDACT, readable, sealed
from demo.provider.server import LocalProvider

ASK: list[Any] = [{"role": "user", "content": "Where is my refund?"}]


def with_provider(story: Callable[[str], Awaitable[None]]) -> None:
    """Run one story against a provider whose models reason."""

    async def run() -> None:
        async with asyncio.timeout(30), LocalProvider(other=Behaviour(reasoning_tokens=5)) as provider:
            await story(provider.url)

    asyncio.run(run())


def openai_sdk(url: str, key: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def anthropic_sdk(url: str, key: str) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0)


def gemini_sdk(url: str, key: str) -> AsyncClient:
    return genai.Client(api_key=key, http_options=genai_types.HttpOptions(base_url=url)).aio


def test_state_is_readable_for_its_maker_only() -> None:
    state = sealed("sk-one", "a thought")
    assert readable("sk-one", state)
    assert not readable("sk-two", state)
    assert not readable("sk-one", "ZGVtbw==")
    assert not readable("sk-one", "not base64: é")


@pytest.mark.parametrize("stream", [False, True])
def test_responses_reasoning_is_read_by_its_own_account_and_refused_elsewhere(stream: bool) -> None:
    async def story(url: str) -> None:
        async with openai_sdk(url, "sk-1") as mine, openai_sdk(url, "sk-2") as other:
            wants: dict[str, Any] = {
                "model": "o9",
                "store": False,
                "include": ["reasoning.encrypted_content"],
            }
            if stream:
                async with mine.responses.stream(input=ASK, **wants) as events:
                    first = await (await events.until_done()).get_final_response()
            else:
                first = await mine.responses.create(input=ASK, **wants)
            assert [item.type for item in first.output] == ["reasoning", "message"]
            history: list[Any] = [*ASK, *(item.model_dump(exclude_none=True) for item in first.output), *ASK]
            assert (await mine.responses.create(input=history, **wants)).output_text
            with pytest.raises(openai.BadRequestError) as refused:
                await other.responses.create(input=history, **wants)
            assert refused.value.code == "invalid_encrypted_content"

    with_provider(story)


def test_a_stored_response_is_found_by_its_own_account_only() -> None:
    async def story(url: str) -> None:
        async with openai_sdk(url, "sk-1") as mine, openai_sdk(url, "sk-2") as other:
            first = await mine.responses.create(model="o9", input="hello")
            assert await mine.responses.create(model="o9", input="and?", previous_response_id=first.id)
            with pytest.raises(openai.BadRequestError) as refused:
                await other.responses.create(model="o9", input="and?", previous_response_id=first.id)
            assert refused.value.code == "previous_response_not_found"

    with_provider(story)


@pytest.mark.parametrize(("text", "kind"), [("hello", "thinking"), (REDACT, "redacted_thinking")])
@pytest.mark.parametrize("stream", [False, True])
def test_signed_thinking_is_read_by_its_own_account_and_refused_elsewhere(
    text: str, kind: str, stream: bool
) -> None:
    async def story(url: str) -> None:
        async with anthropic_sdk(url, "ak-1") as mine, anthropic_sdk(url, "ak-2") as other:
            asks: dict[str, Any] = {"model": "claude", "max_tokens": 99}
            said: list[Any] = [{"role": "user", "content": text}]
            if stream:
                async with mine.messages.stream(messages=said, **asks) as parts:
                    first = await parts.get_final_message()
            else:
                first = await mine.messages.create(messages=said, **asks)
            assert [block.type for block in first.content] == [kind, "text"]
            said = [*said, {"role": "assistant", "content": first.content}, *ASK]
            assert (await mine.messages.create(messages=said, **asks)).content
            with pytest.raises(anthropic.BadRequestError, match=f"in `{kind}` block"):
                await other.messages.create(messages=said, **asks)

    with_provider(story)


@pytest.mark.parametrize("stream", [False, True])
def test_thought_signatures_are_read_by_their_own_account_and_refused_elsewhere(stream: bool) -> None:
    async def story(url: str) -> None:
        async with gemini_sdk(url, "g-1") as mine, gemini_sdk(url, "g-2") as other:
            parts: list[Any] = []
            if stream:
                async for chunk in await mine.models.generate_content_stream(
                    model="gemini", contents="hello"
                ):
                    parts += chunk.parts or []
            else:
                parts += (await mine.models.generate_content(model="gemini", contents="hello")).parts or []
            assert parts[-1].thought_signature
            history: list[Any] = [
                genai_types.UserContent("hello"),
                genai_types.ModelContent(parts),
                genai_types.UserContent("and then?"),
            ]
            assert (await mine.models.generate_content(model="gemini", contents=history)).text
            with pytest.raises(genai_errors.ClientError, match="Thought signature is not valid"):
                await other.models.generate_content(model="gemini", contents=history)

    with_provider(story)
