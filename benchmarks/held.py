"""Measures what it takes the admin process to know who is in the middle of something.

    .venv/bin/python -m benchmarks.held --users 1000000

The controller hears an exchange of each of so many users, all in the last half hour; then somebody promotes.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from itertools import batched
from pathlib import Path

from benchmarks.admin_costs import CONFIG, no_roller
from canary.config import parse
from canary.programs.controller import AftermathSentences
from canary.programs.process import boot_id
from control.controller import Controller
from control.feed.events import WorkerEvents
from control.feed.joins import FeedbackJoins
from control.feed.spool import SpoolSource
from control.fleet.leadership import SoleLeader
from control.fleet.publisher import FilePublisher
from control.states.rollouts import PendingRollbacks
from records.outcome import Outcome
from records.shared.held_units import NAME
from records.store import Act, Store
from routing import transitions
from routing.cohort import SPACE, bucket, unit_hash

KEY, CANARY, BATCH = b"key", "support-nov", 500


def exchange(number: int, at: float) -> Outcome:
    """One exchange of one user."""
    place = bucket(KEY, CANARY, f"user-{number}")
    return Outcome(
        exchange_id=str(number),
        at=at,
        mono=at,
        outcome="ok",
        canary=CANARY,
        run=1,
        phase=1,
        share=0.1,
        arm="candidate" if place < 0.1 * SPACE else "baseline",
        reason="cohort",
        unit=unit_hash(KEY, f"user-{number}"),
        place=place,
    )


def memory_mib(line: str) -> float:
    """What the kernel says of this process: VmRSS, or VmHWM for the most so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{line}:")[2].split()[0]) / 1024


async def measure(folder: Path, store: Store, users: int) -> None:
    """Print memory and times."""
    feed = SpoolSource(folder / "spool", folder / "live.json", boot=boot_id(), joins=FeedbackJoins(store))
    controller = Controller(
        feed,
        SoleLeader(),
        FilePublisher(folder / "plan.json"),
        store=store,
        roller=no_roller(folder),
        settings=parse(CONFIG, "canary.yaml", {}).control,
        pending=PendingRollbacks(),
        assignment_key=lambda: KEY,
        own_url="http://127.0.0.1:1",
        troubles=list,
        sentences=lambda report: (),
        aftermath=AftermathSentences(),
    )
    now = time.time()
    controller.rollouts.reconcile(controller.settings, now)
    print(f"before the first exchange: {memory_mib('VmRSS'):.0f} MiB")
    slowest = total = 0.0
    for numbers in batched(range(users), BATCH):
        events = WorkerEvents(records=[exchange(number, now) for number in numbers])
        began = time.process_time()
        controller.activity.take(events)
        took = time.process_time() - began
        slowest, total = max(slowest, took), total + took
    print(f"{users:,} users active: {memory_mib('VmRSS'):.0f} MiB")
    print(f"an exchange: {total / users * 1e6:.1f} µs; the slowest {BATCH}: {slowest * 1e3:.0f} ms of CPU")
    act = Act(at=now, action="promote", who="ann", reason="good")
    controller.rollouts.change(CANARY, act, lambda state: transitions.promote(state, reason="good", now=now))
    await controller.activity.look()
    print(f"after the first look: {memory_mib('VmRSS'):.0f} MiB, most: {memory_mib('VmHWM'):.0f} MiB")
    began = time.process_time()
    await controller.activity.look()
    print(f"a look who is held: {time.process_time() - began:.1f} s, of CPU, in 64 parts")
    print(f"held: {controller.activity.document(CANARY)}")
    print(f"then: {memory_mib('VmRSS'):.0f} MiB")
    print(f"most: {memory_mib('VmHWM'):.0f} MiB; {NAME} {_size(folder / NAME)}")


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 2**20:.1f} MiB" if path.exists() else "not written"


def main(arguments: Sequence[str]) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    users = parser.parse_args(arguments).users
    with (
        tempfile.TemporaryDirectory() as name,
        closing(Store.open("sqlite:///canary.db", Path(name))) as store,
    ):
        asyncio.run(measure(Path(name), store, users))


if __name__ == "__main__":
    main(sys.argv[1:])
