"""R31: bodies that are large, unfinished or slow. A worker holds no more of them than its budget, refuses the
rest with 503 in the API's own form, and waits for no caller who sends a byte now and then."""

import asyncio
import time
from collections import Counter
from pathlib import Path

import msgspec
import uvloop

from tests.e2e.stage import Stage, chat, worker_pids
from tests.reliability.answers import document, whole
from tests.reliability.callers import request
from tests.reliability.fault_provider import Seen
from tests.reliability.load import Caller, resident_kib
from tests.reliability.rig import rigged
from tests.serving import eventually

CONFIG = """
body_budget_mib: 512
providers:
  openai: {api: openai, base_url: "<model>/v1"}
canaries:
  - name: bodies
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: baseline}
    candidate: {provider: openai, model: candidate}
    share: 50%
"""
CALLERS, SENT = 50, 60 << 20
DECLARED = SENT + 1
HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    b"authorization: Bearer sk\r\ncontent-length: %d\r\n\r\n"
)
PIECE = b" " * (1 << 20)
EVERY_S = 8.0


async def answer(seen: Seen) -> None:
    seen.write(whole(document(seen.model)))


class Sender(Caller):
    """Sends all of a body but its last byte, as far as it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.writable = asyncio.Event()
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.writable.set()

    async def send(self) -> None:
        self.transport.write(HEAD % DECLARED)
        for _ in range(SENT // len(PIECE)):
            await self.writable.wait()
            if self.ended.is_set() or self.answers:
                return
            self.transport.write(PIECE)
        await self.writable.wait()


async def drip(address: str) -> tuple[int, float]:
    """One byte of a body every 8 s: what the caller is told, and when."""
    caller, began = await Caller.connect(address), time.monotonic()
    caller.transport.write(HEAD % 9000 + b"{")
    while not caller.ended.is_set():
        try:
            async with asyncio.timeout(EVERY_S):
                told = await caller.answer()
                caller.leave()
                return told.status, time.monotonic() - began
        except TimeoutError:
            caller.transport.write(b" ")
    raise AssertionError


async def besiege(stage: Stage) -> tuple[list[Sender], int, tuple[int, float]]:
    address, (worker,) = stage.server.traffic, worker_pids(stage.server)
    slow = asyncio.create_task(drip(address))
    callers = [await Sender.connect(address) for _ in range(CALLERS)]
    try:
        await asyncio.gather(*[caller.send() for caller in callers])
        held_kib = resident_kib(worker)
        small = await Caller.connect(address)
        assert (await small.ask(request(address, chat("gpt-4o", "user-1")))).status == 200, "others go on"
        small.leave()
        return callers, held_kib, await slow
    finally:
        for caller in callers:
            caller.leave()
        await asyncio.sleep(0)


def test_r31_a_worker_holds_no_more_of_bodies_than_its_budget(tmp_path: Path) -> None:
    with rigged(tmp_path, CONFIG, {"model": answer}) as stage:
        (worker,) = worker_pids(stage.server)
        before_kib = resident_kib(worker)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            callers, held_kib, (status, after_s) = runner.run(besiege(stage))
        refused = [each for caller in callers for each in caller.answers if each.status == 503]
        kinds = eventually(lambda: endings(stage) if len(stage.outcomes()) == CALLERS + 2 else None)
        assert stage.api("GET", "/healthz").status_code == 200
    print(
        f"\nR31: {CALLERS} unfinished bodies of {SENT >> 20} MiB: {len(refused)} told 503, it grew by "
        f"{(held_kib - before_kib) >> 10} MiB; a byte every {EVERY_S:g} s: {status} after {after_s:.1f} s; "
        f"{dict(kinds)}"
    )
    assert len(refused) >= CALLERS - (512 << 20) // SENT - 1
    for each in refused:
        error = msgspec.json.decode(each.body)["error"]
        assert (error["type"], error["code"]) == ("canary_proxy", "shed")
        assert each.first(b"retry-after") == b"5"
    assert (held_kib - before_kib) >> 10 < 1024
    assert status == 408
    assert not {kind for kind in kinds if kind[0] in ("error", "fallback")}


def endings(stage: Stage) -> Counter[tuple[str, str | None]]:
    return Counter((row["outcome"], row["error_type"]) for row in stage.outcomes())
