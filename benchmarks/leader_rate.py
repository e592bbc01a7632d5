"""Measures how many outcomes a second the leader of several replicas takes on one core.

    .venv/bin/python -m benchmarks.leader_rate

A generator in another process sends outcomes of one canary of 20,000 users at 10 % to a real Redis, as
replicas do; the leader is the whole controller on SQLite, with its loops. For each rate: outcomes taken, the
leader's CPU time for each, and how late its evidence was. Ends at the first rate with evidence over 2 s late.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from msgspec.structs import replace

from benchmarks.admin_costs import CONFIG, exchanges
from canary.config import parse
from canary.programs.fleet import Fleet
from control.controller import Controller
from control.pending_rollbacks import PendingRollbacks
from records.errors import SharedDown
from records.shared import link
from records.shared.brief import Brief, brief
from records.shared.stream import RECORDS_A_DISPATCH, Dispatch, Outgoing
from records.store import Store
from tests.servers.redis import RedisServer

NAME = "support-nov"
TICK_S = 0.02
LATE_S = 2.0
RATES = (5_000, 10_000, 20_000, 30_000, 40_000, 50_000)


async def generate(url: str, rate: int, seconds: float) -> None:
    """Send outcomes at this rate."""
    pool = [brief(each) for each in exchanges(30_000) if each.canary]
    redis, outgoing, serial, began = link.connect(url), Outgoing(), 0, time.monotonic()
    while (passed_s := time.monotonic() - began) < seconds:
        while serial < passed_s * rate:
            part = [_now(pool, serial + number) for number in range(RECORDS_A_DISPATCH)]
            serial += len(part)
            outgoing.put(Dispatch(replica="a", heard=len(part), outcomes=part))
            with suppress(SharedDown):  # counted as dropped, as a replica's agent does
                await outgoing.send(redis)
        await asyncio.sleep(TICK_S)
    await redis.aclose()
    sys.stdout.write(f"{serial - outgoing.dropped}\n")


def _now(pool: list[Brief], serial: int) -> Brief:
    """An outcome that ends now, under an id of its own."""
    one, now = pool[serial % len(pool)], time.time()
    return replace(one, at=now - (one.latency_s or 0.0), exchange_id=f"{now:.6f}-{serial}")


def leader(folder: Path, store: Store, url: str) -> tuple[Controller, Fleet]:
    """A controller as an admin process has it beside replicas."""
    settings = parse(CONFIG, "canary.yaml", {}).control
    fleet = Fleet(folder, store, url, lambda: [NAME])
    controller = Controller(
        fleet.source,
        fleet.leader,
        fleet.publisher,
        store=store,
        settings=settings,
        pending=PendingRollbacks(folder / "rollbacks.json"),
        assignment_key=lambda: b"key",
        own_url="http://127.0.0.1:1",
        troubles=list,
    )
    return controller, fleet


def taken(controller: Controller) -> int:
    """The outcomes that the leader has taken in."""
    return sum(arm.requests for arm in controller.monitor.canaries[NAME].pulse.arms.values())


async def measured(controller: Controller, fleet: Fleet, url: str, rate: int, seconds: float) -> float:
    """Print a line for one rate; returns how late the evidence was at most."""
    before, cpu_s = taken(controller), time.process_time()
    command = [sys.executable, "-m", "benchmarks.leader_rate", "--generate", url]
    process = await asyncio.create_subprocess_exec(
        *command, "--rates", str(rate), "--seconds", str(seconds), stdout=subprocess.PIPE
    )
    sending, latest_s = asyncio.create_task(process.communicate()), 0.0
    while not sending.done():
        await asyncio.sleep(0.1)
        latest_s = max(latest_s, fleet.source.lag_s or 0.0)
    sent = int((await sending)[0])
    deadline = time.monotonic() + 30.0
    while taken(controller) - before < sent and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        latest_s = max(latest_s, fleet.source.lag_s or 0.0)
    count, cpu_s = taken(controller) - before, time.process_time() - cpu_s
    sys.stdout.write(
        f"{rate:7,} asked: {sent / seconds:7,.0f} sent a second, {count:,} of {sent:,} taken,"
        f" {cpu_s / max(count, 1) * 1e6:5.1f} µs of CPU each ({count / cpu_s:,.0f} for a second of one core),"
        f" at most {latest_s:.2f} s late\n"
    )
    return latest_s


async def run(rates: Sequence[int], seconds: float) -> None:
    """Start Redis and the leader, and measure each rate."""
    with (
        closing(RedisServer()) as redis,
        tempfile.TemporaryDirectory(prefix="canary-leader-") as folder,
        closing(Store.open("sqlite:///canary.db", Path(folder))) as store,
    ):
        controller, fleet = leader(Path(folder), store, redis.url)
        loops = asyncio.gather(*controller.loops())
        try:
            while not controller.watches or controller.rollouts.state(NAME) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            for rate in rates:
                if await measured(controller, fleet, redis.url, rate, seconds) > LATE_S:
                    break
        finally:
            loops.cancel()
            with suppress(asyncio.CancelledError):
                await loops
            await fleet.close()


def main() -> None:
    """Print a line for each rate, or be the generator."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leader_rate", description=__doc__)
    parser.add_argument("--rates", type=int, nargs="+", default=RATES, help="outcomes a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each rate")
    parser.add_argument("--generate", metavar="URL", help="only send, to this Redis")
    asked = parser.parse_args()
    if asked.generate:
        asyncio.run(generate(asked.generate, asked.rates[0], asked.seconds))
    else:
        asyncio.run(run(asked.rates, asked.seconds))


if __name__ == "__main__":
    main()
