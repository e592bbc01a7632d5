"""Lanes by way of Redis and PostgreSQL: both replicas give a user the same canary and arm, also after one of
the canaries has left the file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from routing.cohort import SPACE, derive_key, in_cohort
from routing.states import lane_place
from tests.e2e.replicas import SECRET, Fleet, fleet
from tests.e2e.stage import chat
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.serving import ProviderThread, eventually

pytestmark = pytest.mark.more  # in several replicas

HEAD = """
providers:
  openai: {api: openai, base_url: "URL/v1"}
canaries:
"""
CANARY = """
  - name: NAME
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: base-NAME}
    candidate: {provider: openai, model: new-NAME}
    share: 20%
    settle: 0s
    guardrails: []
"""
USERS = [f"user-{number}" for number in range(150)]


def canaries(*names: str) -> str:
    return HEAD + "".join(CANARY.replace("NAME", name) for name in names)


def wanted(user: str) -> tuple[str, str]:
    """By the published rules: halves of the places, then the arm's own hash."""
    key = derive_key(SECRET.encode(), "assignment")
    name = "ab"[lane_place(key, user) * 2 // SPACE]
    return name, "candidate" if in_cohort(key, name, user, 0.2) else "baseline"


@dataclass
class Place:
    members: Fleet
    url: str

    def served(self, replica: int) -> dict[str, tuple[str | None, str | None]]:
        """Canary and arm of every user at this replica."""
        url = f"{self.members.replicas[replica].traffic}/v1/chat/completions"
        found = {}
        with httpx2.Client(headers={"authorization": "Bearer sk-caller"}, trust_env=False) as http:
            for user in USERS:
                answer = http.post(url, json=chat("gpt-4o", user))
                assert answer.status_code == 200
                found[user] = answer.headers.get("x-canary-name"), answer.headers.get("x-canary-arm")
        return found

    def configure(self, text: str) -> None:
        for member in (*self.members.replicas, *self.members.admins):
            shared = member.config.read_text().partition("\nstore: ")[2]
            member.config.write_text(f"{text.replace('URL', self.url)}\nstore: {shared}")


@pytest.fixture
def place(tmp_path: Path, postgres: Postgres, redis_server: RedisServer) -> Iterator[Place]:
    with ProviderThread(LocalProvider(other=Behaviour())) as provider:
        text = canaries("a", "b").replace("URL", provider.url)
        with fleet(tmp_path, text, store=postgres.fresh(), shared=redis_server.url) as members:
            for role in ("admin", "traffic", "traffic"):
                members.add(role)
            members.ready(2)
            eventually(lambda: all(members.status(name)["state"] == "running" for name in "ab"))
            members.ready(2)
            yield Place(members, provider.url)


def test_every_replica_keeps_to_the_lanes_and_nobody_moves_when_one_ends(place: Place) -> None:
    expected = {user: wanted(user) for user in USERS}
    assert {name for name, _ in expected.values()} == {"a", "b"}
    for replica in (0, 1):
        eventually(lambda replica=replica: place.served(replica) == expected)  # type: ignore[misc]

    place.configure(canaries("b"))
    ended = {user: each if each[0] == "b" else (None, None) for user, each in expected.items()}
    for replica in (0, 1):
        eventually(lambda replica=replica: place.served(replica) == ended)  # type: ignore[misc]
    assert place.members.status("b")["lane"] == pytest.approx(0.5, abs=1e-6)
