"""A standing canary over the real server: models are begun by their names, and the config is only read."""

import json
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from canary.cli import app
from canary.config import parse
from demo.provider.behaviour import Behaviour
from tests.e2e.stage import Stage, chat, on_stage
from tests.e2e.test_console import hidden
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: k}}
canaries:
  - name: support
    standing: true
    owner: anna@example.com
    match: {{models: [support-bot]}}
    baseline: {{provider: openai, model: first}}
    candidate: {{provider: openai}}
    share: 50%
    settle: 0s
    start: auto
"""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with on_stage(tmp_path, CONFIG) as stage:
        stage.server.config.chmod(stat.S_IRUSR)
        yield stage


def sampled(stage: Stage, name: str, file: Path, *more: str) -> list[dict[str, Any]]:
    """The lines of the dataset that `dataset sample` makes of what was captured; none while nothing is."""
    where = ["--config", str(stage.server.config), "--data", str(stage.server.data)]
    file.unlink(missing_ok=True)
    done = CliRunner().invoke(app, ["dataset", "sample", name, str(file), *more, *where])
    assert done.exit_code == 0 or "was captured" in done.stderr, done.stderr
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_what_is_asked_while_nothing_is_tried_is_captured_and_becomes_a_dataset(tmp_path: Path) -> None:
    judge = "judge: {{provider: openai, model: wise, daily_budget: 5.00}}\n"
    prices = "prices: {{wise: {{input: 1, output: 1}}}}\n"
    with on_stage(tmp_path, f"{judge}{prices}{CONFIG}    capture: {{{{rate: 100%}}}}\n") as stage:
        stage.provider.behave("wise", Behaviour(says={"hello": "Right.\nEXPECTED:\nIt greets."}))
        for user in range(4):
            assert asked(stage, f"u{user}") == "first"
        file = tmp_path / "datasets" / "of" / "support.jsonl"
        (line,) = eventually(lambda: sampled(stage, "support", file))  # four times the same question
        assert line["labels"][0]["by"] == "openai/first"
        assert [each["id"] for each in sampled(stage, "first", file)] == [line["id"]]
        (line,) = sampled(stage, "support", file, "--propose")
        assert line["labels"][-1]["by"] == "openai/wise", "the config's judge: the dataset names none"


def asked(stage: Stage, user: str | None = None) -> str:
    """The model that the provider was asked for."""
    answer = httpx2.post(
        f"{stage.server.traffic}/v1/chat/completions",
        json=chat("support-bot", user),
        trust_env=False,
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return stage.provider.log.entries[-1].model


def given(stage: Stage, model: str) -> None:
    """Everybody gets the model."""
    eventually(lambda: {asked(stage, f"u{n}") for n in range(8)} == {model} or None)


def canary(stage: Stage, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = stage.canary(*words, "--config", str(stage.server.config))
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done


def check(stage: Stage) -> str:
    """What `canary check` says, which takes the data folder from the environment."""
    where = {"CANARY_DATA": str(stage.server.data)}
    return CliRunner().invoke(app, ["check", "--config", str(stage.server.config)], env=where).output


def states(stage: Stage) -> dict[str, str]:
    return {each["name"]: each["state"] for each in stage.api("GET", "/api/status").json()["canaries"]}


def standing(stage: Stage) -> dict[str, Any]:
    (found,) = stage.api("GET", "/api/status").json()["standing"]
    return dict(found)


def test_models_come_and_go_by_their_names_and_no_file_is_written(stage: Stage) -> None:
    before = stage.server.config.read_bytes()
    given(stage, "first")

    canary(stage, "begin", "support", "--model", "second")
    assert states(stage) == {"support-second": "running"}
    eventually(lambda: {asked(stage, f"u{n}") for n in range(30)} == {"first", "second"} or None)
    refused = canary(stage, "begin", "support", "--model", "third", code=1)
    assert "support-second is running, and support tries one model at a time" in refused.stderr

    canary(stage, "rollback", "support-second", "--reason", "r")
    given(stage, "first")
    arm = stage.server.config.with_name("arm.yaml")
    arm.write_text("request: {set: {temperature: 0}}\n")
    canary(stage, "begin", "support", "--model", "third", "--arm", str(arm))
    eventually(lambda: states(stage) == {"support-third": "running"} or None)
    canary(stage, "promote", "support-third", "--against-verdict", "--reason", "better")
    given(stage, "third")
    assert json.loads(stage.provider.log.entries[-1].body)["temperature"] == 0
    now = eventually(lambda: found if (found := standing(stage))["canary"] else None)
    assert (now["baseline"]["model"], now["canary"], now["older_in_file"]) == ("third", "support-third", True)
    shown = canary(stage, "show", "support").stdout
    assert "temperature: 0" in shown and "model: third" in shown
    assert parse(
        f"{CONFIG.partition('canaries:')[0].format(url='http://x')}canaries:\n{shown}", "shown", {}
    ).standing
    checked = check(stage)
    assert "the file's baseline of support is openai/first; in force is openai/third" in checked
    assert "promoted support-third" in checked
    assert "Begin the next model of support" in stage.api("GET", "/").text

    stage.restart()
    given(stage, "third")
    canary(stage, "begin", "support", "--model", "fourth")
    assert stage.status("support-fourth")["models"]["baseline"]["model"] == "third"
    assert stage.server.config.read_bytes() == before

    with httpx2.Client(base_url=stage.server.admin, trust_env=False, timeout=30.0) as page:
        page.post("/login", data={**hidden(page.get("/login").text), "token": stage.server.token})
        shown = page.get("/").text
        asked_first = "support-third is taken back: everybody gets the baseline before it, at once. "
        assert asked_first + "support-fourth ends with it. Nothing begins by itself." in shown
        form = {"who": "ann", "reason": "invents discounts", "form_token": hidden(shown)["form_token"]}
        assert page.post("/standing/support/revert", data=form | {"reason": " "}).status_code == 400
        told = page.post("/standing/support/revert", data=form).text
        assert (
            "support-third is taken back. support-fourth ends with it. Everybody gets openai/first." in told
        )
    given(stage, "first")
    eventually(lambda: states(stage) == {} or None)
    told = " ".join(canary(stage, "status").stdout.split())
    assert "ann took support-third back" in told and "(invents discounts)" in told
    again = canary(stage, "revert", "support", "--reason", "again", code=1).stderr
    assert "nothing" in again
    audit = [
        (each["canary"], each["action"], each["reason"]) for each in stage.api("GET", "/api/audit").json()
    ]
    why = "its baseline, openai/third, is taken back: invents discounts"
    assert ("support-third", "rollback", "invents discounts") in audit
    assert ("support-fourth", "begin", "") in audit
    assert ("support-fourth", "end", why) in audit


def test_a_rollback_of_what_was_promoted_takes_the_baseline_back(stage: Stage) -> None:
    canary(stage, "begin", "support", "--model", "second")
    canary(stage, "promote", "support-second", "--against-verdict", "--reason", "better")
    given(stage, "second")
    canary(stage, "rollback", "support-second", "--reason", "worse")
    given(stage, "first")
    eventually(lambda: standing(stage)["canary"] is None or None)
    canary(stage, "begin", "support", "--model", "third")
    assert stage.status("support-third")["models"]["baseline"]["model"] == "first"


def test_a_trial_that_never_ran_ends_and_is_in_no_history(tmp_path: Path) -> None:
    with on_stage(tmp_path, CONFIG.replace("start: auto", "start: manual")) as stage:
        assert "canary begin support --model MODEL: the candidate gets 50%, once somebody starts it" in check(
            stage
        )
        assert "support: everybody gets openai/first" in canary(stage, "status", "support").stdout
        assert "support: openai/first (standing" in canary(stage, "explain", "u1").stdout
        for words, code in ((("report",), 2), (("preflight",), 2), (("start",), 1)):
            told = canary(stage, *words, "support", code=code).stderr
            assert "only its trials have a candidate: begin one: canary begin support --model" in told
        said = canary(stage, "begin", "support", "--model", "second").stderr
        assert "support-second: waiting, until `canary start support-second`" in said
        assert "no known price" in said and "openai/second (candidate of support-second)" in said
        assert "support-second waiting" in canary(stage, "status", "support").stdout
        assert "name its trial (support-second)" in stage.api("GET", "/canaries/support").text
        refused = canary(stage, "promote", "support", "--reason", "r", code=1).stderr
        assert "name its trial (support-second)" in refused
        assert "support tries support-second" in check(stage)
        refused = canary(stage, "rollback", "support-second", "--reason", "r", code=1).stderr
        assert "`canary end support-second` ends one that never ran" in refused
        canary(stage, "end", "support-second")
        eventually(lambda: states(stage) == {} or None)
        assert stage.api("GET", "/api/releases").json() == {"releases": []}
        assert stage.api("GET", "/canaries/support-second").status_code == 404
        canary(stage, "begin", "support", "--model", "second")
        assert states(stage) == {"support-second-2": "waiting"}
        wrong = stage.api(
            "POST", "/api/standing/support/begin", {"arm": {"model": "x", "modle": "y"}, "who": "w"}
        )
        said = 'not begun: candidate.modle: unknown key; did you mean "model"?'
        assert (wrong.status_code, wrong.json()["error"]) == (400, said)
        canary(stage, "end", "support-second-2")
        said = canary(stage, "begin", "support", "--model", "first").stderr
        assert "warning: both arms are first: this is an A/A test" in said


@pytest.mark.more
def test_with_lanes_several_are_tried_and_a_rolled_back_one_frees_its_lane(tmp_path: Path) -> None:
    with on_stage(tmp_path, CONFIG.replace("share: 50%", "share: 50%\n    lane: 50%")) as stage:
        canary(stage, "begin", "support", "--model", "second")
        canary(stage, "begin", "support", "--model", "third")
        assert states(stage) == {"support-second": "running", "support-third": "running"}
        refused = canary(stage, "begin", "support", "--model", "fourth", code=1).stderr
        assert "add up to 1.5; they may have 1 in all" in refused
        canary(stage, "rollback", "support-second", "--reason", "r")
        canary(stage, "begin", "support", "--model", "fourth")
        eventually(lambda: states(stage) == {"support-third": "running", "support-fourth": "running"} or None)
        models = {"first", "third", "fourth"}  # the workers follow a moment after the status
        eventually(lambda: {asked(stage, f"u{n}") for n in range(40)} == models or None)


def test_a_server_that_is_killed_begins_and_promotes_wholly_or_not_at_all(stage: Stage) -> None:
    stage.provider.behave("second", Behaviour())
    (stage.server.data / "trials.json").unlink(missing_ok=True)
    stage.api("POST", "/api/standing/support/begin", {"arm": {"model": "second"}, "who": "w"})
    (stage.server.data / "trials.json").write_text("{}")  # as if killed before it was written
    stage.server.kill()
    stage.restart()
    eventually(lambda: states(stage) == {"support-second": "running"} or None)
    canary(stage, "promote", "support-second", "--against-verdict", "--reason", "r")
    (stage.server.data / "trials.json").unlink()
    stage.server.process.send_signal(signal.SIGKILL)
    stage.server.process.wait()
    stage.restart()
    given(stage, "second")
    assert states(stage) == {"support-second": "promoted"}
    assert standing(stage)["baseline"]["model"] == "second"
