"""R2: Redis is killed, hangs, or is not there at the start. Callers notice nothing, the last plan goes on,
orders still arrive, and each exchange is stored once.

The quick form breaks it for seconds, the long form (`-m slow`) for a minute each.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import islice

import pytest

from control.feed.events import SILENT, UNHEARD
from demo.provider.server import LocalProvider
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
    settle: 0s
    guardrails: []
"""
CANDIDATE = "gpt-4o-2024-11-20"


class Rig:
    """A replica of two workers and an admin, over a Redis that is broken in a test."""

    def __init__(self, members: Fleet, redis: RedisServer, provider: ProviderThread) -> None:
        self.members, self.redis, self.provider = members, redis, provider
        self.share = 0.5
        self.asked: list[Asked] = []
        """Of all the tests, for what is stored is all of theirs."""

    @contextmanager
    def load(self, pause_s: float = 0.01) -> Iterator[Steady]:
        """Users who are in the cohort at every share here keep asking."""
        users = islice(self.members.users("candidate", "trial", 0.5), 40)
        doors = [str(each.traffic) for each in self.members.replicas]
        with Steady(doors, list(users), pause_s).running() as steady:
            yield steady
        self.asked += steady.asked

    def reached(self) -> float:
        """Order another share; the seconds until the replica's plan had it."""
        self.share = round(self.share + 0.01, 2)
        document = {"who": "test", "reason": "", "share": self.share}
        began = time.monotonic()
        with ThreadPoolExecutor(1) as pool:  # the answer waits for workers to confirm
            order = pool.submit(self.members.admins[0].ask, "POST", "/api/canaries/trial/ramp", document)
            eventually(self.follows)
            took_s = time.monotonic() - began
            assert order.result().status_code == 200, order.result().text
        return took_s

    def follows(self) -> bool:
        """True when the replica's plan has the share that was ordered last."""
        return f'"share":{self.share}' in (self.members.replicas[0].data / "plan.json").read_text()


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Rig]:
    with ExitStack() as stack:
        redis = RedisServer()
        stack.callback(redis.close)
        provider = stack.enter_context(ProviderThread(LocalProvider()))
        members = stack.enter_context(
            fleet(
                tmp_path_factory.mktemp("r02"),
                CONFIG.format(url=provider.url),
                store=postgres.fresh(),
                shared=redis.url,
            )
        )
        members.add("admin")
        members.add("traffic", workers=2)
        members.ready(2)
        yield Rig(members, redis, provider)


def stored_once(rig: Rig) -> None:
    """Every answered exchange is in the store, and there is none besides."""
    wanted = {each.exchange for each in rig.asked}
    rows = eventually(lambda: rows if len(rows := rig.members.outcomes()) >= len(wanted) else None)
    assert len(rows) == len(rig.asked)
    assert {row["exchange_id"] for row in rows} == wanted


def broken_for(
    rig: Rig, seconds: float, begin: Callable[[], None], end: Callable[[], None], pause_s: float = 0.01
) -> None:
    """Load before, while and after Redis is broken; orders while it is."""
    with rig.load(pause_s) as steady:
        eventually(lambda: len(steady.asked) > 200)
        began = time.monotonic()
        begin()
        try:
            reached_s = rig.reached()
            eventually(lambda: time.monotonic() > began + seconds, seconds + 10.0)
            assert "canary_shared_up" in rig.members.admins[0].get("/metrics").text
        finally:
            end()
        eventually(lambda: rig.members.sums()["canary_shared_up"] == 2.0)
        ended = time.monotonic()
        rig.reached()
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
    stored_once(rig)
    taken_in(rig, len(rig.asked))


def taken_in(rig: Rig, count: int) -> None:
    """The leader's evidence has each exchange once, whichever way it came."""
    found: list[int] = []

    def all_of_them() -> bool:
        found.append(arms(rig))
        return found[-1] >= count

    try:
        eventually(all_of_them)
    except AssertionError:
        print(f"the leader took in {found[-1]} of {count}")
    assert found[-1] == count


def arms(rig: Rig) -> int:
    """The exchanges that the leader has taken in."""
    return sum(arm["requests"] for arm in rig.members.status("trial")["arms"].values())


def test_redis_killed_under_load(rig: Rig) -> None:
    broken_for(rig, 2.0, rig.redis.kill, rig.redis.start)


@pytest.mark.more
def test_redis_frozen_under_load(rig: Rig) -> None:
    broken_for(rig, 2.0, rig.redis.freeze, rig.redis.thaw)


def test_while_redis_is_frozen_the_status_says_so_and_not_that_no_worker_runs(rig: Rig) -> None:
    def degraded() -> str:
        said: list[str] = rig.members.admins[0].get("/api/status").json()["degraded"]
        return "; ".join(said)

    rig.redis.freeze()
    try:
        said = eventually(lambda: found if UNHEARD in (found := degraded()) else None)
    finally:
        rig.redis.thaw()
    assert "Redis does not answer" in said
    assert SILENT not in said
    eventually(lambda: degraded() == "")


@pytest.mark.more
def test_a_replica_that_starts_without_redis_goes_on_with_the_last_plan(rig: Rig) -> None:
    (replica,) = rig.members.replicas
    rig.reached()
    rig.redis.kill()
    replica.stop()
    replica.start()
    eventually(lambda: replica.answers(replica.traffic))
    rig.provider.log.clear()
    with rig.load() as steady:
        eventually(lambda: len(steady.asked) > 100)
    assert {each.status for each in steady.asked} == {200}
    assert rig.follows()
    assert len(rig.provider.log.of(CANDIDATE)) == len(steady.asked)  # all of them are the candidate's users
    assert "the plan comes from the store" in replica.get("/readyz").text
    rig.redis.start()
    stored_once(rig)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("begin", "end"), [("kill", "start"), ("freeze", "thaw")])
def test_redis_gone_for_a_minute(rig: Rig, begin: str, end: str) -> None:
    broken_for(rig, 60.0, getattr(rig.redis, begin), getattr(rig.redis, end), pause_s=0.05)
