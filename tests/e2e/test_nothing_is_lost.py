"""What a caller got to its end is in the store exactly once, whichever process died meanwhile."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from tests.e2e.stage import Stage, chat, worker_pids
from tests.reliability.answers import DONE, SSE, chunk, events, head
from tests.reliability.fault_provider import FaultProvider, Seen
from tests.serving import eventually

CONFIG = """
providers:
  openai: {api: openai, base_url: "<gated>/v1"}
canaries:
  - name: support-nov
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o-2024-08-06}
    candidate: {provider: openai, model: gpt-4o-2024-11-20}
    share: 50%
    guardrails: []
"""
KEY = {"authorization": "Bearer sk-caller"}
CHAT = "/v1/chat/completions"
STREAMS = 24


class Gate:
    """A provider whose streams begin at once, and go on once the gate is open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def play(self, seen: Seen) -> None:
        """A stream, held after its first event."""
        first, *others = map(chunk, events(seen.model))
        seen.write(head(fields=SSE), first)
        await self.open.wait()
        seen.write(*others, chunk(b""))


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def stage(gate: Gate, tmp_path: Path) -> Iterator[Stage]:
    with FaultProvider({"gated": gate.play}) as provider:
        config = CONFIG.replace("<gated>", provider.url("gated"))
        up = Stage(tmp_path, provider, config, workers=2)  # type: ignore[arg-type]
        try:
            yield up
        finally:
            up.server.kill()


@pytest.mark.more
def test_the_other_workers_connections_do_not_notice(stage: Stage, gate: Gate) -> None:
    with ExitStack() as open_streams:
        streams = [opened(stage, open_streams, f"other-{number}") for number in range(STREAMS)]
        victim, survivor = worker_pids(stage.server)
        owners = [owner_of(connection_of(answer), (victim, survivor)) for answer in streams]
        assert {*owners} == {victim, survivor}
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{victim}").exists())
        stage.provider.loop.call_soon_threadsafe(gate.open.set)
        ends = [ended_well(answer) for answer in streams]
    assert ends == [owner == survivor for owner in owners]
    print(f"\na worker killed: {ends.count(False)} streams broke with it, {ends.count(True)} ended well")
    kept = {answer.headers["x-canary-exchange"] for answer, well in zip(streams, ends, strict=True) if well}
    eventually(lambda: kept <= {row["exchange_id"] for row in stage.outcomes() if row["outcome"] == "ok"})
    eventually(lambda: len({*worker_pids(stage.server)} - {victim}) == 2)


def test_sigterm_lets_open_streams_end_and_ships_the_spool(stage: Stage, gate: Gate) -> None:
    with ExitStack() as open_streams:
        streams = [opened(stage, open_streams, f"late-{number}") for number in range(STREAMS)]
        stopping = threading.Thread(target=stage.server.stop)
        stopping.start()
        eventually(lambda: not accepts(stage.server.traffic))
        stage.provider.loop.call_soon_threadsafe(gate.open.set)
        ends = [ended_well(answer) for answer in streams]
        stopping.join()
    assert ends == [True] * len(streams)
    assert stage.server.process.returncode == 0
    stored = {row["exchange_id"]: row["outcome"] for row in stage.outcomes()}  # with the server down
    assert {stored[answer.headers["x-canary-exchange"]] for answer in streams} == {"ok"}
    assert not [file for file in (stage.server.data / "spool").iterdir() if file.stat().st_size]


def accepts(address: str) -> bool:
    """True while somebody listens there."""
    host, port = address.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), timeout=10.0).close()
    except ConnectionError:
        return False
    return True


def opened(stage: Stage, until: ExitStack, user: str) -> httpx2.Response:
    """A stream whose head has come, over a connection of its own."""
    http = until.enter_context(httpx2.Client(headers=KEY, trust_env=False, timeout=20.0))
    body = chat("gpt-4o", user, stream=True)
    return until.enter_context(http.stream("POST", f"{stage.server.traffic}{CHAT}", json=body))


def ended_well(answer: httpx2.Response) -> bool:
    """Read a stream: True at a whole one's clean end, False where it broke off."""
    try:
        return answer.read().endswith(DONE)
    except httpx2.TransportError:
        return False


def connection_of(answer: httpx2.Response) -> tuple[int, int]:
    """The server's port and the caller's own of the connection an answer comes over."""
    stream = answer.extensions["network_stream"]
    return stream.get_extra_info("server_addr")[1], stream.get_extra_info("client_addr")[1]


def owner_of(connection: tuple[int, int], pids: tuple[int, ...]) -> int:
    """Which process has the server's end of a connection over loopback, by its two ports.

    The kernel may list one socket twice while others come and go.
    """
    server, caller = (f":{port:04X}" for port in connection)
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (inode,) = {line[9] for line in lines if line[1].endswith(server) and line[2].endswith(caller)}
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            if descriptor.is_symlink() and str(descriptor.readlink()) == f"socket:[{inode}]":
                return pid
    raise AssertionError(f"no process of {pids} has the connection from port {connection[1]}")
