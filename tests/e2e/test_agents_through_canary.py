"""Requests as coding agents and agent SDKs send them: whose they are, of which session, and what goes on.

`agents.json` holds one request of each, recorded from the package that it names, headless against the demo
provider, with its texts replaced. Claude Code's accounts are invented.
"""

import json
import re
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_OID, uuid5

import pytest

from demo.provider.server import ReceivedRequest
from routing.cohort import derive_key, unit_hash
from tests.e2e.stage import SECRET, Stage, on_stage

AGENTS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("agents.json").read_text())
SHARE = 0.5
IDS = derive_key(SECRET.encode(), "ids")
CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
  anthropic: {{api: anthropic, base_url: "{url}"}}
canaries:
  - name: openai
    match: {{models: [gpt-4o, gpt-5.2]}}
    baseline: {{provider: openai, model: gpt-5.2}}
    candidate: {{provider: openai, model: gpt-5.4}}
    share: 50%
    guardrails: []
  - name: anthropic
    match: {{models: [claude-sonnet-4-6]}}
    baseline: {{provider: anthropic, model: claude-sonnet-4-6}}
    candidate: {{provider: anthropic, model: claude-sonnet-5}}
    share: 50%
    guardrails: []
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with on_stage(tmp_path_factory.mktemp("agents"), CONFIG) as up:
        yield up


def replayed(stage: Stage, agent: dict[str, Any]) -> tuple[dict[str, Any], ReceivedRequest]:
    """The outcome of an agent's request, sent byte by byte as recorded, and what reached the provider."""
    address, body = urlsplit(stage.server.traffic), json.dumps(agent["body"]).encode()
    connection = HTTPConnection(address.hostname or "", address.port)
    connection.putrequest("POST", agent["path"], skip_accept_encoding=True)
    for name, value in agent["headers"]:
        connection.putheader(name, value)
    connection.putheader("content-length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
    connection.close()
    return stage.outcome(answer.headers["x-canary-exchange"]), stage.provider.log.entries[-1]


def in_session(agent: dict[str, Any], session: str) -> dict[str, Any]:
    """The same agent's request of another session."""
    again: dict[str, Any] = json.loads(json.dumps(agent).replace(agent["session"], session))
    return again


@pytest.mark.parametrize("agent", AGENTS, ids=lambda each: each["agent"])
def test_an_agents_request_has_its_unit_and_its_session(stage: Stage, agent: dict[str, Any]) -> None:
    canary = "anthropic" if agent["path"].startswith("/v1/messages") else "openai"
    unit, session = agent["unit"], agent["session"]
    row, received = replayed(stage, agent)
    assert row["unit"] == (unit_hash(IDS, unit) if unit else "")
    assert row["session"] == (unit_hash(IDS, session) if session else "")
    arm = stage.arm(canary, unit, SHARE) if unit else "baseline"
    assert (row["canary"], row["arm"], row["reason"]) == (canary, arm, "cohort" if unit else "no_unit")
    given = [(name, value) for name, value in agent["headers"] if not name.startswith("x-canary-")]
    skipped = {"host", "content-length", "connection", "accept-encoding"}
    assert sorted(each for each in received.headers if each[0] not in skipped) == sorted(
        (name, value) for name, value in given if name not in skipped
    )


CLAUDE = [each for each in AGENTS if each["agent"].startswith("Claude")]


@pytest.mark.parametrize("agent", CLAUDE, ids=lambda each: each["agent"])
def test_every_session_of_one_account_has_one_arm(stage: Stage, agent: dict[str, Any]) -> None:
    sessions = [str(uuid5(NAMESPACE_OID, f"{agent['agent']} {number}")) for number in range(4)]  # no other's
    rows = [replayed(stage, in_session(agent, each))[0] for each in sessions]
    assert len({row["unit"] for row in rows}) == 1
    assert len({row["session"] for row in rows}) == 4
    assert {row["arm"] for row in rows} == {stage.arm("anthropic", agent["unit"], SHARE)}


def test_an_account_is_one_user_in_every_version_of_claude_code(stage: Stage) -> None:
    rows = of_account(stage, "3f2504e0-4f89-41d3-9a0c-0305e82c3301")
    assert len(rows) == 2
    assert len({(row["unit"], row["arm"]) for row in rows}) == 1
    explained = stage.canary("explain", CLAUDE[1]["body"]["metadata"]["user_id"]).stdout
    assert "the unit in this text is 3f2504e0-4f89-41d3-9a0c-0305e82c3301" in explained
    assert re.search(rf"^anthropic: {rows[0]['arm']}, ", explained, re.MULTILINE)


def of_account(stage: Stage, account: str) -> Sequence[dict[str, Any]]:
    return [replayed(stage, each)[0] for each in CLAUDE if each["unit"] == account]
