"""`canary mcp`, asked by the SDK's own client over stdio, before a real server."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters, stdio_client
from mcp.types import CallToolResult, TextContent, Tool

from demo.provider.behaviour import Behaviour
from tests.e2e.stage import Stage, chat, on_stage
from tests.e2e.told import JUDGE, captured, spend, tell
from tests.effort import in_more
from tests.serving import eventually

CONFIG = (
    """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: support
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 50%
  - name: judged
    match: {{models: [judged]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 50%
    mirror: 100%
    guardrails: []
    capture: {{rate: 100%}}
    judge: {{pairs: 200}}
    rubric:
      - {{metric: error_rate, acceptable: "< 3%", ideal: "< 1%", weight: 1, question: "Do answers arrive?"}}
"""
    + JUDGE
)
QUESTION, REASON = "where is the parcel of Jane Doe", "It promises Jane Doe 30 days."
VIEWER = "viewer-token-of-the-mcp-tests"
Asked = tuple[str, Mapping[str, Any]]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A canary that a person rolled back after its candidate failed one user, and one that a judge lost."""
    env = {"CANARY_VIEWER_TOKEN": VIEWER}
    with on_stage(tmp_path_factory.mktemp("mcp"), CONFIG, env=env) as up:
        spend(up, "judged")
        up.provider.behave("gpt-4o-2024-11-20", Behaviour(faults={"status": 1.0}))
        (failing,) = islice(up.users("candidate", "support", 0.5), 1)
        _send(up, chat("gpt-4o", failing, text=QUESTION))
        _send(up, chat("judged", next(up.users("baseline", "judged", 0.5)), text=QUESTION))
        eventually(lambda: up.status("support")["provider_error"])
        for exchange, _, _ in eventually(lambda: captured(up, "judged")):
            tell(up, "judged", exchange, said=("A", "B"), reason=REASON)
        assert up.canary("rollback", "support", "--reason", "invents refunds").returncode == 0
        eventually(lambda: up.status("support")["state"] == "rolled_back")
        yield up


def _send(stage: Stage, document: Mapping[str, Any]) -> None:
    headers = {"authorization": "Bearer sk-caller"}
    url = f"{stage.server.traffic}/v1/chat/completions"
    answer = httpx2.post(url, json=document, headers=headers, trust_env=False)
    assert answer.status_code == 200


def ask(*calls: Asked, options: tuple[str, ...], mode: str = "auto", **env: str) -> list[CallToolResult]:
    """The answers of one session with these options and only this of canary's environment."""

    async def session() -> list[CallToolResult]:
        async with _client(options, mode, env) as client:
            return [await client.call_tool(name, dict(arguments)) for name, arguments in calls]

    return asyncio.run(session())


def _client(options: tuple[str, ...], mode: str, env: Mapping[str, str]) -> Client:
    found = {name: value for name, value in os.environ.items() if not name.startswith("CANARY_")}
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "canary", "mcp", *options], env={**found, **env}
    )
    return Client(stdio_client(command), mode=mode)


def _of_a_viewer(stage: Stage, *calls: Asked, **more: str) -> list[CallToolResult]:
    options = ("--admin", stage.server.admin.removeprefix("http://"), "--data", "/nowhere")
    return ask(*calls, options=options, CANARY_VIEWER_TOKEN=VIEWER, **more)


def text_of(answer: CallToolResult) -> str:
    (content,) = answer.content
    assert isinstance(content, TextContent)
    return content.text


def said(answer: CallToolResult) -> dict[str, Any]:
    assert not answer.is_error, text_of(answer)
    found: dict[str, Any] = json.loads(text_of(answer))
    return found


@pytest.mark.parametrize("mode", ["auto", in_more("legacy")])
def test_a_viewer_reads_releases_status_report_and_why(stage: Stage, mode: str) -> None:
    calls: list[Asked] = [
        ("releases", {}),
        ("releases", {"release": "openai/gpt-4o-2024-11-20"}),
        ("status", {}),
        ("report", {"canary": "support"}),
        ("why", {"canary": "support"}),
        ("why", {"canary": "support", "unit": "user-17"}),
        ("why", {"canary": "judged"}),
    ]
    listed, one, status, report, why, arm, never = map(said, _of_a_viewer(stage, *calls, mode=mode))

    assert {each["candidate"]["model"] for each in listed["releases"]} == {"gpt-4o-2024-11-20", "new"}
    assert one["runs"][0]["reason"] == "invents refunds"
    assert {each["name"]: each["state"] for each in status["canaries"]} == {
        "support": "rolled_back",
        "judged": "running",
    }
    shown = stage.api("GET", "/api/canaries/support/report").json()
    assert (report["verdict"], report["units"]) == (shown["verdict"], shown["units"])
    (rollback,) = why["rollbacks"]
    assert (rollback["reason"], rollback["rule"], why["state"]) == ("invents refunds", None, "rolled_back")
    assert rollback["arms"]["candidate"]["failed"] == 1
    assert (arm["arm"], arm["reason"]) == ("baseline", "stopped")
    assert never["rollbacks"] == []
    assert "does not mean it is healthy" in never["sentence"]


