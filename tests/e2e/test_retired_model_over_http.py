"""A model that its provider has not any more: its arm's error, of candidate and baseline, and a page."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from canary.cli import app
from canary.config.load import load, told_in
from canary.programs.greeting import canaries
from common.whole_file import read_document
from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from routing.states import NO_STATES, States
from tests.e2e.receivers import Hook, listening_hook
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: k}}
notify: [{{webhook: "HOOK"}}]
canaries:
  - name: trial
    match: {{models: [bot]}}
    baseline: {{provider: openai, model: BASELINE}}
    candidate: {{provider: openai, model: CANDIDATE}}
    share: 50%
    settle: 0s
    start: manual
"""


@pytest.fixture
def hook() -> Iterator[Hook]:
    with listening_hook() as hook:
        yield hook


@contextmanager
def stage_of(folder: Path, hook: Hook, *, baseline: str, candidate: str) -> Iterator[Stage]:
    """Both arms, of which a model called `there` has answers. The trial runs."""
    config = CONFIG.replace("HOOK", hook.url).replace("BASELINE", baseline).replace("CANDIDATE", candidate)
    with on_stage(folder, config, provider=LocalProvider({"there": Behaviour()}, other=None)) as stage:
        assert stage.canary("start", "trial").returncode == 0
        yield stage


def ask(stage: Stage, user: str, model: str = "bot") -> httpx2.Response:
    url = f"{stage.server.traffic}/v1/chat/completions"
    return httpx2.post(url, json=chat(model, user), trust_env=False, timeout=30)


def test_a_retired_baseline_is_the_baselines_error_and_the_outage_pages(tmp_path: Path, hook: Hook) -> None:
    with stage_of(tmp_path, hook, baseline="gone", candidate="there") as stage:
        users = stage.users("baseline", "trial", 0.5)
        answers = [ask(stage, next(users)) for _ in range(40)]
        assert {each.status_code for each in answers} == {404}
        row = stage.outcome(answers[0].headers["x-canary-exchange"])
        assert (row["outcome"], row["error_type"], row["arm"]) == ("error", "provider_no_model", "baseline")
        (page,) = eventually(lambda: hook.events("trial", "page"))
        assert page["rules"] == ["outage"]
        theirs = ask(stage, "anybody", model="never-heard-of")  # the caller's own model
        row = stage.outcome(theirs.headers["x-canary-exchange"])
        assert (row["outcome"], row["error_type"]) == ("caller_error", "caller_not_found")


def test_a_retired_candidate_has_failed_also_where_the_baseline_is_gone_too(
    tmp_path: Path, hook: Hook
) -> None:
    with stage_of(tmp_path, hook, baseline="gone", candidate="gone-too") as stage:
        users = stage.users("candidate", "trial", 0.5)
        answer = ask(stage, next(users))
        row = stage.outcome(answer.headers["x-canary-exchange"])
        assert (row["outcome"], row["error_type"], row["arm"]) == ("error", "provider_no_model", "candidate")
        eventually(lambda: stage.status("trial")["arms"]["candidate"]["errors"] == 1)


@pytest.mark.parametrize("state", ["waiting", "rolled_back"])
def test_a_retired_baseline_pages_once_while_its_canary_waits_or_was_rolled_back(
    tmp_path: Path, hook: Hook, state: str
) -> None:
    config = CONFIG.replace("HOOK", hook.url).replace("BASELINE", "gone").replace("CANDIDATE", "there")
    with on_stage(tmp_path, config, provider=LocalProvider({"there": Behaviour()}, other=None)) as stage:
        if state == "rolled_back":
            assert stage.canary("start", "trial").returncode == 0
            assert stage.canary("rollback", "trial", "--reason", "a wrong look").returncode == 0
        eventually(lambda: stage.status("trial")["state"] == state or None)
        eventually(lambda: ask(stage, "u").status_code == 404 or None)
        assert {ask(stage, f"u{number}").status_code for number in range(40)} == {404}
        (page,) = eventually(lambda: hook.events("trial", "page"))
        assert page["rules"] == ["outage"]
        assert "openai/gone, the baseline, fails itself" in page["headline"], page["headline"]
        assert "No other model answers: nothing is tried" in page["headline"]
        shown = " ".join(stage.canary("status").stdout.split())
        assert "openai/gone, the baseline, fails itself" in shown
        assert "openai/gone, the baseline, fails itself" in stage.api("GET", "/canaries/trial").text
        stage.restart()
        assert [ask(stage, f"u{number}").status_code for number in range(45)] == [404] * 45
        assert len(hook.events("trial", "page")) == 1
        again = ("start", "trial") if state == "waiting" else ("resume", "trial", "--reason", "try again")
        assert stage.canary(*again).returncode == 0
        (resolved,) = eventually(lambda: hook.events("trial", "resolved"))
        assert "trial tries its candidate, and its guardrails watch the baseline now" in resolved["headline"]
        assert stage.status("trial")["open_incident"] is None


