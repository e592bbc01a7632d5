"""An agent's sessions are captured by the real server, and replayed: what both models do next is compared."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import Result
from typer.testing import CliRunner

from canary.cli import app
from demo.provider.behaviour import Behaviour
from tests.e2e.stage import Stage, on_stage
from tests.serving import eventually

CONFIG = """\
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: k}}
  claude: {{api: anthropic, base_url: "{url}", api_key: k}}
  gemini: {{api: gemini, base_url: "{url}", api_key: k}}
canaries:
  - name: chat
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 1%
    start: manual
    capture: {{rate: 100%}}
  - name: messages
    match: {{models: [sonnet]}}
    baseline: {{provider: claude, model: old-sonnet}}
    candidate: {{provider: claude, model: new-sonnet}}
    share: 1%
    start: manual
    capture: {{rate: 100%}}
judge: {{provider: openai, model: the-judge, daily_budget: 5.00}}
prices: {{the-judge: {{input: 1.0, output: 2.0}}}}
"""
SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
SEARCH = {"name": "search", "description": "Finds.", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": SEARCH}]
SESSIONS, TURNS = 12, 3
STEPS = SESSIONS * TURNS * 2
"""A turn is a call, and after its result an answer."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Two agents' sessions, captured."""
    with on_stage(tmp_path_factory.mktemp("replay"), CONFIG) as up:
        with httpx2.Client(base_url=up.server.traffic) as http:
            for session in range(SESSIONS):
                chat_agent(http, session)
                messages_agent(http, session)
        for current in ("openai/old", "claude/old-sonnet"):
            eventually(lambda current=current: replayed_steps(up, current) == STEPS)
        yield up


def bench(stage: Stage, *words: str) -> Result:
    where = ["--config", str(stage.server.config), "--data", str(stage.server.data), "-o", "json"]
    return CliRunner().invoke(app, ["bench", *words, *where])


