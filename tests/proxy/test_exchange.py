"""Where there is no room: who is refused, who is answered by the baseline, and what is recorded of it."""

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from proxy.attempts import record
from proxy.attempts.checker import Checker
from proxy.network.upstream.breaker import IN_A_ROW, CandidateBreaker
from records.outcome import ErrorType, Outcome
from tests.proxy.raw_provider import RawProvider, Wire, pool
from tests.proxy.traffic import ANSWER, Traffic, chat

Run = Callable[[Any], Any]
REJECTS: ErrorType = "candidate_rejects"


@dataclass
class Holding:
    """A provider that answers "quick" at once, and everything else when it is let go."""

    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Event = field(default_factory=asyncio.Event)

    async def play(self, wire: Wire) -> None:
        while True:
            request = await wire.request()
            if b"quick" not in request.body:
                self.held.set()
                await self.let_go.wait()
            await wire.send(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (len(ANSWER), ANSWER)
            )


def with_the_only_place_taken(
    run: Run, *, covered: bool = True, first: float = 1.0, second: float = 1.0
) -> tuple[httpx2.Response, list[Outcome]]:
    """One request is held by the arm that a share of `first` means; what becomes of another."""

    async def scene() -> tuple[httpx2.Response, list[Outcome]]:
        holding = Holding()
        async with RawProvider(holding.play) as provider, pool(limit=1, most_waiting=0) as upstreams:
            traffic = Traffic(provider.entry(), upstreams, covered=covered)
            async with traffic.served() as http:
                traffic.share = first
                held = asyncio.ensure_future(http.post("/v1/chat/completions", json=chat("held")))
                await holding.held.wait()
                traffic.share = second
                answer = await http.post("/v1/chat/completions", json=chat("quick"))
                holding.let_go.set()
                assert (await held).status_code == 200
            return answer, traffic.outcomes

    answer, outcomes = run(scene())
    return answer, outcomes


def test_what_a_full_candidate_cannot_take_the_baseline_answers_and_nobody_is_blamed(run: Run) -> None:
    answer, (outcome, held) = with_the_only_place_taken(run)
    assert (answer.status_code, answer.headers["x-canary-served-by"]) == (200, "baseline")
    assert (outcome.outcome, outcome.error_type, outcome.arm) == ("fallback", "proxy_full", "candidate")
    assert [attempt.arm for attempt in outcome.attempts] == ["baseline"]
    assert not (outcome.failed or outcome.evidence)
    assert (held.outcome, held.served_by) == ("ok", "candidate")


def test_a_full_candidate_that_nobody_answers_for_is_no_fault_of_its_own(run: Run) -> None:
    answer, (outcome, _) = with_the_only_place_taken(run, covered=False)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["code"] == "shed"
    assert (outcome.outcome, outcome.error_type, outcome.arm) == ("shed", "shed", "candidate")
    assert not (outcome.failed or outcome.evidence)


@pytest.mark.parametrize("second", [0.0, 1.0])
def test_where_the_baseline_is_full_both_arms_are_refused(run: Run, second: float) -> None:
    answer, (outcome, _) = with_the_only_place_taken(run, first=0.0, second=second)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "x-canary-arm" not in answer.headers
    assert (outcome.outcome, outcome.error_type, outcome.canary) == ("shed", "shed", "")


@pytest.mark.parametrize(
    ("failure", "opens"),
    [
        ("provider_connect", True),
        ("provider_5xx", True),
        ("provider_stale", False),
        ("proxy_no_descriptors", False),
        (REJECTS, False),  # until the baseline has taken the request
    ],
)
def test_only_what_is_the_candidates_fault_opens_its_breaker(failure: ErrorType, opens: bool) -> None:
    breaker = CandidateBreaker()
    for _ in range(IN_A_ROW):
        breaker.ended(failure, 0.0)
    assert breaker.open is opens


