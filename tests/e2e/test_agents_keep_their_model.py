"""Agents that call a model twelve times for a task, across changes of share: no task changes its model."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from routing.cohort import derive_key, in_cohort
from tests.e2e.replicas import SECRET, Fleet, fleet
from tests.e2e.stage import Stage, chat, on_stage, worker_pids
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.serving import ProviderThread, eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: agents
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    ramp: [{{share: 10%, for: 1h}}, {{share: 60%}}]
    guardrails: []
    settle: SETTLE
"""
USERS = [f"agent-{number}" for number in range(20)]
CALLS = 12
Change = Callable[[], object]


def call(url: str | None, user: str) -> str:
    """One call over a connection of its own, so that any worker may serve it: the arm that it got."""
    body, headers = chat("gpt-4o", user), {"authorization": "Bearer sk-caller"}
    answer = httpx2.post(f"{url}/v1/chat/completions", json=body, headers=headers, trust_env=False)
    assert answer.status_code == 200, answer.text
    arm: str = answer.headers.get("x-canary-arm", "baseline")
    return arm


def drive(url: Callable[[int], str | None], changes: Mapping[int, Change]) -> dict[str, list[str]]:
    """The arms of every user's calls: all users in turn, with a change before some of the rounds. `url` is
    that of the n-th call."""
    arms: dict[str, list[str]] = {user: [] for user in USERS}
    for number in range(CALLS):
        changes.get(number, lambda: None)()
        for place, (user, got) in enumerate(arms.items()):
            got.append(call(url(number + place), user))
    return arms


def order(ask: Callable[..., httpx2.Response], name: str, **fields: Any) -> None:
    document = {"who": "test", "reason": "a change of share", **fields}
    document |= {"against_verdict": True} if name == "promote" else {}
    answer = ask("POST", f"/api/canaries/agents/{name}", document)
    assert answer.status_code == 200, answer.text


@pytest.fixture
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    config = CONFIG.replace("SETTLE", getattr(request, "param", "30m"))
    with on_stage(tmp_path, config, provider=LocalProvider(other=Behaviour()), workers=2) as started:
        yield started


def test_no_task_changes_its_model_over_ramps_restarts_and_a_promotion(stage: Stage) -> None:
    def kill_the_admin() -> None:
        (admin,) = set(stage.server.children()) - set(worker_pids(stage.server))
        os.kill(admin, signal.SIGKILL)

        def is_back() -> bool:
            try:
                return admin not in stage.server.children() and bool(stage.status("agents")["held_units"])
            except (httpx2.TransportError, FileNotFoundError):
                return False

        eventually(is_back)

    changes: dict[int, Change] = {
        2: lambda: order(stage.api, "ramp", share=0.3),
        4: lambda: order(stage.api, "ramp", share=0.6),
        5: kill_the_admin,
        6: lambda: order(stage.api, "ramp", share=0.2),
        8: stage.restart,
        9: lambda: order(stage.api, "promote"),
    }
    arms = drive(lambda number: stage.server.traffic, changes)
    assert arms == {user: [stage.arm("agents", user, 0.1)] * CALLS for user in USERS}

    held = [user for user, (first, *_) in arms.items() if first == "baseline"]
    status = eventually(
        lambda: (found := stage.status("agents"))["held_units"]["units"] == len(held) and found
    )
    assert 0.0 < status["held_units"]["until"] - time.time() <= 4 * 3600
    told = stage.api("GET", f"/api/explain?unit={held[0]}").json()["canaries"][0]
    assert (told["arm"], told["held_until"]) == ("baseline", status["held_units"]["until"])
    assert (
        "it keeps this arm, from before the last change (to 100.00%), until it has been idle"
        in told["sentence"]
    )
    eventually(lambda: call(stage.server.traffic, "a newcomer") == "candidate")

    order(stage.api, "rollback")
    assert {call(stage.server.traffic, user) for user in (*USERS, "a newcomer")} == {"baseline"}
    assert stage.status("agents")["held_units"] is None


