"""Realtime sessions through the real server: what each end sees, which arm serves, and the one record."""

import asyncio
import hashlib
import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from typing import Any, Literal

import openai
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.e2e.byte_server import ByteServer, drawn, sending
from tests.e2e.realtime_provider import RealtimeProvider, Seen
from tests.e2e.stage import Stage, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "REALTIME", timeout: {{total: 1s, idle: 30s, first_byte: 5s}}}}
  own: {{api: openai, base_url: "REALTIME", api_key: "sk-planted-own"}}
  quiet: {{api: openai, base_url: "REALTIME", timeout: {{idle: 600ms}}}}
  bytes: {{api: openai, base_url: "BYTES"}}
  gemini: {{api: gemini, base_url: "REALTIME"}}
canaries:
"""
CASE = """
  - name: NAME
    match: {{models: [NAME]}}
    baseline: {{provider: openai, model: BASELINE}}
    candidate: {{provider: openai, model: CANDIDATE}}
    share: 50%
    guardrails: []
"""
WITH_PROMPT = """
  - name: prompted
    match: {{models: [prompted]}}
    baseline: {{provider: openai, model: chat_old}}
    candidate:
      provider: openai
      model: chat_new
      prompt: {{find: v7.md, put: v8.md}}
      tools: {{get_order: tool.md}}
    share: 50%
    settle: 0s
    guardrails: []
"""
STANDING = """
  - name: standing
    standing: true
    match: {{models: [standing]}}
    baseline: {{provider: openai, model: chat_stood, prompt: {{find: v7.md, put: v8.md}}}}
    candidate: {{provider: openai}}
    share: 50%
    guardrails: []
"""
CASES = {
    # canary and model asked for: (baseline's model, candidate's model)
    "voice": ("chat_baseline", "chat_candidate"),
    "refused": ("chat_good", "refuse-403"),
    "unknown-model": ("chat_fine", "unknown_candidate"),
    "both-unknown": ("unknown_baseline", "unknown_too"),
    "gpt-4o-realtime-preview": ("gpt-4o-realtime-preview", "gpt-realtime"),
}
KEY = "sk-planted-of-the-caller"
V7 = 'You are "Rex" ☺.\nNever promise a refund.'
V8 = "You are Rex.\nAsk before a refund."


@pytest.fixture(scope="module")
def provider() -> Iterator[RealtimeProvider]:
    with RealtimeProvider() as running:
        yield running


@pytest.fixture(scope="module")
def byte_server() -> Iterator[ByteServer]:
    with closing(ByteServer()) as server:
        yield server


@pytest.fixture(scope="module")
def stage(
    tmp_path_factory: pytest.TempPathFactory, provider: RealtimeProvider, byte_server: ByteServer
) -> Iterator[Stage]:
    cases = "".join(
        CASE.replace("NAME", name).replace("BASELINE", arms[0]).replace("CANDIDATE", arms[1])
        for name, arms in CASES.items()
    )
    config = (CONFIG + cases + WITH_PROMPT + STANDING).replace("REALTIME", provider.url)
    config = config.replace("BYTES", f"http://127.0.0.1:{byte_server.port}")
    folder = tmp_path_factory.mktemp("realtime")
    for name, text in (("v7.md", V7), ("v8.md", V8), ("tool.md", "Finds an order.")):
        folder.joinpath(name).write_text(text)
    with on_stage(folder, config) as up:
        yield up


def dial(
    stage: Stage, query: str, *, path: str = "/v1/realtime", unit: str | None = None, **options: Any
) -> connect:
    """A session with canary; its key goes as an SDK sends it."""
    address = stage.server.traffic.replace("http://", "ws://")
    headers = {"Authorization": f"Bearer {KEY}"} | ({"x-canary-unit": unit} if unit else {})
    settings: dict[str, Any] = {"max_size": None, "ping_interval": None, "proxy": None}
    settings["additional_headers"] = headers | options.pop("headers", {})
    return connect(f"{address}{path}?{query}", **(settings | options))


def run(scene: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(scene, 60))


def exchange(line: ClientConnection) -> str:
    assert line.response is not None
    return line.response.headers["x-canary-exchange"]


def asking(**metadata: Any) -> str:
    return json.dumps({"type": "response.create", "response": {"metadata": metadata}})


async def ask(line: ClientConnection, **metadata: Any) -> list[dict[str, Any]]:
    """One answer's events."""
    await line.send(asking(**metadata))
    events = []
    while not events or events[-1]["type"] != "response.done":
        events.append(json.loads(await line.recv()))
    return events


