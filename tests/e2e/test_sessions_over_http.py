"""What happened in a session: `canary explain --session` and the admin API, before a real server."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: trial
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 50%
    guardrails: []
"""
SESSION = "0f9a/task 1"
USER = "ann"
TOOL = {"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}
SECRETLY = "what nobody may read"


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, list[str]]]:
    """A session of four exchanges, one of which fails, with feedback; and their ids."""
    env = {"CANARY_FEEDBACK_TOKEN": "tok"}
    with on_stage(tmp_path_factory.mktemp("sessions"), CONFIG, env=env) as stage:
        ids = [ask(stage, tools=[TOOL]), ask(stage, tools=[TOOL])]
        for model in ("gpt-4o-2024-08-06", "gpt-4o-2024-11-20"):
            stage.provider.behave(model, Behaviour(faults={"status": 1.0}))
        ids.append(ask(stage))
        for model in ("gpt-4o-2024-08-06", "gpt-4o-2024-11-20"):
            stage.provider.behave(model, Behaviour())
        ids.append(ask(stage, model="gpt-3.5-turbo"))
        values: list[dict[str, Any]] = [
            {"exchange_id": ids[0], "metric": "csat", "value": 2, "comment": SECRETLY},
            {"session": SESSION, "metric": "helped", "value": False},
        ]
        token = {"authorization": "Bearer tok"}
        url = f"{stage.server.traffic}/canary/feedback"
        assert httpx2.post(url, json=values, headers=token).status_code == 202
        eventually(lambda: len(document(stage)["exchanges"]) == 4 and len(document(stage)["feedback"]) == 2)
        yield stage, ids


def ask(stage: Stage, *, model: str = "gpt-4o", **more: Any) -> str:
    headers = {"authorization": "Bearer sk", "x-canary-session": SESSION}
    url = f"{stage.server.traffic}/v1/chat/completions"
    answer = httpx2.post(url, json=chat(model, USER, text=SECRETLY) | more, headers=headers)
    return str(answer.headers["x-canary-exchange"])


def document(stage: Stage, named: str = SESSION) -> dict[str, Any]:
    answer = stage.api("GET", f"/api/explain?session={named}")
    return answer.json() if answer.status_code == 200 else {"exchanges": [], "feedback": []}


def test_a_session_is_told_in_order_by_its_id_its_hash_or_an_exchange(asked: tuple[Stage, list[str]]) -> None:
    stage, ids = asked
    found = document(stage)
    assert [each["exchange_id"] for each in found["exchanges"]] == ids
    assert {each["arm"] for each in found["exchanges"][:3]} == {stage.arm("trial", USER, 0.5)}
    assert [len(each["tool_calls"]) for each in found["exchanges"]] == [1, 1, 0, 0]
    assert found["exchanges"][1]["tool_calls"] == [{"name": "search", "before": 1}]
    assert [each["canary"] for each in found["exchanges"]] == ["trial", "trial", "trial", ""]
    assert (found["totals"]["failed"], found["totals"]["tool_calls"]) == (1, 2)
    assert [(each["metric"], each["value"]) for each in found["feedback"]] == [("csat", 2.0), ("helped", 0.0)]
    for named in (found["session"], ids[2]):
        assert document(stage, named) == found
    assert SECRETLY not in json.dumps(found)


def test_the_command_tells_it_as_text_and_json(asked: tuple[Stage, list[str]]) -> None:
    stage, ids = asked
    told = stage.canary("explain", "--session", SESSION)
    assert told.returncode == 0
    assert told.stdout.startswith("4 exchanges in ")
    for words in ("calls tools", "search", "server error", "trial, run 1", "satisfaction 2", "1 of 4"):
        assert words in told.stdout
    assert "1 exchange is of no canary." in told.stdout
    assert json.loads(stage.canary("explain", "--session", ids[0], "-o", "json").stdout) == document(stage)


def test_what_is_not_stored_is_said(asked: tuple[Stage, list[str]]) -> None:
    stage, _ = asked
    unknown = stage.canary("explain", "--session", "nobody")
    assert unknown.returncode == 1
    assert "Nothing is stored of this session" in unknown.stderr
    assert stage.canary("explain").returncode == 2
    assert stage.canary("explain", USER, "--session", SESSION).returncode == 2
    assert stage.api("GET", "/api/explain").status_code == 400
