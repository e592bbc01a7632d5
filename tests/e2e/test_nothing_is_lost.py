"""What a caller got to its end is in the store exactly once, whichever process died meanwhile."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from canary.demo.behaviour import Behaviour
from tests.e2e.stage import Stage, chat, on_stage, worker_pids
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: support-nov
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 50%
    guardrails: []
"""
MODELS = ("gpt-4o-2024-08-06", "gpt-4o-2024-11-20")
CLIENTS = 8
KILLS = 5
BETWEEN_KILLS = 60
KEY = {"authorization": "Bearer sk-caller"}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with on_stage(tmp_path_factory.mktemp("lost"), CONFIG, workers=2) as up:
        yield up


@dataclass
class Load:
    """Closed-loop clients, every other one streaming: each asks again as soon as it has its answer."""

    stage: Stage
    completed: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def client(self, number: int) -> None:
        """One client, until told to stop."""
        asked = 0
        with httpx2.Client(
            base_url=self.stage.server.traffic, headers=KEY, trust_env=False, timeout=20.0
        ) as http:
            while not self.stop.is_set():
                asked += 1
                began = time.monotonic()
                try:
                    self._ask(http, number, asked)
                except httpx2.TransportError as error:
                    self.broken.append(type(error).__name__)
                self.waits_s.append(time.monotonic() - began)

    def _ask(self, http: httpx2.Client, number: int, asked: int) -> None:
        stream = number % 2 == 0
        body = chat("gpt-4o", f"user-{number}-{asked}", stream=stream)
        with http.stream("POST", CHAT, json=body) as answer:
            text = answer.read()
        assert answer.status_code == 200
        assert text.endswith(b"data: [DONE]\n\n") if stream else text.rstrip().endswith(b"}")
        self.completed.append(answer.headers["x-canary-exchange"])


def serving(stage: Stage) -> list[int]:
    """The workers that serve, the oldest first: a worker's spool file begins with its first sign of life."""
    spools = [file.name for file in (stage.server.data / "spool").glob("*.spool") if file.stat().st_size]
    return sorted(pid for pid in worker_pids(stage.server) if any(f"-{pid}-" in name for name in spools))


def sums(stage: Stage, family: str) -> Counter[str]:
    """A counter's values, added up by the last of its labels (`state`, `outcome`)."""
    text = httpx2.get(f"{stage.server.admin}/metrics", trust_env=False).text
    found: Counter[str] = Counter()
    for each in text_string_to_metric_families(text):
        for sample in each.samples:
            if sample.name == family:
                found[next(reversed(sample.labels.values()), "")] += int(sample.value)
    return found


def test_a_completed_exchange_is_stored_once_whichever_worker_is_killed(stage: Stage) -> None:
    for model in MODELS:
        stage.provider.behave(model, Behaviour(ttft_s=0.01, pace_s=0.001))
    load, back_s = Load(stage), list[float]()
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(load.client, number) for number in range(CLIENTS)]
        try:
            for _ in range(KILLS):
                wanted = len(load.completed) + BETWEEN_KILLS
                eventually(lambda wanted=wanted: len(load.completed) >= wanted)  # type: ignore[misc]
                both = eventually(lambda: found if len(found := serving(stage)) == 2 else None)
                os.kill(both[0], signal.SIGKILL)
                killed_at = time.monotonic()
                eventually(lambda victim=both[0]: len({*serving(stage)} - {victim}) == 2)  # type: ignore[misc]
                back_s.append(time.monotonic() - killed_at)
            wanted = len(load.completed) + BETWEEN_KILLS
            eventually(lambda: len(load.completed) >= wanted)
        finally:
            load.stop.set()
    for done in clients:
        done.result()

    completed = {*load.completed}
    eventually(lambda: completed <= {row["exchange_id"] for row in stage.outcomes()})
    rows = Counter(row["exchange_id"] for row in stage.outcomes())
    print(
        f"\n{KILLS} kills: {len(completed)} exchanges that callers got whole, each compared with the store; "
        f"{len(load.broken)} broke ({dict(Counter(load.broken))}); "
        f"back after {max(back_s):.2f} s at most, longest wait of a caller {max(load.waits_s):.2f} s"
    )
    assert len(completed) == len(load.completed) >= (KILLS + 1) * BETWEEN_KILLS
    assert {*rows.values()} == {1}
    assert len(load.broken) <= KILLS * CLIENTS
    assert len(rows) <= len(load.completed) + len(load.broken)
    counted = {"accepted": len(rows), "stored": len(rows), "dropped": 0, "quarantined": 0}
    eventually(lambda: sums(stage, "canary_records_total") == Counter(counted))
    eventually(lambda: sums(stage, "canary_requests_total").total() == len(rows))


