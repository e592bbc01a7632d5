"""An agent's sessions are captured by the real server, and replayed: what both models do next is compared."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
from click.testing import Result
from typer.testing import CliRunner

from canary.cli import app
from demo.provider.behaviour import Behaviour
from tests.serving import ProviderThread, Running, eventually

CONFIG = """\
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: k}}
  claude: {{api: anthropic, base_url: "{url}", api_key: k}}
  gemini: {{api: gemini, base_url: "{url}", api_key: k}}
canaries:
  - name: agent
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 1%
    start: manual
    capture: {{rate: 100%}}
"""
SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
TOOLS = [{"type": "function", "function": {"name": "search", "description": "Finds.", "parameters": SCHEMA}}]
SESSIONS, TURNS = 12, 3


def bench(server: Running, *words: str) -> Result:
    where = ["--config", str(server.config), "--data", str(server.data), "-o", "json"]
    return CliRunner().invoke(app, ["bench", *words, *where])


def told(done: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run_agent(http: httpx2.Client, session: int, *, path: str = "/v1/chat/completions") -> None:
    """A loop of TURNS questions, each with a call of a tool, its result, and the answer."""
    headers = {"x-canary-unit": f"u{session}", "x-canary-session": f"s{session}"}
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Be short."}]
    for turn in range(TURNS):
        messages.append({"role": "user", "content": f"Where is parcel {session}-{turn}?"})
        while messages[-1]["role"] != "assistant":
            body = {"model": "gpt-4o", "messages": messages, "tools": TOOLS, "temperature": 0}
            answer = http.post(path, json=body, headers=headers)
            assert answer.status_code == 200
            said = answer.json()["choices"][0]["message"]
            messages.append({name: value for name, value in said.items() if value is not None})
            calls = said.get("tool_calls") or ()
            messages += [{"role": "tool", "tool_call_id": call["id"], "content": "{}"} for call in calls]


def test_sessions_are_replayed_on_another_api_and_only_broken_calls_decide(
    tmp_path: Path, provider: ProviderThread, serve: Callable[..., Running]
) -> None:
    server = serve(CONFIG.format(url=provider.url), workers=1)
    nothing = bench(server, "new", "--replay")
    assert nothing.exit_code == 1
    assert "no exchange of openai/old was captured: set `capture` in the config" in nothing.stderr
    with httpx2.Client(base_url=server.traffic, headers={"authorization": "Bearer k"}, timeout=10) as http:
        for session in range(SESSIONS):
            run_agent(http, session)

    def stored() -> bool:
        done = bench(server, "--dry", "--replay", "--steps", "99")
        return done.exit_code == 0 and told(done)["replay"]["steps"] == SESSIONS * TURNS * 2

    assert eventually(stored)

    provider.log.clear()
    same = bench(server, "claude/new", "--against", "openai/old", "--replay", "--steps", "4")
    assert same.exit_code == 0, same.stderr
    found = told(same)["replay"]
    assert (found["sessions"], found["steps"]) == (SESSIONS, SESSIONS * 4)
    assert [found[name]["candidate"]["estimate"] for name in ("action", "tool", "unusable")] == [1, 1, 0]
    assert found["divergences"] == []
    asked = [each.json for each in provider.log.entries if each.target == "/v1/messages"]
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

    provider.behave("broken", Behaviour(answer_faults={"tool_args_off_schema": 1.0}))
    files = tmp_path / "wrong.csv", tmp_path / "replay.html"
    broken = bench(
        server, "gemini/broken", "--against", "openai/old", "--replay",
        "--failures", str(files[0]), "--report", str(files[1]),
    )  # fmt: skip
    document = told(broken)
    assert (broken.exit_code, document["verdict"]) == (3, "dont_ship")
    assert document["reasons"][0].startswith(
        "the candidate gives no answer, or calls what cannot run, at 50.0 %"
    )
    assert document["replay"]["differences"]["candidate"] == {"bad_arguments": SESSIONS * TURNS}
    first = document["replay"]["divergences"][0]
    assert (first["place"], first["recorded"], first["candidate"]) == (1, ["search"], ["search"])
    assert (first["difference"], first["alone"]) == ("bad_arguments", True)
    rows = list(csv.DictReader(files[0].read_text().splitlines()))
    assert len(rows) == SESSIONS * TURNS
    assert rows[0]["candidate_answer"].startswith("[calls search ")
    assert "arguments do not fit the schema (only the candidate)" in files[1].read_text()
