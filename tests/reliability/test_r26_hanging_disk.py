"""R26: a disk that hangs under the spool. Streams and requests go on, records wait in memory, feedback is
refused, a rollback counts; afterwards every acknowledged exchange is stored, once (ADR 8)."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import httpx2
import pytest

from tests.e2e.stage import Stage, chat, worker_pids
from tests.reliability.answers import DONE, SSE, chunk, document, event, head, streams, whole
from tests.reliability.callers import connected, request
from tests.reliability.fault_provider import Seen
from tests.reliability.hanging_disk import HangingDisk, hanging_disk, stands_still
from tests.reliability.rig import rigged
from tests.reliability.steady import Steady
from tests.reliability.strict_http import Reader
from tests.reliability.workers import sums
from tests.serving import eventually

CONFIG = """
providers:
  openai: {api: openai, base_url: "<model>/v1"}
canaries:
  - name: hangs
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o-2024-08-06}
    candidate: {provider: openai, model: gpt-4o-2024-11-20}
    share: 50%
    guardrails: []
"""
CANDIDATE = "gpt-4o-2024-11-20"
STREAMS = 8
PACE_S = 0.05
JOURNAL_WAITS_S = 5.5
"""ext4 commits its journal every 5 s: from then on, at the latest, a write() waits for the device."""
TRIES = 5
FROZEN_S = 10.0


class Listener(threading.Thread):
    """Reads one endless stream to its end. `heard` are the monotonic seconds at which bytes came."""

    def __init__(self, address: str, user: str) -> None:
        super().__init__(daemon=True)
        self.heard: list[float] = []
        self.whole = False
        self._address, self._user = address, user
        self.start()

    def run(self) -> None:
        reader = Reader(responses=True)
        with connected(self._address) as line:
            line.settimeout(120.0)
            line.sendall(request(self._address, chat("gpt-4o", self._user, stream=True)))
            while not self.whole and (data := line.recv(1 << 16)):
                self.heard.append(time.monotonic())
                self.whole = bool(reader.feed(data))

    def longest_gap(self, since: float, until: float) -> float:
        """The longest silence that reached into this time."""
        pairs = zip(self.heard, self.heard[1:], strict=False)
        return max(after - before for before, after in pairs if after > since and before < until)


@dataclass
class Scene:
    """A server on a disk that may hang, under streams and other requests."""

    stage: Stage
    disk: HangingDisk
    stop: threading.Event
    steady: Steady
    token: str
    exchange: str = ""
    listeners: list[Listener] = field(default_factory=list)
    feedback: Counter[int] = field(default_factory=Counter)
    caught: int = 0

    def asked(self, path: str) -> int:
        """A new connection's answer from a worker."""
        return httpx2.get(f"{self.stage.server.traffic}{path}", trust_env=False).status_code

    def rate(self) -> int:
        """Send feedback on one exchange."""
        value = {"exchange_id": self.exchange, "metric": "thumbs", "value": True, "feedback_id": "f"}
        url = f"{self.stage.server.traffic}/canary/feedback"
        status = httpx2.post(url, json=value, trust_env=False, timeout=60.0).status_code
        self.feedback[status] += 1
        return status

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """A device that hangs until the block ends, and did not catch a worker within a journal's commit."""
        for _ in range(TRIES):
            told = self.told("spool.disk_hangs")
            with self.disk.hanging():
                if eventually(partial(self._noticed_by, worker_pids(self.stage.server), told)) == "all":
                    yield
                    return
                self.caught += 1
        pytest.fail(f"each of {TRIES} hangs caught a worker within a commit")

    def _noticed_by(self, workers: list[int], told: int) -> Literal["all", "not all"] | None:
        """Have all workers noticed, or does one stand still that will not? None while that is open."""
        if self.told("spool.disk_hangs") == told + len(workers):
            return "all"
        return "not all" if any(map(stands_still, workers)) else None

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Streams under way and others asking, until the block ends; then every stream ends as well."""
        address = self.stage.server.traffic
        try:
            with self.steady.running():
                self.listeners = [Listener(address, f"s-{number}") for number in range(STREAMS)]
                eventually(lambda: all(each.heard for each in self.listeners))
                self.exchange = eventually(lambda: self.steady.asked)[0].exchange
                assert self.rate() == 202
                yield
        finally:
            self.stop.set()
            for listener in self.listeners:
                listener.join(30.0)

    def lasts(self, so_long_s: float) -> None:
        """Let the hang under way last so long."""
        time.sleep(max(0.0, self.disk.hung_at + so_long_s - time.monotonic()))

    def roll_back(self, patience_s: float = 30.0) -> int:
        """Order it: the admin API's status."""
        url = f"{self.stage.server.admin}/api/canaries/hangs/rollback"
        order = {"who": "ann", "reason": "test"}
        key = {"authorization": f"Bearer {self.token}"}
        return httpx2.post(url, json=order, headers=key, timeout=patience_s, trust_env=False).status_code

    def told(self, event: str) -> int:
        """How often the log has an event."""
        return self.stage.server.log_file.read_text().count(event)


@contextmanager
def scene(folder: Path, *, on_it: str, workers: int = 2) -> Iterator[Scene]:
    """`on_it` is the part of the server's folder that lies on the disk."""
    stop = threading.Event()
    plays, options = {"model": partial(play, stop)}, {"workers": workers, "crash_free": False}
    with hanging_disk(folder / on_it) as disk, rigged(folder, CONFIG, plays, **options) as stage:
        users = [f"user-{number}" for number in range(40)]
        yield Scene(stage, disk, stop, Steady([stage.server.traffic], users, 0.05), stage.server.token)


