"""R14: beyond its bound of requests in flight canary refuses at once, both arms alike, with `retry-after`;
whoever was let in gets an answer, and nobody hangs."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice, repeat

import pytest
import uvloop

from tests.e2e.stage import Stage, chat
from tests.reliability.answers import document, whole
from tests.reliability.callers import request
from tests.reliability.fault_provider import Seen
from tests.reliability.load import Caller, Traffic, closed_loop
from tests.reliability.rig import percentile, rigged
from tests.serving import eventually

CONFIG = """
providers:
  openai: {api: openai, base_url: "<held>/v1", timeout: {connect: 100s, first_byte: 100s, total: 100s}}
  other: {api: openai, base_url: "<held>/v1", api_key: sk-candidate,
          timeout: {connect: 100s, first_byte: 100s, total: 100s}}
canaries:
  - name: overload
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o-2024-08-06}
    candidate: {provider: other, model: gpt-4o-2024-11-20}
    share: 50%
    guardrails: []
"""
MOST_IN_FLIGHT = 4096
A_LANE = 1024
BEYOND = 200
ARMS = ("baseline", "candidate")


class Gate:
    """A provider that answers nobody before it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def play(self, seen: Seen) -> None:
        """Wait for the gate."""
        if b"held" in seen.message.body:
            await self.open.wait()
        seen.write(whole(document(seen.model)))


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate()


@pytest.fixture(scope="module")
def stage(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with rigged(tmp_path_factory.mktemp("r14"), CONFIG, {"held": gate.play}) as up:
        yield up


def of_both_arms(stage: Stage, count: int, text: str) -> list[bytes]:
    """Requests of users of the arms by turns."""
    users = [islice(stage.users(arm, "overload", 0.5, arm), count // 2) for arm in ARMS]
    both = chain.from_iterable(zip(*users, strict=True))
    return [request(stage.server.traffic, chat("gpt-4o", user, text=text)) for user in both]


def all_in_flight(stage: Stage) -> bool:
    """As many as may be: a full backlog lets some come late, and until then one more would wait with them."""
    return f"canary_inflight_requests {MOST_IN_FLIGHT}.0" in stage.api("GET", "/metrics").text


async def crowd(stage: Stage, gate: Gate, requests: list[bytes]) -> tuple[list[str], list[float]]:
    """As many as may be in flight at once, then the others one by one, then the gate opens.

    What each was told, and the seconds until each refusal of those who came one by one.
    """
    told, took_s = ["" for _ in requests], []

    async def one(number: int) -> float:
        caller = await Caller.connect(stage.server.traffic)
        began = time.monotonic()
        answer = await caller.ask(requests[number])
        took = time.monotonic() - began
        told[number] = " ".join([str(answer.status), (answer.first(b"retry-after") or b"").decode()]).strip()
        caller.leave()
        return took

    async with asyncio.TaskGroup() as group:
        for number in range(MOST_IN_FLIGHT):
            group.create_task(one(number))
        await asyncio.to_thread(eventually, lambda: len(stage.provider.log) == 2 * A_LANE, 60.0)
        await asyncio.to_thread(
            eventually, lambda: all_in_flight(stage), 60.0
        )  # a full backlog lets some wait
        for number in range(MOST_IN_FLIGHT, len(requests)):
            took_s.append(await one(number))
        assert set(Counter(seen.model for seen in stage.provider.log).values()) == {A_LANE}
        stage.provider.loop.call_soon_threadsafe(gate.open.set)
    return told, took_s


def test_beyond_the_bound_both_arms_are_refused_alike_and_nobody_hangs(stage: Stage, gate: Gate) -> None:
    requests = of_both_arms(stage, MOST_IN_FLIGHT + BEYOND, "held")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        told, took_s = runner.run(asyncio.wait_for(crowd(stage, gate, requests), 100.0))
    by_arm = {arm: Counter(told[place::2]) for place, arm in enumerate(ARMS)}
    assert Counter(told) == {"200": MOST_IN_FLIGHT, "503 1": BEYOND}
    assert by_arm["baseline"] == by_arm["candidate"]
    rows = eventually(lambda: found if len(found := stage.outcomes()) == len(requests) else None, 30.0)
    shed = Counter((row["outcome"], row["error_type"]) for row in rows)
    assert shed == {("ok", None): MOST_IN_FLIGHT, ("shed", "shed"): BEYOND}
    print(
        f"\nR14: {len(requests)} at once: {dict(by_arm['baseline'])} of each arm, refused after "
        f"p50 {percentile(took_s, 0.5) * 1e3:.1f} ms, p99 {percentile(took_s, 0.99) * 1e3:.1f} ms (target "
        f"20 ms); {A_LANE} of each arm were at the provider"
    )


@pytest.mark.slow
def test_goodput_at_twice_the_bound(stage: Stage) -> None:
    """Closed loops: a few connections for the maximum, then twice as many connections as the bound."""
    requests = of_both_arms(stage, 2000, "quick")
    for connections, count in ((64, 20_000), (2 * MOST_IN_FLIGHT, 60_000)):
        traffic, began = Traffic(), time.monotonic()
        endless = islice(chain.from_iterable(repeat(requests)), count)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(closed_loop(stage.server.traffic, endless, traffic, connections=connections))
        took = time.monotonic() - began
        assert traffic.broken == 0
        assert {*traffic.statuses} <= {200, 503}
        print(
            f"\nR14: {connections} connections: {count / took:.0f} requests/s, of them "
            f"{traffic.statuses[200] / took:.0f} answered 200, {traffic.statuses[503] / took:.0f} 503"
        )