def test_nothing_that_may_quote_a_user_is_handed_out_even_with_the_admin_token(stage: Stage) -> None:
    calls: list[Asked] = [
        ("report", {"canary": "judged"}),
        ("releases", {"release": "openai/new"}),
        ("status", {}),
        ("why", {"canary": "support"}),
    ]
    answers = ask(*calls, options=("--data", str(stage.server.data)))
    report, _, _, why = map(said, answers)
    (lost,) = report["judge"]["lost"]
    assert set(lost) == {"exchange_id", "category"}
    assert why["rollbacks"][0]["provider_error"]["status"] >= 500

    shown = stage.api("GET", "/api/canaries/judged/report").json()
    (rollback,) = stage.api("GET", "/api/canaries/support/rollbacks").json()
    words = {QUESTION, shown["judge"]["lost"][0]["reason"], rollback["provider_error"]["message"]}
    assert len(words) == 3 and all(words)
    for answer in answers:
        assert not any(each in text_of(answer) for each in words)


WRONG: Mapping[str, tuple[Asked, str]] = {
    "no canary": (
        ("report", {}),
        "report: Object missing required field `canary`. It takes canary (A canary's name)",
    ),
    "another type": (("report", {"canary": 7}), "report: Expected `str`, got `int` - at `$.canary`."),
    "a further argument": (
        ("status", {"limit": 3}),
        "status: Object contains unknown field `limit`. It takes no arguments",
    ),
    "an unknown canary": (("why", {"canary": "sales"}), "no canary 'sales'; there are: "),
    "an unknown canary of a unit": (
        ("why", {"canary": "sales", "unit": "u"}),
        "the config has no canary 'sales'; it has: ",
    ),
    "a path for a name": (("report", {"canary": "../status"}), "report: Expected `str` matching regex"),
    "a path to another document": (
        ("releases", {"release": "../status"}),
        "releases: Expected `str` matching regex",
    ),
    "a path within a release": (("releases", {"release": "openai/../../../metrics"}), "matching regex"),
    "a path without names": (("releases", {"release": "openai//new"}), "It takes release (A release's id"),
    "an unknown release": (("releases", {"release": "gpt-9"}), "there are: "),
    "an unknown tool": (("promote", {"canary": "support"}), "there are: releases, status, report, why"),
}


def test_what_is_wrong_is_said_with_what_would_be_right(stage: Stage) -> None:
    for answer, (what, (_, wanted)) in zip(
        _of_a_viewer(stage, *(call for call, _ in WRONG.values())), WRONG.items(), strict=True
    ):
        assert answer.is_error, what
        assert wanted in text_of(answer), what


def test_a_server_that_is_not_there_and_a_wrong_token_are_said(stage: Stage, tmp_path: Path) -> None:
    (nobody,) = ask(("status", {}), options=("--data", str(tmp_path)))
    assert nobody.is_error
    assert "start `canary serve`" in text_of(nobody)
    options = ("--admin", stage.server.admin.removeprefix("http://"), "--data", str(tmp_path))
    (wrong,) = ask(("status", {}), options=options, CANARY_VIEWER_TOKEN="another")
    assert wrong.is_error
    assert "refuses this token; set CANARY_VIEWER_TOKEN" in text_of(wrong)


def test_every_tool_is_listed_as_one_that_only_reads(stage: Stage) -> None:
    async def listed() -> list[Tool]:
        async with _client(("--data", str(stage.server.data)), "auto", {}) as client:
            return list((await client.list_tools()).tools)

    tools = asyncio.run(listed())
    assert [tool.name for tool in tools] == ["releases", "status", "report", "why"]
    for tool in tools:
        assert tool.annotations is not None and tool.annotations.read_only_hint
        assert (tool.input_schema["type"], tool.input_schema["additionalProperties"]) == ("object", False)
    assert tools[3].input_schema["required"] == ["canary"]


def test_without_the_extra_the_command_says_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "mcp.py").write_text("raise ModuleNotFoundError('No module named mcp', name='mcp')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "canary", "mcp", "--data", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == "the MCP SDK is not installed: pip install 'WHEEL[mcp]', or '.[mcp]' in a checkout\n"
    )
