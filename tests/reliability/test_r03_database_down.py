"""R3: PostgreSQL is killed, or hangs, or is not there at the start: no request fails, nothing is lost or
doubled, a rollback takes effect all the same, and when the database is back everything is as it should be.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psycopg
import pytest

from records.store import Store
from tests.e2e.stage import Stage, chat
from tests.records.stored import stored
from tests.reliability.answers import answer, document, saying, whole
from tests.reliability.callers import Answer, ask
from tests.reliability.fault_provider import Play, Seen
from tests.reliability.rig import rigged
from tests.servers.postgres import Postgres
from tests.serving import eventually

CONFIG = """
providers:
  openai: {api: openai, base_url: "<baseline>/v1"}
  to-candidate: {api: openai, base_url: "<candidate>/v1", api_key: sk-candidate}
canaries:
  - name: outage
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: baseline-model}
    candidate: {provider: to-candidate, model: candidate-model}
    share: 50%
store: STORE
"""
CALLERS = 4
ERROR = saying(whole(b'{"error": {"message": "no"}}', 500))
QUICK_S, LONG_S = 6.0, 60.0


@pytest.fixture
def database() -> Iterator[Postgres]:
    """A PostgreSQL that keeps what it confirms."""
    server = Postgres(durable=True)
    yield server
    server.close()


@dataclass
class Crowd:
    """Callers in closed loops, each request another user's, and what they were answered."""

    traffic: str
    answers: list[Answer] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def asking(self, first: str) -> Iterator[None]:
        """They ask while this is entered; `first` begins the users' names."""
        self._stop.clear()
        callers = [threading.Thread(target=self._ask_on, args=(f"{first}-{n}",)) for n in range(CALLERS)]
        for caller in callers:
            caller.start()
        try:
            yield
        finally:
            self._stop.set()
            for caller in callers:
                caller.join()

    def more(self, count: int) -> None:
        """Wait for so many answers more."""
        wanted = len(self.answers) + count
        eventually(lambda: len(self.answers) >= wanted)

    def _ask_on(self, name: str) -> None:
        number = 0
        while not self._stop.wait(0.01):  # a pace that leaves the processors to others
            number += 1
            self.answers.append(ask(self.traffic, chat("gpt-4o", f"{name}-{number}")))


@contextmanager
def up(folder: Path, database_url: str, candidate: Play, **options: float) -> Iterator[Stage]:
    """The server over this database, with a baseline that answers."""
    config = CONFIG.replace("STORE", f"{database_url}?connect_timeout=2")
    plays = {"baseline": answer, "candidate": candidate}
    with rigged(folder, config, plays, crash_free=False, **options) as stage:
        yield stage
        log = stage.server.log_file.read_text()
        assert "Traceback" not in log and "child.ended" not in log and '"exception"' not in log


def readiness(stage: Stage) -> tuple[int, int, str]:
    """What the two listeners say: the workers' status, the admin's, the admin's words."""
    traffic, admin = (
        httpx2.get(f"{url}/readyz", timeout=3.0, trust_env=False)
        for url in (stage.server.traffic, stage.server.admin)
    )
    return traffic.status_code, admin.status_code, admin.text


def is_degraded(stage: Stage) -> bool:
    """True when the admin says so; the workers are ready all the same."""
    traffic, admin, words = readiness(stage)
    assert (traffic, admin) == (200, 200)
    return words.startswith("degraded: ") and "the store does not answer" in words


def is_ready(stage: Stage) -> bool:
    return readiness(stage) == (200, 200, "ready\n")


def arms(answers: list[Answer]) -> set[str]:
    """Who answered."""
    whose = {document(f"{arm}-model"): arm for arm in ("baseline", "candidate")}
    return {whose.get(each.body, "nobody") for each in list(answers)}


def hold_whole(answers: list[Answer]) -> None:
    """Each is one of the two models' documents, whole."""
    assert {(each.status, each.ending) for each in answers} == {(200, "clean")}
    assert "nobody" not in arms(answers)


def hold_stored_once(database: Postgres, stage: Stage, answers: list[Answer]) -> None:
    """Every exchange is in the database once, in the totals too, and the metrics add up."""
    ids = [each.first("x-canary-exchange") for each in answers]

    def all_stored() -> bool:
        with psycopg.connect(database.url) as connection:
            counted = "SELECT coalesce(sum(rows), 0) FROM fresh_outcomes"
            return connection.execute(counted).fetchone() == (len(ids),)

    eventually(all_stored)
    with closing(Store.open(database.url, Path())) as store:
        rows = stored(store)
    assert sorted(row["exchange_id"] for row in rows) == sorted(ids)
    counted = sum(bool(row["canary"]) and row["reason"] == "cohort" for row in rows)
    with psycopg.connect(database.url) as connection:
        summed = "SELECT coalesce(sum(exchanges), 0) FROM unit_days"
        assert connection.execute(summed).fetchone() == (counted,)

    def add_up() -> bool:
        metrics = stage.api("GET", "/metrics").text
        lines = dict(
            line.rsplit(" ", 1) for line in metrics.splitlines() if line.startswith("canary_records_")
        )
        if "canary_records_spooled" not in lines:
            return False  # this process has not heard from the store yet; the totals are its checkpoint's
        at = {
            name: float(lines[f'canary_records_total{{state="{name}"}}']) for name in ("accepted", "stored")
        }
        dropped = float(lines['canary_records_total{state="dropped"}'])
        spooled = float(lines["canary_records_spooled"])
        assert at["accepted"] == at["stored"] + dropped + spooled
        return (at["stored"], dropped, spooled) == (len(ids), 0.0, 0.0)

    eventually(add_up)


