"""An app written for one model tries another, which refuses its members: without and with `request:`."""

import csv
import io
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

OLD, NEW = "gpt-4o-2024-08-06", "gpt-5.2"
REFUSED = ("max_tokens", "temperature", "logit_bias")
CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: plain
    match: {{models: [plain]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-5.2}}
    share: 50%
  - name: cured
    match: {{models: [cured]}}
    baseline:
      provider: openai
      model: gpt-4o-2024-08-06
      request: {{default: {{seed: 7}}}}
    candidate:
      provider: openai
      model: gpt-5.2
      request:
        rename: {{max_tokens: max_completion_tokens}}
        remove: [temperature, logit_bias]
        set: {{reasoning_effort: low, response_format: {{type: json_object}}}}
    share: 50%
    guardrails: [{{rule: error_rate, limit: 5%, window: 10m, minimum: 20, action: rollback}}]
"""
ASKED = 40
"""By each arm. Half by stream."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Both canaries with the same app, and a candidate that refuses members which the app sends."""
    with on_stage(tmp_path_factory.mktemp("adapted"), CONFIG) as stage:
        stage.provider.behave(NEW, Behaviour(rejects=REFUSED))
        yield stage


def ask(stage: Stage, canary: str, user: str, *, stream: bool = False) -> httpx2.Response:
    app = {"max_tokens": 64, "temperature": 0.2, "logit_bias": {"50256": -100}}
    return httpx2.post(
        f"{stage.server.traffic}/v1/chat/completions",
        json=chat(canary, user, stream=stream) | app,
        headers={"authorization": "Bearer sk-caller"},
        timeout=30.0,
        trust_env=False,
    )


def ask_by_both(stage: Stage, canary: str) -> None:
    for arm in ("candidate", "baseline"):
        for number, user in enumerate(islice(stage.users(arm, canary, 0.5), ASKED)):
            assert ask(stage, canary, user, stream=number % 2 == 0).status_code == 200


def stored(stage: Stage, canary: str, count: int) -> list[dict[str, Any]]:
    def rows() -> list[dict[str, Any]] | None:
        found = [row for row in stage.outcomes() if row["canary"] == canary]
        return found if len(found) >= count else None

    return eventually(rows)


def test_a_candidate_that_refuses_the_apps_members_is_rolled_back(stage: Stage) -> None:
    ask_by_both(stage, "plain")
    eventually(lambda: stage.status("plain")["state"] == "rolled_back")
    assert not any(row["adapted"] for row in stored(stage, "plain", 2 * ASKED))


def test_the_same_candidate_is_healthy_once_its_requests_are_adapted(stage: Stage) -> None:
    ask_by_both(stage, "cured")
    rows = stored(stage, "cured", 2 * ASKED)
    assert {(row["outcome"], row["adapted"]) for row in rows} == {("ok", True)}
    assert {row["served_by"] for row in rows} == {"baseline", "candidate"}
    assert stage.status("cured")["state"] == "running"
    bodies = [entry.json for entry in stage.provider.log.of(NEW) if "reasoning_effort" in entry.json]
    assert len(bodies) == ASKED
    for body in bodies:
        assert (body["max_completion_tokens"], body["reasoning_effort"]) == (64, "low")
        assert not body.keys() & {*REFUSED, "seed"}
    assert any(entry.json.get("seed") == 7 for entry in stage.provider.log.of(OLD))


def test_the_answer_is_judged_by_the_format_that_the_arm_asked_for(stage: Stage) -> None:
    stage.provider.behave(NEW, Behaviour(rejects=REFUSED, answer_faults={"json_invalid": 1.0}))
    (user,) = islice(stage.users("candidate", "cured", 0.5, prefix="late"), 1)
    answer = ask(stage, "cured", user)
    assert stage.outcome(answer.headers["x-canary-exchange"])["faults"] == "json_invalid"


def test_explain_shows_what_is_changed(stage: Stage) -> None:
    said = {
        each["canary"]: each
        for each in json.loads(stage.canary("explain", "u", "-o", "json").stdout)["canaries"]
    }
    assert said["plain"]["request"] == {"baseline": {}, "candidate": {}}
    assert said["cured"]["request"] == {
        "baseline": {"default": {"seed": 7}},
        "candidate": {
            "rename": {"max_tokens": "max_completion_tokens"},
            "remove": ["temperature", "logit_bias"],
            "set": {"reasoning_effort": "low", "response_format": {"type": "json_object"}},
        },
    }
    lines = stage.canary("explain", "u").stdout.splitlines()
    assert lines[-2:] == [
        "  the baseline's requests are changed: seed is 7 by default",
        "  the candidate's requests are changed: max_tokens is renamed to max_completion_tokens; temperature "
        'is removed; logit_bias is removed; reasoning_effort is set to "low"; response_format is set to '
        '{"type": "json_object"}',
    ]


def test_the_export_says_which_requests_were_adapted(stage: Stage) -> None:
    text = stage.canary("records", "export", "--config", str(stage.server.config)).stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {(row["canary"], row["adapted"]) for row in rows} == {("plain", "false"), ("cured", "true")}


def test_a_started_canarys_request_cannot_change(stage: Stage) -> None:
    text = stage.config_text.replace("remove: [temperature, logit_bias]", "remove: [temperature]")
    stage.configure(text)
    told = eventually(lambda: stage.api("GET", "/api/status").json()["degraded"])
    assert any("'cured' is not the one that started" in each and "use a new name" in each for each in told)
