"""No order gives users a model that retires unless a person says so: CLI, API and page."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from tests.e2e.stage import Stage, chat, on_stage
from tests.e2e.test_console import hidden
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: k}}
retires: {{first: 2020-01-31}}
canaries:
  - name: support
    standing: true
    match: {{models: [support-bot]}}
    baseline: {{provider: openai, model: first}}
    candidate: {{provider: openai}}
    share: 50%
    settle: 0s
    guardrails: []
    HOLDBACK
"""
HOLDBACK = "holdback: {{share: 20%, for: 7d}}"
DESPITE = "(despite the retirement of openai/first on 2020-01-31)"
REFUSED = "not done: it gives users a model that retires: openai/first retired on 2020-01-31"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with on_stage(tmp_path, CONFIG.replace("HOLDBACK", "")) as stage:
        yield stage


def given(stage: Stage, model: str) -> None:
    """Everybody gets the model."""

    def models() -> bool | None:
        for user in range(8):
            document = chat("support-bot", f"u{user}")
            url = f"{stage.server.traffic}/v1/chat/completions"
            assert httpx2.post(url, json=document, trust_env=False, timeout=30).status_code == 200
        return {each.model for each in stage.provider.log.entries[-8:]} == {model} or None

    eventually(models)


def reasons(stage: Stage, action: str) -> list[str]:
    return [each["reason"] for each in stage.api("GET", "/api/audit").json() if each["action"] == action]


def promoted(stage: Stage, model: str) -> None:
    assert stage.canary("begin", "support", "--model", model).returncode == 0
    done = stage.canary("promote", f"support-{model}", "--against-verdict", "--reason", "better")
    assert done.returncode == 0, done.stderr
    given(stage, model)


def test_a_retired_baseline_is_not_given_to_everybody_without_a_persons_word(stage: Stage) -> None:
    promoted(stage, "second")
    for words in (("revert", "support"), ("rollback", "support-second")):
        refused = stage.canary(*words, "--reason", "worse")
        assert refused.returncode == 1 and REFUSED in refused.stderr, refused.stderr
        assert "(--despite-retirement)" in refused.stderr
    order = {"who": "ann", "reason": "worse"}
    for path in ("/api/standing/support/revert", "/api/canaries/support-second/rollback"):
        answer = stage.api("POST", path, order)
        assert (answer.status_code, REFUSED in answer.json()["error"]) == (409, True)
    given(stage, "second")

    with httpx2.Client(base_url=stage.server.admin, trust_env=False, timeout=30.0) as page:
        page.post("/login", data={**hidden(page.get("/login").text), "token": stage.server.token})
        shown = eventually(lambda: text if "Revert support?" in (text := page.get("/").text) else None)
        assert "openai/first retired on 2020-01-31" in shown and 'name="despite_retirement"' in shown
        assert 'name="despite_retirement"' in page.get("/canaries/support-second").text
        form = {**order, "form_token": hidden(shown)["form_token"]}
        assert page.post("/standing/support/revert", data=form).status_code == 409
        given(stage, "second")
        ticked = page.post("/standing/support/revert", data={**form, "despite_retirement": "yes"})
        assert ticked.status_code == 200 and "support-second is taken back" in ticked.text
    given(stage, "first")
    assert reasons(stage, "rollback") == [f"worse {DESPITE}"]


def test_also_where_the_promoted_trial_has_left_and_where_the_model_retires_soon(stage: Stage) -> None:
    soon = (datetime.now(UTC) + timedelta(days=20)).date()
    promoted(stage, "second")
    assert stage.canary("begin", "support", "--model", "third").returncode == 0
    refused = stage.canary("revert", "support", "--reason", "worse")
    assert refused.returncode == 1 and REFUSED in refused.stderr
    stage.configure(stage.config_text.replace("2020-01-31", str(soon)))
    eventually(lambda: str(soon) in str(stage.api("GET", "/api/status").json()["standing"]) or None)
    refused = stage.canary("revert", "support", "--reason", "worse")
    assert refused.returncode == 1 and f"openai/first retires on {soon}" in refused.stderr
    done = stage.canary("revert", "support", "--reason", "worse", "--despite-retirement")
    assert f"warning: openai/first retires on {soon}" in done.stderr
    given(stage, "first")
    assert f"worse (despite the retirement of openai/first on {soon})" in reasons(stage, "rollback")


def test_a_trial_is_rolled_back_to_a_model_that_still_answers_and_no_later(stage: Stage) -> None:
    soon = (datetime.now(UTC) + timedelta(days=20)).date()
    assert stage.canary("begin", "support", "--model", "second").returncode == 0
    refused = stage.canary("rollback", "support-second", "--reason", "worse")
    assert refused.returncode == 1 and REFUSED in refused.stderr
    stage.configure(stage.config_text.replace("2020-01-31", str(soon)))
    eventually(lambda: not stage.status("support-second")["despite_retirement"] or None)
    assert stage.canary("rollback", "support-second", "--reason", "worse").returncode == 0


def test_nobody_is_held_back_on_a_retired_model_without_a_persons_word(tmp_path: Path) -> None:
    with on_stage(tmp_path, CONFIG.replace("HOLDBACK", HOLDBACK)) as stage:
        assert stage.canary("begin", "support", "--model", "second").returncode == 0
        order = ("promote", "support-second", "--against-verdict", "--reason", "better")
        refused = stage.canary(*order)
        assert refused.returncode == 1 and REFUSED in refused.stderr
        assert stage.status("support-second")["state"] == "running"
        done = stage.canary(*order, "--despite-retirement")
        assert "warning: openai/first retired on 2020-01-31" in done.stderr, done.stderr
        assert reasons(stage, "promote") == [f"better {DESPITE}"]
        assert stage.status("support-second")["holdback"]["share"] == pytest.approx(0.2)
        wrong = stage.api("POST", "/api/canaries/support-second/pause", {"despite_retirement": True})
        assert wrong.status_code == 400