@pytest.mark.parametrize("stage", ["2s"], indirect=True)
def test_a_user_who_pauses_moves_and_counts_to_the_new_phase_only_then(stage: Stage) -> None:
    users = (
        each
        for each in stage.users("baseline", "agents", 0.1)
        if stage.arm("agents", each, 0.6) == "candidate"
    )
    busy, idle = next(users), next(users)
    assert {call(stage.server.traffic, busy), call(stage.server.traffic, idle)} == {"baseline"}
    order(stage.api, "ramp", share=0.6)

    def has_moved() -> bool:
        assert call(stage.server.traffic, busy) == "baseline"
        alone = stage.status("agents")["held_units"]["units"] == 1
        return alone and call(stage.server.traffic, idle) == "candidate"  # else it is active again

    eventually(has_moved)
    eventually(lambda: stage.status("agents")["held_units"] is None)
    eventually(lambda: stage.api("GET", "/api/status").json()["workers"]["confirmed"] == 2)
    assert call(stage.server.traffic, busy) == "candidate"

    def phases(unit: str) -> list[tuple[str, int, float]]:
        rows = [row for row in stage.outcomes() if row["unit"] == unit]
        return sorted({(row["arm"], row["phase"], row["share"]) for row in rows})

    seen = {row["unit"] for row in stage.outcomes()}
    assert len(seen) == 2
    both = [("baseline", 1, 0.1), ("candidate", 2, 0.6)]
    eventually(lambda: all(phases(unit) == both for unit in seen))


@pytest.mark.more
def test_a_canary_that_is_new_in_the_file_moves_no_task(tmp_path: Path) -> None:
    config = CONFIG.replace("SETTLE", "30m")
    head = config.partition("canaries:")[0]
    with on_stage(tmp_path, head, provider=LocalProvider(other=Behaviour()), workers=2) as stage:
        config = config.replace("10%, for: 1h", "50%, for: 1h").format(url=stage.provider.url)

        def add_the_canary() -> None:
            stage.configure(config)
            newcomers = stage.users("candidate", "agents", 0.5, prefix="newcomer")
            eventually(lambda: call(stage.server.traffic, next(newcomers)) == "candidate")

        arms = drive(lambda number: stage.server.traffic, {3: add_the_canary})
        assert arms == {user: ["baseline"] * CALLS for user in USERS}


@pytest.mark.more  # in several replicas
def test_replicas_keep_every_tasks_model_when_the_leader_dies(
    tmp_path: Path, postgres: Postgres, redis_server: RedisServer
) -> None:
    config = CONFIG.replace("SETTLE", "30m")
    with (
        ProviderThread(LocalProvider(other=Behaviour())) as provider,
        fleet(
            tmp_path, config.format(url=provider.url), store=postgres.fresh(), shared=redis_server.url
        ) as all_,
    ):
        for role in ("admin", "admin", "traffic", "traffic"):
            all_.add(role)
        all_.ready(2)
        changes: dict[int, Change] = {
            2: lambda: order(all_.leader().ask, "ramp", share=0.3),
            4: lambda: order(all_.leader().ask, "ramp", share=0.6),
            5: lambda: kill_the_leader(all_),
            7: lambda: order(all_.leader().ask, "ramp", share=0.2),
            9: lambda: order(all_.leader().ask, "promote"),
        }
        arms = drive(lambda number: all_.replicas[number % 2].traffic, changes)
        key = derive_key(SECRET.encode(), "assignment")
        wanted = {user: "candidate" if in_cohort(key, "agents", user, 0.1) else "baseline" for user in USERS}
        assert arms == {user: [arm] * CALLS for user, arm in wanted.items()}
        held = sum(arm == "baseline" for arm in wanted.values())
        eventually(lambda: all_.status("agents")["held_units"]["units"] == held)
        for replica in all_.replicas:
            eventually(lambda replica=replica: call(replica.traffic, f"new {replica.data}") == "candidate")  # type: ignore[misc]


def kill_the_leader(members: Fleet) -> None:
    leader = members.leader()
    leader.kill()
    members.admins.remove(leader)
    members.leader()


@pytest.mark.more  # in several replicas
def test_without_redis_a_change_moves_newcomers_and_no_task(
    tmp_path: Path, postgres: Postgres, redis_server: RedisServer
) -> None:
    config = CONFIG.replace("SETTLE", "30m")
    with (
        ProviderThread(LocalProvider(other=Behaviour())) as provider,
        fleet(
            tmp_path, config.format(url=provider.url), store=postgres.fresh(), shared=redis_server.url
        ) as all_,
    ):
        for role in ("admin", "traffic"):
            all_.add(role)
        all_.ready(1)
        (replica,) = all_.replicas
        users = [
            next(all_.users("baseline", "agents", 0.6)),
            *islice(all_.users("candidate", "agents", 0.1), 2),
        ]
        arms = [call(replica.traffic, user) for user in users]
        redis_server.kill()
        try:
            order(all_.leader().ask, "ramp", share=0.99)
            newcomers = all_.users("candidate", "agents", 0.99, prefix="newcomer")
            eventually(
                lambda: [call(replica.traffic, next(newcomers)) for _ in range(20)] == ["candidate"] * 20
            )
            assert (
                [call(replica.traffic, user) for user in users]
                == arms
                == ["baseline", "candidate", "candidate"]
            )
        finally:
            redis_server.start()
