"""A caller who leaves is followed at once: the provider sees the close, and one record says `aborted`."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from routing.canary import ArmName
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
  anthropic: {{api: anthropic, base_url: "{url}"}}
canaries:
"""
CASE = """
  - name: NAME
    match: {{models: [NAME]}}
    baseline: {{provider: openai, model: NAME-baseline}}
    candidate: {{provider: openai, model: NAME-candidate}}
    share: 50%
    guardrails: []
"""
MESSAGES = """
  - name: messages
    match: {{models: [claude-sonnet-4-6]}}
    baseline: {{provider: anthropic, model: claude-sonnet-4-6}}
    candidate: {{provider: anthropic, model: claude-sonnet-5}}
    share: 50%
    guardrails: []
"""
PHASES: dict[str, tuple[Behaviour, bool, bytes]] = {
    # name: (behaviour of both arms, streaming, what the caller waits for before it leaves)
    "before-headers": (Behaviour(ttfb_s=30.0, ttft_s=30.0), True, b""),
    "before-first-token": (Behaviour(ttft_s=30.0), True, b'"role":"assistant"'),
    "mid-stream": (Behaviour(pace_s=0.3), True, b"data: "),
    "document": (Behaviour(ttft_s=30.0), False, b""),
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    arms = ("baseline", "candidate")
    behaviours = {f"{name}-{arm}": phase[0] for name, phase in PHASES.items() for arm in arms}
    behaviours |= {"claude-sonnet-4-6": Behaviour(pace_s=0.3), "claude-sonnet-5": Behaviour(pace_s=0.3)}
    config = CONFIG + "".join(CASE.replace("NAME", name) for name in PHASES) + MESSAGES
    with on_stage(tmp_path_factory.mktemp("leaves"), config, provider=LocalProvider(behaviours)) as up:
        yield up


def begin(stage: Stage, path: str, body: dict[str, object], request_id: str) -> socket.socket:
    """Send one request over a bare socket, whole."""
    host, port = stage.server.traffic.removeprefix("http://").split(":")
    sent = json.dumps(body).encode()
    version = "anthropic-version: 2026-10-21\r\n" if path == "/v1/messages" else ""
    line = socket.create_connection((host, int(port)), timeout=60.0)
    line.sendall(
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer sk-caller\r\n"
        f"{version}x-canary-request-id: {request_id}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(sent)}\r\n\r\n".encode()
        + sent
    )
    return line


def wait_for(line: socket.socket, sign: bytes) -> bytes:
    """Read until the sign has come."""
    came = b""
    while sign not in came:
        part = line.recv(65536)
        assert part, f"closed before {sign!r} came"
        came += part
    return came


def shut(line: socket.socket) -> None:
    """Leave with a FIN."""


def reset(line: socket.socket) -> None:
    """Leave with a RST."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.mark.parametrize("leave", [shut, reset])
@pytest.mark.parametrize("arm", ["baseline", "candidate"])
@pytest.mark.parametrize("phase", PHASES)
def test_the_provider_sees_a_caller_leave_and_one_record_says_so(
    stage: Stage, phase: str, arm: ArmName, leave: Callable[[socket.socket], None]
) -> None:
    _, stream, sign = PHASES[phase]
    request_id = f"{phase}-{arm}-{leave.__name__}"
    stage.provider.log.clear()
    user = next(stage.users(arm, phase, 0.5, leave.__name__))
    with closing(begin(stage, "/v1/chat/completions", chat(phase, user, stream=stream), request_id)) as line:
        (entry,) = eventually(lambda: stage.provider.log.entries)
        wait_for(line, sign)
        leave(line)
        left = time.monotonic()
    eventually(lambda: entry.ending != "open")  # by itself it would not end, or as "whole"
    assert (entry.ending, entry.model) == ("caller_left", f"{phase}-{arm}")
    assert entry.left_mono is not None
    print(f"\n{phase}, {arm}, {leave.__name__}: seen after {(entry.left_mono - left) * 1e3:.1f} ms")

    def recorded() -> list[str]:
        rows = [row for row in stage.outcomes() if row["request_id"] == request_id]
        return [f"{row['arm']}: {row['outcome']}, {row['error_type']}" for row in rows]

    assert eventually(recorded) == [f"{arm}: aborted, aborted"]
    assert len(stage.provider.log.entries) == 1


def test_what_was_counted_of_an_aborted_stream_is_marked_as_estimated(stage: Stage) -> None:
    body: dict[str, object] = {
        "model": "claude-sonnet-4-6",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
    }
    with closing(begin(stage, "/v1/messages", body, "half-counted")) as line:
        wait_for(line, b"content_block_delta")
    (row,) = eventually(lambda: [each for each in stage.outcomes() if each["request_id"] == "half-counted"])
    assert (row["outcome"], row["usage_estimated"], row["input_tokens"]) == ("aborted", 1, 5)


def test_a_caller_who_leaves_before_the_body_has_come_bothers_no_provider(stage: Stage) -> None:
    stage.provider.log.clear()
    before = len(stage.outcomes())
    host, port = stage.server.traffic.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60.0) as line:
        line.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    rows = eventually(lambda: stage.outcomes()[before:])
    assert [(row["outcome"], row["canary"]) for row in rows] == [("aborted", "")]
    assert stage.provider.log.entries == []