def outage(tmp_path: Path, database: Postgres, how: str, lasts_s: float) -> None:
    failing = threading.Event()

    async def candidate(seen: Seen) -> None:
        await (ERROR if failing.is_set() else answer)(seen)

    with up(tmp_path, database.url, candidate, workers=2) as stage:
        crowd = Crowd(stage.server.traffic)
        with crowd.asking("user"):
            crowd.more(60)
            assert not failing.is_set() and arms(crowd.answers) == {"baseline", "candidate"}
            began = time.monotonic()
            database.kill() if how == "killed" else database.freeze()
            eventually(lambda: is_degraded(stage))
            failing.set()
            eventually(lambda: stage.status("outage")["state"] == "rolled_back")
            effective_s = time.monotonic()
            workers = stage.api("GET", "/api/status").json()["workers"]
            eventually(lambda: stage.api("GET", "/api/status").json()["workers"]["confirmed"] == 2)
            followed_s = time.monotonic() - effective_s
            crowd.more(2 * CALLERS)  # whatever was on its way
            reached = len(stage.provider.of("candidate"))
            while time.monotonic() - began < lasts_s:
                crowd.more(20)
                assert is_degraded(stage)
            assert len(stage.provider.of("candidate")) == reached
            database.start() if how == "killed" else database.thaw()
            back = time.monotonic()
            eventually(lambda: is_ready(stage))
            healed_s = time.monotonic() - back
            crowd.more(20)
        assert workers["alive"] == 2
        hold_whole(crowd.answers)
        hold_stored_once(database, stage, crowd.answers)
        audit = [each for each in stage.api("GET", "/api/audit").json() if each["action"] == "rollback"]
        assert len(audit) == 1 and audit[0]["who"].startswith("guardrail ")
        with psycopg.connect(database.url) as connection:
            (state,) = connection.execute("SELECT document FROM states").fetchall()
        assert state[0]["state"] == "rolled_back"
        assert json.loads((stage.server.data / "rollbacks.json").read_text()) == {}
        assert stage.status("outage")["state"] == "rolled_back"
    print(
        f"\nR3 {how}: {len(crowd.answers)} requests, {lasts_s:g} s without the database: 0 failed, all "
        f"stored once; rolled back meanwhile, all workers follow in {followed_s:.1f} s; "
        f"healed in {healed_s:.1f} s"
    )


@pytest.mark.parametrize("how", ["killed", pytest.param("frozen", marks=pytest.mark.more)])
def test_without_the_database_traffic_and_rollback_go_on_and_nothing_is_lost(
    tmp_path: Path, database: Postgres, how: str
) -> None:
    outage(tmp_path, database, how, QUICK_S)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_minute_without_the_database(tmp_path: Path, database: Postgres, how: str) -> None:
    outage(tmp_path, database, how, LONG_S)


@pytest.mark.more
def test_a_server_that_starts_without_the_database_serves_and_heals(
    tmp_path: Path, database: Postgres
) -> None:
    database.stop()
    with up(tmp_path, database.url, answer, workers=2) as stage:
        crowd = Crowd(stage.server.traffic)
        with crowd.asking("new"):
            crowd.more(40)
            eventually(
                lambda: all(readiness(stage)[0] == 200 for _ in range(8))
            )  # 10 s after each one's start
            assert is_degraded(stage)
            assert stage.api("POST", "/api/canaries/outage/pause", {"reason": "?"}).status_code == 503
            assert stage.api("GET", "/api/audit").status_code == 503
            assert arms(crowd.answers) == {"baseline"}  # there has never been a plan
            database.start()
            eventually(lambda: is_ready(stage))
            eventually(lambda: "candidate" in arms(crowd.answers))
        first = len(crowd.answers)
        stage.server.stop()
        database.kill()
        stage.restart()
        crowd.traffic = stage.server.traffic
        with crowd.asking("again"):
            crowd.more(40)
            assert is_degraded(stage)
            assert arms(crowd.answers[first:]) == {"baseline", "candidate"}  # by the last plan
            database.start()
            eventually(lambda: is_ready(stage))
            crowd.more(20)
        hold_whole(crowd.answers)
        hold_stored_once(database, stage, crowd.answers)
    print(f"\nR3 started without it: {len(crowd.answers)} requests, 0 failed, all stored once")