def known(row: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


# What passes


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_messages_of_every_kind_come_back_as_they_were_sent(stage: Stage, compression: str | None) -> None:
    async def scene() -> str:
        async with dial(stage, "model=echo", compression=compression) as line:
            for message in ("text ä 漢", b"\x00\xff binary", "", "x" * (1 << 20), os.urandom(1 << 20)):
                await line.send(message)
                assert await line.recv() == message
            await line.send(["in ", "several ", "fragments"])
            assert await line.recv() == "in several fragments"
            await line.send("in parts")
            assert [part async for part in line.recv_streaming()] == ["in", " ", "parts", ""]
            latency = await (await line.ping(b"are you there?"))
            assert latency >= 0
            await line.pong(b"unasked")
            return exchange(line)

    row = stage.outcome(run(scene()))
    assert known(row, "outcome", "error_type", "operation", "canary", "status", "stream") == (
        "ok", None, "realtime", "", 101, 1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("code", "outcome", "error_type"),
    [
        (1000, "ok", None),
        (1001, "ok", None),
        (1011, "error", "provider_stream_error"),
        (1008, "caller_error", "caller_rejected"),
        (4321, "error", "provider_stream_error"),
    ],
)
def test_the_provider_s_close_code_and_reason_reach_the_caller(
    stage: Stage, code: int, outcome: str, error_type: str | None
) -> None:
    async def scene() -> str:
        async with dial(stage, "model=echo") as line:
            await line.send(f"close {code} so be it")
            with pytest.raises(ConnectionClosed):
                await line.recv()
            assert (line.close_code, line.close_reason) == (code, "so be it")
            return exchange(line)

    assert known(stage.outcome(run(scene())), "outcome", "error_type") == (outcome, error_type)


def test_the_caller_s_close_code_and_reason_reach_the_provider(
    stage: Stage, provider: RealtimeProvider
) -> None:
    async def scene() -> str:
        async with dial(stage, "model=echo_bye") as line:
            await line.close(4000, "enough")
            return exchange(line)

    assert known(stage.outcome(run(scene())), "outcome", "error_type") == ("ok", None)
    (seen,) = provider.sessions("echo_bye")
    assert eventually(lambda: seen.closed) == (4000, "enough")


ASKED = (
    b"GET /bytes/v1/realtime?model=a%20b&x=%2F HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    b"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: abc\r\nX-Odd:  a  b\r\n"
    b"Sec-WebSocket-Extensions: foo; bar\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.mark.parametrize("garbage", [False, True])
def test_no_byte_is_changed_either_way(stage: Stage, byte_server: ByteServer, garbage: bool) -> None:
    """Four megabytes each way at once, cut anywhere; whether they are frames is not the proxy's business."""
    chance = random.Random(7)
    frame = b"\x82\x7f" + (4 << 20).to_bytes(8, "big")
    down = (b"" if garbage else frame) + chance.randbytes(4 << 20)
    up = (b"" if garbage else frame[:1] + b"\xff" + frame[2:] + b"mask") + chance.randbytes(4 << 20)
    came: list[bytes] = []
    serving = threading.Thread(target=byte_server.serve, args=(down, len(up), came))
    serving.start()
    host, port = stage.server.traffic.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60.0) as line:
        line.sendall(ASKED + up[:10])
        head = got = b""
        while b"\r\n\r\n" not in head:
            head += line.recv(65536)
        head, _, got = head.partition(b"\r\n\r\n")
        with sending(line, up[10:]):
            got = drawn(line, got, len(down))
    serving.join(20.0)
    assert hashlib.sha256(got).hexdigest() == hashlib.sha256(down).hexdigest()
    assert hashlib.sha256(came[1]).hexdigest() == hashlib.sha256(up).hexdigest()
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 101 Switching Protocols"
    assert lines[1:3] == [b"sec-websocket-accept: x", b"x-odd: two  words"]
    assert lines[3].startswith(b"x-canary-exchange: ")
    assert lines[4:] == [b"connection: Upgrade", b"upgrade: websocket"]
    assert came[0].split(b"\r\n") == [
        b"GET /realtime?model=a%20b&x=%2F HTTP/1.1",
        f"host: 127.0.0.1:{byte_server.port}".encode(),
        b"sec-websocket-key: abc",
        b"x-odd: a  b",
        b"sec-websocket-extensions: foo; bar",
        b"sec-websocket-version: 13",
        b"connection: Upgrade",
        b"upgrade: websocket",
    ]


# Who serves


def test_a_unit_meets_the_same_arm_each_time_and_only_the_model_s_value_changes(
    stage: Stage, provider: RealtimeProvider
) -> None:
    async def scene(user: str) -> tuple[str, str]:
        async with dial(stage, "x=1&model=voice&y=a%2Fb", unit=user) as line:
            await line.recv()
            assert line.response is not None
            return exchange(line), line.response.headers["x-canary-arm"]

    for arm in ("baseline", "candidate"):
        user = next(stage.users(arm, "voice", 0.5, "sticky"))  # type: ignore[arg-type]
        provider.seen.clear()
        for _ in range(3):
            made, told = run(scene(user))
            assert told == arm
            row = stage.outcome(made)
            assert known(row, "canary", "arm", "served_by", "reason", "model_requested", "model") == (
                "voice", arm, arm, "cohort", "voice", f"chat_{arm}",
            )  # fmt: skip
            assert (row["outcome"], row["unit"] != "", row["overhead_s"] > 0) == ("ok", True, True)
        assert {seen.target for seen in provider.seen} == {f"/v1/realtime?x=1&model=chat_{arm}&y=a%2Fb"}
        assert not any(
            name.lower().startswith("x-canary") for seen in provider.seen for name, _ in seen.headers
        )
        assert all(seen.header("authorization") == [f"Bearer {KEY}"] for seen in provider.seen)


def test_the_unit_may_stand_in_openai_s_own_header_and_without_any_the_baseline_serves(stage: Stage) -> None:
    async def scene(**headers: str) -> str:
        async with dial(stage, "model=voice", headers=headers) as line:
            await line.recv()
            return exchange(line)

    user = next(stage.users("candidate", "voice", 0.5, "safe"))
    row = stage.outcome(run(scene(**{"OpenAI-Safety-Identifier": user})))
    assert known(row, "arm", "reason") == ("candidate", "cohort")
    assert known(stage.outcome(run(scene())), "arm", "reason") == ("baseline", "no_unit")


def test_a_session_that_names_no_model_is_no_canary_s(stage: Stage, provider: RealtimeProvider) -> None:
    async def scene() -> str:
        async with dial(stage, "intent=transcription", unit="alice") as line:
            await line.send("hello")
            assert await line.recv() == "hello"
            assert line.response is not None and "x-canary-arm" not in line.response.headers
            return exchange(line)

    assert known(stage.outcome(run(scene())), "canary", "model", "operation") == ("", "", "realtime")
    assert provider.seen[-1].target == "/v1/realtime?intent=transcription"


def test_a_live_session_of_gemini_passes_without_a_canary(stage: Stage, provider: RealtimeProvider) -> None:
    path = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
    setup = json.dumps({"setup": {"model": "models/voice"}})

    async def scene() -> str:
        async with dial(stage, "", path=path, unit="alice", headers={"x-goog-api-key": KEY}) as line:
            await line.send(setup)
            assert await line.recv() == setup
            return exchange(line)

    assert known(stage.outcome(run(scene())), "canary", "provider", "outcome") == ("", "gemini", "ok")
    assert path in provider.seen[-1].target


def test_other_websockets_pass_too(stage: Stage, provider: RealtimeProvider) -> None:
    async def scene() -> str:
        async with dial(stage, "a=b", path="/v1/responses", unit="alice") as line:
            await line.send("hello")
            assert await line.recv() == "hello"
            return exchange(line)

    assert known(stage.outcome(run(scene())), "canary", "operation", "outcome") == ("", "other", "ok")
    assert provider.seen[-1].target == "/v1/responses?a=b"


@pytest.mark.parametrize(("status", "error_type"), [(401, "caller_unauthorized"), (404, "caller_not_found"),
                                                    (503, "provider_5xx")])  # fmt: skip
def test_a_refused_handshake_is_the_provider_s_answer(stage: Stage, status: int, error_type: str) -> None:
    async def scene() -> str:
        with pytest.raises(InvalidStatus) as refused:
            async with dial(stage, f"model=refuse-{status}"):
                pass
        response = refused.value.response
        assert response.status_code == status
        assert json.loads(response.body) == {"error": {"code": str(status)}}
        assert response.headers["x-request-id"] == "req_1"
        return response.headers["x-canary-exchange"]

    row = stage.outcome(run(scene()))
    assert known(row, "error_type", "status", "provider_request_id") == (error_type, status, "req_1")
    assert row["outcome"] == ("error" if status == 503 else "caller_error")


@pytest.mark.parametrize(
    ("name", "why"), [("refused", "candidate_rejects"), ("unknown-model", "provider_no_model")]
)
def test_the_baseline_serves_where_the_candidate_refuses(
    stage: Stage, provider: RealtimeProvider, name: str, why: str
) -> None:
    async def scene(user: str) -> str:
        async with dial(stage, f"model={name}", unit=user) as line:
            assert json.loads(await line.recv())["type"] == "session.created"
            assert line.response is not None
            assert line.response.headers["x-canary-served-by"] == "baseline"
            await ask(line)
            return exchange(line)

    row = stage.outcome(run(scene(next(stage.users("candidate", name, 0.5)))))
    assert known(row, "outcome", "error_type", "arm", "served_by", "input_tokens") == (
        "fallback", why, "candidate", "baseline", 100,
    )  # fmt: skip
    assert [attempt["arm"] for attempt in json.loads(row["attempts"])] == ["candidate", "baseline"]


def test_where_neither_has_the_arms_model_the_arm_has_failed_and_the_caller_sees_why(stage: Stage) -> None:
    async def scene(user: str) -> str:
        async with dial(stage, "model=both-unknown", unit=user) as line:
            assert json.loads(await line.recv())["error"]["code"] == "model_not_found"
            with pytest.raises(ConnectionClosed):
                await line.recv()
            assert (line.close_code, line.close_reason) == (4004, "invalid_request_error.model_not_found")
            return exchange(line)

    for arm in ("baseline", "candidate"):
        row = stage.outcome(run(scene(next(stage.users(arm, "both-unknown", 0.5)))))  # type: ignore[arg-type]
        assert known(row, "outcome", "error_type", "arm") == ("error", "provider_no_model", arm)


# An arm's own prompt

TOOL: dict[str, Any] = {"type": "function", "name": "get_order", "description": "old", "parameters": {}}


async def instruct(
    stage: Stage, unit: str, instructions: str | None, *, speaks: bool = True, model: str = "prompted"
) -> str:
    """A session of OpenAI's SDK, which sends its instructions twice; its exchange."""
    sdk = openai.AsyncOpenAI(base_url=f"{stage.server.traffic}/v1", api_key=KEY)
    async with sdk, sdk.realtime.connect(model=model, extra_headers={"x-canary-unit": unit}) as line:
        assert (await line.recv()).type == "session.created"
        for each in (instructions, None if instructions is None else f"{instructions} It is Monday."):
            if each is not None:
                await line.session.update(session={"type": "realtime", "instructions": each, "tools": [TOOL]})  # type: ignore[list-item]
        await line.input_audio_buffer.append(audio="AAAA" * 20_000)
        if speaks:
            await line.response.create()
            while (await line.recv()).type != "response.done":
                pass
        response = line._connection.response
        assert response is not None and "sec-websocket-extensions" not in response.headers
        return response.headers["x-canary-exchange"]


@pytest.mark.parametrize("arm", ["candidate", "baseline"])
def test_a_sdk_s_session_has_its_arm_s_prompt_and_counts_for_it(
    stage: Stage, provider: RealtimeProvider, arm: Literal["candidate", "baseline"]
) -> None:
    unit = next(stage.users(arm, "prompted", 0.5, "prompt"))
    row = stage.outcome(run(instruct(stage, unit, f"Hi. {V7}")))
    assert known(row, "arm", "reason", "outcome", "adapted") == (arm, "cohort", "ok", arm == "candidate")
    (seen,) = provider.sessions("chat_new" if arm == "candidate" else "chat_old")[-1:]
    prompt, tool = (V8, "Finds an order.") if arm == "candidate" else (V7, "old")
    first, second, audio, asked = seen.told
    assert first["session"]["instructions"] == f"Hi. {prompt}"
    assert second["session"]["instructions"] == f"Hi. {prompt} It is Monday."
    assert first["session"]["tools"] == [TOOL | {"description": tool}]
    assert (audio["audio"], asked["type"]) == ("AAAA" * 20_000, "response.create")


@pytest.mark.parametrize("arm", ["candidate", "baseline"])
def test_a_session_without_the_text_goes_as_it_came_and_counts_for_no_arm(
    stage: Stage, provider: RealtimeProvider, arm: Literal["candidate", "baseline"]
) -> None:
    users = stage.users(arm, "prompted", 0.5, "missed")
    for instructions, speaks, reason in (
        ("Other.", False, "prompt_missed"),
        (None, True, "prompt_missed"),
        (None, False, "cohort"),  # it ended before anybody could know
    ):
        row = stage.outcome(run(instruct(stage, next(users), instructions, speaks=speaks)))
        assert known(row, "arm", "reason") == (arm, reason)
        (seen,) = provider.sessions("chat_new" if arm == "candidate" else "chat_old")[-1:]
        told = [each["session"]["instructions"] for each in seen.told if each["type"] == "session.update"]
        assert told == ([] if instructions is None else [instructions, f"{instructions} It is Monday."])


def test_what_was_promoted_of_a_standing_canary_is_every_session_s(
    stage: Stage, provider: RealtimeProvider
) -> None:
    row = stage.outcome(run(instruct(stage, "anybody", V7, model="standing")))
    assert known(row, "arm", "reason", "adapted") == ("baseline", "standing", 1)
    assert provider.sessions("chat_stood")[-1].told[0]["session"]["instructions"] == V8


# What is recorded


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_session_has_one_outcome_with_its_usage_summed(stage: Stage, compression: str | None) -> None:
    async def scene() -> str:
        headers = {
            "x-canary-session": "call-7",
            "x-canary-category": "billing",
            "x-canary-request-id": "mine",
        }
        async with dial(stage, "model=voice", unit="u", compression=compression, headers=headers) as line:
            await line.recv()
            for _ in range(3):
                assert len(await ask(line)) == 4
            return exchange(line)

    made = run(scene())
    row = stage.outcome(made)
    assert len([each for each in stage.outcomes() if each["exchange_id"] == made]) == 1
    tokens = ("input_tokens", "cached_input_tokens", "output_tokens", "usage_estimated")
    assert known(row, "outcome", *tokens) == ("ok", 300, 192, 90, 0)
    assert row["ttft_s"] > 0
    assert known(row, "latency_s", "ttfb_s") == (None, None)
    assert known(row, "category", "request_id") == ("billing", "mine")
    assert row["session"] and "call-7" not in row["session"]


def test_text_has_its_cost_and_audio_an_unknown_one(stage: Stage) -> None:
    """This version knows the prices of text tokens: of audio it would say a tenth."""

    async def scene(audio: int) -> str:
        async with dial(stage, "model=gpt-4o-realtime-preview", path="/quiet/v1/realtime") as line:
            usage = {
                "input_tokens": 100,
                "output_tokens": 30,
                "output_token_details": {"audio_tokens": audio},
            }
            await line.send(json.dumps({"type": "response.done", "response": {"usage": usage}}))
            await line.recv()
            return exchange(line)

    row = stage.outcome(run(scene(0)))
    assert row["cost_usd"] == pytest.approx(100 * 5e-6 + 30 * 20e-6)
    row = stage.outcome(run(scene(30)))
    assert known(row, "cost_usd", "output_tokens") == (None, 30)


def test_a_session_that_came_to_its_longest_length_ended_well(stage: Stage) -> None:
    async def scene() -> str:
        async with dial(stage, "model=limit_60") as line:
            async for _ in line:
                pass
            assert line.close_code == 1001
            return exchange(line)

    assert known(stage.outcome(run(scene())), "outcome", "error_type") == ("ok", None)


def test_a_provider_that_cuts_the_session_is_seen_to(stage: Stage) -> None:
    async def scene() -> str:
        async with dial(stage, "model=echo") as line:
            await line.send("cut")
            with pytest.raises(ConnectionClosed):
                await line.recv()
            assert line.close_code == 1006
            return exchange(line)

    assert known(stage.outcome(run(scene())), "outcome", "error_type") == ("error", "provider_truncated")


@pytest.mark.parametrize(
    ("answers", "hang", "outcome"),
    [(0, False, "aborted"), (0, True, "aborted"), (1, False, "ok"), (1, True, "ok")],
)
def test_a_caller_that_cuts_is_followed(
    stage: Stage, provider: RealtimeProvider, answers: int, hang: bool, outcome: str
) -> None:
    async def scene() -> tuple[str, Seen]:
        async with dial(stage, "model=chat_cut") as line:
            seen = provider.seen[-1]
            await line.recv()
            for _ in range(answers):
                await ask(line)
            if hang:
                await line.send(
                    json.dumps({"type": "response.create", "response": {"metadata": {"hang": "1"}}})
                )
                await line.recv()
            line.transport.abort()
            return exchange(line), seen

    made, seen = run(scene())
    left = time.monotonic()
    row = stage.outcome(made)
    assert row["outcome"] == outcome
    assert row["usage_estimated"] == (1 if hang and answers else 0)
    assert eventually(lambda: seen.closed)[0] == 1006
    print(f"\nseen after {(time.monotonic() - left) * 1e3:.0f} ms at most")


def test_a_session_outlives_the_total_timeout_and_silence_ends_it(stage: Stage) -> None:
    async def scene() -> tuple[str, str]:
        async with dial(stage, "model=echo") as line:  # total: 1s
            for _ in range(15):
                await line.send("still here")
                await line.recv()
                await asyncio.sleep(0.1)
            long = exchange(line)
        async with dial(stage, "model=echo", path="/quiet/v1/realtime") as line:  # idle: 600ms
            began = time.monotonic()
            with pytest.raises(ConnectionClosed):
                await line.recv()
            assert time.monotonic() - began > 0.5
            assert line.close_code == 1006
            return long, exchange(line)

    long, quiet = run(scene())
    assert stage.outcome(long)["outcome"] == "ok"
    assert stage.outcome(quiet)["outcome"] == "aborted"


def test_a_hundred_sessions_at_once_do_not_mix(stage: Stage) -> None:
    async def one(number: int) -> str:
        async with dial(stage, f"model=echo_{number}") as line:
            for turn in range(5):
                message = f"{number}:{turn}:" + "x" * number * 10
                await line.send(message)
                assert await line.recv() == message
            return exchange(line)

    async def scene() -> list[str]:
        return await asyncio.gather(*(one(number) for number in range(100)))

    made = run(scene())
    assert len(set(made)) == 100
    rows = eventually(lambda: _all_of(stage, set(made)))
    assert {row["model_requested"] for row in rows} == {f"echo_{number}" for number in range(100)}
    assert {row["outcome"] for row in rows} == {"ok"}


def _all_of(stage: Stage, made: set[str]) -> list[dict[str, Any]] | None:
    rows = [row for row in stage.outcomes() if row["exchange_id"] in made]
    return rows if len(rows) == len(made) else None


# Whose key


def test_a_browser_s_key_passes_where_the_caller_pays_and_is_dropped_where_the_entry_does(
    stage: Stage, provider: RealtimeProvider
) -> None:
    async def scene(path: str) -> str:
        offered = ["realtime", f"openai-insecure-api-key.{KEY}", "openai-organization.org-planted"]
        protocols = [Subprotocol(each) for each in offered]
        headers = {"Authorization": "", "cookie": "planted", "openai-project": "planted"}
        async with dial(stage, "model=echo", path=path, subprotocols=protocols, headers=headers) as line:
            assert line.subprotocol == "realtime"
            await line.send("hello")
            await line.recv()
            return exchange(line)

    run(scene("/v1/realtime"))
    offered = f"realtime, openai-insecure-api-key.{KEY}, openai-organization.org-planted"
    assert provider.seen[-1].header("sec-websocket-protocol") == [offered]
    made = run(scene("/own/v1/realtime"))
    seen = provider.seen[-1]
    assert seen.header("sec-websocket-protocol") == ["realtime"]
    assert seen.header("authorization") == ["Bearer sk-planted-own"]
    assert "planted" not in str(seen.headers).replace("sk-planted-own", "")
    stage.outcome(made)
    # taken.yaml is the config file, in which this entry's key stands.
    kept = [path for path in stage.server.data.rglob("*") if path.is_file() and path.name != "taken.yaml"]
    assert [path for path in (*kept, stage.server.log_file) if b"planted" in path.read_bytes()] == []


# SDK and end


def test_openai_s_sdk_holds_a_conversation(stage: Stage) -> None:
    user = next(stage.users("candidate", "voice", 0.5, "sdk"))

    async def scene() -> list[str]:
        client = openai.AsyncOpenAI(api_key=KEY, base_url=f"{stage.server.traffic}/v1")
        headers = {"x-canary-unit": user}
        async with client, client.realtime.connect(model="voice", extra_headers=headers) as line:
            assert (await line.recv()).type == "session.created"
            await line.response.create()
            kinds: list[str] = []
            async for event in line:
                kinds.append(event.type)
                if event.type == "response.done":
                    return kinds
        raise AssertionError("the session ended")

    before = len(stage.outcomes())
    assert run(scene()) == ["response.created", *["response.output_text.delta"] * 2, "response.done"]
    (row,) = eventually(lambda: stage.outcomes()[before:])
    assert known(row, "outcome", "arm", "input_tokens") == ("ok", "candidate", 100)


@pytest.mark.more
def test_sessions_go_on_while_the_server_drains_and_are_cut_at_its_end(
    tmp_path_factory: pytest.TempPathFactory, provider: RealtimeProvider
) -> None:
    config = f'providers: {{{{openai: {{{{api: openai, base_url: "{provider.url}"}}}}}}}}\n'
    with on_stage(tmp_path_factory.mktemp("drain"), config, grace_s=2.0) as draining:
        host, port = draining.server.traffic.removeprefix("http://").split(":")

        async def scene() -> list[str]:
            async with (
                dial(draining, "model=chat_drain") as short,
                dial(draining, "model=chat_drain") as long,
            ):
                await short.recv()
                await long.recv()
                draining.server.process.send_signal(signal.SIGTERM)
                await asyncio.to_thread(eventually, _refuses(host, int(port)))
                assert len(await ask(short)) == len(await ask(long)) == 4
                await short.close()
                with pytest.raises(ConnectionClosed):
                    await long.recv()
                return [exchange(short), exchange(long)]

        made = run(scene())
        draining.server.process.wait(15)
        for each in made:
            assert known(draining.outcome(each), "outcome", "input_tokens") == ("ok", 100)


def _refuses(host: str, port: int) -> Callable[[], bool]:
    def refuses() -> bool:
        try:
            socket.create_connection((host, port), timeout=1.0).close()
        except (ConnectionRefusedError, ConnectionResetError):  # reset: caught between listening and closed
            return True
        return False

    return refuses
