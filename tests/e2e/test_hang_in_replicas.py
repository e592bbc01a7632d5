"""A candidate that hangs behind two replicas: what one replica's baseline needs is the patience of both, and
the leader hears by Redis of exchanges that have not ended."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import httpx2
import pytest

from common.whole_file import read_document
from control.monitor.wait_limits import FEWEST, LEAST_S
from routing.states import States
from tests.e2e.replicas import Fleet, fleet
from tests.e2e.stage import chat
from tests.reliability.answers import answer, hang
from tests.reliability.fault_provider import FaultProvider
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.serving import WAIT_S, eventually

pytestmark = pytest.mark.more  # in several replicas

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{baseline}/v1"}}
  hanging: {{api: openai, base_url: "{hanging}/v1", api_key: sk-candidate}}
canaries:
  - name: hangs
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: hanging, model: new, patience: 120s}}
    share: 20%
"""
FIRST = 6


@dataclass
class Place:
    members: Fleet
    provider: FaultProvider

    def ask(self, replica: int, user: str) -> httpx2.Response:
        url = f"{self.members.replicas[replica].traffic}/v1/chat/completions"
        key = {"authorization": "Bearer sk-caller"}
        return httpx2.post(url, json=chat("gpt-4o", user), headers=key, timeout=WAIT_S, trust_env=False)


@pytest.fixture
def place(tmp_path: Path, postgres: Postgres, redis_server: RedisServer) -> Iterator[Place]:
    with FaultProvider({"baseline": answer, "hanging": hang}) as provider:
        config = CONFIG.format(baseline=provider.url("baseline"), hanging=provider.url("hanging"))
        with fleet(tmp_path, config, store=postgres.fresh(), shared=redis_server.url) as members:
            for role in ("admin", "traffic", "traffic"):
                members.add(role)  # type: ignore[arg-type]
            members.ready(2)
            yield Place(members, provider)


def test_the_leader_knows_of_those_who_wait_and_rolls_back_before_any_of_them_has_an_answer(
    place: Place,
) -> None:
    members = place.members
    baselines, candidates = (members.users(arm, "hangs", 0.2) for arm in ("baseline", "candidate"))  # type: ignore[arg-type]
    for user in islice(baselines, 3 * FEWEST):
        assert place.ask(0, user).status_code == 200
    for member in members.replicas:
        path = member.data / "plan.json"
        known = eventually(
            lambda path=path: (plan := read_document(path, States)) and plan.patience.get("hangs")
        )  # type: ignore[misc]
        assert known == {"chat/json": LEAST_S}
    with ThreadPoolExecutor(FIRST) as pool:
        waiting = [
            pool.submit(place.ask, turn % 2, user) for turn, user in enumerate(islice(candidates, FIRST))
        ]
        answers = [each.result() for each in waiting]
    assert {each.headers["x-canary-served-by"] for each in answers} == {"baseline"}
    assert members.status("hangs")["state"] == "rolled_back"
    told = eventually(lambda: members.status("hangs")["rollback"])["headline"]
    assert told.startswith("new does not answer: no answer within "), told
    assert ". Users waited that long." in told, told  # nobody had an answer when it was decided
    ids = {each.headers["x-canary-exchange"] for each in answers}

    def stored() -> list[str] | None:
        rows = [row for row in members.outcomes() if row["exchange_id"] in ids]
        return [row["error_type"] for row in rows] if len(rows) == FIRST else None

    # Nobody's patience was over: the rollback ended every wait.
    assert set(eventually(stored)) == {"breaker_open"}
