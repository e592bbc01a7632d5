"""When a worker begins to accept callers, and how one ends that is broken."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from canary.programs.process import WorkerArgs
from canary.programs.worker import Worker
from proxy.network.server.endpoints import READY_WITHIN_S
from records.shared import states_file
from records.shared.states_file import StatesWatch
from routing.canary import definition
from routing.states import PREFLIGHT_RUNS, STALE_AFTER_S, State, States
from tests.canary.handed import handed

CONFIG = 'providers: {openai: {api: openai, base_url: "http://127.0.0.1:9/v1"}}'


CANARY = """
canaries:
  - name: support
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o}
    candidate: {provider: openai, model: gpt-5}
    share: 50%
"""


def orders(folder: Path, fd: int) -> WorkerArgs:
    return WorkerArgs(data=str(folder), fd=fd, slot=0, grace_s=1.0, workers=1, host="127.0.0.1")


@asynccontextmanager
async def working(
    folder: Path, config_text: str
) -> AsyncIterator[tuple[Worker, Callable[[], socket.socket]]]:
    """A worker that runs, and what connects to it."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    with handed(config_text) as config:
        worker = Worker(orders(folder, listener.detach()), config)
        running = asyncio.create_task(worker.run())
        try:
            yield worker, lambda: socket.create_connection(address)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            await running


async def answered(caller: socket.socket) -> bytes:
    """What /readyz says, once the worker has accepted the caller."""
    caller.setblocking(False)
    loop, told = asyncio.get_running_loop(), b""
    await loop.sock_sendall(caller, b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    while part := await loop.sock_recv(caller, 4096):
        told += part
    return told.partition(b"\r\n\r\n")[2]


def a_plan(worker: Worker, **state: object) -> States:
    canary = worker.config.current.canaries["support"].canary
    running = State(state="running", share=0.5, definition=definition(canary))
    return States(version=2, refreshed_at=time.time(), states={"support": replace(running, **state)})


UNSETTLED: dict[str, Callable[[Worker], States | None]] = {
    "no plan": lambda worker: None,
    "another config's plan": lambda worker: replace(a_plan(worker), version=1, states={}),
    "an old plan": lambda worker: replace(
        a_plan(worker), version=1, refreshed_at=time.time() - STALE_AFTER_S
    ),
    "a preflight": lambda worker: a_plan(worker, state="waiting", share=0.0, reason=PREFLIGHT_RUNS),
}


@pytest.mark.parametrize("case", UNSETTLED)
def test_a_worker_accepts_nobody_before_its_plan_has_the_state_of_every_canary(
    tmp_path: Path, case: str
) -> None:
    async def story() -> None:
        async with working(tmp_path, CONFIG + CANARY) as (worker, connect):
            if (plan := UNSETTLED[case](worker)) is not None:
                states_file.write(tmp_path / "plan.json", plan)
            with connect() as caller:
                waiting = asyncio.create_task(answered(caller))
                await heartbeats(worker, 3)
                assert not waiting.done()
                states_file.write(tmp_path / "plan.json", a_plan(worker))
                assert await waiting == b"ready\n"
                assert worker.states.states["support"].effective_share == 0.5

    asyncio.run(story())


async def heartbeats(worker: Worker, number: int) -> None:
    """Wait for so many looks at the plan."""
    seen = 0
    poll = worker.states_watch.poll

    def counted(now_utc: float, mono: float) -> States:
        nonlocal seen
        seen += 1
        return poll(now_utc, mono)

    worker.states_watch.poll = counted  # type: ignore[method-assign]
    while seen < number:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)
    worker.states_watch.poll = poll  # type: ignore[method-assign]


def test_after_ten_seconds_a_worker_accepts_callers_without_a_plan(tmp_path: Path) -> None:
    async def story() -> None:
        async with working(tmp_path, CONFIG + CANARY) as (worker, connect):
            with connect() as caller:
                waiting = asyncio.create_task(answered(caller))
                worker.endpoints.started -= READY_WITHIN_S
                assert await waiting == b"no plan: baseline only\n"

    asyncio.run(story())


def test_a_worker_without_canaries_waits_for_no_plan(tmp_path: Path) -> None:
    async def story() -> None:
        async with working(tmp_path, CONFIG) as (_, connect):
            with connect() as caller:
                assert await answered(caller) == b"waiting for a plan\n"

    asyncio.run(story())


class Broken(StatesWatch):
    """A plan that cannot be looked at."""

    def poll(self, now_utc: float, mono: float) -> States:
        raise LookupError("a defect")


def test_what_breaks_a_worker_is_raised_once_it_has_drained(tmp_path: Path) -> None:
    async def story(fd: int) -> None:
        with handed(CONFIG) as config:
            worker = Worker(orders(tmp_path, fd), config)
            worker.states_watch = Broken(tmp_path / "plan.json")
            await worker.run()

    with pytest.raises(LookupError, match="a defect"):
        asyncio.run(story(socket.create_server(("127.0.0.1", 0)).detach()))
