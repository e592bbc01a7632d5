"""R4: with the spool's disk full traffic goes on, feedback is refused and never falsely taken, an operator is
told, what was kept is stored whole, and everything goes on by itself once there is room."""

import asyncio
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
import pytest
import uvloop

from tests.e2e.receivers import Hook, listening_hook
from tests.e2e.stage import Stage, chat
from tests.reliability.answers import document, whole
from tests.reliability.callers import request
from tests.reliability.fault_provider import Seen
from tests.reliability.load import Caller
from tests.reliability.rig import rigged
from tests.reliability.workers import sums
from tests.serving import eventually

CONFIG = """
providers:
  openai: {api: openai, base_url: "<model>/v1"}
canaries:
  - name: full
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o-2024-08-06}
    candidate: {provider: openai, model: gpt-4o-2024-11-20}
    share: 50%
    guardrails: []
notify: [{webhook: "<pages>"}]
"""
WITH_A_SMALL_DISK = 'mkdir -p -m 700 "$0" && mount -t tmpfs -o size=1m,mode=700 spool "$0" && exec "$@"'


def namespaces_work() -> bool:
    """Whether this machine lets us mount for ourselves alone."""
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=1m", "spool", "/mnt"]
    try:
        return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = pytest.mark.skipif(not namespaces_work(), reason="needs root and `unshare -m` for a small disk")


async def at_once(seen: Seen) -> None:
    seen.write(whole(document(seen.model)))


@contextmanager
def store_that_takes_nothing(stage: Stage) -> Iterator[None]:
    """Another writer holds the database, so that what is spooled stays there."""
    with closing(sqlite3.connect(stage.server.data / "canary.db", timeout=10.0)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.rollback()


async def asked(stage: Stage, count: int) -> list[str]:
    """So many exchanges, one after another: their ids, every one answered whole."""
    caller, ids = await Caller.connect(stage.server.traffic), []
    for number in range(count):
        answer = await caller.ask(request(stage.server.traffic, chat("gpt-4o", f"user-{number}")))
        assert answer.status == 200
        ids.append((answer.first(b"x-canary-exchange") or b"").decode())
    caller.leave()
    return ids


def ask(stage: Stage, count: int) -> list[str]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asked(stage, count))


def rated(stage: Stage, exchange: str, refused: list[int]) -> bool:
    """True when feedback was taken; a refusal is put down."""
    rating = {"exchange_id": exchange, "metric": "thumbs", "value": True}
    answer = httpx2.post(f"{stage.server.traffic}/canary/feedback", json=rating, trust_env=False)
    refused += [answer.status_code] if answer.status_code != 202 else []
    return answer.status_code == 202


def troubles(stage: Stage) -> str:
    return httpx2.get(f"{stage.server.admin}/readyz", trust_env=False).text


def test_a_full_spool_costs_records_that_are_counted_and_paged_and_nothing_else(tmp_path: Path) -> None:
    spool = tmp_path / "data" / "spool"
    small_disk = ["unshare", "-m", "sh", "-c", WITH_A_SMALL_DISK, str(spool)]
    with listening_hook() as hook:
        config = CONFIG.replace("<pages>", hook.url)
        with rigged(tmp_path, config, {"model": at_once}, crash_free=False, wrapper=small_disk) as stage:
            full_then_free(stage, hook)
            assert "child.ended" not in stage.server.log_file.read_text()


def full_then_free(stage: Stage, hook: Hook) -> None:
    seen_inside = Path(f"/proc/{stage.server.process.pid}/root") / str(stage.server.data)[1:] / "spool"
    refused: list[int] = []
    with store_that_takes_nothing(stage):
        before = ask(stage, 1)
        while os.statvfs(seen_inside).f_bavail:
            before += ask(stage, 50)
        during = ask(stage, 300)
        assert not rated(stage, before[0], refused)
        eventually(lambda: "no room" in troubles(stage))
        (page,) = eventually(lambda: hook.bodies)
        assert (page["event"], page["rules"]) == ("page", ["records_dropped"])
    eventually(lambda: rated(stage, before[0], refused), 30.0)
    after = ask(stage, 50)
    stored = eventually(lambda: rows if {*after} <= {*(rows := ids_in_order(stage))} else None, 20.0)
    kept = [each for each in before + during if each in {*stored}]
    lost = len(before) + len(during) - len(kept)
    eventually(lambda: sums(stage, "canary_records_total")["dropped"] >= lost)
    counted = sums(stage, "canary_records_total")
    print(
        f"\nR4: 1 MiB full after {len(kept)} records: all {len(before) + len(during)} answers whole; {lost} "
        f"outcomes and {len(refused)} pieces of feedback dropped, {counted['dropped']} counted, one page; "
        f"then {len(after)} of {len(after)} stored"
    )
    assert len(stored) == len({*stored})
    assert (before + during)[: len(kept)] == kept  # the intact beginning, and none from behind the gap
    assert {*refused} == {503}
    assert counted["dropped"] == lost + len(refused)
    assert counted["quarantined"] == 0
    eventually(lambda: "no room" not in troubles(stage))
    assert len(hook.bodies) == 1


def ids_in_order(stage: Stage) -> list[str]:
    return [row["exchange_id"] for row in stage.outcomes()]
