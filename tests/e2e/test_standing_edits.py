"""A standing entry that is edited after a promotion: everybody keeps what they have."""

import html
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from canary.cli import app
from tests.e2e.stage import Stage, chat, on_stage
from tests.e2e.test_standing_canaries import CONFIG, canary, check, given
from tests.serving import eventually

EDITS = {
    "a model more": ("[support-bot]", "[support-bot, support-app]"),
    "who has no unit": ("share: 50%", "share: 50%\n    no_unit: random"),
    "a lane": ("share: 50%", "share: 50%\n    lane: 40%"),
    "the session": ("share: 50%", "share: 50%\n    session: [body]"),
}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with on_stage(tmp_path, CONFIG) as stage:
        yield stage


def logged(stage: Stage, event: str) -> int:
    return stage.server.log_file.read_text().count(event)


def edit(stage: Stage, old: str, new: str, *, refused: bool = False) -> None:
    """Change the file, and wait until worker and admin process take it, or the supervisor refuses it."""
    event, times = ("config.refused", 1) if refused else ("config.reloaded", 2)
    seen = logged(stage, event)
    assert old in stage.config_text
    stage.configure(stage.config_text.replace(old, new))
    stage.server.process.send_signal(signal.SIGHUP)
    eventually(lambda: logged(stage, event) >= seen + times)


def models(stage: Stage, asks_for: str = "support-bot") -> dict[str, int]:
    """How many of 40 users and 10 callers without a unit the provider was asked which model for."""
    found: dict[str, int] = {}
    for user in [*(f"user-{n}" for n in range(40)), *[None] * 10]:
        url = f"{stage.server.traffic}/v1/chat/completions"
        answer = httpx2.post(url, json=chat(asks_for, user), trust_env=False, timeout=30)
        assert answer.status_code == 200, answer.text
        model = stage.provider.log.entries[-1].model
        found[model] = found.get(model, 0) + 1
    return found


def promote(stage: Stage, model: str) -> None:
    """Begin and promote a trial, and wait until two processes have read the config anew after each."""
    seen = logged(stage, "config.reloaded")
    canary(stage, "begin", "support", "--model", model)
    canary(stage, "promote", f"support-{model}", "--against-verdict", "--reason", "better")
    given(stage, model)
    eventually(lambda: logged(stage, "config.reloaded") >= seen + 4)


@pytest.mark.parametrize("edited", EDITS.values(), ids=EDITS)
def test_an_edit_after_a_promotion_leaves_everybody_the_promoted_model(
    stage: Stage, edited: tuple[str, str]
) -> None:
    promote(stage, "second")
    edit(stage, *edited)
    assert models(stage) == {"second": 50}
    if "support-app" in stage.config_text:
        assert models(stage, "support-app") == {"second": 50}
    (shown,) = stage.api("GET", "/api/status").json()["standing"]
    assert shown["baseline"]["model"] == "second"
    assert stage.status("support-second")["refused"] is None
    stage.restart()
    assert models(stage) == {"second": 50}
    canary(stage, "begin", "support", "--model", "third")
    eventually(lambda: models(stage).keys() == {"second", "third"} or None)  # once its preflight has passed


def test_an_edit_leaves_a_running_trial_as_it_began_and_the_check_says_so(stage: Stage) -> None:
    canary(stage, "begin", "support", "--model", "second")
    eventually(lambda: models(stage).keys() == {"first", "second"} or None)
    before = models(stage)
    edit(stage, "[support-bot]", "[support-bot, support-app]")
    assert models(stage) == before
    assert models(stage, "support-app") == {"first": 50}
    told = " ".join(check(stage).split())
    assert "support-second keeps match of its begin; the file's are for the next trial of support" in told
    assert stage.status("support-second")["refused"] is None


def say(stage: Stage, model: str) -> None:
    """Write this baseline into the file, which may have it already."""
    now = next(line for line in stage.config_text.splitlines() if "baseline:" in line)
    new = f"    baseline: {{provider: openai, model: {model}}}"
    if now != new:
        edit(stage, now, new)


def take_back(stage: Stage, trial: str, way: str) -> None:
    """Revert, or roll back what was promoted."""
    name = "support" if way == "revert" else trial
    told = canary(stage, way, name, "--reason", "worse").stderr
    assert way == "rollback" or f"{trial} is taken back" in told


def in_force(stage: Stage, model: str) -> None:
    """Users, status, page, check, show and explain have this model as everybody's."""
    given(stage, model)
    assert models(stage) == {model: 50}
    everybody = f"everybody gets openai/{model}"
    (shown,) = eventually(
        lambda: (
            found
            if (found := stage.api("GET", "/api/status").json()["standing"])[0]["baseline"]["model"] == model
            else None
        )
    )
    assert shown["older_in_file"] == (f"model: {model}}}" not in stage.config_text)
    for said in (
        stage.canary("status").stdout,
        html.unescape(stage.api("GET", "/").text),
        check(stage),
    ):
        assert everybody in " ".join(said.split())
    assert f"model: {model}" in canary(stage, "show", "support").stdout
    assert f"support: openai/{model} (standing" in canary(stage, "explain", "user-1").stdout