def told(done: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def replayed_steps(stage: Stage, current: str) -> int:
    done = bench(stage, "--dry", "--replay", "--steps", "99", "--against", current)
    return 0 if done.exit_code else int(told(done)["replay"]["steps"])


def sent(stage: Stage, target: str) -> list[Mapping[str, Any]]:
    return [each.json for each in stage.provider.log.entries if each.target == target]


def headers(session: int, *, key: str) -> dict[str, str]:
    return {"x-canary-unit": f"u{session}", "x-canary-session": f"s{session}", key: "Bearer k"}


def chat_agent(http: httpx2.Client, session: int) -> None:
    """A loop of turns over OpenAI's chat."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Be short."}]
    for turn in range(TURNS):
        messages.append({"role": "user", "content": f"Where is parcel {session}-{turn}?"})
        while messages[-1]["role"] != "assistant":
            body = {"model": "gpt-4o", "messages": messages, "tools": TOOLS, "temperature": 0}
            answer = http.post(
                "/v1/chat/completions", json=body, headers=headers(session, key="authorization")
            )
            said = answer.json()["choices"][0]["message"]
            messages.append({name: value for name, value in said.items() if value is not None})
            calls = said.get("tool_calls") or ()
            messages += [{"role": "tool", "tool_call_id": call["id"], "content": "{}"} for call in calls]


def messages_agent(http: httpx2.Client, session: int) -> None:
    """The same over Anthropic's messages."""
    tools = [{"name": "search", "input_schema": SCHEMA}]
    fixed = {"model": "sonnet", "system": "Be short.", "tools": tools, "max_tokens": 900}
    known = {**headers(session, key="x-api-key"), "anthropic-version": "2023-06-01"}
    messages: list[dict[str, Any]] = []
    for turn in range(TURNS):
        messages.append({"role": "user", "content": f"Where is parcel {session}-{turn}?"})
        while messages[-1]["role"] != "assistant":
            answer = http.post("/v1/messages", json={**fixed, "messages": messages}, headers=known)
            said = answer.json()["content"]
            messages.append({"role": "assistant", "content": said})
            ids = [part["id"] for part in said if part["type"] == "tool_use"]
            results = [{"type": "tool_result", "tool_use_id": id, "content": "{}"} for id in ids]
            messages += [{"role": "user", "content": results}] if results else []


def test_sessions_of_openais_chat_are_replayed_on_anthropics_messages(stage: Stage) -> None:
    stage.provider.log.clear()
    same = bench(stage, "claude/new", "--against", "openai/old", "--replay", "--steps", "4")
    assert same.exit_code == 0, same.stderr
    found = told(same)["replay"]
    assert (found["sessions"], found["steps"]) == (SESSIONS, SESSIONS * 4)
    assert [found[name]["candidate"]["estimate"] for name in ("action", "tool", "unusable")] == [1, 1, 0]
    assert found["divergences"] == []
    asked = sent(stage, "/v1/messages")
    assert len(asked) == SESSIONS * 4
    assert all("temperature" not in each and each["tools"][0]["input_schema"] == SCHEMA for each in asked)
    blocks = [
        part
        for body in asked
        for message in body["messages"]
        for part in (message["content"] if isinstance(message["content"], list) else ())
    ]
    ids = [part["id"] for part in blocks if part["type"] == "tool_use"]
    assert ids
    assert ids == [part["tool_use_id"] for part in blocks if part["type"] == "tool_result"]


def test_sessions_of_anthropics_messages_are_replayed_on_openais_chat(stage: Stage) -> None:
    stage.provider.log.clear()
    same = bench(stage, "openai/other", "--against", "claude/old-sonnet", "--replay")
    assert same.exit_code == 0, same.stderr
    assert told(same)["replay"]["action"]["candidate"]["estimate"] == 1
    asked = sent(stage, "/v1/chat/completions")
    assert len(asked) == STEPS
    assert all(
        "max_tokens" not in each and each["tools"][0]["function"]["name"] == "search" for each in asked
    )
    messages = [each for body in asked for each in body["messages"]]
    ids = [call["id"] for each in messages for call in each.get("tool_calls", ())]
    assert ids
    assert ids == [each["tool_call_id"] for each in messages if each["role"] == "tool"]
    assert all(each["max_tokens"] == 900 for each in sent(stage, "/v1/messages"))


def test_only_calls_that_cannot_run_speak_against_a_model(stage: Stage, tmp_path: Path) -> None:
    stage.provider.behave("broken", Behaviour(answer_faults={"tool_args_off_schema": 1.0}))
    wrong, page = tmp_path / "wrong.csv", tmp_path / "replay.html"
    files = ("--failures", str(wrong), "--report", str(page))
    broken = bench(stage, "gemini/broken", "--against", "openai/old", "--replay", *files)
    document = told(broken)
    assert (broken.exit_code, document["verdict"]) == (3, "dont_ship")
    says = "the candidate gives no answer, or calls what cannot run, at 50.0 %"
    assert document["reasons"][0].startswith(says)
    assert document["replay"]["differences"]["candidate"] == {"bad_arguments": STEPS // 2}
    first = document["replay"]["divergences"][0]
    assert (first["place"], first["recorded"], first["candidate"]) == (1, ["search"], ["search"])
    assert (first["difference"], first["alone"]) == ("bad_arguments", True)
    rows = list(csv.DictReader(wrong.read_text().splitlines()))
    assert len(rows) == STEPS // 2
    assert rows[0]["candidate_answer"].startswith("[calls search ")
    assert "arguments do not fit the schema (only the candidate)" in page.read_text()


def test_a_judge_compares_what_both_do_next(stage: Stage) -> None:
    stage.provider.behave("the-judge", Behaviour(says={"You compare": "The same.\nBETTER: SAME"}))
    stage.provider.behave("broken", Behaviour(answer_faults={"tool_args_off_schema": 1.0}))
    stage.provider.log.clear()
    words = ("openai/broken", "--against", "openai/old", "--replay", "--steps", "1", "--judge")
    done = bench(stage, *words)
    found = told(done)["judge"]
    assert (found["pairs"], found["tie"]) == (SESSIONS, SESSIONS), done.stderr
    questions = [each.json["messages"][-1]["content"] for each in stage.provider.log.of("the-judge")]
    assert questions
    assert all("[calls search " in each for each in questions)


def test_what_cannot_be_replayed_is_refused_with_what_is_missing(stage: Stage) -> None:
    done = bench(stage, "openai/new", "--against", "openai/never", "--replay")
    assert done.exit_code == 1
    says = "no exchange of openai/never was captured: set `capture` in the config, and let requests come; "
    assert f"{says}there are captured sessions of claude/old-sonnet, openai/old: name it" in done.stderr
    refused = bench(stage, "openai/new", "--against", "openai/old", "--replay", "--dataset", "x.jsonl")
    assert (refused.exit_code, "leave out --dataset" in refused.stderr) == (2, True)
    stage.provider.behave("simple", Behaviour(rejects=("tools",)))
    without = bench(stage, "openai/simple", "--against", "openai/old", "--replay", "--quick")
    assert without.exit_code == 3, "a model without tools cannot run an agent"
    assert told(without)["replay"]["differences"]["candidate"] == {"no_answer": 20}


def test_a_file_with_tool_calls_is_asked_of_both_in_their_own_form(stage: Stage, tmp_path: Path) -> None:
    call = {"id": "c:1", "type": "function", "function": {"name": "search", "arguments": '{"q": "a"}'}}
    result = {"role": "tool", "tool_call_id": "c:1", "content": '{"found": 1}'}
    asked = {"role": "user", "content": "Where is a?"}
    calls = {"role": "assistant", "content": None, "tool_calls": [call]}
    lines = [
        {"id": "1", "task": "tool", "input": [asked], "expected": {"tool_calls": [call]}},
        {"id": "2", "task": "schema", "input": [asked], "expected": {"tool_calls": [call]}},
        {"id": "3", "task": "action", "input": [asked, calls, result], "expected": {"content": "There."}},
    ]
    file = tmp_path / "steps.jsonl"
    file.write_text("\n".join(json.dumps({**each, "tools": TOOLS}) for each in lines))
    stage.provider.log.clear()
    done = bench(stage, "gemini/new", "--against", "claude/old-sonnet", "--dataset", str(file))
    (dataset,) = told(done)["layers"][0]["datasets"]
    assert (dataset["baseline"]["correct"], dataset["candidate"]["correct"]) == (3, 3)
    (claude,) = [each for each in sent(stage, "/v1/messages") if len(each["messages"]) > 1]
    last = claude["messages"]
    assert last[-1]["content"][0]["tool_use_id"] == last[-2]["content"][0]["id"] == "c_1"
    (google,) = [
        each for each in sent(stage, "/v1beta/models/new:generateContent") if len(each["contents"]) > 1
    ]
    assert google["contents"][2]["parts"][0]["functionResponse"] == {
        "name": "search",
        "response": {"found": 1},
    }