STANDING = """
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: k}}
notify: [{{webhook: "HOOK"}}]
canaries:
  - name: support
    standing: true
    owner: anna@example.com
    match: {{models: [bot]}}
    baseline: {{provider: openai, model: gone}}
    candidate: {{provider: openai}}
    share: 50%
    settle: 0s
"""


@pytest.fixture
def standing(tmp_path: Path, hook: Hook) -> Iterator[Stage]:
    config = STANDING.replace("HOOK", hook.url)
    with on_stage(tmp_path, config, provider=LocalProvider({"there": Behaviour()}, other=None)) as stage:
        yield stage


def test_a_retired_baseline_pages_also_while_nothing_is_tried(standing: Stage, hook: Hook) -> None:
    answers = [ask(standing, f"u{number}") for number in range(40)]
    assert {each.status_code for each in answers} == {404}
    row = standing.outcome(answers[0].headers["x-canary-exchange"])
    assert (row["reason"], row["error_type"]) == ("standing", "provider_no_model")
    (page,) = eventually(lambda: hook.events("support", "page"))
    assert (page["rules"], page["owner"]) == (["outage"], "anna@example.com")
    assert "openai/gone, the baseline, fails itself" in page["headline"], page["headline"]
    assert "No other model answers: nothing is tried" in page["headline"]
    shown = " ".join(standing.canary("status").stdout.split())
    assert "it tries nothing" in shown and "openai/gone, the baseline, fails itself" in shown
    standing.restart()
    assert [ask(standing, f"u{number}").status_code for number in range(40)] == [404] * 40
    for number in range(5):  # the incident is the same one: nobody is paged again
        assert ask(standing, f"v{number}").status_code == 404
    assert len(hook.events("support", "page")) == 1


def test_a_retired_baseline_pages_also_after_a_rollback(standing: Stage, hook: Hook) -> None:
    assert standing.canary("begin", "support", "--model", "there").returncode == 0
    assert standing.canary("start", "support-there").returncode in (0, 1)  # it may have started by itself
    assert standing.canary("rollback", "support-there", "--reason", "a wrong look").returncode == 0
    eventually(lambda: ask(standing, "u").status_code == 404 or None)
    for number in range(40):
        assert ask(standing, f"u{number}").status_code == 404
    (page,) = eventually(lambda: hook.events("support", "page"))
    assert page["rules"] == ["outage"]


PROMOTED = """
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: k}}
notify: [{{webhook: "HOOK"}}]
canaries:
  - name: support
    standing: true
    match: {{models: [bot]}}
    baseline: {{provider: openai, model: former}}
    candidate: {{provider: openai}}
    share: 50%
    settle: 0s
    holdback: {{share: 20%, for: 7d}}
    guardrails: [{{rule: error_rate, limit: 20%, action: page}}, {{rule: latency_p95, limit: 3s}}]
  - name: plain
    match: {{models: [plain-bot]}}
    baseline: {{provider: openai, model: former}}
    candidate: {{provider: openai, model: new}}
    share: 50%
    settle: 0s
    guardrails: [{{rule: error_rate, limit: 20%, action: page}}, {{rule: latency_p95, limit: 3s}}]
"""
HOLDBACK = "    holdback: {{share: 20%, for: 7d}}\n"
TRIAL = "support-new"
USERS = [f"u{number}" for number in range(60)]
COVERED = re.compile(r"new, which .* to get, is not answering: (\d+) of \1 requests were answered by former")


@contextmanager
def before_promotion(folder: Path, hook: Hook, *, holdback: str = "") -> Iterator[Stage]:
    config = PROMOTED.replace(HOLDBACK, holdback).replace("HOOK", hook.url)
    provider = LocalProvider(dict.fromkeys(("former", "new"), Behaviour()), other=None)
    with on_stage(folder, config, provider=provider) as stage:
        yield stage


def served(stage: Stage, model: str) -> Counter[str]:
    """How many of the users each model answers, all asking once. Nobody sees an error."""
    stage.provider.log.clear()
    assert {ask(stage, user, model).status_code for user in USERS} == {200}
    return Counter(each.model for each in stage.provider.log.entries if each.status == 200)


def promotes(stage: Stage, canary: str) -> None:
    done = stage.canary("promote", canary, "--against-verdict", "--reason", "better")
    assert done.returncode == 0, done.stderr
    eventually(lambda: stage.status(canary)["state"] == "promoted" or None)


def sentence(stage: Stage) -> str:
    """What is said of the standing canary."""
    return " ".join(stage.canary("status", "support").stdout.split())


def checked(stage: Stage) -> str:
    """What `check` says with the server's data."""
    config, data = stage.server.config, stage.server.data
    done = CliRunner().invoke(app, ["check", "--config", str(config)], env={"CANARY_DATA": str(data)})
    return " ".join(done.output.split())