@pytest.mark.parametrize("way", ["revert", "rollback"])
@pytest.mark.parametrize("written", ["before it is taken back", "after it was taken back"])
def test_a_baseline_that_was_taken_back_stays_so_whatever_the_file_says(
    stage: Stage, way: str, written: str
) -> None:
    promote(stage, "second")
    if written.startswith("before"):
        say(stage, "second")
    in_force(stage, "second")
    take_back(stage, "support-second", way)
    if written.startswith("after"):
        given(stage, "first")
        say(stage, "second")
    in_force(stage, "first")
    told = " ".join(check(stage).split())
    assert "the file's baseline of support is openai/second, which " in told
    assert " took back on 20" in told
    assert "; in force is openai/first, which counts" in told
    stage.restart()
    in_force(stage, "first")
    canary(stage, "begin", "support", "--model", "third")
    assert stage.status("support-third")["models"]["baseline"]["model"] == "first"
    eventually(lambda: set(models(stage)) == {"first", "third"} or None)


@pytest.mark.parametrize("written", [("second", "third"), ("third", "second"), ("second", "fourth")])
def test_each_revert_goes_one_promotion_back_whatever_the_file_says(
    stage: Stage, written: tuple[str, str]
) -> None:
    promote(stage, "second")
    say(stage, written[0])
    promote(stage, "third")
    say(stage, written[1])
    in_force(stage, "third")
    told = canary(stage, "revert", "support", "--reason", "worse").stderr
    assert "everybody gets openai/second; support-third is taken back" in told
    in_force(stage, "second")
    say(stage, written[0])
    in_force(stage, "second")
    told = canary(stage, "revert", "support", "--reason", "worse").stderr
    assert "everybody gets openai/first; support-second is taken back" in told
    in_force(stage, "first")
    say(stage, written[1])
    in_force(stage, "first")
    again = canary(stage, "revert", "support", "--reason", "again", code=1).stderr
    assert "nothing is before it" in again
    stage.restart()
    promote(stage, "fourth")
    canary(stage, "revert", "support", "--reason", "worse")
    in_force(stage, "first")


def test_the_reply_to_a_revert_names_the_trial_that_ends_with_its_baseline(stage: Stage) -> None:
    promote(stage, "second")
    canary(stage, "begin", "support", "--model", "third")
    eventually(lambda: set(models(stage)) == {"second", "third"} or None)
    (shown,) = stage.api("GET", "/api/status").json()["standing"]
    assert shown["ends_with_it"] == ["support-third"]
    told = canary(stage, "revert", "support", "--reason", "worse").stderr
    assert "support-second is taken back; support-third ends with it" in " ".join(told.split())
    in_force(stage, "first")
    (shown,) = stage.api("GET", "/api/status").json()["standing"]
    assert (shown["trials"], shown["ends_with_it"]) == ([], [])
    acts = {(each["canary"], each["action"]): each for each in stage.api("GET", "/api/audit").json()}
    ended = acts["support-third", "end"]  # the promoted trial's own end follows at the leader's next turn
    assert ended["reason"] == "its baseline, openai/second, is taken back: worse"


RENAMED = ("name: support", "name: helpdesk")


def test_a_rename_after_a_promotion_is_refused_and_everybody_keeps_the_promoted_model(stage: Stage) -> None:
    promote(stage, "second")
    edit(stage, *RENAMED, refused=True)
    assert models(stage) == {"second": 50}
    where = {"CANARY_DATA": str(stage.server.data)}
    checked = CliRunner().invoke(app, ["check", "--config", str(stage.server.config)], env=where)
    why = "canary 'helpdesk' takes the requests of 'support', whose baseline openai/second"
    assert (checked.exit_code, why in checked.output) == (2, True), checked.output
    assert why in " ".join(stage.canary("status").stderr.split())
    assert why in html.unescape(stage.api("GET", "/").text)
    stage.restart()
    assert models(stage) == {"second": 50}
    edit(stage, *reversed(RENAMED))
    assert stage.api("GET", "/api/status").json()["degraded"] == []


def test_a_promoted_baseline_that_leaves_with_its_entry_is_told_everywhere(stage: Stage) -> None:
    promote(stage, "second")
    entry = stage.config_text.partition("canaries:")[2]
    other = entry.replace("support", "other").replace("    standing: true\n", "").replace(
        "{provider: openai}", "{provider: openai, model: x}"
    )  # fmt: skip
    edit(stage, entry, other)
    why = "support is not in the config any more: its promoted baseline openai/second"
    eventually(lambda: why in stage.server.log_file.read_text())
    eventually(lambda: any(why in each for each in stage.api("GET", "/api/status").json()["degraded"]))
    assert why in " ".join(stage.canary("status").stderr.split())
    edit(stage, other, entry)
    eventually(lambda: models(stage) == {"second": 50})
    eventually(lambda: stage.api("GET", "/api/status").json()["degraded"] == [])
