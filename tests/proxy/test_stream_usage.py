"""Providers that refuse `stream_options`: asked again without it, once, and then no more."""

import asyncio
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import pytest

from proxy.attempts.attempt import Attempt
from proxy.attempts.dispatch import StreamUsageRefusals
from proxy.providers.provider import Provider
from records.outcome import Outcome, Usage
from tests.proxy.calls import call, trial
from tests.proxy.raw_provider import RawProvider, Request, Wire, pool
from tests.proxy.traffic import Traffic, chat

Run = Callable[[Any], Any]

MISTRAL = {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"],
                       "msg": "Extra inputs are not permitted"}]}  # fmt: skip
OPENAI_LIKE = {
    "error": {
        "message": "Unrecognized request argument supplied: stream_options",
        "type": "invalid_request_error",
    }
}
ANOTHER = {"error": {"message": "Invalid value: 'temperature'", "param": "temperature"}}
STREAM = (
    b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hi"},'
    b'"finish_reason":null}]}\n\n'
    b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":""},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}\n\n'
    b"data: [DONE]\n\n"
)
"""As Mistral streams: the usage stands in the last chunk, unasked."""


def answer(status: int, body: bytes, kind: bytes = b"application/json", *more: bytes) -> bytes:
    head = b"HTTP/1.1 %d X\r\ncontent-type: %s\r\ncontent-length: %d\r\n" % (status, kind, len(body))
    return head + b"".join(line + b"\r\n" for line in more) + b"\r\n" + body


GOOD = answer(200, STREAM, b"text/event-stream")


@dataclass
class Refusing:
    """A provider that answers a body with `stream_options` with `refusal`, and others with `good`."""

    refusal: bytes
    good: bytes = GOOD
    seen: list[Request] = field(default_factory=list)

    async def play(self, wire: Wire) -> None:
        while True:
            request = await wire.request()
            self.seen.append(request)
            await wire.send(self.refusal if b"stream_options" in request.body else self.good)

    @property
    def asked(self) -> list[bool]:
        """Whether each request asked for usage."""
        return ["stream_options" in json.loads(request.body) for request in self.seen]


def refused(status: int, document: Any) -> Refusing:
    return Refusing(answer(status, json.dumps(document).encode()))


async def streamed(http: httpx2.AsyncClient, count: int) -> list[httpx2.Response]:
    return [
        await http.post("/v1/chat/completions", json={**chat("hello"), "stream": True}) for _ in range(count)
    ]


def exchanged(
    run: Run, provider: Refusing, *, count: int = 2, covered: bool = True, share: float = 1.0
) -> tuple[list[httpx2.Response], list[Outcome], Traffic]:
    async def scene() -> Any:
        async with RawProvider(provider.play) as raw, pool() as upstreams:
            traffic = Traffic(raw.entry(), upstreams, covered=covered)
            traffic.share = share
            async with traffic.served() as http:
                return await streamed(http, count), traffic.outcomes, traffic

    responses, outcomes, traffic = run(scene())
    return responses, outcomes, traffic


@pytest.mark.parametrize(("covered", "share"), [(True, 1.0), (False, 1.0), (True, 0.0)])
@pytest.mark.parametrize(("status", "document"), [(422, MISTRAL), (400, OPENAI_LIKE)])
def test_an_entry_that_refuses_is_asked_again_once_and_nobody_is_blamed(
    run: Run, status: int, document: Any, covered: bool, share: float
) -> None:
    provider = refused(status, document)
    responses, outcomes, traffic = exchanged(run, provider, covered=covered, share=share)
    assert provider.asked == [True, False, False]
    assert [(each.status_code, each.content) for each in responses] == [(200, STREAM)] * 2
    for outcome in outcomes:
        assert (outcome.outcome, outcome.error_type, outcome.arm) == (
            "ok",
            None,
            "candidate" if share else "baseline",
        )
        assert not outcome.failed
        assert outcome.usage == Usage(input_tokens=9, output_tokens=3)
        assert [(each.status, each.error_type) for each in outcome.attempts] == [(200, None)]
    assert not traffic.trial.breaker.open


def test_the_callers_own_request_is_what_is_sent_again(run: Run) -> None:
    provider = refused(422, MISTRAL)
    exchanged(run, provider, count=1)
    _, again = provider.seen
    assert json.loads(again.body) == {**chat("hello"), "model": "new", "stream": True}


def test_a_changed_entry_is_asked_again() -> None:
    memory, attempt = StreamUsageRefusals(), Attempt(trial().candidate)
    entry = attempt.target.provider
    memory.sent_without(attempt)
    assert not memory.asks(entry)
    assert not memory.asks(replace(entry))  # the same entry after a reload
    assert memory.asks(replace(entry, base_url="https://other.example"))


def test_an_entry_that_leaves_usage_is_never_asked() -> None:
    assert not StreamUsageRefusals().asks(
        Provider(name="m", api="openai", base_url="https://m", asks_stream_usage=False)
    )