def greeting(stage: Stage) -> str:
    """What the server says of its canaries in a terminal at its start."""
    config, data = load(stage.server.config, os.environ, data=stage.server.data), stage.server.data
    states = read_document(data / "plan.json", States) or NO_STATES
    return " ".join(canaries(config, states, told_in(data, config.store)))


@pytest.mark.parametrize(
    ("holdback", "everybody", "least"),
    [("", "everybody gets openai/new", 60), (HOLDBACK, "80 % of the users get openai/new", 35)],
    ids=["everybody", "some held back"],
)
def test_a_promoted_model_that_is_retired_pages_once_and_all_say_who_answers(
    tmp_path: Path, hook: Hook, holdback: str, everybody: str, least: int
) -> None:
    with before_promotion(tmp_path, hook, holdback=holdback) as stage:
        assert stage.canary("begin", "support", "--model", "new").returncode == 0
        eventually(lambda: stage.status(TRIAL)["state"] == "running" or None)
        promotes(stage, TRIAL)
        eventually(lambda: served(stage, "bot")["new"] >= least or None)
        eventually(lambda: everybody in sentence(stage) or None)

        stage.provider.retire("new")
        assert served(stage, "bot") == {"former": 60}
        (page,) = eventually(lambda: hook.events(TRIAL, "page"), within_s=15)
        assert page["rules"] == ["outage"]
        assert COVERED.search(page["headline"]), page["headline"]
        assert 'The provider says: "' in page["headline"]
        rules = {each["rule"]: each["state"] for each in stage.status(TRIAL)["guardrails"]}
        assert rules["outage"] == "firing"
        assert "ok" not in rules.values(), rules
        for text in (sentence(stage), " ".join(stage.api("GET", "/").text.split())):
            assert everybody not in text
            assert re.search(r"(is|are) to get openai/new, but openai/former answers", text), text
        told = re.compile(
            r"support: .*(is|are) to get openai/new.*; told at [\d :-]+ UTC: "
            r"new, which (everybody|80 % of the users) (is|are)"
        )
        for surface in (checked, greeting):
            eventually(lambda say=surface: told.search(say(stage)))
            assert everybody not in surface(stage)
        detail = stage.api("GET", f"/canaries/{TRIAL}").text
        assert re.search(r"Promoted: .* (is|are) to get the candidate, but the baseline answers\.", detail)

        stage.restart()
        assert served(stage, "bot") == {"former": 60}
        assert len(hook.events(TRIAL, "page")) == 1

        stage.provider.behave("new", Behaviour())
        eventually(lambda: served(stage, "bot")["new"] >= least or None, within_s=60)
        eventually(lambda: everybody in sentence(stage) or None, within_s=30)


def test_a_promoted_model_that_is_retired_pages_for_those_outside_its_lane_too(
    tmp_path: Path, hook: Hook
) -> None:
    """Whatever guardrails there are: nothing covers them."""
    of_errors = "{{rule: error_rate, limit: 20%, action: page}}, "
    config = PROMOTED.replace(HOLDBACK, "    lane: 50%\n").replace(of_errors, "").replace("HOOK", hook.url)
    provider = LocalProvider(dict.fromkeys(("former", "new"), Behaviour()), other=None)
    with on_stage(tmp_path, config, provider=provider) as stage:
        assert stage.canary("begin", "support", "--model", "new").returncode == 0
        eventually(lambda: stage.status(TRIAL)["state"] == "running" or None)
        promotes(stage, TRIAL)
        eventually(lambda: served(stage, "bot")["new"] == 60 or None)
        stage.provider.retire("new")
        for _ in range(2):
            assert {ask(stage, user).status_code for user in USERS} == {200, 404}
        (inside,) = eventually(lambda: hook.events(TRIAL, "page"), within_s=15)
        (outside,) = eventually(lambda: hook.events("support", "page"), within_s=15)
        assert COVERED.search(inside["headline"]), inside["headline"]
        assert "openai/new, the baseline, fails itself" in outside["headline"], outside["headline"]
        assert (inside["rules"], outside["rules"]) == (["outage"], ["outage"])


@pytest.mark.parametrize("status", [404, 503])
def test_a_plain_canarys_promoted_model_that_answers_nobody_pages(
    tmp_path: Path, hook: Hook, status: int
) -> None:
    with before_promotion(tmp_path, hook) as stage:
        eventually(lambda: stage.status("plain")["state"] == "running" or None)
        promotes(stage, "plain")
        eventually(lambda: served(stage, "plain-bot")["new"] == 60 or None)
        if status == 404:
            stage.provider.retire("new")
        else:
            stage.provider.behave("new", Behaviour(faults={"status": 1.0}, status=503))
        assert served(stage, "plain-bot") == {"former": 60}
        (page,) = eventually(lambda: hook.events("plain", "page"), within_s=15)
        assert page["rules"] == ["outage"]
        assert COVERED.search(page["headline"]), page["headline"]
        detail = stage.api("GET", "/canaries/plain").text
        assert "Promoted: everybody is to get the candidate, but the baseline answers." in detail
