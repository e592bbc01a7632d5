"""Requests that wait for a candidate: when the baseline answers in its place, and what is left behind."""

import asyncio
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from hashlib import sha1
from typing import Any

import httpx2
import pytest

from proxy.attempts.dispatch import patience_s
from proxy.network.upstream.breaker import IN_A_ROW, SOON_S
from records.outcome import Outcome
from routing.states import UNKNOWN_PATIENCE_S, States
from tests.proxy.calls import trial
from tests.proxy.raw_provider import RawProvider, Wire, pool, turns
from tests.proxy.traffic import ANSWER, Traffic, chat

Run = Callable[[Any], Any]

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
UPGRADE = (
    b"GET /v1/realtime?model=gpt-4o HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"x-canary-unit: somebody\r\nsec-websocket-version: 13\r\nsec-websocket-key: " + b64encode(b"k" * 16)
) + b"\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
NOTHING, HALF_A_JSON, HALF_AN_EVENT = b"", HEAD + ANSWER[:40], STREAM + b"6\r\ndata: \r\n"


@dataclass
class Hanging:
    """The baseline answers at once; the candidate sends `said` and then nothing until it is let go."""

    said: bytes = NOTHING
    asked: asyncio.Queue[None] = field(default_factory=asyncio.Queue)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    closed: list[asyncio.Task[bytes]] = field(default_factory=list)

    async def play(self, wire: Wire) -> None:
        while True:
            request = await wire.request()
            if b'"new"' in request.body:
                if self.said:
                    await wire.send(self.said)
                self.asked.put_nowait(None)
                await self._held(wire)
            await wire.send(HEAD + ANSWER)

    async def _held(self, wire: Wire) -> None:
        """Until it is let go, or the proxy closes the connection."""
        gone = asyncio.ensure_future(wire.reader.read(1))
        self.closed.append(gone)
        free = asyncio.ensure_future(self.let_go.wait())
        await asyncio.wait({gone, free}, return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            free.cancel()
            raise ConnectionError
        gone.cancel()


@dataclass
class Scene:
    """One request under way to a candidate that hangs."""

    traffic: Traffic
    hanging: Hanging
    http: httpx2.AsyncClient
    answer: asyncio.Future[httpx2.Response]

    def pass_s(self, seconds: float) -> None:
        """What the ticker finds after so much time."""
        self.traffic.ticker.tick(time.monotonic() + seconds)

    def open_breaker(self) -> None:
        for _ in range(IN_A_ROW):
            self.traffic.trial.breaker.failed(time.monotonic())


Act = Callable[[Scene], Awaitable[None]]


async def staged(
    act: Act, *, said: bytes = NOTHING, stream: bool = False, **options: Any
) -> tuple[httpx2.Response, Outcome]:
    """The answer and the outcome of a request to a hanging candidate, once `act` is done."""
    hanging = Hanging(said)
    async with RawProvider(hanging.play) as provider, pool(limit=1) as upstreams:
        traffic = Traffic(provider.entry(), upstreams, **options)
        async with traffic.served() as http:
            request = http.post("/v1/chat/completions", json=chat("hello") | {"stream": stream})
            answer = asyncio.ensure_future(request)
            await hanging.asked.get()
            await act(Scene(traffic, hanging, http, answer))
            response = await answer
            if not hanging.let_go.is_set():
                assert await asyncio.gather(*hanging.closed) == [b""]  # the candidate saw the close
            assert upstreams.free_slots("support/candidate") == 1
        (outcome,) = traffic.outcomes
        return response, outcome


async def roll_back(scene: Scene) -> None:
    scene.traffic.share = 0.0


async def resume_elsewhere(scene: Scene) -> None:
    """Rolled back and resumed between two looks: another run."""
    scene.traffic.state = replace(scene.traffic.state, run=2)


async def open_the_breaker(scene: Scene) -> None:
    scene.open_breaker()


async def run_out(scene: Scene) -> None:
    scene.pass_s(UNKNOWN_PATIENCE_S)


SAID = [(NOTHING, False), (NOTHING, True), (HALF_A_JSON, False), (HALF_AN_EVENT, True)]


@pytest.mark.parametrize(("said", "stream"), SAID)
@pytest.mark.parametrize("act", [roll_back, resume_elsewhere, open_the_breaker])
def test_at_a_rollback_or_an_open_breaker_the_baseline_answers_those_who_wait(
    run: Run, act: Act, said: bytes, stream: bool
) -> None:
    answer, outcome = run(staged(act, said=said, stream=stream))
    assert (answer.status_code, answer.content) == (200, ANSWER)
    assert answer.headers["x-canary-served-by"] == "baseline"
    assert (outcome.outcome, outcome.error_type) == ("fallback", "breaker_open")
    assert [each.error_type for each in outcome.attempts] == ["breaker_open", None]
    assert outcome.failed
    assert not outcome.evidence


@pytest.mark.parametrize(("said", "stream"), SAID)
def test_when_its_patience_is_over_the_baseline_answers_and_the_candidate_has_failed(
    run: Run, said: bytes, stream: bool
) -> None:
    answer, outcome = run(staged(run_out, said=said, stream=stream))
    assert (answer.status_code, answer.content) == (200, ANSWER)
    assert answer.headers["x-canary-served-by"] == "baseline"
    assert (outcome.outcome, outcome.error_type) == ("fallback", "provider_timeout")
    assert [each.error_type for each in outcome.attempts] == ["provider_timeout", None]
    assert outcome.evidence


def test_before_its_patience_is_over_the_candidate_answers(run: Run) -> None:
    async def act(scene: Scene) -> None:
        scene.pass_s(UNKNOWN_PATIENCE_S - 2.0)
        await turns()
        assert not scene.answer.done()
        scene.hanging.let_go.set()

    answer, outcome = run(staged(act))
    assert (answer.status_code, outcome.outcome, outcome.served_by) == (200, "ok", "candidate")


def test_a_promoted_candidate_is_waited_for_as_long_as_its_timeout_says(run: Run) -> None:
    async def promoted(scene: Scene) -> None:
        scene.traffic.state = replace(scene.traffic.state, state="promoted")
        scene.pass_s(UNKNOWN_PATIENCE_S)
        scene.hanging.let_go.set()

    response, outcome = run(staged(promoted))
    assert response.headers["x-canary-arm"] == "candidate"
    assert (outcome.outcome, outcome.served_by) == ("ok", "candidate")


def test_patience_is_looked_at_anew_while_a_request_waits(run: Run) -> None:
    async def act(scene: Scene) -> None:
        scene.traffic.patience = {"support": {"chat/json": 60.0, "chat/stream": 10.0}}
        scene.pass_s(UNKNOWN_PATIENCE_S + 5.0)
        await turns()
        assert not scene.answer.done()
        scene.traffic.patience = {"support": {"chat/json": 12.0}}
        scene.pass_s(15.0)

    _, outcome = run(staged(act))
    assert outcome.error_type == "provider_timeout"


def test_the_configs_patience_stands_over_the_plans(run: Run) -> None:
    async def act(scene: Scene) -> None:
        scene.traffic.patience = {"support": {"chat/json": 10.0}}
        scene.pass_s(15.0)
        await turns()
        assert not scene.answer.done()
        scene.pass_s(21.0)

    _, outcome = run(staged(act, patience_s=20.0))
    assert outcome.error_type == "provider_timeout"


def test_five_whose_patience_is_over_open_the_breaker(run: Run) -> None:
    async def scene() -> Traffic:
        hanging = Hanging()
        async with RawProvider(hanging.play) as provider, pool() as upstreams:
            traffic = Traffic(provider.entry(), upstreams)
            async with traffic.served() as http:
                posts = [http.post("/v1/chat/completions", json=chat(str(n))) for n in range(IN_A_ROW)]
                answers = [asyncio.ensure_future(post) for post in posts]
                for _ in answers:
                    await hanging.asked.get()
                traffic.ticker.tick(time.monotonic() + UNKNOWN_PATIENCE_S)
                assert {(await answer).status_code for answer in answers} == {200}
            return traffic

    traffic = run(scene())
    assert traffic.trial.breaker.open
    assert {each.error_type for each in traffic.outcomes} == {"provider_timeout"}


def test_the_probe_of_an_open_breaker_goes_on_waiting(run: Run) -> None:
    async def scene() -> tuple[Traffic, httpx2.Response]:
        hanging = Hanging()
        async with RawProvider(hanging.play) as provider, pool() as upstreams:
            traffic = Traffic(provider.entry(), upstreams)
            for _ in range(IN_A_ROW):
                traffic.trial.breaker.failed(time.monotonic() - SOON_S)
            async with traffic.served() as http:
                probe = asyncio.ensure_future(http.post("/v1/chat/completions", json=chat("probe")))
                await hanging.asked.get()
                traffic.ticker.tick(time.monotonic())
                await turns()
                hanging.let_go.set()
                return traffic, await probe

    traffic, answer = run(scene())
    assert "x-canary-served-by" not in answer.headers
    assert not traffic.trial.breaker.open


def test_a_candidate_that_nobody_answers_for_is_waited_for(run: Run) -> None:
    async def act(scene: Scene) -> None:
        scene.traffic.share = 0.0
        scene.open_breaker()
        scene.pass_s(2 * UNKNOWN_PATIENCE_S)
        await turns()
        scene.hanging.let_go.set()

    answer, outcome = run(staged(act, covered=False))
    assert (answer.status_code, outcome.outcome, outcome.served_by) == (200, "ok", "candidate")


def test_a_caller_who_leaves_as_the_wait_ends_is_recorded_once_and_leaves_no_slot_taken(run: Run) -> None:
    async def scene() -> Traffic:
        hanging = Hanging()
        async with RawProvider(hanging.play) as provider, pool(limit=1) as upstreams:
            traffic = Traffic(provider.entry(), upstreams)
            handled: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()

            async def watched(incoming: Any) -> None:
                task = asyncio.current_task()
                assert task is not None
                handled.put_nowait(task)
                await traffic.exchanges(incoming)

            async with traffic.served(watched) as http:
                answer = asyncio.ensure_future(http.post("/v1/chat/completions", json=chat("hello")))
                await hanging.asked.get()
                traffic.ticker.tick(time.monotonic() + UNKNOWN_PATIENCE_S)
                await asyncio.sleep(0)
                (await handled.get()).cancel()  # as the server does when the caller leaves
                answer.cancel()
                await asyncio.gather(*hanging.closed)
                await turns()
            assert upstreams.free_slots("support/candidate") == 1
            assert upstreams.free_slots("support/baseline") == 1
            return traffic

    traffic = run(scene())
    assert [each.outcome for each in traffic.outcomes] == ["aborted"]
    assert traffic.recorder.started == traffic.recorder.finished == 1


def test_the_wait_for_a_connection_counts(run: Run) -> None:
    """The candidate's TLS handshake hangs."""

    async def scene() -> Traffic:
        hanging = Hanging()
        connected = asyncio.Event()

        async def silent(wire: Wire) -> None:
            connected.set()
            await wire.closed()

        async with (
            RawProvider(hanging.play) as provider,
            RawProvider(silent) as mute,
            pool() as upstreams,
        ):
            candidate = replace(
                mute.entry(), name="mute", base_url=f"https://127.0.0.1:{mute.port}", api_key="k"
            )
            traffic = Traffic(provider.entry(), upstreams, candidate=candidate)
            async with traffic.served() as http:
                answer = asyncio.ensure_future(http.post("/v1/chat/completions", json=chat("hello")))
                await connected.wait()
                traffic.share = 0.0
                assert (await answer).status_code == 200
                await mute.wires[0].ended.wait()
            return traffic

    (outcome,) = run(scene()).outcomes
    assert (outcome.outcome, outcome.error_type) == ("fallback", "breaker_open")


def test_a_session_that_the_candidate_does_not_open_is_opened_by_the_baseline(run: Run) -> None:
    async def scene() -> bytes:
        asked = asyncio.Event()

        async def play(wire: Wire) -> None:
            request = await wire.head()
            if b"model=new" in request.line:
                asked.set()
                assert await wire.closed() == b""
                return
            (key,) = [value for name, value in request.headers if name.lower() == b"sec-websocket-key"]
            accept = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            await wire.send(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n")
            await wire.send(b"connection: upgrade\r\nsec-websocket-accept: " + accept + b"\r\n\r\n")
            await wire.closed()

        async with RawProvider(play) as provider, pool(limit=1) as upstreams:
            traffic = Traffic(provider.entry(), upstreams)
            async with traffic.served() as http:
                reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
                writer.write(UPGRADE)
                await asked.wait()
                traffic.share = 0.0
                head = await reader.readuntil(b"\r\n\r\n")
                writer.transport.abort()
                while not traffic.outcomes:
                    await turns(1)
            while upstreams.free_slots("support/candidate") < 1:
                await turns(1)
            assert traffic.outcomes[0].attempts[0].error_type == "breaker_open"
            return head

    head = run(scene())
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"x-canary-served-by: baseline" in head.lower()


def test_patience_is_never_longer_than_total() -> None:
    tried = trial()
    short = replace(
        tried, candidate=replace(tried.candidate, timeout=replace(tried.candidate.timeout, total_s=4.0))
    )
    plan = States(patience={"support": {"chat/json": 12.0}})
    assert patience_s(tried, plan, "chat/json") == 12.0
    assert patience_s(tried, plan, "chat/stream") == UNKNOWN_PATIENCE_S
    assert patience_s(short, plan, "chat/json") == 4.0
