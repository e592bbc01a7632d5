"""R2: Redis is killed, hangs, or is not there at the start. Callers notice nothing, the last plan goes on,
orders still arrive, and each exchange is stored once.

The quick form breaks it for seconds, the long form (`-m slow`) for a minute each.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import pytest

from canary.demo.provider import Provider
from tests.e2e.replicas import Fleet, fleet
from tests.reliability.rig import percentile
from tests.reliability.steady import Asked, Steady
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
    share: 50%
    guardrails: []
"""
CANDIDATE = "gpt-4o-2024-11-20"


class Rig:
    """A replica of two workers and an admin, over a Redis that is broken in a test."""

    def __init__(self, members: Fleet, redis: RedisServer, provider: ProviderThread) -> None:
        self.members, self.redis, self.provider = members, redis, provider
        users = islice(members.users("candidate", "trial", 0.5), 40)
        self.steady = Steady([str(each.traffic) for each in members.replicas], list(users), pause_s=0.01)

    def reached(self, share: float) -> float:
        """Order a share; the seconds until the replica's plan had it."""
        document = {"who": "test", "reason": "", "share": share}
        began = time.monotonic()
        with ThreadPoolExecutor(1) as pool:  # the answer waits for workers to confirm
            order = pool.submit(self.members.admins[0].ask, "POST", "/api/canaries/trial/ramp", document)
            eventually(lambda: self.follows(share), 20.0)
            took_s = time.monotonic() - began
            assert order.result().status_code == 200, order.result().text
        return took_s

    def follows(self, share: float) -> bool:
        """True when the replica's plan has this share."""
        return f'"share":{share}' in (self.members.replicas[0].data / "plan.json").read_text()


@pytest.fixture
def rig(tmp_path: Path, postgres: Postgres, redis_server: RedisServer) -> Iterator[Rig]:
    with ExitStack() as stack:
        provider = stack.enter_context(ProviderThread(Provider()))
        members = stack.enter_context(
            fleet(tmp_path, CONFIG.format(url=provider.url), store=postgres.fresh(), shared=redis_server.url)
        )
        members.add("admin")
        members.add("traffic", workers=2)
        members.ready(2)
        yield Rig(members, redis_server, provider)


def stored_once(rig: Rig, asked: list[Asked]) -> None:
    """Every answered exchange is in the store, and there is none besides."""
    wanted = {each.exchange for each in asked}
    rows = eventually(lambda: rows if len(rows := rig.members.outcomes()) >= len(asked) else None, 30.0)
    assert len(rows) == len(asked)
    assert {row["exchange_id"] for row in rows} == wanted


def broken_for(rig: Rig, seconds: float, begin: Callable[[], None], end: Callable[[], None]) -> None:
    """Load before, while and after Redis is broken; orders while it is."""
    with rig.steady.running() as steady:
        eventually(lambda: len(steady.asked) > 200)
        began = time.monotonic()
        begin()
        try:
            reached_s = rig.reached(0.6)
            eventually(lambda: time.monotonic() > began + seconds, seconds + 10.0)
            assert "canary_shared_up" in rig.members.admins[0].get("/metrics").text
        finally:
            end()
        eventually(lambda: rig.members.sums()["canary_shared_up"] == 2.0, 20.0)
        ended = time.monotonic()
        rig.reached(0.7)
        eventually(lambda: len(steady.since(ended)) > 100)
    before = [each.took_s for each in steady.asked if each.began < began]
    during = [each.took_s for each in steady.asked if began <= each.began < ended]
    failed = sum(each.status != 200 for each in steady.asked)
    p99_before, p99_during = (percentile(some, 0.99) * 1e3 for some in (before, during))
    print(
        f"\nR2: {len(steady.asked)} requests, {len(during)} of them without Redis for {ended - began:.1f} s: "
        f"{failed} failed; p99 {p99_before:.1f} ms before and {p99_during:.1f} ms without; an order reached "
        f"the workers after {reached_s:.2f} s by the store"
    )
    assert {each.status for each in steady.asked} == {200}
    stored_once(rig, steady.asked)
    taken_in(rig, len(steady.asked))


def taken_in(rig: Rig, count: int) -> None:
    """The leader's evidence has each exchange once, whichever way it came."""
    found: list[int] = []

    def all_of_them() -> bool:
        found.append(arms(rig))
        return found[-1] >= count

    try:
        eventually(all_of_them, 20.0)
    except AssertionError:
        print(f"the leader took in {found[-1]} of {count}")
    assert found[-1] == count


def arms(rig: Rig) -> int:
    """The exchanges that the leader has taken in."""
    return sum(arm["requests"] for arm in rig.members.status("trial")["arms"].values())


def test_redis_killed_under_load(rig: Rig) -> None:
    broken_for(rig, 2.0, rig.redis.kill, rig.redis.start)


def test_redis_frozen_under_load(rig: Rig) -> None:
    broken_for(rig, 2.0, rig.redis.freeze, rig.redis.thaw)


def test_a_replica_that_starts_without_redis_goes_on_with_the_last_plan(rig: Rig) -> None:
    (replica,) = rig.members.replicas
    rig.reached(0.8)
    rig.redis.kill()
    replica.stop()
    replica.start()
    eventually(lambda: replica.answers(replica.traffic), 20.0)
    rig.steady.doors = [str(replica.traffic)]
    with rig.steady.running() as steady:
        eventually(lambda: len(steady.asked) > 100)
    assert {each.status for each in steady.asked} == {200}
    assert rig.follows(0.8)
    assert len(rig.provider.log.of(CANDIDATE)) == len(steady.asked)  # all of them are the candidate's users
    assert "the plan comes from the store" in replica.get("/readyz").text
    stored_once(rig, steady.asked)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("begin", "end"), [("kill", "start"), ("freeze", "thaw")])
def test_redis_gone_for_a_minute(rig: Rig, begin: str, end: str) -> None:
    rig.steady.pause_s = 0.05
    broken_for(rig, 60.0, getattr(rig.redis, begin), getattr(rig.redis, end))
