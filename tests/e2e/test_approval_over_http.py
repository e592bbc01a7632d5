"""Two people promote over HTTP: by the API, the command line and the page, over a restart, told to Slack."""

import json
from collections.abc import Iterator

import pytest

from canary.commands.shell import user
from tests.e2e.receivers import Hook, listening_hook
from tests.e2e.stage import Stage, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
admin_url: https://canary.example
notify: [{{slack: "HOOK"}}]
canaries:
  - name: by-two
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 5%
    promote: two_people
  - name: by-both-ways
    match: {{models: [gpt-4o-mini]}}
    baseline: {{provider: openai, model: gpt-4o-mini-2024-07-18}}
    candidate: {{provider: openai, model: gpt-4.1-nano-2025-04-14}}
    share: 5%
    promote: two_people
"""

AGAINST = {"against_verdict": True}
"""Nobody has asked anything, so that every verdict is to extend."""
IT_WON = ("--against-verdict", "--reason", "it won")


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    with listening_hook() as up:
        yield up


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, hook: Hook) -> Iterator[Stage]:
    with on_stage(tmp_path_factory.mktemp("approval"), CONFIG.replace("HOOK", hook.url)) as up:
        eventually(lambda: up.status("by-two")["state"] == "running")
        eventually(lambda: up.status("by-both-ways")["state"] == "running")
        yield up


def test_the_first_is_202_and_the_second_promotes_though_the_server_was_killed_between(
    stage: Stage, hook: Hook
) -> None:
    path = "/api/canaries/by-two/promote"
    asked = stage.api("POST", path, {"who": "ann", "reason": "report of 8 December", **AGAINST})
    assert (asked.status_code, asked.json()["state"]) == (202, "running")
    assert asked.json()["promote_asked"]["who"] == "ann"
    told = eventually(lambda: [body for body in hook.bodies if "by-two" in body["text"]])
    assert "ann asks to promote it against the verdict extend (report of 8 December)" in told[0]["text"]
    assert (
        "<https://canary.example/canaries/by-two?order=promote&amp;reason=agreed+with+ann" in told[0]["text"]
    )
    again = stage.api("POST", path, {"who": " ANN", "reason": "please", **AGAINST})
    assert (again.status_code, "somebody else must promote" in again.json()["error"]) == (409, True)
    stage.server.process.kill()
    stage.server.process.wait()
    stage.restart()
    shown = eventually(lambda: stage.status("by-two")["promote_asked"])
    assert (shown["who"], shown["until"] - shown["at"]) == ("ann", 86_400.0)
    assert "asked by ann" in stage.canary("status", "by-two").stdout
    done = stage.api("POST", path, {"who": "bob", "reason": "yes", **AGAINST})
    assert (done.status_code, done.json()["state"], done.json()["promote_asked"]) == (200, "promoted", None)
    newest = stage.api("GET", "/api/audit?limit=1").json()[0]
    assert (newest["action"], newest["who"]) == ("promote", "ann and bob")
    assert newest["reason"] == "ann: report of 8 December; bob: yes"


def test_the_command_line_says_asked_and_exits_4(stage: Stage) -> None:
    asked = stage.canary("promote", "by-both-ways", *IT_WON)
    assert asked.returncode == 4
    assert f"by-both-ways: not promoted yet: {user()} has asked for it" in asked.stderr
    assert "canary promote by-both-ways --against-verdict --by THEIR-NAME --reason …" in asked.stderr
    alone = stage.canary("promote", "by-both-ways", *IT_WON)
    assert (alone.returncode, "somebody else must promote" in alone.stderr) == (1, True)
    nobody = stage.canary("promote", "by-both-ways", "--by", " ", *IT_WON)
    assert (nobody.returncode, "--by must not be empty" in nobody.stderr) == (2, True)
    unnamed = stage.api("POST", "/api/canaries/by-both-ways/promote", {"reason": "it won", **AGAINST})
    assert (unnamed.status_code, '"who"' in unnamed.json()["error"]) == (400, True)
    stage.api("POST", "/api/canaries/by-both-ways/pause", {"who": "carl", "reason": "a holiday"})
    assert stage.status("by-both-ways")["promote_asked"] is None
    other = stage.api(
        "POST", "/api/canaries/by-both-ways/promote", {"who": "carl", "reason": "it won", **AGAINST}
    )
    assert other.status_code == 202
    done = stage.canary("promote", "by-both-ways", "--by", "dora", *IT_WON, "-o", "json")
    assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "promoted")
    assert stage.api("GET", "/api/audit?limit=1").json()[0]["who"] == "carl and dora"
    assert stage.canary("rollback", "by-both-ways", "--reason", "alone").returncode == 0
