"""A started canary whose definition changes in the file: nobody gets another arm by it, and all is said."""

import html
import json
import signal
from pathlib import Path

import httpx2
import pytest
from click.testing import Result
from typer.testing import CliRunner

from canary.cli import app
from tests.e2e.mailbox import Mailbox, smtp_server
from tests.e2e.receivers import listening_hook
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: trial
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20, request: {{remove: [seed]}}}}
    share: 20%
    settle: 0s
    start: manual
"""
WHY = "trial' is not the one that started"


def configure(stage: Stage, old: str, new: str, event: str = "config.reloaded", times: int = 2) -> None:
    """Change the file, and wait until worker and admin process have taken it, or the supervisor has not."""
    seen = stage.server.log_file.read_text().count(event)
    stage.configure(stage.server.config.read_text().replace(old, new))
    stage.server.process.send_signal(signal.SIGHUP)
    eventually(lambda: stage.server.log_file.read_text().count(event) >= seen + times)


def arm(stage: Stage, user: str) -> str:
    url = f"{stage.server.traffic}/v1/chat/completions"
    key = {"authorization": "Bearer sk-caller"}
    return httpx2.post(url, json=chat("gpt-4o", user), headers=key, trust_env=False).headers["x-canary-arm"]


@pytest.mark.parametrize(
    "edited",
    [("[gpt-4o]", "[gpt-4o, gpt-4]"), ("share: 20%", "share: 20%\n    no_unit: random"),
     ("share: 20%", "share: 20%\n    lane: 50%"), ("08-06", "05-13")],
    ids=["a model more", "who has no unit", "a lane", "the baseline"],
)  # fmt: skip
def test_an_edit_of_a_canary_that_started_changes_nothing_and_is_told(
    tmp_path: Path, edited: tuple[str, str]
) -> None:
    with on_stage(tmp_path, CONFIG) as stage:
        assert stage.canary("start", "trial").returncode == 0
        assert stage.canary("promote", "trial", "--reason", "good", "--against-verdict").returncode == 0
        eventually(lambda: arm(stage, "anybody") == "candidate")
        configure(stage, *edited, "config.refused", 1)
        eventually(lambda: any(WHY in each for each in stage.api("GET", "/api/status").json()["degraded"]))
        assert {arm(stage, f"user-{n}") for n in range(20)} == {"candidate"}
        assert stage.status("trial")["refused"] is None
        assert WHY in html.unescape(stage.api("GET", "/").text)
        where = {"CANARY_DATA": str(stage.server.data)}
        checked = CliRunner().invoke(app, ["check", "--config", str(stage.server.config)], env=where)
        assert (checked.exit_code, WHY in checked.output, "use a new name" in checked.output) == (
            2,
            True,
            True,
        )
        stage.restart()
        assert {arm(stage, f"user-{n}") for n in range(20)} == {"candidate"}
        configure(stage, *reversed(edited))
        assert stage.api("GET", "/api/status").json()["degraded"] == []


def checked(stage: Stage, text: str) -> Result:
    """What `check` says of this file, with the server's data."""
    other = stage.server.config.with_name("other.yaml")
    other.write_text(text)
    return CliRunner().invoke(
        app, ["check", "--config", str(other)], env={"CANARY_DATA": str(stage.server.data)}
    )


def promote(stage: Stage) -> None:
    assert stage.canary("start", "trial").returncode == 0
    assert stage.canary("promote", "trial", "--reason", "good", "--against-verdict").returncode == 0
    eventually(lambda: arm(stage, "anybody") == "candidate")


def asked_for(stage: Stage) -> set[str]:
    """The models that the provider is asked for, by twenty users."""
    stage.provider.log.clear()
    for number in range(20):
        arm(stage, f"user-{number}")
    return {each.model for each in stage.provider.log.entries}


RENAMED = ("name: trial", "name: next")
NEW = "gpt-4o-2024-11-20"


def test_a_new_name_with_the_old_baseline_is_refused_after_a_promotion(tmp_path: Path) -> None:
    with on_stage(tmp_path, CONFIG) as stage:
        promote(stage)
        file = stage.server.config.read_text()
        configure(stage, *RENAMED, "config.refused", 1)
        why = (
            f"canary 'next' takes the requests of 'trial', whose baseline openai/{NEW} would not be in force"
        )
        assert asked_for(stage) == {NEW}
        said = checked(stage, file.replace(*RENAMED))
        assert (said.exit_code, why in said.output) == (2, True), said.output
        assert why in " ".join(stage.canary("status").stderr.split())
        stage.restart()
        assert asked_for(stage) == {NEW}

        # With the promoted model as its baseline the next canary is taken, and nobody's model changes.
        next_one = file.replace(*RENAMED).replace("gpt-4o-2024-08-06", NEW).replace(
            f"candidate: {{provider: openai, model: {NEW}", "candidate: {provider: openai, model: gpt-5"
        )  # fmt: skip
        configure(stage, stage.server.config.read_text(), next_one)
        assert asked_for(stage) == {NEW}
        assert stage.api("GET", "/api/status").json()["degraded"] == []