@pytest.mark.parametrize(
    ("status", "by_baseline", "opens"),
    [
        *((status, 200, True) for status in (400, 401, 403, 404, 422)),
        (400, 400, False),  # the request is wrong: the caller's fault
        (400, 503, False),  # the baseline cannot tell
    ],
)
def test_refusals_that_the_baseline_does_not_give_open_the_breaker(
    run: Run, status: int, by_baseline: int, opens: bool
) -> None:
    """35 requests, one after the other, which the candidate refuses."""
    asked: list[bytes] = []

    async def play(wire: Wire) -> None:
        while True:
            request = await wire.request()
            of_candidate = b'"new"' in request.body
            asked.append(b"candidate" if of_candidate else b"baseline")
            await wire.send(_saying(status if of_candidate else by_baseline))

    async def scene() -> tuple[list[Outcome], CandidateBreaker]:
        async with RawProvider(play) as provider, pool() as upstreams:
            traffic = Traffic(provider.entry(), upstreams)
            async with traffic.served() as http:
                for number in range(35):
                    await http.post("/v1/chat/completions", json=chat(str(number)))
            return traffic.outcomes, traffic.trial.breaker

    outcomes, breaker = run(scene())
    kept = [each.error_type for each in outcomes].count("breaker_open")
    assert breaker.open is opens
    assert asked.count(b"candidate") == (len(outcomes) - kept if opens else 35)
    assert asked.count(b"baseline") == len(outcomes) == 35
    if opens:
        assert {each.error_type for each in outcomes} == {REJECTS, "breaker_open"}
        assert [each.error_type for each in outcomes[:IN_A_ROW]] == [REJECTS] * IN_A_ROW
        assert {each.outcome for each in outcomes} == {"fallback"}


def test_a_candidate_that_names_a_time_to_come_again_is_not_probed_before(run: Run) -> None:
    async def play(wire: Wire) -> None:
        while True:
            request = await wire.request()
            head = b"HTTP/1.1 503 X\r\nretry-after: 40\r\ncontent-length: 0\r\n\r\n"
            await wire.send(head if b'"new"' in request.body else _saying(200))

    async def scene() -> CandidateBreaker:
        async with RawProvider(play) as provider, pool() as upstreams:
            traffic = Traffic(provider.entry(), upstreams)
            async with traffic.served() as http:
                for number in range(IN_A_ROW):
                    await http.post("/v1/chat/completions", json=chat(str(number)))
            return traffic.trial.breaker

    began = time.monotonic()
    breaker = run(scene())
    assert not breaker.allows(began + 39.9)
    assert breaker.allows(time.monotonic() + 40.0)


def _saying(status: int) -> bytes:
    """A whole response with this status."""
    body = ANSWER if status == 200 else b'{"error":{"message":"no"}}'
    head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body


@pytest.mark.parametrize("beginning", [30, 0], ids=["after-its-beginning", "before-its-head"])
def test_a_caller_that_leaves_before_the_json_is_whole_has_abandoned_it_in_both_arms(
    run: Run, beginning: int
) -> None:
    """Callers who close as soon as they have asked; the provider ends its answer once they have. A proxy that
    hears of it while it still connects to the provider does not ask at all."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def play(wire: Wire) -> None:
        while True:
            await wire.request()
            asked.set()
            if beginning:
                await wire.send(head + ANSWER[:beginning])
            await go_on.wait()
            await wire.send((b"" if beginning else head) + ANSWER[beginning:])

    async def scene() -> list[Outcome]:
        async with RawProvider(play) as provider, pool() as upstreams:
            traffic = Traffic(provider.entry(), upstreams)
            async with traffic.served() as http:
                for number in range(20):
                    traffic.share = float(number % 2)
                    asked.clear(), go_on.clear()
                    _ask_and_close(http)
                    while not asked.is_set() and len(traffic.outcomes) <= number:  # noqa: ASYNC110
                        await asyncio.sleep(0)
                    for _ in range(20):  # turns in which the proxy hears of it
                        await asyncio.sleep(0)
                    go_on.set()
                    while len(traffic.outcomes) <= number:  # noqa: ASYNC110
                        await asyncio.sleep(0)
            return traffic.outcomes

    assert Counter((each.arm, each.outcome, each.abandoned) for each in run(scene())) == {
        ("baseline", "aborted", True): 10,
        ("candidate", "aborted", True): 10,
    }


def _ask_and_close(http: httpx2.AsyncClient) -> None:
    """Send a request over a socket and close it: the FIN comes with the request's last byte."""
    body = json.dumps(chat("hello")).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    with socket.create_connection((http.base_url.host, http.base_url.port or 0)) as caller:
        caller.sendall(head + b"content-length: %d\r\n\r\n%b" % (len(body), body))


EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"word"},"finish_reason":null}]}\n\n'
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
STALL_S = 0.2


@dataclass
class Streaming:
    """A provider of streams that are silent for a while after their beginning, or at once full."""

    silent_s: float = 0.0
    events: int = 1

    async def play(self, wire: Wire) -> None:
        await wire.request()
        await wire.send(STREAM_HEAD + EVENT)
        await asyncio.sleep(self.silent_s)
        wire.writer.write(EVENT * self.events + LAST)
        await wire.writer.drain()


