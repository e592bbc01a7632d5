"""Captured texts of replicas: into PostgreSQL by each agent, redacted, and out again when they expire."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import psycopg
import pytest

from records.store import Store
from records.store.captures import CaptureStore
from tests.e2e.echo_provider import EchoProvider
from tests.e2e.planted import holding
from tests.e2e.replicas import Fleet, fleet
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.serving import eventually

pytestmark = pytest.mark.more  # in several replicas

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: watched
    match: {{models: [watched]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 50%
    guardrails: []
    capture: {{per_category: 3}}
"""
SECRET = "sk-proj-PLANTEDplantedPLANTED1234"


@pytest.fixture
def replicas(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, redis_server: RedisServer
) -> Iterator[Fleet]:
    with EchoProvider() as provider:
        config, folder = CONFIG.format(url=provider.url), tmp_path_factory.mktemp("captures")
        with fleet(folder, config, store=postgres.fresh(), shared=redis_server.url) as members:
            for _ in range(2):
                members.add("traffic")
            members.add("admin")
            members.ready(workers=2)
            yield members


def test_every_replicas_captures_come_together_under_one_quota(replicas: Fleet) -> None:
    for number in range(12):
        replica = replicas.replicas[number % 2]
        body = {
            "model": "watched",
            "user": f"user-{number}",
            "messages": [{"role": "user", "content": f"{number}: {SECRET}"}],
        }
        url = f"{replica.traffic}/v1/chat/completions"
        answer = httpx2.post(url, json=body, headers={"x-canary-category": "billing"})
        assert SECRET in answer.text

    with closing(Store.open(replicas.store, replicas.replicas[0].data)) as store:
        found = eventually(
            lambda: each if len(each := list(CaptureStore(store).read("watched"))) == 3 else None
        )
    for replica in replicas.replicas:
        eventually(lambda folder=replica.data / "captures": brought_in(folder))  # type: ignore[misc]
    with closing(Store.open(replicas.store, replicas.replicas[0].data)) as store:
        assert len(list(CaptureStore(store).read("watched"))) == 3
    assert all(each.answer.startswith("You said: ") and "[secret]" in each.answer for each in found)
    with psycopg.connect(replicas.store) as connection:
        rows = connection.execute("SELECT captures::text FROM captures").fetchall()
    assert len(rows) == 3 and SECRET not in repr(rows)
    for replica in replicas.replicas:
        assert holding(replica.data.rglob("*"), [SECRET]) == []


def brought_in(folder: Path) -> bool:
    """True once this replica has captured something, and the database has it."""
    return folder.exists() and not list(folder.iterdir())