def test_a_promoted_canary_that_leaves_the_file_is_told(tmp_path: Path) -> None:
    with (
        listening_hook() as hook,
        on_stage(tmp_path, f"{CONFIG}notify: [{{{{webhook: {hook.url}}}}}]") as stage,
    ):
        promote(stage)
        file = stage.server.config.read_text()
        other = file.replace("[gpt-4o]", "[gpt-4]").replace(*RENAMED)
        why = f"trial is not in the config any more: its promoted baseline openai/{NEW} is not in force"
        assert why in checked(stage, other).output
        configure(stage, file, other)
        (told,) = eventually(lambda: hook.events("trial", "baseline_left"))
        assert why in told["headline"]
        assert any(why in each for each in stage.api("GET", "/api/status").json()["degraded"])


def test_a_canary_that_was_rolled_back_may_take_another_name(tmp_path: Path) -> None:
    with on_stage(tmp_path, CONFIG) as stage:
        promote(stage)
        assert stage.canary("rollback", "trial", "--reason", "bad").returncode == 0
        configure(stage, *RENAMED)
        assert stage.api("GET", "/api/status").json()["degraded"] == []


@pytest.mark.more
def test_a_file_that_stays_refused_for_a_minute_is_told_by_webhook_and_mail(tmp_path: Path) -> None:
    mailbox = Mailbox()
    with listening_hook() as hook, smtp_server(mailbox) as smtp:
        receivers = (
            f'{{webhook: "{hook.url}"}}, {{apprise: "mailto://{smtp}/a@example.com?from=c@example.com"}}'
        )
        config = f"{CONFIG}notify: [{receivers.replace('{', '{{').replace('}', '}}')}]\n"
        with on_stage(tmp_path, config) as stage:
            assert stage.canary("start", "trial").returncode == 0
            configure(stage, "[gpt-4o]", "[gpt-4o, gpt-4]", "config.refused", 1)
            (told,) = eventually(lambda: hook.bodies or None, within_s=100.0)
            assert (told["event"], told["rules"], told["canary"]) == (
                "page",
                ["config_refused"],
                "service/config",
            )
            assert WHY in told["headline"]
            assert any(WHY in " ".join(text.split()) for text in eventually(mailbox.texts, within_s=30.0))


def test_a_refused_canary_takes_no_order_for_its_candidate_until_the_file_is_as_it_was(
    tmp_path: Path,
) -> None:
    with on_stage(tmp_path, CONFIG) as stage:
        user = next(stage.users("candidate", "trial", 0.2))
        assert stage.canary("start", "trial").returncode == 0
        eventually(lambda: arm(stage, user) == "candidate")

        stage.server.stop()
        (stage.server.data / "taken.yaml").unlink()  # as on a new machine: no earlier file is known
        stage.restart(stage.config_text.replace("[seed]", "[seed, top_p]"))
        assert arm(stage, user) == "baseline"
        for order in (["ramp", "trial", "50%"], ["promote", "trial", "--reason", "good"]):
            told = stage.canary(*order)
            assert (told.returncode, WHY in " ".join(told.stderr.split())) == (1, True), told
        assert stage.canary("pause", "trial", "--reason", "wait").returncode == 0
        told = stage.canary("resume", "trial", "--reason", "again")
        assert (told.returncode, WHY in " ".join(told.stderr.split())) == (1, True), told

        status = stage.status("trial")
        assert (status["state"], status["orders"], WHY in status["refused"]) == ("paused", ["rollback"], True)
        assert WHY in " ".join(stage.canary("status").stdout.split())
        assert "Refused: canary" in stage.api("GET", "/canaries/trial").text
        explained = stage.canary("explain", user).stdout
        assert WHY in explained and "top_p" not in explained
        found = json.loads(stage.canary("doctor", "--config", str(stage.server.config), "-o", "json").stdout)
        assert sum("trial" in str(each) and "Revert" in str(each) for each in found["findings"]) == 1

        configure(stage, "[seed, top_p]", "[seed]")
        assert stage.canary("resume", "trial", "--reason", "as it was").returncode == 0
        eventually(lambda: arm(stage, user) == "candidate")
        assert stage.status("trial")["refused"] is None
