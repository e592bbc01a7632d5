"""What is told of exchanges that have not ended: once when they are slow, again when there is progress."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from proxy.attempts.record import OpenExchanges, Progress
from records.outcome import IN_FLIGHT_AFTER_S, InFlight
from tests.proxy.raw_provider import RawProvider, Wire, pool, turns
from tests.proxy.traffic import Traffic, chat

Run = Callable[[Any], Any]
WAITING: Progress = (False, None)
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ROLE = b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
TOKEN = b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
REST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@dataclass(eq=False)
class Exchange:
    name: str
    mono: float
    progress: Progress = WAITING

    def in_flight(self) -> InFlight:
        return InFlight(
            exchange_id=self.name,
            at=self.mono,
            mono=self.mono,
            canary="support",
            run=1,
            phase=0,
            share=0.05,
            arm="candidate",
            reason="cohort",
            unit="u",
            operation="chat",
            stream=True,
            error_type=self.progress[1],
        )


def opened(*starts: float) -> tuple[OpenExchanges, list[Exchange]]:
    found, exchanges = OpenExchanges(), [Exchange(f"x{start:g}", start) for start in starts]
    for each in exchanges:
        found.opened(each)
    return found, exchanges


def names(told: Sequence[InFlight]) -> list[str]:
    return [each.exchange_id for each in told]


def test_an_exchange_is_told_once_it_is_two_seconds_old_and_only_once() -> None:
    found, _ = opened(10.0, 10.5, 11.0)
    assert found.news(10.0 + IN_FLIGHT_AFTER_S - 0.01) == []
    assert names(found.news(12.6)) == ["x10", "x10.5"]
    assert names(found.news(13.0)) == ["x11"]
    assert found.news(99.0) == []


def test_an_exchange_that_has_ended_is_not_told() -> None:
    found, (first, second) = opened(10.0, 10.1)
    found.ended(first)
    assert names(found.news(20.0)) == ["x10.1"]
    second.progress = (True, None)
    found.ended(second)
    assert found.news(20.0) == []


def test_progress_is_told_of_those_that_were_told_before() -> None:
    found, (first, second) = opened(10.0, 18.5)
    second.progress = (True, None)
    assert names(found.news(20.0)) == ["x10"]
    first.progress = (False, "provider_timeout")
    (told,) = found.news(20.2)
    assert (told.exchange_id, told.error_type) == ("x10", "provider_timeout")
    first.progress = (True, "provider_timeout")
    assert names(found.news(20.4)) == ["x10"]
    assert names(found.news(20.6)) == ["x18.5"]  # slow by now; its first token came before


def test_an_exchange_that_never_was_added_may_end() -> None:
    found, _ = opened()
    found.ended(Exchange("x", 1.0))
    assert found.news(9.0) == []


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_stream_is_told_as_it_waits_begins_and_has_a_first_token(run: Run, share: float) -> None:
    async def scene() -> None:
        asked, begin, speak, end = (asyncio.Event() for _ in range(4))

        async def play(wire: Wire) -> None:
            await wire.request()
            asked.set()
            await begin.wait()
            await wire.send(STREAM + chunk(ROLE))
            await speak.wait()
            await wire.send(chunk(TOKEN))
            await end.wait()
            await wire.send(chunk(REST) + b"0\r\n\r\n")

        async with RawProvider(play) as provider, pool() as upstreams:
            traffic = Traffic(provider.entry(), upstreams)
            traffic.share = share
            open_exchanges, late = traffic.recorder.in_flight, time.monotonic() + 10.0
            async with traffic.served() as http:
                body = chat("hello") | {"stream": True}
                answer = asyncio.ensure_future(http.post("/v1/chat/completions", json=body))
                await asked.wait()
                assert open_exchanges.news(time.monotonic()) == []
                (waiting,) = open_exchanges.news(late)
                begin.set()
                while not (begun := open_exchanges.news(late)):
                    await turns(1)
                speak.set()
                while not (told := open_exchanges.news(late)):
                    await turns(1)
                end.set()
                assert (await answer).status_code == 200
            (outcome,) = traffic.outcomes
            assert open_exchanges.news(late) == []
            assert (waiting.ttft_s, begun[0].ttft_s, told[0].ttft_s) == (None, None, outcome.ttft_s)
            assert (waiting.begun, begun[0].begun, told[0].begun) == (False, True, True)
            assert waiting.arm == outcome.arm == ("candidate" if share else "baseline")
            for name in ("exchange_id", "at", "mono", "canary", "run", "phase", "share", "reason", "unit"):
                assert getattr(waiting, name) == getattr(outcome, name)
            assert (waiting.operation, waiting.stream) == ("chat", True)

    run(scene())


def test_once_the_candidate_failed_it_is_told_while_the_baseline_answers(run: Run) -> None:
    async def scene() -> None:
        asked, baseline_asked, end = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def play(wire: Wire) -> None:
            request = await wire.request()
            if b'"new"' in request.body:
                asked.set()
                await wire.closed()
                return
            baseline_asked.set()
            await end.wait()
            await wire.send(
                b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}"
            )

        async with RawProvider(play) as provider, pool() as upstreams:
            traffic = Traffic(provider.entry(), upstreams)
            open_exchanges, late = traffic.recorder.in_flight, time.monotonic() + 10.0
            async with traffic.served() as http:
                answer = asyncio.ensure_future(http.post("/v1/chat/completions", json=chat("hello")))
                await asked.wait()
                assert [each.error_type for each in open_exchanges.news(late)] == [None]
                traffic.ticker.tick(time.monotonic() + 31.0)
                await baseline_asked.wait()
                assert [each.error_type for each in open_exchanges.news(late)] == ["provider_timeout"]
                end.set()
                await answer
            assert open_exchanges.news(late) == []

    run(scene())


def test_exchanges_outside_any_canary_are_not_told(run: Run) -> None:
    async def scene() -> None:
        asked, end = asyncio.Event(), asyncio.Event()

        async def play(wire: Wire) -> None:
            await wire.request()
            asked.set()
            await end.wait()
            await wire.send(
                b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}"
            )

        async with RawProvider(play) as provider, pool() as upstreams:
            traffic = Traffic(provider.entry(), upstreams)
            async with traffic.served() as http:
                body = chat("hello") | {"model": "another"}
                answer = asyncio.ensure_future(http.post("/v1/chat/completions", json=body))
                await asked.wait()
                assert traffic.recorder.in_flight.news(time.monotonic() + 10.0) == []
                end.set()
                await answer

    run(scene())
