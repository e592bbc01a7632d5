"""R4: with the spool's disk full traffic goes on, feedback is refused and never falsely taken, an operator is
told, what was kept is stored whole, and everything goes on by itself once there is room."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx2
import pytest
import uvloop

from tests.e2e.receivers import Hook, listening_hook
from tests.e2e.stage import Stage, chat
from tests.reliability.answers import document, whole
from tests.reliability.callers import request
from tests.reliability.fault_provider import FaultProvider, Seen
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
        eventually(lambda: "the spool is full" in troubles(stage))
        (page,) = eventually(lambda: hook.bodies)
        assert (page["event"], page["rules"]) == ("page", ["records_dropped"])
    eventually(lambda: rated(stage, before[0], refused))
    after = ask(stage, 50)
    stored = eventually(lambda: rows if {*after} <= {*(rows := ids_in_order(stage))} else None)
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
    eventually(lambda: "the spool is full" not in troubles(stage))
    assert len(hook.bodies) == 1


def ids_in_order(stage: Stage) -> list[str]:
    return [row["exchange_id"] for row in stage.outcomes()]


class Enclosed:
    """A server whose whole data folder lies on a disk of 32 MiB that it alone sees; `data` leads there."""

    def __init__(self, folder: Path, config: str) -> None:
        data = folder / "data"
        (folder / "canary.yaml").write_text(config)
        serve = [sys.executable, "-m", "canary", "serve", "--config", str(folder / "canary.yaml")]
        serve += ["--traffic", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", str(data), "--grace", "5s"]
        disk = WITH_A_SMALL_DISK.replace("size=1m", "size=32m")
        self.log_file = folder / "serve.log"
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", disk, str(data), *serve],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.data = Path(f"/proc/{self.process.pid}/root") / str(data)[1:]
        addresses = eventually(self._addresses)
        self.traffic, self.admin = addresses["traffic"], addresses["admin"]
        self.asked = 0

    def _addresses(self) -> dict[str, str] | None:
        assert self.process.poll() is None, self.log_file.read_text()
        try:
            found: dict[str, str] = json.loads((self.data / "server.json").read_text())
        except (OSError, ValueError):
            return None
        return found

    def says(self, path: str) -> str:
        try:
            return httpx2.get(f"{self.admin}{path}", trust_env=False, timeout=20.0).text
        except httpx2.TransportError:
            return ""

    def answers(self, count: int) -> list[int]:
        return [each.status_code for each in self._asked(count)]

    def arms(self, count: int) -> list[str]:
        return [each.headers["x-canary-arm"] for each in self._asked(count)]

    def rolls_back(self) -> None:
        token = (self.data / "admin.token").read_text().strip()
        http = httpx2.Client(headers={"authorization": f"Bearer {token}"}, trust_env=False, timeout=20.0)
        with http:
            done = http.post(f"{self.admin}/api/canaries/full/rollback", json={"who": "a", "reason": "b"})
        assert done.status_code == 200, done.text

    def _asked(self, count: int) -> "list[httpx2.Response]":
        headers = {"authorization": "Bearer sk-caller"}
        url = f"{self.traffic}/v1/chat/completions"
        with httpx2.Client(headers=headers, trust_env=False) as http:
            found = [http.post(url, json=chat("gpt-4o", f"user-{n}")) for n in range(count)]
        self.asked += count
        return found


def fill(path: Path) -> None:
    """Write until nothing fits any more."""
    with path.open("wb", buffering=0) as ballast, suppress(OSError):
        while ballast.write(b"x" * 4096):
            pass


@pytest.mark.slow
def test_a_full_disk_under_the_whole_data_folder_stops_nobody_and_heals_by_itself(tmp_path: Path) -> None:
    with listening_hook() as hook, FaultProvider({"model": at_once}) as provider:
        config = CONFIG.replace("<pages>", hook.url).replace("<model>", provider.url("model"))
        server = Enclosed(tmp_path, config)
        try:
            eventually(lambda: server.says("/readyz") == "ready\n")
            before = server.answers(50)
            fill(server.data / "ballast")
            during = server.answers(300)
            eventually(lambda: "the spool is full" in server.says("/readyz"))
            eventually(lambda: hook.bodies)
            server.rolls_back()
            eventually(lambda: {*server.arms(20)} == {"baseline"})
            (server.data / "ballast").unlink()
            eventually(lambda: "the spool is full" not in server.says("/readyz"))
            eventually(lambda: "does not answer" not in server.says("/readyz"))
            after = server.answers(50)
            total = server.asked
            eventually(
                lambda: f'canary_records_total{{state="accepted"}} {total}.0' in server.says("/metrics")
            )
            eventually(lambda: "canary_records_spooled 0.0" in server.says("/metrics"))
        finally:
            server.process.terminate()
            code = server.process.wait(30.0)
    print(
        f"\nR4: the whole data folder full: {total} of {total} answered, each one stored or counted, one page"
    )
    assert {*before, *during, *after} == {200}
    assert [body["rules"] for body in hook.bodies] == [["records_dropped"]]
    assert code == 0
    assert "child.ended" not in server.log_file.read_text()
