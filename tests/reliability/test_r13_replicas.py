"""R13 in a fleet: one replica's clock is wrong, and is set while requests come. Every exchange counts once,
with its date by Redis's clock; people are told of the clock, and a failing candidate is rolled back."""

import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from tests.e2e.receivers import Hook, listening_hook
from tests.e2e.replicas import Fleet, Member, fleet
from tests.e2e.stage import chat
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.serving import HandClock, ProviderThread, eventually

CANDIDATE = "gpt-4o-2024-11-20"
CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: clocks
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 50%
    settle: 0s
notify: [{{webhook: "{hook}"}}]
"""
OFFSETS_S = (-45, 45, -300, 300, -3600, 3600, 86400)
"""Seconds by which the replica's clock is ahead of ours, one after the other."""

EACH_ARM = 5
MOST_ROUNDS = 200


@pytest.fixture
def clock(tmp_path: Path) -> HandClock:
    return HandClock(tmp_path)


@pytest.fixture
def hook() -> Iterator[Hook]:
    with listening_hook() as listening:
        yield listening


@pytest.fixture
def members(
    tmp_path: Path, clock: HandClock, hook: Hook, provider: ProviderThread, postgres: Postgres
) -> Iterator[Fleet]:
    """One admin, one replica whose clock is `clock`, and one whose is ours."""
    config = CONFIG.format(url=provider.url, hook=hook.url)
    with (
        closing(RedisServer()) as redis,
        fleet(tmp_path, config, store=postgres.fresh(), shared=redis.url) as up,
    ):
        up.add("admin")
        up.add("traffic", env=clock.env)
        up.add("traffic")
        up.ready(workers=2)
        yield up


def ask(member: Member, users: list[str]) -> None:
    with httpx2.Client(headers={"authorization": "Bearer sk-caller"}, trust_env=False, timeout=30.0) as http:
        for user in users:
            answer = http.post(f"{member.traffic}/v1/chat/completions", json=chat("gpt-4o", user))
            assert answer.status_code == 200, answer.text


def counted(members: Fleet) -> int:
    return sum(arm["requests"] for arm in members.status("clocks")["arms"].values())


def troubles(members: Fleet) -> str:
    return str(members.leader().get("/api/status").json()["degraded"])


def offset_s(member: Member) -> float:
    return member.metrics()["canary_clock_offset_seconds"]


def await_offset(member: Member, ahead_s: int) -> None:
    eventually(lambda: abs(offset_s(member) - ahead_s) < 1.0)


def await_counted(members: Fleet, asked: int) -> None:
    eventually(lambda: counted(members) == asked)


def await_trouble(members: Fleet, said: str) -> None:
    eventually(lambda: said in troubles(members))


def test_a_replica_whose_clock_is_wrong_is_heard_by_every_guardrail(
    members: Fleet, clock: HandClock, hook: Hook, provider: ProviderThread
) -> None:
    wrong, right = members.replicas
    users = {arm: members.users(arm, "clocks", 0.5) for arm in ("baseline", "candidate")}
    asked = 0
    for ahead_s in OFFSETS_S:
        clock.set(ahead_s)
        await_offset(wrong, ahead_s)
        for member in (wrong, right):
            now = [user for arm in users.values() for user in islice(arm, EACH_ARM)]
            ask(member, now)
            asked += len(now)
        await_counted(members, asked)
        await_trouble(
            members, f"is {abs(ahead_s):,.0f} s {'fast' if ahead_s > 0 else 'slow'} by Redis's clock"
        )
    stored = eventually(lambda: rows if len(rows := members.outcomes()) == asked else None)
    apart_s = max(abs(each["at"] - time.time()) for each in stored)
    assert abs(offset_s(right)) < 1.0
    print(f"\nR13 (replicas): clock at {OFFSETS_S} s: {counted(members)} of {asked} exchanges counted, ")
    print(f"{len(stored)} stored, the dates at most {apart_s:.0f} s from now")
    assert apart_s < 300.0  # the test has taken less

    clock.set(-45)
    await_offset(wrong, -45)
    provider.behave(CANDIDATE, Behaviour(faults={"status": 0.5}))
    began, rounds = time.monotonic(), 0
    while members.status("clocks")["state"] == "running" and rounds < MOST_ROUNDS:
        ask(wrong, [user for arm in users.values() for user in islice(arm, EACH_ARM)])
        rounds += 1
    assert members.status("clocks")["state"] == "rolled_back"
    print(f"rolled back {time.monotonic() - began:.1f} s after the first failure, in {rounds} rounds")
    assert len(eventually(lambda: hook.events("clocks", "page"))) == 1

    clock.set(0)
    eventually(lambda: "the clock of replica" not in troubles(members))
