"""The demo provider's batches, through the vendors' own SDKs."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
import openai
import pytest

from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider

KNOWS = Behaviour(says={"2 + 2": "4"})


class HandClock:
    """UTC seconds that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def with_provider(story: Callable[[LocalProvider, HandClock], Awaitable[None]], **behaviours: Any) -> None:
    """Run one story against a provider of its own."""

    async def run() -> None:
        clock = HandClock()
        async with asyncio.timeout(30), LocalProvider(behaviours, clock=clock) as provider:
            await story(provider, clock)

    asyncio.run(run())


def line(place: int, model: str = "m", **body: Any) -> dict[str, Any]:
    """One line of OpenAI's input file."""
    asked = {"model": model, "messages": [{"role": "user", "content": "What is 2 + 2?"}], **body}
    return {"custom_id": f"q{place}", "method": "POST", "url": "/v1/chat/completions", "body": asked}


async def batch_of(sdk: openai.AsyncOpenAI, *lines: dict[str, Any]) -> Any:
    """Upload the lines and make a batch of them."""
    content = "\n".join(map(json.dumps, lines)).encode()
    file = await sdk.files.create(file=("batch.jsonl", content), purpose="batch")
    return await sdk.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )


async def rows(sdk: openai.AsyncOpenAI, file: str | None) -> list[dict[str, Any]]:
    """The lines of a file."""
    assert file is not None
    return [json.loads(each) for each in (await sdk.files.content(file)).text.splitlines()]


def test_openais_batch_is_in_progress_until_it_is_due_and_then_has_answers_and_errors() -> None:
    async def story(provider: LocalProvider, clock: HandClock) -> None:
        async with openai.AsyncOpenAI(base_url=f"{provider.url}/v1", api_key="k") as sdk:
            made = await batch_of(sdk, line(1), line(2, n="two"))
            assert (await sdk.batches.retrieve(made.id)).status == "in_progress"
            clock.now += 60
            found = await sdk.batches.retrieve(made.id)
            assert found.status == "completed"
            assert found.request_counts is not None
            assert found.request_counts.model_dump() == {"total": 2, "completed": 1, "failed": 1}
            (good,) = await rows(sdk, found.output_file_id)
            assert (good["custom_id"], good["error"]) == ("q1", None)
            assert good["response"]["body"]["choices"][0]["message"]["content"] == "4"
            (bad,) = await rows(sdk, found.error_file_id)
            assert (bad["custom_id"], bad["response"]["status_code"]) == ("q2", 400)
            assert bad["response"]["body"]["error"]["param"] == "n"

    with_provider(story, m=Behaviour(says={"2 + 2": "4"}, batch_s=60))


def test_openais_batch_expires_is_cancelled_and_is_refused() -> None:
    async def story(provider: LocalProvider, clock: HandClock) -> None:
        async with openai.AsyncOpenAI(base_url=f"{provider.url}/v1", api_key="k") as sdk:
            late = await batch_of(sdk, line(1, "hangs"))
            found = await sdk.batches.retrieve(late.id)
            assert (found.status, found.output_file_id) == ("expired", None)
            (expired,) = await rows(sdk, found.error_file_id)
            assert (expired["response"], expired["error"]["code"]) == (None, "batch_expired")
            gone = await sdk.batches.cancel((await batch_of(sdk, line(1))).id)
            assert gone.status == "cancelled"
            wrong = await batch_of(sdk, line(1), line(1), line(2, "other"))
            refused = await sdk.batches.retrieve(wrong.id)
            assert (refused.status, refused.output_file_id) == ("failed", None)
            said = refused.model_dump()["errors"]["data"]
            assert [each["code"] for each in said] == ["duplicate_custom_id", "mismatched_model"]
            with pytest.raises(openai.BadRequestError, match="input_file_id"):
                await sdk.batches.create(
                    input_file_id="file-x", endpoint="/v1/chat/completions", completion_window="24h"
                )

    with_provider(story, m=KNOWS, hangs=Behaviour(faults={"hang": 1}))


def test_anthropics_batch_ends_with_each_kind_of_result() -> None:
    def asked(name: str, model: str) -> Any:
        messages = [{"role": "user", "content": "What is 2 + 2?"}]
        return {"custom_id": name, "params": {"model": model, "max_tokens": 9, "messages": messages}}

    async def story(provider: LocalProvider, clock: HandClock) -> None:
        async with anthropic.AsyncAnthropic(base_url=provider.url, api_key="k") as sdk:
            batches = sdk.messages.batches
            made = await batches.create(requests=[asked("a", "m"), asked("b", "bad"), asked("c", "hangs")])
            assert made.processing_status == "in_progress"
            clock.now += 60
            found = await batches.retrieve(made.id)
            assert (found.processing_status, found.request_counts.expired) == ("ended", 1)
            results = {
                each.custom_id: each.result.model_dump() async for each in await batches.results(made.id)
            }
            assert results["a"]["type"] == "succeeded"
            assert results["a"]["message"]["content"][0]["text"] == "4"
            assert results["b"]["type"] == "errored"
            assert results["b"]["error"]["error"]["type"] == "overloaded_error"
            assert results["c"] == {"type": "expired"}
            gone = await batches.create(requests=[asked("a", "m")])
            await batches.cancel(gone.id)
            assert [each.result.type async for each in await batches.results(gone.id)] == ["canceled"]

    with_provider(
        story,
        m=Behaviour(says={"2 + 2": "4"}, batch_s=60),
        bad=Behaviour(faults={"status": 1}, status=529),
        hangs=Behaviour(faults={"hang": 1}),
    )