def streamed(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    streaming: Streaming,
    *,
    share: float,
    read_after_s: float = 0.0,
    stall_s: float = STALL_S,
) -> Outcome:
    """The outcome of one stream, where a silence of `stall_s` is a stall."""
    monkeypatch.setattr(record, "LEAST_SILENCE_S", stall_s)

    async def scene() -> Outcome:
        async with RawProvider(streaming.play) as provider, pool() as upstreams:
            traffic = Traffic(provider.entry(), upstreams)
            traffic.share, traffic.silence = share, {"support": {"chat/stream": stall_s}}
            asked = chat("hello") | {"stream": True}
            async with (
                traffic.served() as http,
                http.stream("POST", "/v1/chat/completions", json=asked) as answer,
            ):
                await asyncio.sleep(read_after_s)
                async for _ in answer.aiter_raw():
                    pass
            (outcome,) = traffic.outcomes
            return outcome

    found: Outcome = run(scene())
    return found


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["baseline", "candidate"])
def test_a_stream_that_is_silent_for_too_long_in_its_middle_is_stalled_in_both_arms(
    run: Run, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    outcome = streamed(run, monkeypatch, Streaming(silent_s=2 * STALL_S), share=share)
    assert (outcome.outcome, outcome.finish, outcome.faults) == ("ok", "stop", ("stalled",))
    assert outcome.longest_gap_s is not None and outcome.longest_gap_s > STALL_S


def test_a_stream_without_a_silence_has_its_longest_gap_recorded(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = streamed(run, monkeypatch, Streaming(silent_s=0.05), share=1.0)
    assert outcome.longest_gap_s is not None and outcome.longest_gap_s >= 0.04
    assert streamed(run, monkeypatch, Streaming(), share=1.0).faults == ()


def test_a_caller_that_reads_slowly_is_no_stall(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Streaming(events=(16 << 20) // len(EVENT))
    outcome = streamed(run, monkeypatch, full, share=1.0, read_after_s=3.0, stall_s=1.5)
    assert outcome.latency_s is not None and outcome.latency_s > 3.0
    assert outcome.faults == ()


def test_a_stream_that_its_caller_leaves_while_it_is_silent_is_stalled(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "LEAST_SILENCE_S", STALL_S)

    async def scene() -> list[Outcome]:
        async with RawProvider(Streaming(silent_s=60.0).play) as provider, pool() as upstreams:
            traffic = Traffic(provider.entry(), upstreams)
            traffic.silence = {"support": {"chat/stream": STALL_S}}
            async with traffic.served() as http:
                with pytest.raises(httpx2.ReadTimeout):
                    await http.post(
                        "/v1/chat/completions", json=chat("hello") | {"stream": True}, timeout=2 * STALL_S
                    )
                while not traffic.outcomes:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            return traffic.outcomes

    (outcome,) = run(scene())
    assert (outcome.outcome, outcome.finish, outcome.faults) == ("aborted", None, ("stalled",))


def test_an_answer_whose_caller_leaves_with_its_last_event_is_judged_and_its_calls_are_seen(run: Run) -> None:
    """Codex closes the connection once it has `response.completed`, before the stream's end."""
    call = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{"}
    ended = {
        "id": "r1",
        "status": "completed",
        "output": [call],
        "usage": {"input_tokens": 2, "output_tokens": 1},
    }
    event = json.dumps({"type": "response.completed", "response": ended}).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    tool = {"type": "function", "name": "weather", "parameters": {}}
    body = {"model": "gpt-4o", "user": "u", "input": "hi", "store": False, "stream": True, "tools": [tool]}

    async def play(wire: Wire) -> None:
        await wire.request()
        await wire.send(head, b"event: response.completed\ndata: %b\n\n" % event)
        await wire.closed()

    async def scene() -> Outcome:
        async with RawProvider(play) as provider, pool() as upstreams:
            traffic = Traffic(provider.entry(), upstreams, checker=Checker(("/bin/false",)))
            async with traffic.served() as http:
                async with http.stream("POST", "/v1/responses", json=body) as answer:
                    async for _ in answer.aiter_bytes():
                        break
                while not traffic.outcomes:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            return traffic.outcomes[0]

    outcome = run(scene())
    assert (outcome.outcome, outcome.finish, outcome.output_check) == ("ok", "tool_calls", "judged")
    assert outcome.faults == ("tool_args_invalid",)
    assert [each.name for each in outcome.tool_calls] == ["weather"]
