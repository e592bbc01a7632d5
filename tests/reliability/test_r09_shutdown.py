"""R9: whoever is being answered when the server is told to end gets the answer to its end and is recorded;
one server takes over from another without a refused or broken request."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx2
import pytest
import uvloop

from canary.programs.process import SIGINT_GRACE_S
from tests.e2e.stage import Stage, chat
from tests.reliability.answers import DONE, SSE, chunk, events, head
from tests.reliability.askers import Askers, paced
from tests.reliability.callers import request
from tests.reliability.fault_provider import FaultProvider, Play, Seen
from tests.reliability.load import Caller, Gone
from tests.reliability.strict_http import Message
from tests.serving import eventually

CONFIG = """
providers:
  openai: {api: openai, base_url: "<model>/v1"}
canaries:
  - name: ending
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o-2024-08-06}
    candidate: {provider: openai, model: gpt-4o-2024-11-20}
    share: 50%
    guardrails: []
"""
STREAMS = 50
CALLERS = 16


async def slow_stream(seen: Seen) -> None:
    """A stream that takes a second and a half, or as long as anybody listens when asked for "ever"."""
    endless = b"ever" in bytes(seen.message.body)
    seen.write(head(fields=SSE))
    parts = events(seen.model)
    for event in parts[:2]:
        seen.write(chunk(event))
    if endless:
        await seen.left.wait()
    for event in parts[2:]:
        await asyncio.sleep(0.15)
        seen.write(chunk(event))
    seen.write(chunk(b""))


async def streams_open(stage: Stage, count: int, text: str) -> list[Caller]:
    """So many callers whose streams have begun, each over a connection of its own."""
    callers = [await Caller.connect(stage.server.traffic) for _ in range(count)]
    for number, caller in enumerate(callers):
        document = chat("gpt-4o", f"user-{number}", stream=True, text=text)
        caller.transport.write(request(stage.server.traffic, document))
    for caller in callers:
        await caller.begun()
    return callers


async def answer_of(caller: Caller) -> Message | None:
    """Its answer, None when it broke off."""
    try:
        return await caller.answer()
    except Gone:
        return None


async def told_to_end(
    stage: Stage, number: signal.Signals, count: int, text: str
) -> tuple[list[Message | None], float]:
    """What open streams came to when the server got a signal, and the seconds until it had ended."""
    callers = await streams_open(stage, count, text)
    began = time.monotonic()
    stopping = asyncio.create_task(asyncio.to_thread(stage.server.stop, number))
    answers = [await answer_of(caller) for caller in callers]
    assert await stopping == 0
    return answers, time.monotonic() - began


@contextmanager
def up(folder: Path, play: Play = slow_stream, **options: float) -> Iterator[Stage]:
    """The server before a provider; the test ends it."""
    with FaultProvider({"model": play}) as provider:
        config = CONFIG.replace("<model>", provider.url("model"))
        stage = Stage(folder, provider, config, **options)  # type: ignore[arg-type]
        try:
            yield stage
        finally:
            stage.server.kill()


def test_fifty_open_streams_end_whole_after_sigterm_and_are_recorded(tmp_path: Path) -> None:
    with up(tmp_path, workers=2) as stage, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answers, took_s = runner.run(told_to_end(stage, signal.SIGTERM, STREAMS, "whole"))
    finished = [answer for answer in answers if answer is not None and answer.body.endswith(DONE)]
    stored = {row["exchange_id"]: row["outcome"] for row in stage.outcomes()}  # with the server down
    print(f"\nR9: SIGTERM: {len(finished)} of {STREAMS} streams ended whole, all in {took_s:.1f} s")
    assert len(finished) == STREAMS
    assert Counter(stored[(each.first(b"x-canary-exchange") or b"").decode()] for each in finished) == {
        "ok": STREAMS
    }
    assert not [file for file in (stage.server.data / "spool").iterdir() if file.stat().st_size]


async def asked_while_it_drains(stage: Stage) -> tuple[str, str]:
    """What `/readyz` of the admin and `canary status` say while one stream goes on after a SIGTERM."""
    (caller,) = await streams_open(stage, 1, "ever")
    stage.server.process.send_signal(signal.SIGTERM)

    def said() -> str | None:
        text = httpx2.get(f"{stage.server.admin}/readyz").text
        return text if text != "ready\n" else None

    ready = await asyncio.to_thread(eventually, said)
    status = await asyncio.to_thread(stage.canary, "status")
    caller.transport.abort()
    return ready, status.stderr


@pytest.mark.more
def test_a_server_that_drains_says_so_and_does_not_miss_its_workers(tmp_path: Path) -> None:
    with up(tmp_path, workers=1, grace_s=600.0) as stage:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            ready, status = runner.run(asked_while_it_drains(stage))
        assert stage.server.process.wait(60) == 0
    draining = "degraded: draining: no new requests are accepted, in flight: 1\n"
    assert ready == draining
    assert status.endswith(draining)


@pytest.mark.more
def test_an_interrupted_server_cuts_its_streams_after_five_seconds_and_records_them(tmp_path: Path) -> None:
    new_loop = uvloop.new_event_loop
    with up(tmp_path, workers=1, grace_s=600.0) as stage, asyncio.Runner(loop_factory=new_loop) as runner:
        answers, took_s = runner.run(told_to_end(stage, signal.SIGINT, 5, "ever"))
    outcomes = Counter(row["outcome"] for row in stage.outcomes())
    print(f"\nR9: SIGINT: 5 endless streams cut and recorded ({dict(outcomes)}), ended in {took_s:.1f} s")
    assert answers == [None] * 5
    assert outcomes == {"aborted": 5}
    assert took_s >= SIGINT_GRACE_S


async def take_over(first: Stage, folder: Path, askers: Askers, takeovers: int) -> list[Stage]:
    """One server after another on the first one's port: the next is ready before the last is told to end."""
    stages = [first]
    async with askers.asking(CALLERS):
        for number in range(takeovers):
            await askers.more(200)
            port = stages[-1].server.traffic.removeprefix("http://")
            following = await asyncio.to_thread(
                partial(
                    Stage,
                    folder / str(number),
                    first.provider,
                    first.config_text,
                    workers=2,
                    traffic=port,
                    options=["--take-over"],
                )
            )
            await askers.more(200)
            assert await asyncio.to_thread(stages[-1].server.stop) == 0
            stages.append(following)
        await askers.more(200)
    return stages


def roll(folder: Path, takeovers: int) -> None:
    with up(folder / "first", paced, workers=2) as first:
        askers = Askers(first.server.traffic)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            stages = runner.run(take_over(first, folder, askers, takeovers))
        stages[-1].server.stop()
        print(
            f"\nR9: {takeovers} takeovers under load: {len(askers.whole)} exchanges whole, "
            f"{len(askers.broken)} broken, {askers.refused} connections refused, longest wait "
            f"{max(askers.waits_s):.2f} s"
        )
        stored = Counter(row["exchange_id"] for stage in stages for row in stage.outcomes())
        assert {*stored.values()} == {1}
        assert {*askers.whole} <= {*stored}
        assert (askers.broken, askers.refused) == ([], 0)


def test_one_server_takes_over_from_another_on_the_same_port_without_a_failure(tmp_path: Path) -> None:
    roll(tmp_path, takeovers=1)


@pytest.mark.slow
def test_ten_takeovers(tmp_path: Path) -> None:
    roll(tmp_path, takeovers=10)