async def play(stop: threading.Event, seen: Seen) -> None:
    """A paced stream until the test's end, or a document."""
    if not streams(seen):
        seen.write(whole(document(seen.model)))
        return
    seen.write(head(200, SSE))
    while not stop.is_set():
        seen.write(chunk(event(seen.model, {"content": "on "})))
        await asyncio.sleep(PACE_S)
    seen.write(chunk(event(seen.model, {}, "stop")), chunk(DONE), chunk(b""))


def stored_once(made: Scene) -> int:
    """Wait until every acknowledged exchange is stored, and hold the accounts to each other."""
    stage = made.stage
    acknowledged = {each.exchange for each in made.steady.asked if each.status == 200}
    eventually(lambda: acknowledged <= {row["exchange_id"] for row in stage.outcomes()}, 30.0)
    total = len(acknowledged) + STREAMS
    eventually(lambda: len(stage.outcomes()) == total, 30.0)
    stored, dropped = total + made.feedback[202], made.feedback[503]
    wanted = {"accepted": stored + dropped, "stored": stored, "dropped": dropped, "quarantined": 0}
    eventually(lambda: sums(stage, "canary_records_total") == Counter(wanted), 30.0)
    assert sums(stage, "canary_records_spooled")[""] == 0
    return total


def rolled_back(made: Scene) -> bool:
    """True when none of the next 40 requests, a user each, reaches the candidate."""
    before, asked = len(made.stage.provider.log), len(made.steady.asked)
    eventually(lambda: len(made.steady.asked) >= asked + 2 * len(made.steady.users))
    return all(seen.model != CANDIDATE for seen in made.stage.provider.log[before:])


def goes_on(made: Scene) -> None:
    """Everything that needs no disk is answered now, and feedback is not falsely taken."""
    late = time.monotonic()
    eventually(lambda: all(each.heard[-1] > late for each in made.listeners))
    eventually(lambda: len([each for each in made.steady.since(late) if each.status == 200]) >= 20)
    assert {made.asked(path) for path in ["/healthz", "/readyz"] * 5} == {200}
    assert {made.rate() for _ in range(5)} == {503}


def test_streams_and_requests_go_on_while_the_spools_disk_hangs(tmp_path: Path) -> None:
    with scene(tmp_path, on_it="data/spool") as made:
        with made.busy(), made.hanging():
            made.lasts(JOURNAL_WAITS_S)
            goes_on(made)
            assert made.roll_back() == 200
            eventually(lambda: rolled_back(made))
        eventually(lambda: made.told("spool.disk_answers") == made.told("spool.disk_hangs") >= 2)
        report(made, "spool alone")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_minute_without_the_whole_data_folder_loses_nothing(tmp_path: Path, workers: int) -> None:
    """The admin process stands meanwhile, for its own memory lies there too; an order waits with it."""
    with scene(tmp_path, on_it="data", workers=workers) as made:
        with ThreadPoolExecutor() as orders, made.busy():
            with made.hanging():
                made.lasts(JOURNAL_WAITS_S)
                order = orders.submit(made.roll_back, patience_s=120.0)
                goes_on(made)
                made.lasts(60.0)
                goes_on(made)
            assert order.result() == 200
            eventually(lambda: rolled_back(made))
        assert made.told("spool.disk_answers") == made.told("spool.disk_hangs") >= workers
        report(made, f"whole data folder, {workers} workers")


@pytest.mark.slow
def test_a_frozen_file_system_stops_everything_for_as_long_and_loses_nothing(tmp_path: Path) -> None:
    """The limit of what is held: the first write() to it does not return, and no thread is there to tell."""
    with scene(tmp_path, on_it="data") as made:
        with made.busy():
            with made.disk.hanging("file system"):
                made.lasts(FROZEN_S)
                assert all(map(stands_still, worker_pids(made.stage.server)))
            back = time.monotonic()
            eventually(lambda: all(each.heard[-1] > back for each in made.listeners))
            eventually(lambda: len(made.steady.since(back)) >= 20)
            assert made.rate() == 202
        report(made, "frozen file system")


def report(made: Scene, what: str) -> None:
    """Hold the accounts to what callers saw, and print the figures of the hang."""
    total, disk = stored_once(made), made.disk
    gaps = [each.longest_gap(disk.hung_at, disk.back_at) for each in made.listeners]
    meanwhile = [each for each in made.steady.asked if disk.hung_at < each.began < disk.back_at]
    slowest = max((each.took_s for each in meanwhile), default=0.0)
    print(
        f"\nR26, {what}: hung for {disk.back_at - disk.hung_at:.1f} s ({made.caught} hangs before that met a "
        f"worker within a commit); {len(meanwhile)} requests begun and answered, the slowest after "
        f"{slowest * 1e3:.0f} ms; {STREAMS} streams, longest gap {max(gaps) * 1e3:.0f} ms (a chunk each "
        f"{PACE_S * 1e3:.0f} ms); feedback {dict(made.feedback)}; all {total} exchanges stored once"
    )
    assert not any(
        map(made.told, ["Traceback", "child.ended"])
    )  # that the store is away is told, and no defect
    assert all(each.whole for each in made.listeners)
    assert {each.status for each in made.steady.asked} == {200}
