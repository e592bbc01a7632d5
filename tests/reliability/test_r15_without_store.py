"""R15 with the database dead: a rollback that the last leader decides goes out by Redis, one page with it,
and is stored when the database is back. The other admin, which knows no better, does not undo it.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from tests.e2e.receivers import Hook, listening_hook
from tests.e2e.replicas import Fleet, Member, fleet
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
    share: 20%
    settle: 0s
notify: [{{webhook: "{hook}"}}]
"""
CANDIDATE = "gpt-4o-2024-11-20"


@pytest.fixture
def scene(
    tmp_path: Path, durable_postgres: Postgres, redis_server: RedisServer
) -> Iterator[tuple[Fleet, ProviderThread, Hook]]:
    with ExitStack() as stack:
        provider = stack.enter_context(ProviderThread(LocalProvider()))
        hook = stack.enter_context(listening_hook())
        config = CONFIG.format(url=provider.url, hook=hook.url)
        members = stack.enter_context(
            fleet(tmp_path, config, store=durable_postgres.url, shared=redis_server.url)
        )
        for role in ("admin", "admin", "traffic"):
            members.add(role)
        members.ready(1)
        yield members, provider, hook


def state(members: Fleet) -> str:
    """The canary's state, as the replica's workers follow it."""
    plan = json.loads((members.replicas[0].data / "plan.json").read_bytes())
    return str(plan["states"]["trial"]["state"])


def steady(members: Fleet) -> Steady:
    """Thousands of users of both arms: guardrails count a user once a minute, and few would tell little."""
    candidates = list(islice(members.users("candidate", "trial", 0.2), 3000))
    baselines = list(islice(members.users("baseline", "trial", 0.2), 9000))
    mixed = [user for pair in zip(candidates, *[iter(baselines)] * 3, strict=True) for user in pair]
    return Steady([str(members.replicas[0].traffic)], mixed, pause_s=0.02)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("ending", "beginning"), [("kill", "start"), ("freeze", "thaw")])
def test_a_rollback_goes_out_while_the_database_is_dead(
    scene: tuple[Fleet, ProviderThread, Hook], durable_postgres: Postgres, ending: str, beginning: str
) -> None:
    members, provider, hook = scene
    leader = members.leader()
    with steady(members).running() as load:
        eventually(lambda: len(load.asked) > 300)
        getattr(durable_postgres, ending)()
        dead = time.monotonic()
        eventually(lambda: "no store to tell who leads" in leader.get("/readyz").text)
        alone_s = time.monotonic() - dead
        began = time.monotonic()
        provider.behave(CANDIDATE, Behaviour(faults={"status": 0.5}))
        eventually(lambda: state(members) == "rolled_back")
        back = time.monotonic()
        (page,) = eventually(lambda: hook.events("trial", "page"))
        told = time.monotonic()
        threading.Event().wait(2.0)  # the other admin has its say, should it have one
        assert state(members) == "rolled_back"
        getattr(durable_postgres, beginning)()
    assert {each.status for each in load.asked} == {200}
    eventually(lambda: stored(members))
    (entry,) = [each for each in leader.get("/api/audit").json() if each["action"] == "rollback"]
    assert entry["who"].startswith("guardrail")
    assert members.status("trial")["state"] == "rolled_back"
    for admin in members.admins:
        (kept,) = eventually(partial(why, admin))
        assert (kept["who"], kept["stored"], kept["after"]["state"]) == (entry["who"], True, "rolled_back")
        assert kept["path"] and kept["arms"]["candidate"]["failed"] > 0
    assert len(hook.events("trial", "page")) == 1
    rows = eventually(lambda: rows if len(rows := members.outcomes()) >= len(load.asked) else None)
    assert len(rows) == len(load.asked)
    print(
        f"\nR15: alone {alone_s:.1f} s after PostgreSQL's {ending}; rolled back {back - began:.1f} s after "
        f"the failures began, paged once ({page['rules'][0]}) after {told - began:.1f} s; "
        f"{len(load.asked)} requests, 0 failed, all stored"
    )


def why(admin: Member) -> list[dict[str, Any]]:
    """What an admin says of the rollbacks, once the database has them."""
    found: list[dict[str, Any]] = admin.get("/api/canaries/trial/rollbacks").json()
    return [each for each in found if each["stored"]]


def stored(members: Fleet) -> bool:
    """True when an admin's audit log has the rollback."""
    answer = members.admins[0].get("/api/audit")
    return answer.status_code == 200 and any(each["action"] == "rollback" for each in answer.json())
