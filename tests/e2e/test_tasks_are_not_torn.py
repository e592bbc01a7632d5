"""Tasks of coding agents across everything that may move them: how many change models, how many die.

A task is a session of Claude Code's, which sends its signed thinking along. After its first step it is
resumed on another machine, so that its user's id is another one, by whichever worker. A task is torn where
two arms served it, dead where a step has no answer however often the agent asks again.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from tests.e2e.replicas import Member, fleet
from tests.e2e.stage import Stage, on_stage, worker_pids
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.serving import ProviderThread, eventually

ENTRIES = """
providers:
  one: {{api: anthropic, base_url: "{url}", api_key: sk-ant-one}}
  two: {{api: anthropic, base_url: "{url}", api_key: sk-ant-two}}
canaries:
  - name: coders
    match: {{models: [claude]}}
    baseline: {{provider: one, model: old}}
    candidate: {{provider: ENTRY, model: new}}
    ramp: [{{share: 30%, for: 1h}}, {{share: 60%}}]
    guardrails: []
    settle: SETTLE
    on_candidate_failure: FAILURE
"""
TASKS, STEPS, RESUMED_AT = 16, 12, 1
TRIES = 8
REASONS = Behaviour(words=6, reasoning_tokens=5)
Change = Callable[[Stage], object]


@dataclass
class Task:
    """One task. `arms`: who served its steps, and `assigned`: the arm that each was counted to. `user`: who
    works on it, if that is not the machine."""

    name: str
    history: list[Any] = field(default_factory=list)
    arms: list[str] = field(default_factory=list)
    assigned: list[str] = field(default_factory=list)
    dead: bool = False
    user: str = ""

    @property
    def session(self) -> str:
        """As Claude Code names it: a UUID."""
        return str(uuid5(NAMESPACE_OID, self.name))

    @property
    def torn(self) -> bool:
        return len({*self.arms}) > 1

    def step(self, url: str) -> None:
        """Ask until there is an answer, as an agent does, each time over a connection of its own."""
        self.history.append({"role": "user", "content": "and then?"})
        for _ in range(TRIES):
            answer = self._ask(url)
            if answer.status_code == 200:
                document = answer.json()
                self.history.append({"role": "assistant", "content": document["content"]})
                self.arms.append({"old": "baseline", "new": "candidate"}[document["model"]])
                self.assigned.append(answer.headers["x-canary-arm"])
                return
            if answer.status_code < 500 and answer.status_code != 429:
                break
        self.dead = True

    def _ask(self, url: str) -> httpx2.Response:
        machine = "laptop" if len(self.arms) < RESUMED_AT else "container"
        user = json.dumps(
            {"device_id": f"{machine} of {self.name}", "account_uuid": "", "session_id": self.session}
        )
        body = {"model": "claude", "max_tokens": 100, "messages": self.history, "metadata": {"user_id": user}}
        head = {"x-api-key": "k", "anthropic-version": "2023-06-01", "x-claude-code-session-id": self.session}
        head |= {"x-canary-unit": self.user} if self.user else {}
        return httpx2.post(f"{url}/v1/messages", json=body, headers=head, trust_env=False, timeout=60.0)


def order(stage: Stage, name: str, **fields: Any) -> None:
    document = {"who": "test", "reason": "a change", **fields}
    document |= {"against_verdict": True} if name == "promote" else {}
    assert stage.api("POST", f"/api/canaries/coders/{name}", document).status_code == 200
    eventually(
        lambda: stage.api("GET", "/api/status").json()["workers"] == {"alive": 2, "confirmed": 2} or None
    )


def kill_a_worker(stage: Stage) -> None:
    worker = worker_pids(stage.server)[0]
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: len(found := worker_pids(stage.server)) == 2 and worker not in found)


def kill_everything(stage: Stage) -> None:
    stage.server.kill()
    stage.restart()


def fail_now_and_then(stage: Stage) -> None:
    stage.provider.behave("new", Behaviour(words=6, reasoning_tokens=5, faults={"status": 0.3}, status=503))


def work(stage: Stage, changes: Mapping[int, Change], prefix: str = "task") -> list[Task]:
    """All tasks in turn, with a change before some of the rounds."""
    tasks = [Task(f"{prefix}-{number}") for number in range(TASKS)]
    for number in range(STEPS):
        changes.get(number, lambda _: None)(stage)
        for task in tasks:
            if not task.dead:
                task.step(stage.server.traffic)
    return tasks


def figures(tasks: list[Task]) -> dict[str, int]:
    return {
        "tasks": len(tasks),
        "torn": sum(task.torn for task in tasks),
        "dead": sum(task.dead for task in tasks),
        "assigned to both": sum(len({*task.assigned}) > 1 for task in tasks),
    }


@pytest.fixture
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    entry, failure, settle = request.param
    config = ENTRIES.replace("ENTRY", entry).replace("FAILURE", failure).replace("SETTLE", settle)
    provider = LocalProvider(other=REASONS)
    with on_stage(tmp_path, config, provider=provider, workers=2) as started:
        yield started


BOTH = [("one", "baseline", "30m"), ("two", "baseline", "30m")]


@pytest.mark.parametrize("stage", BOTH, indirect=True, ids=["one entry", "two entries"])
def test_no_task_is_torn_or_dies_over_ramps_restarts_kills_and_a_promotion(stage: Stage) -> None:
    changes: dict[int, Change] = {
        2: lambda stage: order(stage, "ramp", share=0.6),
        5: kill_a_worker,
        6: lambda stage: order(stage, "ramp", share=0.1),
        7: kill_everything,
        8: lambda stage: stage.restart(),
        10: lambda stage: order(stage, "promote"),
    }
    tasks = work(stage, changes)
    found = figures(tasks)
    print(found)
    assert found == {"tasks": TASKS, "torn": 0, "dead": 0, "assigned to both": 0}
    assert {task.arms[0] for task in tasks} == {"baseline", "candidate"}


@pytest.mark.parametrize("stage", [("two", "baseline", "30m"), ("two", "error", "30m")], indirect=True)
def test_a_candidate_that_fails_now_and_then_tears_no_task_and_kills_none(stage: Stage) -> None:
    tasks = work(stage, {3: fail_now_and_then})
    found = figures(tasks)
    print(found)
    assert found == {"tasks": TASKS, "torn": 0, "dead": 0, "assigned to both": 0}
    assert {task.arms[0] for task in tasks} == {"baseline", "candidate"}


@pytest.mark.parametrize("stage", BOTH, indirect=True, ids=["one entry", "two entries"])
def test_no_task_dies_in_a_rollback(stage: Stage) -> None:
    tasks = work(stage, {5: lambda stage: order(stage, "rollback"), 8: kill_everything})
    found = figures(tasks)
    print(found)
    began = [task.arms[0] for task in tasks]
    assert {*began} == {"baseline", "candidate"}
    # at two entries only the candidate can read what it began
    torn = 0 if "provider: two," in stage.config_text else began.count("candidate")
    assert (found["dead"], found["torn"]) == (0, torn)


@pytest.mark.more  # in several replicas
def test_a_session_that_another_replica_began_keeps_its_arm_there_and_on_a_new_one(
    tmp_path: Path, postgres: Postgres, redis_server: RedisServer
) -> None:
    config = ENTRIES.replace("ENTRY", "one").replace("FAILURE", "baseline").replace("SETTLE", "30m")
    with (
        ProviderThread(LocalProvider(other=REASONS)) as provider,
        fleet(
            tmp_path, config.format(url=provider.url), store=postgres.fresh(), shared=redis_server.url
        ) as all_,
    ):
        for role in ("admin", "traffic", "traffic"):
            all_.add(role)
        all_.ready(2)
        tasks = [Task(f"task-{number}") for number in range(TASKS)]

        def steps(count: int, replica: Member) -> None:
            assert replica.traffic is not None
            for _ in range(count):
                for task in tasks:
                    task.step(replica.traffic)

        def knows_all(replica: Member) -> bool:
            """Whether a session is known there that began last: so are all before it."""
            last = Task(f"last before {replica.data}", user=next(all_.users("candidate", "coders", 0.3)))
            last.step(first.traffic or "")
            last.user = next(all_.users("baseline", "coders", 0.3))

            def is_known() -> bool:
                last.step(replica.traffic or "")
                return last.assigned[-1] == "candidate"

            return eventually(is_known)

        first, second = all_.replicas
        steps(RESUMED_AT, first)
        assert knows_all(second)
        steps(3, second)  # by another user
        all_.add("traffic")
        all_.ready(3)
        third = all_.replicas[-1]
        assert knows_all(third)
        steps(3, third)
        assert figures(tasks) == {"tasks": TASKS, "torn": 0, "dead": 0, "assigned to both": 0}
        assert {task.arms[0] for task in tasks} == {"baseline", "candidate"}
