"""R14: beyond its bound of requests in flight canary refuses at once, both arms alike, with `retry-after`;
whoever was let in gets an answer, and nobody hangs. Goodput: `python -m benchmarks.overload`."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat

import pytest
import uvloop

from routing.canary import ArmName
from tests.e2e.stage import Stage, chat
from tests.reliability.answers import document, whole
from tests.reliability.callers import request
from tests.reliability.fault_provider import Seen
from tests.reliability.load import Caller
from tests.reliability.rig import percentile, rigged
from tests.reliability.strict_http import Message
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
    candidate: {provider: other, model: gpt-4o-2024-11-20, patience: 100s}
    share: 50%
    guardrails: []
"""
MOST_IN_FLIGHT = 4096
A_LANE = 2048
PLAIN = 1000
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


def of_one_arm(stage: Stage, arm: ArmName, count: int, text: str) -> list[bytes]:
    """Requests of users of one arm."""
    users = islice(stage.users(arm, "overload", 0.5, "more"), count)
    return [request(stage.server.traffic, chat("gpt-4o", user, text=text)) for user in users]


def in_flight(stage: Stage, count: int) -> bool:
    """So many: a full backlog lets some come late, and until then one more would wait with them."""
    return f"canary_inflight_requests {count}.0" in stage.api("GET", "/metrics").text


@dataclass(frozen=True)
class Crowd:
    """What the first were told, who came all at once, and the others, who then came one by one; how many
    seconds each of those took."""

    first: list[Message]
    others: list[Message]
    took_s: list[float]


async def crowd(stage: Stage, gate: Gate, first: list[bytes], others: list[bytes]) -> Crowd:
    """The first at once, the others once all those are at the provider; then the gate opens."""

    async def one(data: bytes) -> Message:
        caller = await Caller.connect(stage.server.traffic)
        answer = await caller.ask(data)
        caller.leave()
        return answer

    stage.provider.log.clear()
    told, took_s = [], []
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(data)) for data in first]
        try:
            await asyncio.to_thread(eventually, lambda: len(stage.provider.log) == len(first), 60.0)
            await asyncio.to_thread(eventually, lambda: in_flight(stage, len(first)), 60.0)
            for data in others:
                began = time.monotonic()
                told.append(await one(data))
                took_s.append(time.monotonic() - began)
        finally:
            stage.provider.loop.call_soon_threadsafe(gate.open.set)
    stage.provider.loop.call_soon_threadsafe(gate.open.clear)
    return Crowd([task.result() for task in tasks], told, took_s)


def crowded(stage: Stage, gate: Gate, first: list[bytes], others: list[bytes]) -> Crowd:
    """The same, with an end in any case."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(crowd(stage, gate, first, others), 110.0))


def endings(stage: Stage, since: int, count: int) -> Counter[tuple[str, str | None]]:
    """Outcomes and error types of so many exchanges, once they are stored."""
    rows = eventually(lambda: found if len(found := stage.outcomes()[since:]) == count else None)
    return Counter((row["outcome"], row["error_type"]) for row in rows)


def is_refusal(answer: Message) -> bool:
    """503, and when to come again."""
    return (answer.status, answer.first(b"retry-after")) == (503, b"1")


def test_beyond_the_bound_both_arms_are_refused_alike_and_nobody_hangs(stage: Stage, gate: Gate) -> None:
    of_none = request(stage.server.traffic, chat("no-canary-takes-it", "anybody", text="held"))
    held = [*of_both_arms(stage, 2 * A_LANE - PLAIN, "held"), *repeat(of_none, PLAIN)]
    found = crowded(stage, gate, held, of_both_arms(stage, BEYOND, "held"))
    assert len(held) == MOST_IN_FLIGHT
    assert {answer.status for answer in found.first} == {200}
    assert all(map(is_refusal, found.others))
    assert endings(stage, 0, len(held) + BEYOND) == {("ok", None): len(held), ("shed", "shed"): BEYOND}
    refused_s = [percentile(found.took_s, part) * 1e3 for part in (0.5, 0.99)]
    print(
        f"\nR14: {len(held)} at once all answered; {BEYOND} more refused, half of them of each arm, after "
        f"p50 {refused_s[0]:.1f} ms, p99 {refused_s[1]:.1f} ms (target 20 ms)"
    )


@pytest.mark.more
def test_beyond_what_the_baseline_may_hold_both_arms_are_refused_alike(stage: Stage, gate: Gate) -> None:
    before = len(stage.outcomes())
    held = of_one_arm(stage, "baseline", A_LANE, "held")
    found = crowded(stage, gate, held, of_both_arms(stage, 10, "quick"))
    assert {answer.status for answer in found.first} == {200}
    assert all(map(is_refusal, found.others))
    assert endings(stage, before, A_LANE + 10) == {("ok", None): A_LANE, ("shed", "shed"): 10}


def test_a_candidate_that_holds_all_it_may_is_covered_at_once_and_not_blamed(
    stage: Stage, gate: Gate
) -> None:
    before = len(stage.outcomes())
    held = of_one_arm(stage, "candidate", A_LANE, "held")
    found = crowded(stage, gate, held, of_both_arms(stage, 10, "quick"))
    assert {answer.status for answer in found.first + found.others} == {200}
    assert {answer.first(b"x-canary-served-by") for answer in found.first} == {None}
    served = [(answer.first(b"x-canary-arm"), answer.first(b"x-canary-served-by")) for answer in found.others]
    assert served == [(b"baseline", None), (b"candidate", b"baseline")] * 5
    assert endings(stage, before, A_LANE + 10) == {("ok", None): A_LANE + 5, ("fallback", "proxy_full"): 5}
