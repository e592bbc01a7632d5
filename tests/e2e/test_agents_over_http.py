"""An agent whose candidate calls one tool again and again, through the real server: status, Prometheus, page,
and the same figures after the server has been killed."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
prices: {{old: {{input: 1, output: 2}}, new: {{input: 1, output: 2}}}}
canaries:
  - name: agents
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 50%
    guardrails: [{{rule: stuck}}, {{rule: session_cost}}]
"""
TOOL = {
    "type": "function",
    "function": {"name": "search", "parameters": {"type": "object", "properties": {}}},
}


def session(stage: Stage, user: str, *, tools: bool) -> None:
    """Three steps. The local provider calls a tool the same way each time, where the request has one."""
    document = chat("gpt-4o", user) | ({"tools": [TOOL]} if tools else {})
    for _ in range(3):
        said = asked(stage, user, document)
        ids = [call["id"] for call in said.get("tool_calls") or ()]
        results = [{"role": "tool", "tool_call_id": id, "content": "none"} for id in ids]
        document["messages"] += [said, *results, {"role": "user", "content": "Go on."}]


def asked(stage: Stage, user: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """The message of one answer."""
    headers = {"authorization": "Bearer sk", "x-canary-session": f"of-{user}"}
    answer = httpx2.post(f"{stage.server.traffic}/v1/chat/completions", json=document, headers=headers)
    message: dict[str, Any] = answer.raise_for_status().json()["choices"][0]["message"]
    return message


def said(rule: Mapping[str, str]) -> str:
    return rule["sentence"].partition(":")[0]


def test_an_agent_that_repeats_its_calls_is_paged_within_five_sessions(tmp_path: Path) -> None:
    with on_stage(tmp_path, CONFIG) as stage:
        eventually(
            lambda: [said(each) for each in stage.status("agents")["guardrails"]] == ["no sessions"] * 2
        )
        mine, theirs = (islice(stage.users(arm, "agents", 0.5), 5) for arm in ("candidate", "baseline"))
        for candidate, baseline in zip(mine, theirs, strict=True):
            session(stage, baseline, tools=False)
            session(stage, candidate, tools=True)

        def fired() -> bool:
            return ("stuck", "firing") in {
                (each["rule"], each["state"]) for each in stage.status("agents")["guardrails"]
            }

        eventually(fired)
        arms = {arm: each["sessions"] for arm, each in stage.status("agents")["arms"].items()}
        assert {each["begun"] for each in arms.values()} == {5}
        assert [arms[arm]["tool_calls"] for arm in ("baseline", "candidate")] == [0.0, 3.0]
        assert (arms["candidate"]["exchanges"], arms["candidate"]["open"]) == (3.0, 5)
        metrics = httpx2.get(f"{stage.server.admin}/metrics").text
        assert 'canary_session_tool_calls{arm="candidate",canary="agents"} 3.0' in metrics
        assert (
            f'canary_session_cost_usd{{arm="candidate",canary="agents"}} {arms["candidate"]["cost_usd"]}'
            in (metrics)
        )

        stage.server.kill()
        stage.restart()
        again = eventually(lambda: stage.status("agents")["arms"])
        assert {arm: each["sessions"] for arm, each in again.items()} == arms
        eventually(fired)
