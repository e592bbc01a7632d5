"""A standing canary by way of PostgreSQL: every replica tries what one admin began, and has its baselines."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx2
import pytest

from canary.config.server import Role
from demo.provider.server import LocalProvider
from tests.e2e.replicas import Fleet, Member, fleet
from tests.e2e.stage import chat
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.serving import ProviderThread, eventually

pytestmark = pytest.mark.more  # in several replicas

_ROLES: tuple[Role, ...] = ("admin", "traffic", "traffic")
CONFIG = """
providers:
  openai: {api: openai, base_url: "URL/v1", api_key: k}
canaries:
  - name: support
    standing: true
    match: {models: [bot]}
    baseline: {provider: openai, model: first}
    candidate: {provider: openai}
    share: 50%
    settle: 0s
    holdback: {share: 40%, for: 7d}
"""


@pytest.fixture
def provider() -> Iterator[ProviderThread]:
    with ProviderThread(LocalProvider()) as thread:
        yield thread


@pytest.fixture
def members(
    tmp_path: Path, provider: ProviderThread, postgres: Postgres, redis_server: RedisServer
) -> Iterator[Fleet]:
    text = CONFIG.replace("URL", provider.url)
    with fleet(tmp_path, text, store=postgres.fresh(), shared=redis_server.url) as members:
        for role in _ROLES:
            members.add(role)
        members.leader()
        for replica in members.replicas:
            eventually(partial(replica.answers, replica.traffic))
        yield members


USERS = [f"u{n}" for n in range(20)]


def asked(replica: Member, provider: ProviderThread, user: str) -> str:
    """The model that a user of the replica gets."""
    url = f"{replica.traffic}/v1/chat/completions"
    assert httpx2.post(url, json=chat("bot", user), trust_env=False, timeout=30).status_code == 200
    return provider.log.entries[-1].model


def given(replica: Member, provider: ProviderThread, *models: str) -> None:
    """The replica's users get these models."""
    eventually(lambda: {asked(replica, provider, user) for user in USERS} == set(models) or None)


def held_back(members: Fleet, replica: Member, provider: ProviderThread) -> None:
    """The leader and the replica agree who keeps the former baseline."""

    def explained(user: str) -> str:
        (found,) = members.leader().ask("GET", f"/api/explain?unit={user}").json()["canaries"]
        assert (found["held_back_until"] is None) == (found["arm"] == "candidate")
        return "second" if found["arm"] == "candidate" else "first"

    expected = {user: explained(user) for user in USERS}
    eventually(lambda: {user: asked(replica, provider, user) for user in USERS} == expected or None)


def test_every_replica_tries_what_one_admin_began(members: Fleet, provider: ProviderThread) -> None:
    def order(path: str, **more: object) -> None:
        answer = members.leader().ask("POST", path, {"who": "ann", "reason": "r", **more})
        assert answer.status_code == 200, answer.text

    for replica in members.replicas:
        given(replica, provider, "first")
    order("/api/standing/support/begin", arm={"model": "second"})
    for replica in members.replicas:
        given(replica, provider, "first", "second")
    order("/api/canaries/support-second/promote", against_verdict=True)
    for replica in members.replicas:
        held_back(members, replica, provider)

    late = members.replicas[0]
    late.kill()
    (late.data / "trials.json").unlink()  # as on a new machine
    late.start()
    held_back(members, late, provider)
    order("/api/standing/support/begin", arm={"model": "third"})
    for replica in members.replicas:
        given(replica, provider, "second", "third")
    order("/api/standing/support/revert")
    for replica in members.replicas:
        given(replica, provider, "first")
