"""R3 with several replicas: while the database is frozen or gone, a rollback that an operator orders reaches
every replica all the same, by Redis; and the database when it is back.
"""

import json
from pathlib import Path

import psycopg
import pytest

from tests.e2e.replicas import Fleet, Member, fleet
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.serving import eventually

pytestmark = pytest.mark.more  # in several replicas

CONFIG = """
providers:
  openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}
canaries:
  - name: outage
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: a}
    candidate: {provider: openai, model: b}
    share: 50%
    settle: 0s
    guardrails: []
"""


def state_in(member: Member) -> str:
    """The canary's state in a replica's plan."""
    plan = json.loads((member.data / "plan.json").read_bytes())
    return str(plan["states"]["outage"]["state"])


@pytest.mark.parametrize("how", ["frozen", pytest.param("killed", marks=pytest.mark.slow)])
def test_a_rollback_reaches_every_replica_without_the_database(
    tmp_path: Path, durable_postgres: Postgres, redis_server: RedisServer, how: str
) -> None:
    url = f"{durable_postgres.url}?connect_timeout=2"
    with fleet(tmp_path, CONFIG, store=url, shared=redis_server.url) as members:
        for role in ("admin", "admin", "traffic", "traffic"):
            members.add(role)
        members.ready(2)
        eventually(lambda: [each.metrics()["canary_leader"] for each in members.admins] == [1.0, 0.0])
        assert [state_in(each) for each in members.replicas] == ["running"] * 2
        durable_postgres.kill() if how == "killed" else durable_postgres.freeze()
        order(members, "rollback", 200)
        eventually(lambda: {state_in(each) for each in members.replicas} == {"rolled_back"})
        order(members, "resume", 503)
        eventually(lambda: {state_at(each) for each in members.admins} == {"rolled_back"})
        eventually(lambda: sum("the figures are of" in said(each) for each in members.admins) == 1)
        durable_postgres.start() if how == "killed" else durable_postgres.thaw()
        eventually(lambda: stored(durable_postgres) == "rolled_back")
        assert {state_in(each) for each in members.replicas} == {"rolled_back"}
        audit = members.admins[0].get("/api/audit").json()
        assert [each["action"] for each in audit].count("rollback") == 1


def order(members: Fleet, name: str, status: int) -> None:
    """An operator's order to an admin in standby, and what it must be answered."""
    answer = members.admins[1].ask("POST", f"/api/canaries/outage/{name}", {"reason": "bad answers"})
    assert answer.status_code == status, answer.text


def state_at(admin: Member) -> str:
    """The canary's state as this admin shows it."""
    return str(admin.get("/api/status").json()["canaries"][0]["state"])


def said(admin: Member) -> str:
    return admin.get("/readyz").text


def stored(database: Postgres) -> str:
    with psycopg.connect(database.url) as connection:
        ((document,),) = connection.execute("SELECT document FROM states").fetchall()
    return str(document["state"])
