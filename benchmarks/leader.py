"""`python -m benchmarks.leader`: outcomes per second that a fleet's leader takes on one core.

The agents of twenty replicas publish to a real Redis at a rising rate. The leader's own parts, wired as
`canary/programs` wires them, take what comes: stream, deduplication, default guardrails, and lease and
checkpoint in PostgreSQL. Then candidates go bad beside other traffic, and the time to a rollback is taken.
Last comes the cost of finding outcomes by a search of the store. The leader has core 1, all others core 0.
"""

import asyncio
import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import uvloop

from benchmarks.contender import CLIENT_CORE
from benchmarks.ingest import outcomes
from benchmarks.leader_traffic import CANARIES, REPLICAS, TRIAL_PER_S
from benchmarks.leading import HEADER, SECONDS, TRIALS, LeaderBench, RateStep, leading, on_core
from benchmarks.processes import command_line, cpu_s, family, rss_bytes, work
from canary.programs.process import THREADS, log_to_stderr
from control.feed.stream import RecordDeduplicator
from records.shared.stream import KEY
from records.spool.writer import SpoolWriter
from records.store import Store
from records.store.leader import records_since
from records.store.shipper import Shipper
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer

RATES = (1_000, 2_500, 5_000, 7_500, 10_000, 15_000, 20_000, 30_000, 40_000, 60_000, 80_000)
SEARCHED = 20_000
AIM_PER_S = 40_000
FLOOD_S, FLOOD_TAKEN_S = 0.5, 25.0
"""Outcomes that wait for more than 30 s are left to a search of the store."""


async def measure(store: Store, folder: Path, redis: RedisServer) -> None:
    """Print a row per rate, what the other parts of the way cost, and the trials."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    async with leading(store, folder, redis.url) as bench:
        await bench.leads()
        before = _spent(redis)
        steps = await _rates(bench)
        _print_way(steps, before, _spent(redis))
        await _flood(bench)
        watched = len(CANARIES) + len(TRIALS)
        print(f"without traffic, {watched} canaries: {await bench.idle_ms():.0f} ms of CPU a second")
        most_per_s = max((step.offered_per_s for step in steps if step.keeps_up), default=0)
        for place, name in enumerate(TRIALS):
            await _trial(bench, name, RATES[0] if place < len(TRIALS) // 2 else most_per_s)
        print(f"the leader holds {rss_bytes(os.getpid()) / 2**20:.0f} MiB")


async def _rates(bench: LeaderBench) -> list[RateStep]:
    """Print a row per rate until the leader falls behind, and the highest that it keeps up with."""
    print(f"{REPLICAS} replicas, {len(CANARIES)} canaries, {SECONDS:g} s each rate")
    print(HEADER)
    steps: list[RateStep] = []
    while len(steps) < len(RATES) and (not steps or steps[-1].keeps_up):
        steps.append(await bench.step(RATES[len(steps)]))
        print(steps[-1].line(), flush=True)
    most_per_s = max((step.offered_per_s for step in steps if step.keeps_up), default=0)
    print(f"highest rate without falling behind: {most_per_s:,}/s on what this core had left")
    return steps


async def _flood(bench: LeaderBench) -> None:
    """Print what an outcome costs a leader that always has some waiting."""
    flood = await bench.step(AIM_PER_S, FLOOD_S, FLOOD_TAKEN_S)
    if flood.behind_s is None:
        print(f"{flood.sent.outcomes:,} outcomes at once: not taken in {FLOOD_TAKEN_S:g} s")
        return
    word = "met" if flood.per_cpu_s >= AIM_PER_S else "not met"
    print(
        f"{flood.sent.outcomes:,} outcomes at once: {1e6 / flood.per_cpu_s:.1f} µs of own CPU each, "
        f"{flood.per_cpu_s:,.0f} for a second of it (aim {AIM_PER_S:,}: {word})"
    )


def _spent(redis: RedisServer) -> tuple[float, int, int]:
    """Redis's CPU seconds, the bytes that it was sent, and those that the stream holds."""
    pid = next(pid for pid in family(os.getpid()) if "redis-server" in command_line(pid))
    with redis.client() as client:
        held = client.memory_usage(KEY, samples=100) or 0
        return cpu_s(pid), client.info("stats")["total_net_input_bytes"], held


def _print_way(steps: list[RateStep], before: tuple[float, int, int], after: tuple[float, int, int]) -> None:
    sent = sum(step.sent.outcomes for step in steps)
    publish_us = 1e6 * sum(step.sent.publish_s for step in steps) / sent
    redis_us, size = 1e6 * (after[0] - before[0]) / sent, (after[1] - before[1]) / sent
    print(f"an outcome on its way: {publish_us:.1f} µs of an agent's CPU, {redis_us:.1f} µs of Redis's,")
    print(f"{size:.0f} bytes to Redis, whose stream held {after[2] / 2**20:.0f} MiB at the end")


async def _trial(bench: LeaderBench, name: str, per_s: int) -> None:
    decided_s, settle_s = await bench.trial(name, per_s)
    took = "no rollback" if decided_s is None else f"rolled back {decided_s:.2f} s after it first failed"
    print(f"candidate of {TRIAL_PER_S:g}/s beside {per_s:,}/s: {took} (waiting by design: {settle_s:.2f} s)")


def search(store: Store, folder: Path) -> None:
    """Print what it costs to find outcomes in the store, which the leader searches every five seconds."""
    writer = SpoolWriter(folder / "spool", worker=0)
    for outcome in outcomes(SEARCHED, 3):
        writer.append(outcome)
    writer.close()
    assert Shipper(folder / "spool", store).drain()
    deduplicator, now = RecordDeduplicator(), time.time()
    for what in ("new", "known"):
        began_s = time.process_time()
        found = records_since(store, ["support-nov"], now - 60.0)
        deduplicator.found(found, now)
        each_us = 1e6 * (time.process_time() - began_s) / len(found.outcomes)
        print(f"an outcome found by a search of the store, {what}: {each_us:.1f} µs")


def main() -> None:
    """Measure, and say how busy the machine was."""
    log_to_stderr()
    before, folder = work(), Path(tempfile.mkdtemp(prefix="canary-leader-"))
    try:
        with on_core(CLIENT_CORE):
            postgres, redis = Postgres(durable=True), RedisServer()
        with closing(postgres), closing(redis), closing(Store.open(postgres.url, folder)) as store:
            uvloop.run(measure(store, folder, redis))
            search(store, folder)
            spent = work() - before
            print(f"{100 * (1 - spent.own_s / spent.machine_s):.0f} % of the CPU time was not this run's")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
