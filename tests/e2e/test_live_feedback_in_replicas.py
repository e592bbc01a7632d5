"""What other replicas hear reaches the guardrails: feedback about an exchange of another, and sessions."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
import pytest

from demo.provider.server import LocalProvider
from tests.e2e.replicas import Fleet, fleet
from tests.e2e.stage import chat
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.serving import ProviderThread, eventually

pytestmark = pytest.mark.more  # in several replicas

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: live
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 50%
    guardrails: [{{rule: csat}}, {{rule: stuck}}]
"""


@pytest.fixture
def members(
    tmp_path: Path, postgres: Postgres, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Fleet]:
    monkeypatch.setenv("CANARY_FEEDBACK_TOKEN", "tok")
    with ProviderThread(LocalProvider()) as provider:
        config = CONFIG.format(url=provider.url)
        with fleet(tmp_path, config, store=postgres.fresh(), shared=redis_server.url) as members:
            for role in ("admin", "traffic", "traffic"):
                members.add(role)  # type: ignore[arg-type]
            members.ready(2)
            yield members


def test_a_value_joins_the_exchange_of_another_replica(members: Fleet) -> None:
    first, second = members.replicas
    users = list(islice(members.users("candidate", "live", 0.5), 2))
    for user in users:
        headers = {"authorization": "Bearer sk", "x-canary-session": f"s-{user}"}
        url = f"{first.traffic}/v1/chat/completions"
        assert httpx2.post(url, json=chat("gpt-4o", user), headers=headers).status_code == 200
    values = [
        {"metric": "csat", "value": 1, "unit": users[0]},
        {"metric": "csat", "value": 2, "session": f"s-{users[1]}"},
    ]
    token = {"authorization": "Bearer tok"}
    url = f"{second.traffic}/canary/feedback"
    assert httpx2.post(url, json=values, headers=token).status_code == 202
    eventually(lambda: members.status("live")["guardrails"][0]["evidence"]["outcomes"] == 2.0)
    counted = {name: value for name, value in second.metrics().items() if "canary_feedback_total" in name}
    assert sum(value for name, value in counted.items() if 'arm="candidate"' in name) == 2.0


def test_a_session_that_changes_its_replica_is_one_to_the_leader(members: Fleet) -> None:
    """The local provider calls a tool the same way each time, where the request has one. An agent's next step
    comes when the leader has heard of the last one."""
    tool = {"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}
    agents: dict[str, dict[str, Any]] = {}
    for arm in ("baseline", "candidate"):
        for user in islice(members.users(arm, "live", 0.5), 5):
            agents[user] = chat("gpt-4o", user) | ({"tools": [tool]} if arm == "candidate" else {})
    for step in range(3):
        url = f"{members.replicas[step % 2].traffic}/v1/chat/completions"
        for user, document in agents.items():
            headers = {"authorization": "Bearer sk", "x-canary-session": f"of-{user}"}
            said = httpx2.post(url, json=document, headers=headers).raise_for_status().json()
            message = said["choices"][0]["message"]
            results = [
                {"role": "tool", "tool_call_id": call["id"], "content": "none"}
                for call in message.get("tool_calls") or ()
            ]
            document["messages"] += [message, *results, {"role": "user", "content": "Go on."}]
        heard = 5 * (step + 1)
        eventually(
            lambda heard=heard: all(
                arm["counted"] == heard for arm in members.status("live")["arms"].values()
            )
        )
    eventually(lambda: members.status("live")["guardrails"][1]["state"] == "firing")

    def sessions() -> dict[str, Any]:
        found: dict[str, Any] = members.status("live")["arms"]["candidate"]["sessions"]
        return found

    eventually(lambda: sessions()["exchanges"] == 3.0)  # the rule fires before the last one is heard of
    assert (sessions()["begun"], sessions()["tool_calls"]) == (5, 3.0)
    assert sessions()["tokens"] is not None
