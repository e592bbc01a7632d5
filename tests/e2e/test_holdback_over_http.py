"""After a promotion some users stay with the former baseline, over the real server."""

import getpass
import json
import os
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from canary.cli import app
from canary.config import load
from canary.programs.greeting import canaries
from common.whole_file import read_document
from routing.states import NO_STATES, States
from tests.e2e.receivers import Hook, listening_hook
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: k}}
notify: [{{webhook: "HOOK"}}]
canaries:
  - name: support
    standing: true
    match: {{models: [support-bot]}}
    baseline: {{provider: openai, model: first}}
    candidate: {{provider: openai}}
    share: 50%
    settle: 0s
    guardrails: []
    holdback: {{share: 20%, for: 7d}}
    minimum_days: 0
    rubric: [{{metric: error_rate, acceptable: "< 5%", ideal: "< 1%", weight: 1, question: "Any?"}}]
"""
SECOND = "support-second"


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    with listening_hook() as hook:
        yield hook


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, hook: Hook) -> Iterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("holdback")
    with on_stage(folder, CONFIG.replace("HOOK", hook.url)) as stage:
        stage.server.config.chmod(stat.S_IRUSR)
        yield stage


def asked(stage: Stage, user: str) -> str:
    """The model that the provider was asked for."""
    answer = httpx2.post(
        f"{stage.server.traffic}/v1/chat/completions",
        json=chat("support-bot", user),
        trust_env=False,
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return stage.provider.log.entries[-1].model


def canary(stage: Stage, *words: str) -> str:
    done = stage.canary(*words, "--config", str(stage.server.config))
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def explained(stage: Stage, user: str) -> dict[str, Any]:
    (found,) = json.loads(canary(stage, "explain", user, "-o", "json"))["canaries"]
    return dict(found)


def said_everywhere_that_not_everybody_has_it(stage: Stage) -> None:
    some = re.compile(
        r"80 % of the users get openai/second.*20 % are held back on openai/first until [\d-]+ "
    )

    def known() -> bool | None:
        return bool(stage.api("GET", "/api/status").json()["standing"][0]["held_back"]) or None

    eventually(known)
    config, data = stage.server.config, stage.server.data
    states = read_document(data / "plan.json", States) or NO_STATES
    check = CliRunner().invoke(app, ["check", "--config", str(config)], env={"CANARY_DATA": str(data)})
    shown = {
        "status": canary(stage, "status", "support"),
        "check": check.output,
        "page": stage.api("GET", "/").text,
        "greeting": " ".join(canaries(load(config, os.environ, data=data), states, {})),
    }
    for surface, text in shown.items():
        flat = " ".join(text.split())
        assert some.search(flat), (surface, flat)
        assert "everybody gets openai" not in flat, (surface, flat)
    assert "The other users are held back until" in shown["page"]
    release = " ".join(canary(stage, "release", "show", "second").split())
    assert "20 % of the users are held back with the former baseline until" in release


def test_some_users_keep_the_former_baseline_until_the_next_model_begins(stage: Stage, hook: Hook) -> None:
    canary(stage, "begin", "support", "--model", "second")
    held = next(stage.users("baseline", SECOND, 0.8))
    moved = next(
        user for user in stage.users("baseline", SECOND, 0.5) if stage.arm(SECOND, user, 0.8) != "baseline"
    )
    eventually(lambda: asked(stage, held) == asked(stage, moved) == "first" or None)
    dialog = stage.api("GET", f"/canaries/{SECOND}").text
    assert "All but 20 % of the users get the candidate; these keep the baseline for 7 d." in dialog
    done = stage.canary("promote", SECOND, "--against-verdict", "--reason", "better")
    assert "20 % are held back on openai/first until" in done.stderr

    def split() -> None:
        eventually(lambda: (asked(stage, held), asked(stage, moved)) == ("first", "second") or None)

    split()
    (begun,) = eventually(lambda: hook.events(SECOND, "holdback_begun"))
    assert "20 % of the users keep the former baseline until" in begun["headline"]
    stage.restart()
    split()
    status = stage.status(SECOND)
    assert (status["state"], status["share"], status["holdback"]["share"]) == (
        "promoted",
        0.8,
        pytest.approx(0.2),
    )
    assert status["holdback"]["until"] - status["holdback"]["since"] == 7 * 86400
    said_everywhere_that_not_everybody_has_it(stage)
    said = "20 % of the users are held back with the former baseline until"
    assert said in canary(stage, "status", SECOND)
    assert said in stage.api("GET", f"/?open={SECOND}").text
    mine, theirs = explained(stage, held), explained(stage, moved)
    assert (mine["arm"], mine["held_back_until"]) == ("baseline", status["holdback"]["until"])
    assert "one of the 20 % of the users who are held back with the former baseline" in mine["sentence"]
    assert (theirs["arm"], theirs["held_back_until"]) == ("candidate", None)

    def shown_in_prometheus() -> list[str]:
        text = httpx2.get(f"{stage.server.admin}/metrics", trust_env=False).text
        return [line for line in text.splitlines() if line.startswith("canary_holdback_ratio{")]

    (ratio,) = eventually(shown_in_prometheus)
    assert float(ratio.split()[-1]) == pytest.approx(0.2)

    until = datetime.fromtimestamp(status["holdback"]["until"], UTC).strftime("%Y-%m-%d %H:%M")
    early = f"{SECOND} early: 20 % of the users were to keep openai/first until {until}"
    assert f"this ends the hold-back of {early}" in stage.api("GET", "/").text
    begun = stage.canary("begin", "support", "--model", "third")
    assert f"warning: this ends the hold-back of {early}" in begun.stderr
    eventually(lambda: {asked(stage, held), asked(stage, moved)} <= {"second", "third"} or None)
    acts = [
        (each["canary"], each["action"], each["reason"]) for each in stage.api("GET", "/api/audit").json()
    ]
    (why,) = [why for name, action, why in acts if (name, action) == (SECOND, "holdback_end")]
    assert why == "ended early, after less than 0.1 of 7 days: support-third begins"
    assert why in stage.api("GET", "/").text
    (after,) = eventually(lambda: hook.events(SECOND, "week_after"))
    assert "it cannot be told of any of 1 row whether it kept" in after["headline"]
    who = getpass.getuser()
    assert f"its hold-back has ended early, by {who} ({why})" in after["headline"]
    shown = canary(stage, "release", "show", "second")
    assert "The week after: support-second, run 1" in shown and "too early to tell more." in shown
    assert f"It was ended early by {who} ({why}), before {until} UTC" in " ".join(shown.split())
    assert "are held back" not in shown
    assert "Promises: 1 release with a week after; more is said from five on." in shown
    (run,) = json.loads(canary(stage, "release", "show", "second", "-o", "json"))["runs"]
    (row,) = run["week_after"]["rows"]
    assert (row["metric"], row["kept"], row["why"], run["state"]) == (
        "error_rate",
        "unknown",
        "too_few",
        "promoted",
    )
    assert "1 release with a week after" in stage.api("GET", "/archive").text
    releases = stage.api("GET", "/api/releases").json()["releases"]
    (release,) = [each["id"] for each in releases if each["candidate"]["model"] == "second"]
    for path in (f"/releases/{release}", f"/releases/{release}?for=team"):
        page = stage.api("GET", path).text
        assert "The week after: support-second, run 1" in page, path
    assert "Promises: 1 release with a week after; more is said from five on." in canary(
        stage, "archive", "trends"
    )
    exported = [json.loads(line) for line in canary(stage, "archive", "export").splitlines() if line]
    assert [each["event"] for each in exported] == ["promoted", "week_after"]
