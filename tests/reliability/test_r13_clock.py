"""R13: the machine's clock jumps an hour forth, two back, and to the right time again, with requests under
way: timers run on, ids stay unique and valid, durations are true, and no canary is stopped or blamed."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import uvloop

from tests.e2e.stage import Stage, chat
from tests.reliability.answers import SSE, chunk, document, events, head, whole
from tests.reliability.callers import request
from tests.reliability.fault_provider import Seen
from tests.reliability.load import Caller
from tests.reliability.rig import rigged
from tests.reliability.strict_http import Message
from tests.serving import HandClock, eventually

CONFIG = """
providers:
  openai: {api: openai, base_url: "<model>/v1", timeout: {first_byte: 2s, total: 2s}}
canaries:
  - name: clock
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o-2024-08-06}
    candidate: {provider: openai, model: gpt-4o-2024-11-20}
    share: 50%
"""
STEPS = (3600, -3600, 0)
"""Seconds that the server's UTC is ahead of ours: an hour forth, two back, one forth."""

USERS = 20


async def play(seen: Seen) -> None:
    """A document, a stream of half a second, or nothing at all, as the question says."""
    asked = bytes(seen.message.body)
    if b"never" in asked:
        await seen.left.wait()
        return
    if b"slowly" in asked:
        seen.write(head(fields=SSE))
        for event in events(seen.model):
            seen.write(chunk(event))
            await asyncio.sleep(0.05)
        seen.write(chunk(b""))
        return
    seen.write(whole(document(seen.model)))


@pytest.fixture
def clock(tmp_path: Path) -> HandClock:
    return HandClock(tmp_path)


@pytest.fixture
def stage(tmp_path: Path, clock: HandClock) -> Iterator[Stage]:
    with rigged(tmp_path, CONFIG, {"model": play}, workers=1, env=clock.env) as up:
        yield up


async def over_a_step(stage: Stage, clock: HandClock, seconds: int) -> tuple[list[Message], Message, float]:
    """Streams and a request that nobody answers begin, the clock jumps, and all come to their ends."""
    address = stage.server.traffic
    callers = [await Caller.connect(address) for _ in range(USERS)]
    for number, caller in enumerate(callers):
        caller.transport.write(request(address, chat("gpt-4o", f"user-{number}", stream=True, text="slowly")))
    waiting = await Caller.connect(address)
    waiting.transport.write(request(address, chat("gpt-none", "user-0", text="never")))
    for caller in callers:
        await caller.begun()
    began = time.monotonic()
    clock.set(seconds)
    async with asyncio.timeout(30.0):
        answers = [await caller.answer() for caller in callers]
        timed_out = await waiting.answer()
    for caller in [*callers, waiting]:
        caller.leave()
    return answers, timed_out, time.monotonic() - began


def test_a_clock_that_jumps_stops_no_timer_and_harms_no_record(stage: Stage, clock: HandClock) -> None:
    ids: list[str] = []
    eras: list[int] = []
    waits_s: list[float] = []
    before = 0
    for seconds in STEPS:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            answers, timed_out, took_s = runner.run(over_a_step(stage, clock, seconds))
        assert {answer.status for answer in answers} == {200}
        assert timed_out.status == 504
        waits_s.append(took_s)
        ids += [(answer.first(b"x-canary-exchange") or b"").decode() for answer in answers]
        eras += [before] * len(answers)  # they began before the jump
        before = seconds
        assert {(answer.first(b"x-canary-arm") or b"") for answer in answers} == {b"candidate", b"baseline"}
        ratings = [{"exchange_id": each, "metric": "thumbs", "value": True} for each in ids]
        taken = httpx2.post(f"{stage.server.traffic}/canary/feedback", json=ratings, trust_env=False)
        assert taken.status_code == 202, taken.text
    rows = eventually(lambda: all_rows(stage, ids))
    latencies = [rows[each]["latency_s"] for each in ids]
    status = stage.status("clock")
    print(
        f"\nR13: clock at {[f'{each / 3600:+.0f} h' for each in STEPS]}: {len({*ids})} of {len(ids)} ids "
        f"unique and valid in every era, latencies {min(latencies):.2f} to {max(latencies):.2f} s, a 2 s "
        f"timeout after {min(waits_s):.2f} to {max(waits_s):.2f} s; {dict(rules(status))}"
    )
    assert len({*ids}) == len(ids)
    assert all(0.0 < latency < 60.0 for latency in latencies)
    assert max(waits_s) < 60.0
    assert (status["state"], status["share"], status["incident"]) == ("running", 0.5, None)
    assert sum(arm["requests"] for arm in status["arms"].values()) == len(ids)
    assert all(arm["p95_s"] < 60.0 for arm in status["arms"].values())
    assert not {"firing", "latched"} & {*rules(status)}
    apart_s = [rows[each]["at"] - time.time() - era for each, era in zip(ids, eras, strict=True)]
    assert all(abs(apart) < 300.0 for apart in apart_s)  # so the server's clock did jump


def all_rows(stage: Stage, ids: list[str]) -> dict[str, dict[str, float]] | None:
    rows = {row["exchange_id"]: row for row in stage.outcomes()}
    return rows if {*ids} <= {*rows} else None


def rules(status: dict[str, list[dict[str, str]]]) -> Counter[str]:
    return Counter(rule["state"] for rule in status["guardrails"])
