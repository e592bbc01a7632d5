"""Two admins over one PostgreSQL: who asks at one is seen at the other, where somebody else promotes."""

from pathlib import Path

import pytest

from demo.provider.server import LocalProvider
from tests.e2e.replicas import Member, fleet
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.serving import ProviderThread, eventually

pytestmark = pytest.mark.more  # in several replicas

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: by-two
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 5%
    promote: two_people
"""
PATH = "/api/canaries/by-two/promote"
AGAINST = {"against_verdict": True}
"""Nothing is known of it, so that its verdict is to extend."""


def asked_at(member: Member) -> str | None:
    """Who asks for the promotion by this admin's status."""
    (canary,) = member.get("/api/status").json()["canaries"]
    return canary["promote_asked"] and canary["promote_asked"]["who"]


def test_two_people_promote_at_two_admins(
    tmp_path: Path, postgres: Postgres, redis_server: RedisServer
) -> None:
    with (
        ProviderThread(LocalProvider()) as provider,
        fleet(
            tmp_path, CONFIG.format(url=provider.url), store=postgres.fresh(), shared=redis_server.url
        ) as members,
    ):
        for role in ("admin", "traffic", "admin"):
            members.add(role)  # type: ignore[arg-type]
        members.ready(1)
        one, other = members.admins
        assert one.ask("POST", PATH, {"who": "ann", "reason": "it won", **AGAINST}).status_code == 202
        assert eventually(lambda: asked_at(other)) == "ann"
        refused = other.ask("POST", PATH, {"who": "Ann", "reason": "it won", **AGAINST})
        assert refused.status_code == 409
        done = other.ask("POST", PATH, {"who": "bob", "reason": "yes", **AGAINST})
        assert (done.status_code, done.json()["state"]) == (200, "promoted")
        eventually(lambda: members.status("by-two")["state"] == "promoted")
        eventually(lambda: asked_at(one) is None)
