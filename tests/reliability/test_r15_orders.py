"""R15: ramp, rollback, stop, again and again, with two workers in each of two replicas. All of them follow
within a second, no candidate is asked a second after a rollback was confirmed, FLUSHALL changes nothing.

Ten rounds in the quick form, a hundred in the long one (`-m slow`). That no plan
outlives its admins by more than 15 minutes, a replica that is cut off included:
`tests/records/test_states_file.py`, `tests/control/test_states_follower.py`.
"""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice

import httpx2
import pytest

from demo.provider.server import LocalProvider
from tests.e2e.replicas import TOKEN, Fleet, fleet
from tests.reliability.rig import percentile
from tests.reliability.steady import Steady
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.serving import ProviderThread, eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: trial
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 10%
    settle: 0s
    guardrails: []
"""
CANDIDATE = "gpt-4o-2024-11-20"
WORKERS = 4
ALL_WITHIN_S = 1.0
pytestmark = [pytest.mark.alone, pytest.mark.more]  # that second is held to


class Rounds:
    """The fleet under load of users who are always in the cohort, and orders that are timed.

    `took_s` is, order by order, from the order to the first status in which every worker follows; `quiet` the
    monotonic spans in which no candidate may be asked.
    """

    def __init__(self, members: Fleet, provider: ProviderThread) -> None:
        self.members, self.provider = members, provider
        users = list(islice(members.users("candidate", "trial", 0.1), 40))
        self.steady = Steady([str(each.traffic) for each in members.replicas], users, pause_s=0.02)
        self.took_s: list[float] = []
        self.quiet: list[tuple[float, float]] = []
        (self.admin,) = members.admins
        self.http = httpx2.Client(
            base_url=self.admin.admin,
            headers={"authorization": f"Bearer {TOKEN}"},
            trust_env=False,
            timeout=30.0,
        )

    def order(self, order: str, **document: object) -> None:
        """Give an order, and note how long it took until every worker followed."""
        began = time.monotonic()
        done = self.http.post(
            f"/api/canaries/trial/{order}", json={"who": "test", "reason": "R15", **document}
        )
        assert done.status_code == 200, done.text
        while self.http.get("/api/status").json()["workers"] != {"alive": WORKERS, "confirmed": WORKERS}:
            assert time.monotonic() < began + 20.0, self.http.get("/api/status").text
        self.took_s.append(time.monotonic() - began)

    def round(self, number: int, *, wait_s: float) -> None:
        """Up, down, and up again; `wait_s` is how long it stays down behind the second that it may take."""
        self.order("ramp", share=0.2 + 0.001 * (number % 100))
        self.order("pause")
        self.order("resume")
        self.order("rollback")
        acknowledged = time.monotonic()
        if wait_s:
            eventually(lambda: time.monotonic() >= acknowledged + ALL_WITHIN_S + wait_s)
        ended = time.monotonic()
        self.quiet.append((acknowledged + ALL_WITHIN_S, ended))
        self.order("resume")

    def asked_while_quiet(self) -> int:
        """Candidate requests in the spans in which there may be none."""
        asked = [entry.mono for entry in self.provider.log.of(CANDIDATE)]
        return sum(begin <= mono < end for begin, end in self.quiet for mono in asked)


@pytest.fixture
def rounds(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, redis_server: RedisServer
) -> Iterator[Rounds]:
    with ExitStack() as stack:
        provider = stack.enter_context(ProviderThread(LocalProvider()))
        config = CONFIG.format(url=provider.url)
        folder = tmp_path_factory.mktemp("r15")
        members = stack.enter_context(fleet(folder, config, store=postgres.fresh(), shared=redis_server.url))
        members.add("admin")
        for _ in range(2):
            members.add("traffic", workers=2)
        members.ready(WORKERS)
        found = Rounds(members, provider)
        stack.callback(found.http.close)
        yield found


def play(rounds: Rounds, count: int, *, waiting: int) -> None:
    """So many rounds under load, of which each `waiting`th is watched beyond its second."""
    with rounds.steady.running() as steady:
        for number in range(count):
            rounds.round(number, wait_s=0.3 if number % waiting == 0 else 0.0)
    watched = sum(end > begin for begin, end in rounds.quiet)
    asked = rounds.asked_while_quiet()
    failed = sum(each.status != 200 for each in steady.asked)
    p50, p99 = (percentile(rounds.took_s, part) for part in (0.5, 0.99))
    print(
        f"\nR15: {count} rounds of 5 orders, {WORKERS} workers in 2 replicas: all follow after p50 "
        f"{p50:.2f} s, p99 {p99:.2f} s, at most {max(rounds.took_s):.2f} s (target {ALL_WITHIN_S:g} s); "
        f"{asked} candidate requests later than a second after the {watched} rollbacks watched so long; "
        f"{len(steady.asked)} requests, {failed} failed"
    )
    assert asked == 0
    assert watched > 0
    assert {each.status for each in steady.asked} == {200}
    assert len(rounds.provider.log.of(CANDIDATE)) > 0


def test_every_order_reaches_every_worker(rounds: Rounds, redis_server: RedisServer) -> None:
    play(rounds, 10, waiting=2)
    flushed(rounds, redis_server)


def flushed(rounds: Rounds, redis_server: RedisServer) -> None:
    """Everything in Redis goes; every plan stays, and the next order arrives as ever."""

    def plans() -> list[dict[str, object]]:
        files = (member.data / "plan.json" for member in rounds.members.replicas)
        return [json.loads(file.read_bytes()) for file in files]

    rounds.order("rollback")
    before = [(plan["version"], plan["states"]) for plan in plans()]
    redis_server.flush()
    with redis_server.client() as client:
        eventually(lambda: client.exists("canary:plan"))  # the leader put it there again
        redis_server.flush()
        eventually(lambda: client.exists("canary:plan"))
    assert [(plan["version"], plan["states"]) for plan in plans()] == before
    rounds.order("resume")
    assert [plan["version"] for plan in plans()] == [int(str(version)) + 1 for version, _ in before]
    print(f"R15: after FLUSHALL an order was followed by all in {rounds.took_s[-1]:.2f} s")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_order_of_a_hundred_rounds_reaches_every_worker(rounds: Rounds) -> None:
    play(rounds, 100, waiting=1)
