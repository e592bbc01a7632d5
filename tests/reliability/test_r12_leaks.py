"""R12: after many requests, a tenth of them cancelled in one phase or another, everything is back where it
was: file descriptors, tasks, the pool's slots; memory does not grow with the number of requests."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest
import uvloop

from canary.python_path import ROOMS, ROOT
from routing.canary import ArmName
from tests.e2e.stage import Stage, chat, worker_pids
from tests.reliability.answers import SSE, answer, chunk, event, head
from tests.reliability.callers import request
from tests.reliability.fault_provider import Seen
from tests.reliability.load import Caller, resident_kib
from tests.reliability.rig import rigged
from tests.serving import eventually

pytestmark = pytest.mark.more  # long

CONFIG = """
providers:
  openai: {api: openai, base_url: "<only>/v1"}
canaries:
  - name: leaks
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o-2024-08-06}
    candidate: {provider: openai, model: gpt-4o-2024-11-20}
    share: 50%
    guardrails: []
"""
ARMS: tuple[ArmName, ...] = ("candidate", "baseline")
CONNECTIONS = 32
ONE_IN = 10
WARM_UP = 2_000
FORGET_EACH = 5_000
A_LANE = 2048
LONG = int(os.environ.get("LEAK_REQUESTS", "200000"))
A_FEW = 500  # objects come and go with what was asked last; what leaks grows with the requests
MOST_GROWTH = 0.05


async def play(seen: Seen) -> None:
    """Whoever is going to leave is kept waiting: before the head, or in the middle of a stream."""
    body = seen.message.body
    if b"leaves in a stream" in body:
        seen.write(head(200, SSE), chunk(event(seen.model, {"content": "word "})))
    if b"leaves" in body:
        await seen.left.wait()
    else:
        await answer(seen)


@dataclass(frozen=True)
class Holdings:
    """What a worker holds. `sockets`: descriptors less the connections that the provider sees."""

    sockets: int
    tasks: int
    objects: int
    kib: int


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("r12")
    probed = _with_probe(folder / "rooms")
    env = {"HOLDINGS": str(folder)}
    with rigged(folder / "server", CONFIG, {"only": play}, env=env, wrapper=("env", "-C", probed)) as up:
        yield up


def _with_probe(folder: Path) -> str:
    """A checkout that holds the rooms under test and the probe. Children take no other PYTHONPATH."""
    folder.mkdir()
    for held in [*(Path(ROOT) / room for room in ROOMS), *Path(ROOT).glob("canary__mypyc*")]:
        (folder / held.name).symlink_to(held)
    (folder / "sitecustomize.py").symlink_to(Path(__file__).parent / "probe" / "sitecustomize.py")
    return str(folder)


def holdings(stage: Stage, folder: Path) -> Holdings:
    (worker,) = worker_pids(stage.server)
    file = folder / f"{worker}.json"
    file.unlink(missing_ok=True)
    os.kill(worker, signal.SIGUSR2)
    found = json.loads(eventually(lambda: file.exists() and file.read_text()))
    descriptors = len(list(Path(f"/proc/{worker}/fd").iterdir()))
    sockets = descriptors - len(stage.provider.open_lines)
    return Holdings(sockets, found["tasks"], found["objects"], resident_kib(worker))


def users_of_both(stage: Stage, each: int) -> list[str]:
    """So many of either arm."""
    return [user for arm in ARMS for user in islice(stage.users(arm, "leaks", 0.5), each)]


async def run(stage: Stage, requests: int) -> int:
    """Send them over a few connections; every tenth caller leaves. How many were answered."""
    address, numbers, answered = stage.server.traffic, iter(range(requests)), 0
    stage.provider.log.clear()
    users = users_of_both(stage, 50)
    plain = [
        request(address, chat("gpt-4o", user, stream=place % 2 == 0)) for place, user in enumerate(users)
    ]
    leaving = [
        request(address, chat("gpt-4o", user, stream=True, text=text))
        for user in users[::7]
        for text in ("leaves before the head", "leaves in a stream")
    ]

    async def one_by_one() -> None:
        nonlocal answered
        caller = await Caller.connect(address)
        for number in numbers:
            if number % FORGET_EACH == 0:
                stage.provider.log.clear()
            if number % ONE_IN:
                assert (await caller.ask(plain[number % len(plain)])).status == 200
                answered += 1
            else:
                data = leaving[number // ONE_IN % len(leaving)]
                caller.transport.write(data)
                if b"in a stream" in data:
                    await caller.begun()
                elif number // ONE_IN % 4 < 2:
                    await asyncio.sleep(0)
                caller.leave()
                caller = await Caller.connect(address)
        caller.leave()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(one_by_one())
    return answered


async def fill(stage: Stage) -> int:
    """As many streams of each arm as its connection limit allows; how many of all reached the provider.

    The candidate's first: where the baseline's limit is reached, both arms are refused.
    """
    address = stage.server.traffic
    stage.provider.log.clear()
    callers: list[Caller] = []
    for arm in ARMS:
        for user in islice(stage.users(arm, "leaks", 0.5), A_LANE):
            callers.append(await Caller.connect(address))
            text = chat("gpt-4o", user, stream=True, text="leaves in a stream")
            callers[-1].transport.write(request(address, text))
        await asyncio.gather(*(caller.begun() for caller in callers))
    for caller in callers:
        caller.leave()
    return len(stage.provider.log)


def quiet(stage: Stage) -> bool:
    """Nothing in flight, and no play running."""
    return "canary_inflight_requests 0.0" in stage.api("GET", "/metrics").text and all(
        seen.over for seen in stage.provider.log
    )


@pytest.mark.parametrize(
    "requests", [6_000, pytest.param(LONG, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_everything_is_back_where_it_was(requests: int, stage: Stage) -> None:
    folder = stage.server.config.parents[1]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(stage, WARM_UP))
        eventually(lambda: quiet(stage))
        before = holdings(stage, folder)
        answered = runner.run(run(stage, requests))
        eventually(lambda: quiet(stage))
        after = eventually(lambda: same(before, holdings(stage, folder)))
        slots = runner.run(fill(stage))
    growth = after.kib / before.kib - 1
    print(
        f"\nR12: {requests} requests, {requests - answered} of them cancelled: "
        f"descriptors {before.sockets} and {after.sockets}, tasks {before.tasks} and {after.tasks}, "
        f"objects {before.objects} and {after.objects}, "
        f"RSS {before.kib / 1024:.1f} and {after.kib / 1024:.1f} MiB ({growth:+.1%}), "
        f"{slots} of {2 * A_LANE} slots usable"
    )
    assert slots == 2 * A_LANE
    assert requests - answered == requests // ONE_IN
    assert after.objects < before.objects + A_FEW
    assert growth < MOST_GROWTH


def same(before: Holdings, after: Holdings) -> Holdings | None:
    """`after`, once descriptors and tasks are what they were."""
    return after if (after.sockets, after.tasks) == (before.sockets, before.tasks) else None
