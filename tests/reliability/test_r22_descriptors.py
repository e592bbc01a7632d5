"""R22: a soft limit of descriptors is raised to the hard one; where that is not enough either, every caller
gets an answer or a 503 of canary's own, no arm is blamed, and the log says it once."""

import asyncio
import resource
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import msgspec
import pytest
import uvloop

from tests.e2e.stage import Stage, chat
from tests.reliability.answers import document, whole
from tests.reliability.callers import request
from tests.reliability.fault_provider import Play, Seen
from tests.reliability.load import Caller
from tests.reliability.rig import rigged
from tests.reliability.strict_http import Message
from tests.serving import eventually

CONFIG = """
providers:
  openai: {api: openai, base_url: "<model>/v1"}
  other: {api: openai, base_url: "<model>/v1", api_key: sk-candidate}
canaries:
  - name: short
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o-2024-08-06}
    candidate: {provider: other, model: gpt-4o-2024-11-20}
    share: 50%
"""
CALLERS = 700
LITTLE = 256
SHORT = '"event": "descriptors.short"'


@pytest.fixture(autouse=True, scope="module")
def room_for_callers_and_provider() -> Iterator[None]:
    """Both are in this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def limit(soft: int, hard: int) -> tuple[str, ...]:
    """A command that runs another within these limits."""
    return ("prlimit", f"--nofile={soft}:{hard}")


def together() -> Play:
    """A provider that answers nobody before all are there."""
    numbers, all_there = count(1), asyncio.Event()

    async def play(seen: Seen) -> None:
        if next(numbers) == CALLERS:
            all_there.set()
        await all_there.wait()
        seen.write(whole(document(seen.model)))

    return play


async def slow(seen: Seen) -> None:
    """A provider that takes half a second."""
    await asyncio.sleep(0.5)
    seen.write(whole(document(seen.model)))


async def crowd(stage: Stage, callers: int) -> list[Message]:
    """What so many callers of both arms were told, each over a connection of its own, all at once."""

    async def one(number: int) -> Message:
        caller = await Caller.connect(stage.server.traffic)
        answer = await caller.ask(request(stage.server.traffic, chat("gpt-4o", f"user-{number}")))
        caller.leave()
        return answer

    async with asyncio.timeout(60.0), asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(callers)]
    return [task.result() for task in tasks]


def crowded(stage: Stage, callers: int = CALLERS) -> list[Message]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(crowd(stage, callers))


def endings(stage: Stage, exchanges: int) -> Counter[tuple[str, str | None]]:
    """Outcomes and error types of so many exchanges, once they are stored."""
    rows = eventually(lambda: found if len(found := stage.outcomes()) == exchanges else None, 60.0)
    return Counter((row["outcome"], row["error_type"]) for row in rows)


def test_r22_the_soft_limit_is_raised_and_all_are_answered(tmp_path: Path) -> None:
    with rigged(tmp_path, CONFIG, {"model": together()}, wrapper=limit(1024, 4096)) as stage:
        statuses = Counter(answer.status for answer in crowded(stage))
        assert statuses == {200: CALLERS}
        assert endings(stage, CALLERS) == {("ok", None): CALLERS}
        assert SHORT not in stage.server.log_file.read_text()
    print(f"\nR22: soft 1,024, hard 4,096, {CALLERS} callers at once: {dict(statuses)}")


@pytest.mark.more
def test_r22_without_descriptors_callers_are_told_and_no_arm_is_blamed(tmp_path: Path) -> None:
    with rigged(tmp_path, CONFIG, {"model": slow}, wrapper=limit(LITTLE, LITTLE)) as stage:
        answers = crowded(stage)
        ended = endings(stage, CALLERS)
        afterwards = crowded(stage, 10)
        metrics = stage.api("GET", "/metrics").text
        log = stage.server.log_file.read_text()
    statuses = Counter(answer.status for answer in answers)
    print(f"\nR22: hard {LITTLE}, {CALLERS} callers at once: {dict(statuses)}, {dict(ended)}")
    assert set(statuses) == {200, 503}
    for answer in answers:
        if answer.status == 503:
            error = msgspec.json.decode(answer.body)["error"]
            assert (error["type"], error["code"]) == ("canary_proxy", "proxy_no_descriptors")
            assert answer.first(b"retry-after") == b"1"
    assert ended[("shed", "proxy_no_descriptors")] == statuses[503]
    assert set(ended) <= {
        ("ok", None),
        ("shed", "proxy_no_descriptors"),
        ("fallback", "proxy_no_descriptors"),
    }
    assert {answer.status for answer in afterwards} == {200}
    assert 'canary_breaker_open{canary="short"} 0.0' in metrics
    assert log.count(SHORT) == 1
