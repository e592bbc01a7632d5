"""Answers that are made in the background close their exchange when they are fetched."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from proxy.attempts import background
from proxy.attempts.checker import Checker
from proxy.dialects.interactions import read_json
from records.outcome import Outcome
from tests.proxy.raw_provider import RawProvider, Wire, pool
from tests.proxy.traffic import Traffic

Run = Callable[[Any], Any]
USAGE = {"input_tokens": 20, "output_tokens": 5, "total_tokens": 25}
CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{"}
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
ASKED = {"model": "gpt-4o", "input": "hi", "background": True, "tools": [TOOL]}
QUEUED = {"id": "resp_1", "object": "response", "status": "queued", "background": True, "model": "m"}
ENDED = {**QUEUED, "status": "completed", "output": [CALL], "usage": USAGE}
EVENTS = [
    {"type": "response.created", "sequence_number": 0, "response": {**QUEUED, "status": "in_progress"}},
    {"type": "response.completed", "sequence_number": 1, "response": ENDED},
]


def sse(*events: Mapping[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


class Background:
    """A provider that answers each path with the next of its answers: JSON, or the bytes of a stream. After
    an answer that is None the rest of the stream stays out."""

    def __init__(self, answers: Mapping[str, list[Any]]) -> None:
        self.answers = answers

    async def play(self, wire: Wire) -> None:
        while True:
            line = (await wire.request()).line.decode()
            answer = self.answers[line.split(" ")[1].partition("?")[0]].pop(0)
            if isinstance(answer, bytes):
                await wire.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", answer)
                if b"response.completed" not in answer:
                    await wire.closed()
                return
            status = b"200 OK" if "error" not in answer or answer.get("id") else b"404 Not Found"
            body = json.dumps(answer).encode()
            head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            await wire.send(head % (status, len(body)), body)


HEADERS = {"x-canary-unit": "somebody", "authorization": "Bearer k"}
MADE, FETCHED = "/v1/responses", "/v1/responses/resp_1"


def told(run: Run, gets: list[Any], *, path: str = FETCHED, method: str = "GET") -> list[list[Outcome]]:
    """The outcomes after the request that starts an answer, and after each that fetches it."""

    async def scene() -> list[list[Outcome]]:
        provider = Background({MADE: [QUEUED], path: list(gets)})
        async with RawProvider(provider.play) as raw, pool() as upstreams:
            traffic = Traffic(raw.entry(base_path="/v1"), upstreams, checker=Checker(("/bin/false",)))
            async with traffic.served() as http:
                answer = await http.post(MADE, json=ASKED, headers=HEADERS)
                assert answer.json() == QUEUED
                seen = [list(traffic.outcomes)]
                for each in gets:
                    answer = await http.request(method, path, headers=HEADERS)
                    expected = each if isinstance(each, bytes) else json.dumps(each).encode()
                    assert answer.content == expected
                    seen.append(list(traffic.outcomes))
            traffic.exchanges.awaited.close()
            assert traffic.recorder.started == traffic.recorder.finished
            assert len(traffic.outcomes) == 1 + len(gets)
            return seen

    found: list[list[Outcome]] = run(scene())
    return found


def of_canary(outcomes: list[Outcome]) -> list[Outcome]:
    return [each for each in outcomes if each.canary]


@pytest.mark.parametrize("answer", [ENDED, sse(*EVENTS)], ids=["poll", "stream"])
def test_the_answer_that_is_fetched_closes_its_exchange_once(run: Run, answer: Any) -> None:
    waiting = {**QUEUED, "status": "in_progress"}
    first, *polls, last, again = told(run, [QUEUED, waiting, answer, answer])
    assert first == []
    for poll in polls:
        assert of_canary(poll) == []
    (made,) = of_canary(last)
    assert of_canary(again) == [made]
    assert (made.outcome, made.finish, made.faults) == ("ok", "tool_calls", ("tool_args_invalid",))
    assert (made.output_check, made.operation) == ("judged", "chat")
    assert (made.usage.input_tokens, made.usage.output_tokens, made.usage.estimated) == (20, 5, False)
    assert [call.name for call in made.tool_calls] == ["weather"]
    for each in again:
        if not each.canary:
            assert (each.outcome, each.usage.input_tokens, each.finish) == ("ok", None, None)


@pytest.mark.parametrize(
    ("answer", "outcome", "error"),
    [
        ({**ENDED, "status": "failed", "error": {"code": "server_error"}}, "error", "provider_stream_error"),
        (
            {**QUEUED, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            "ok",
            None,
        ),
        ({**QUEUED, "status": "cancelled"}, "aborted", "aborted"),
    ],
)
def test_it_ends_as_its_answer_did(run: Run, answer: Any, outcome: str, error: str | None) -> None:
    (made,) = of_canary(told(run, [answer])[-1])
    assert (made.outcome, made.error_type) == (outcome, error)
    assert made.finish == ("length" if outcome == "ok" else None)


def test_cancelling_it_ends_it_as_left_by_its_caller(run: Run) -> None:
    (made,) = of_canary(
        told(run, [{**QUEUED, "status": "cancelled"}], path=f"{FETCHED}/cancel", method="POST")[-1]
    )
    assert made.outcome == "aborted"


def test_a_refused_poll_leaves_it_waiting(run: Run) -> None:
    seen = told(run, [{"error": {"message": "no"}}, QUEUED, ENDED])
    assert [len(of_canary(each)) for each in seen] == [0, 0, 0, 1]


def test_what_nobody_fetches_ends_as_it_was_left(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "MOST_WAITING", 2)

    async def scene() -> None:
        made = [{**QUEUED, "id": f"resp_{number}"} for number in range(3)]
        async with RawProvider(Background({MADE: made}).play) as raw, pool() as upstreams:
            traffic = Traffic(raw.entry(base_path="/v1"), upstreams, checker=Checker(("/bin/false",)))
            async with traffic.served() as http:
                for _ in range(3):
                    await http.post(MADE, json=ASKED, headers=HEADERS)
            awaited = traffic.exchanges.awaited
            assert (len(awaited), len(traffic.outcomes)) == (2, 1)
            awaited.close_old(asyncio.get_running_loop().time())
            assert len(awaited) == 2
            awaited.close_old(float("inf"))
            assert (len(awaited), len(traffic.outcomes)) == (0, 3)
            for each in traffic.outcomes:
                assert (each.outcome, each.finish, each.usage.input_tokens) == ("ok", "unknown", None)

    run(scene())


def test_a_stream_that_its_caller_left_is_closed_by_who_goes_on_with_it(run: Run) -> None:
    async def scene() -> None:
        streams = {MADE: [sse(EVENTS[0])], FETCHED: [sse(EVENTS[1])]}
        async with RawProvider(Background(streams).play) as raw, pool() as upstreams:
            traffic = Traffic(raw.entry(base_path="/v1"), upstreams, checker=Checker(("/bin/false",)))
            async with traffic.served() as http:
                body = {**ASKED, "stream": True}
                async with http.stream("POST", MADE, json=body, headers=HEADERS) as answer:
                    async for _ in answer.aiter_bytes():
                        break
                while not len(traffic.exchanges.awaited):  # noqa: ASYNC110
                    await asyncio.sleep(0)
                assert traffic.outcomes == []
                answer = await http.get(f"{FETCHED}?stream=true&starting_after=0", headers=HEADERS)
                assert answer.content == sse(EVENTS[1])
            (made,) = of_canary(traffic.outcomes)
            assert (made.outcome, made.finish, made.usage.output_tokens) == ("ok", "tool_calls", 5)
            assert "stalled" not in made.faults

    run(scene())


def test_an_interaction_in_the_background_says_under_which_id_it_is_fetched() -> None:
    for status in ("queued", "in_progress"):
        assert read_json(json.dumps({"id": "i1", "status": status}).encode()).pending == "i1"
    assert read_json(b'{"id": "i1", "status": "completed"}').pending == ""