@pytest.mark.parametrize("covered", [True, False])
def test_a_refusal_of_something_else_goes_out_as_it_came(run: Run, covered: bool) -> None:
    provider = refused(400, ANOTHER)
    provider.good = provider.refusal
    responses, (outcome, *_), _ = exchanged(run, provider, covered=covered, count=1)
    assert responses[0].json() == ANOTHER
    assert provider.asked == ([True, True] if covered else [True])  # the candidate, then the baseline
    assert (outcome.outcome, outcome.error_type) == ("caller_error", "caller_rejected")


def test_a_server_that_repeats_the_request_in_its_refusals_is_still_asked(run: Run) -> None:
    echo = {"detail": [{"loc": ["body", "n"], "input": {"stream_options": {"include_usage": True}}}]}
    provider = refused(422, echo)
    provider.good = answer(422, json.dumps(ANOTHER).encode())
    responses, outcomes, _ = exchanged(run, provider, covered=False)
    assert [each.json() for each in responses] == [ANOTHER, ANOTHER]
    assert provider.asked == [True, False, True, False]
    assert [each.outcome for each in outcomes] == ["caller_error", "caller_error"]


def test_the_arms_failure_on_the_second_request_is_its_own(run: Run) -> None:
    provider = refused(422, MISTRAL)
    provider.good = answer(500, b"{}")
    responses, (first, second), _ = exchanged(run, provider, covered=False)
    assert [each.status_code for each in responses] == [500, 500]
    assert (first.error_type, second.error_type) == ("provider_5xx", "provider_5xx")
    assert provider.asked == [True, False, False]  # that it refuses is known, whatever came after


def test_a_caller_that_asks_for_usage_itself_gets_the_providers_own_words(run: Run) -> None:
    provider = refused(422, MISTRAL)

    async def scene() -> tuple[httpx2.Response, Outcome]:
        async with RawProvider(provider.play) as raw, pool() as upstreams:
            traffic = Traffic(raw.entry(), upstreams, covered=False)
            async with traffic.served() as http:
                asking = {**chat("hello"), "stream": True, "stream_options": {"include_usage": True}}
                return await http.post("/v1/chat/completions", json=asking), traffic.outcomes[0]

    response, outcome = run(scene())
    assert (response.status_code, response.json()) == (422, MISTRAL)
    assert outcome.outcome == "caller_error"
    assert provider.asked == [True]


def test_a_compressed_refusal_is_read(run: Run) -> None:
    packed = gzip.compress(json.dumps(MISTRAL).encode())
    provider = Refusing(answer(422, packed, b"application/json", b"content-encoding: gzip"))
    _, outcomes, _ = exchanged(run, provider)
    assert provider.asked == [True, False, False]
    assert [each.outcome for each in outcomes] == ["ok", "ok"]


def test_a_long_refusal_is_read_within_a_bound_and_relayed_whole(run: Run) -> None:
    long = json.dumps({"error": {"message": "x" * 300_000}}).encode()
    provider = Refusing(answer(400, long))
    (response,), (outcome,), _ = exchanged(run, provider, covered=False, count=1)
    assert response.content == long
    assert outcome.outcome == "caller_error"


def test_a_refusal_that_breaks_off_ends_as_it_does_without_canary(run: Run) -> None:
    async def play(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 400 X\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n{")
        wire.reset()

    async def scene() -> Outcome:
        async with RawProvider(play) as raw, pool() as upstreams:
            traffic = Traffic(raw.entry(), upstreams, covered=False)
            async with traffic.served() as http:
                with pytest.raises(httpx2.RemoteProtocolError):
                    await streamed(http, 1)
                return traffic.outcomes[0]

    outcome = run(scene())
    assert (outcome.outcome, outcome.error_type, outcome.status) == ("error", "provider_reset", 400)


def test_requests_at_once_each_ask_again_once(run: Run) -> None:
    provider = refused(422, MISTRAL)

    async def scene() -> list[httpx2.Response]:
        async with RawProvider(provider.play) as raw, pool() as upstreams:
            traffic = Traffic(raw.entry(), upstreams)
            async with traffic.served() as http:
                at_once = await asyncio.gather(*(streamed(http, 1) for _ in range(8)))
                return [*(each for (each,) in at_once), *await streamed(http, 1)]

    assert [each.status_code for each in run(scene())] == [200] * 9
    assert provider.asked.count(False) == 9
    assert provider.asked[-1] is False
    assert provider.asked.count(True) <= 8


def test_azures_data_sources_are_never_sent_beside_stream_options(run: Run) -> None:
    provider = refused(400, OPENAI_LIKE)

    async def scene() -> None:
        own_data = {**chat("hello"), "stream": True, "data_sources": [{"type": "azure_search"}]}
        async with (
            RawProvider(provider.play) as raw,
            pool() as upstreams,
            Traffic(raw.entry(), upstreams).served() as http,
        ):
            await http.post("/v1/chat/completions", json=own_data)

    run(scene())
    assert provider.asked == [False]


def test_only_a_member_of_the_body_itself_is_azures() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"data_sources": ["a"]}}}
    assert not call({**chat("hello"), "tools": [tool]}).facts.own_data
    assert not call({**chat("hello"), "data_sources": []}).facts.own_data
    assert call({**chat("hello"), "data_sources": [{}]}).facts.own_data