def test_the_other_workers_connections_do_not_notice(stage: Stage) -> None:
    for model in MODELS:
        stage.provider.behave(model, Behaviour(pace_s=0.05))
    with ExitStack() as open_streams:
        streams = [opened(stage, open_streams, f"other-{number}") for number in range(12)]
        victim, survivor = worker_pids(stage.server)
        owners = [owner_of(connection_of(answer), (victim, survivor)) for answer in streams]
        assert {*owners} == {victim, survivor}
        os.kill(victim, signal.SIGKILL)
        ends = [ended_well(answer) for answer in streams]
    assert ends == [owner == survivor for owner in owners]
    print(f"\na worker killed: {ends.count(False)} streams broke with it, {ends.count(True)} ended well")
    kept = {answer.headers["x-canary-exchange"] for answer, well in zip(streams, ends, strict=True) if well}
    eventually(lambda: kept <= {row["exchange_id"] for row in stage.outcomes() if row["outcome"] == "ok"})
    eventually(lambda: len({*worker_pids(stage.server)} - {victim}) == 2)


def test_sigterm_lets_open_streams_end_and_ships_the_spool(stage: Stage) -> None:
    for model in MODELS:
        stage.provider.behave(model, Behaviour(pace_s=0.06))  # about 1.5 s, of 5 s of grace
    with ExitStack() as open_streams:
        streams = [opened(stage, open_streams, f"late-{number}") for number in range(12)]
        stopping = threading.Thread(target=stage.server.stop)
        stopping.start()
        ends = [ended_well(answer) for answer in streams]
        stopping.join()
    assert ends == [True] * len(streams)
    assert stage.server.process.returncode == 0
    stored = {row["exchange_id"]: row["outcome"] for row in stage.outcomes()}  # with the server down
    assert {stored[answer.headers["x-canary-exchange"]] for answer in streams} == {"ok"}
    assert not [file for file in (stage.server.data / "spool").iterdir() if file.stat().st_size]


def opened(stage: Stage, until: ExitStack, user: str) -> httpx2.Response:
    """A stream whose head has come, over a connection of its own."""
    http = until.enter_context(httpx2.Client(headers=KEY, trust_env=False, timeout=20.0))
    body = chat("gpt-4o", user, stream=True)
    return until.enter_context(http.stream("POST", f"{stage.server.traffic}{CHAT}", json=body))


def ended_well(answer: httpx2.Response) -> bool:
    """Read a stream: True at a whole one's clean end, False where it broke off."""
    try:
        return answer.read().endswith(b"data: [DONE]\n\n")
    except httpx2.TransportError:
        return False


def connection_of(answer: httpx2.Response) -> tuple[int, int]:
    """The server's port and the caller's own of the connection an answer comes over."""
    stream = answer.extensions["network_stream"]
    return stream.get_extra_info("server_addr")[1], stream.get_extra_info("client_addr")[1]


def owner_of(connection: tuple[int, int], pids: tuple[int, ...]) -> int:
    """Which process has the server's end of a connection over loopback, by its two ports."""
    server, caller = (f":{port:04X}" for port in connection)
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (inode,) = [line[9] for line in lines if line[1].endswith(server) and line[2].endswith(caller)]
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            if descriptor.is_symlink() and str(descriptor.readlink()) == f"socket:[{inode}]":
                return pid
    raise AssertionError(f"no process of {pids} has the connection from port {connection[1]}")
