"""A candidate that goes bad is pulled back by itself, once, and stays back; an outage is nobody's rollback.

Users are mixed one of the candidate's to nineteen of the baseline's, as 5 % has them, and each asks once. The
secret is fixed, so that every run has the same users and the demo provider the same draws.
"""

import json
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from demo.provider.server import ReceivedRequest
from tests.e2e.crowd import AT_ONCE, KEY, MOST_REQUESTS, Crowd
from tests.e2e.receivers import Hook, alertmanager, alerts_about, listening_hook
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: goes-bad
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 5%
    settle: 0s
    owner: anna@example.com
  - name: in-an-outage
    match: {{models: [gpt-4o-mini]}}
    baseline: {{provider: openai, model: gpt-4o-mini-2024-07-18}}
    candidate: {{provider: openai, model: gpt-4.1-nano-2025-04-14}}
    share: 5%
    settle: 0s
notify: NOTIFY
"""
SECRET = "a-secret-of-the-rollback-tests-0123456789"
AFTERWARDS_S = 2.5
pytestmark = pytest.mark.alone  # one second is held to


@dataclass
class Scene:
    """The stage with its receivers."""

    stage: Stage
    hook: Hook
    alertmanager: str


@dataclass
class RolledBack:
    """What happened while the candidate went bad. Times are CLOCK_MONOTONIC seconds."""

    scene: Scene
    candidate: list[ReceivedRequest]
    statuses: list[int]
    began: float
    at: float
    ended: float


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        hook = stack.enter_context(listening_hook())
        address = stack.enter_context(alertmanager(tmp_path_factory.mktemp("alertmanager")))
        receivers = [{"webhook": hook.url}, {"alertmanager": address}]
        told = json.dumps(receivers).replace("{", "{{").replace("}", "}}")
        config = CONFIG.replace("NOTIFY", told)
        folder = tmp_path_factory.mktemp("rollback")
        stage = stack.enter_context(on_stage(folder, config, workers=2, env={"CANARY_SECRET": SECRET}))
        yield Scene(stage, hook, address)


@pytest.fixture(scope="module")
def rolled_back(scene: Scene) -> RolledBack:
    """Half of the candidate's answers are errors, until a while after the rollback."""
    stage = scene.stage
    stage.provider.behave("gpt-4o-2024-11-20", Behaviour(faults={"status": 0.5}))
    crowd, stop = Crowd(stage, "goes-bad", "gpt-4o"), threading.Event()
    began = time.monotonic()
    asking = threading.Thread(target=crowd.ask, args=(stop,))
    asking.start()
    try:
        eventually(lambda: stage.status("goes-bad")["state"] == "rolled_back")
        at = changed_at(stage, "goes-bad")
        assert not stop.wait(max(0.0, at + AFTERWARDS_S - time.monotonic()))  # the crowd asks on meanwhile
    finally:
        stop.set()
        asking.join()
    ended = time.monotonic()
    assert len(crowd.statuses) < MOST_REQUESTS
    candidate = stage.provider.log.of("gpt-4o-2024-11-20")
    return RolledBack(scene, candidate, crowd.statuses, began, at, ended)


def changed_at(stage: Stage, canary: str) -> float:
    """When the plan's state last changed, on the monotonic clock."""
    plan = json.loads((stage.server.data / "plan.json").read_bytes())
    at: float = plan["states"][canary]["changed_at"]
    return at - time.time() + time.monotonic()


def test_the_candidate_is_rolled_back_after_few_of_its_requests(rolled_back: RolledBack) -> None:
    until = [entry for entry in rolled_back.candidate if entry.mono <= rolled_back.at]
    failed = sum(entry.fault == "status" for entry in until)
    print(
        f"\nrolled back after {len(until)} candidate requests ({failed} failed), "
        f"{rolled_back.at - rolled_back.began:.2f} s, {len(rolled_back.statuses)} requests in all; "
        f"{len(rolled_back.candidate) - len(until)} candidate requests afterwards"
    )
    assert 0 < failed <= len(until) <= 40


def test_the_candidate_gets_nothing_one_second_after_the_rollback(rolled_back: RolledBack) -> None:
    last = max(entry.mono for entry in rolled_back.candidate)
    print(f"\nlast candidate request {last - rolled_back.at:+.3f} s from the rollback")
    assert rolled_back.ended - rolled_back.at >= AFTERWARDS_S
    assert last <= rolled_back.at + 1.0


def test_no_caller_saw_an_error(rolled_back: RolledBack) -> None:
    assert {*rolled_back.statuses} == {200}
    rows = [row for row in rolled_back.scene.stage.outcomes() if row["canary"] == "goes-bad"]
    assert {row["outcome"] for row in rows} == {"ok", "fallback"}


def test_exactly_one_page_says_what_happened(rolled_back: RolledBack) -> None:
    hook = rolled_back.scene.hook
    (page,) = eventually(lambda: hook.events("goes-bad", "page"))
    assert page["rules"][0] in ("error_rate", "error_rate_vs_baseline")
    told = eventually(lambda: [each for each in hook.events("goes-bad") if "was rolled" in each["done"]])
    assert {each["dedup_key"] for each in hook.events("goes-bad")} == {page["dedup_key"]}
    assert "share 5 % → 0 %" in told[0]["done"]
    assert told[0]["owner"] == "anna@example.com"
    assert len(hook.events("goes-bad", "page")) == 1


def test_alertmanager_has_exactly_one_alert(rolled_back: RolledBack) -> None:
    address = rolled_back.scene.alertmanager
    (alert,) = eventually(lambda: alerts_about(address, "goes-bad"))
    assert alert["labels"]["dedup_key"] == rolled_back.scene.hook.events("goes-bad")[0]["dedup_key"]


def test_status_exits_5_and_names_the_rule(rolled_back: RolledBack) -> None:
    done = rolled_back.scene.stage.canary("status", "-o", "json")
    assert done.returncode == 5
    (canary,) = [each for each in json.loads(done.stdout)["canaries"] if each["name"] == "goes-bad"]
    assert (canary["state"], canary["share"]) == ("rolled_back", 0.0)
    assert "latched" in {rule["state"] for rule in canary["guardrails"]}
    audit = rolled_back.scene.stage.api("GET", "/api/audit").json()
    (entry,) = [each for each in audit if each["action"] == "rollback"]
    assert entry["who"].startswith("guardrail error_rate")
    assert (entry["share_before"], entry["share_after"]) == (0.05, 0.0)


def test_why_it_was_rolled_back_is_kept_and_shown(rolled_back: RolledBack) -> None:
    stage, hook = rolled_back.scene.stage, rolled_back.scene.hook
    (told,) = eventually(
        lambda: found if (found := _rollbacks(stage, "goes-bad")) and found[0]["stored"] else None
    )
    assert told["rule"] in ("error_rate", "error_rate_vs_baseline")
    assert (told["before"]["share"], told["before"]["state"]) == (0.05, "running")
    assert (told["after"]["share"], told["after"]["state"]) == (0.0, "rolled_back")
    limits, last = told["limits"], told["path"][-1]
    assert any(last[statistic] >= limits[statistic] for statistic in ("ln_mixture", "ln_cusum"))
    assert 1 <= len(told["path"]) <= 200
    assert {failure["error_type"] for failure in told["failures"]} == {"provider_5xx"}
    ids = {row["exchange_id"] for row in stage.outcomes() if row["outcome"] == "fallback"}
    assert {failure["exchange_id"] for failure in told["failures"]} <= ids
    candidate = told["arms"]["candidate"]
    assert 0 < candidate["failed"] <= candidate["exchanges"]

    brief = stage.status("goes-bad")["rollback"]
    assert (brief["rule"], brief["at"], brief["arms"]) == (told["rule"], told["at"], told["arms"])
    shown = stage.canary("status").stdout
    assert f"rolled back by guardrail {told['rule']}" in shown
    (page,) = hook.events("goes-bad", "page")
    assert brief["page"] == "/canaries/goes-bad/why?run=1"
    # it may page before it rolls back
    assert page["link"] in (f"{stage.server.admin}/canaries/goes-bad", stage.server.admin + brief["page"])
    opened = stage.api("GET", brief["page"])
    assert (opened.status_code, told["failures"][0]["exchange_id"] in opened.text) == (200, True)
    of_no_rollback = stage.api("GET", "/canaries/goes-bad/why?run=9")
    assert (of_no_rollback.status_code, of_no_rollback.headers["location"]) == (303, "/canaries/goes-bad")
    print(
        f"\nfrozen: {len(told['path'])} points, {len(told['rules'])} rules, {len(told['failures'])} failures"
    )


COUNTED = re.compile(
    r"(?<!baseline: )\b(\d+) of (\d+) "
    r"(?:requests, |outcomes failed since|of the candidate's outcomes failed since)"
)


def test_every_surface_counts_the_same_failures_since_the_same_moment(rolled_back: RolledBack) -> None:
    stage, hook = rolled_back.scene.stage, rolled_back.scene.hook
    (told,) = eventually(
        lambda: found if (found := _rollbacks(stage, "goes-bad")) and found[0]["stored"] else None
    )
    update = eventually(lambda: [each for each in hook.events("goes-bad") if "was rolled" in each["done"]])[0]
    audit = stage.api("GET", "/api/audit").json()
    (entry,) = [each for each in audit if (each["action"], each["canary"]) == ("rollback", "goes-bad")]
    status = stage.status("goes-bad")
    texts = {
        "webhook": update["headline"],
        "webhook's details": str(update["details"]),
        "audit": entry["reason"],
        "why": told["headline"] + told["sentence"],
        "status": status["open_incident"]["headline"] + status["rollback"]["summary"],
        "rules": str([each["sentence"] for each in status["guardrails"] if "[" not in each["rule"]]),
        "terminal": stage.canary("status").stdout.replace("\n", " "),
        "page": stage.api("GET", "/canaries/goes-bad/why?run=1").text,
    }
    counts = {name: {*COUNTED.findall(text)} for name, text in texts.items()}
    (bad, of) = (int(told["evidence"][name]) for name in ("bad", "outcomes"))
    assert counts == {name: {(f"{bad}", f"{of}")} for name in texts}
    assert (update["requests"], update["users"]) == (of, told["evidence"]["adverse_units"])
    came = [entry for entry in rolled_back.candidate if entry.mono <= rolled_back.at]
    failed = [entry.fault == "status" for entry in came]
    since = failed[failed.index(True) :]
    print(f"\ntold {bad} of {of}; the provider saw {sum(since)} of {len(since)} since its first failure")
    assert 0 <= sum(since) - bad <= AT_ONCE  # those under way at the rollback
    assert abs(len(since) - of) <= AT_ONCE


def _rollbacks(stage: Stage, canary: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stage.api("GET", f"/api/canaries/{canary}/rollbacks").json()
    return found


def test_it_stays_back_through_a_reload_and_a_restart_until_somebody_resumes_it(
    rolled_back: RolledBack,
) -> None:
    stage, hook = rolled_back.scene.stage, rolled_back.scene.hook
    stage.provider.behave("gpt-4o-2024-11-20", Behaviour())
    user = next(stage.users("candidate", "goes-bad", 0.05, "later"))

    def arm() -> tuple[str, str]:
        url = f"{stage.server.traffic}/v1/chat/completions"
        answer = httpx2.post(url, json=chat("gpt-4o", user), headers=KEY, trust_env=False)
        return answer.headers["x-canary-arm"], stage.outcome(answer.headers["x-canary-exchange"])["reason"]

    reloads = stage.server.log_file.read_text().count("config.reloaded")
    stage.server.process.send_signal(signal.SIGHUP)
    programs = 3  # two workers, the admin process
    eventually(lambda: stage.server.log_file.read_text().count("config.reloaded") == reloads + programs)
    assert arm() == ("baseline", "stopped")
    stage.restart()
    assert stage.status("goes-bad")["state"] == "rolled_back"
    assert arm() == ("baseline", "stopped")
    assert len(hook.events("goes-bad", "page")) == 1

    assert stage.canary("resume", "goes-bad").returncode == 2  # a reason is asked for
    assert stage.canary("resume", "goes-bad", "--reason", "the provider mended it").returncode == 0
    status = stage.status("goes-bad")
    assert (status["state"], status["share"], status["run"]) == ("running", 0.05, 2)
    eventually(lambda: arm() == ("candidate", "cohort"))
    eventually(lambda: hook.events("goes-bad", "resolved"))
    assert len(hook.events("goes-bad", "page")) == 1
    assert stage.canary("status").returncode == 0
    assert stage.status("goes-bad")["rollback"] is None
    reason = "complaints from the German desk"
    ordered = stage.canary("rollback", "goes-bad", "--reason", reason, "-o", "json")
    assert json.loads(ordered.stdout)["state"] == "rolled_back"
    newest, first = _rollbacks(stage, "goes-bad")
    assert (newest["rule"], newest["run"], newest["sentence"]) == (None, 2, "complaints from the German desk")
    assert {each["rule"] for each in newest["rules"]} >= {"error_rate", "telemetry"}
    assert first["run"] == 1
    by_person = stage.api("GET", "/canaries/goes-bad/why").text
    assert "complaints from the German desk" in by_person
    assert "/canaries/goes-bad/why?run=1" in by_person


def test_an_outage_of_the_provider_rolls_nothing_back_and_pages_once(scene: Scene) -> None:
    stage, hook, name = scene.stage, scene.hook, "in-an-outage"
    crowd = Crowd(stage, name, "gpt-4o-mini")
    crowd.ask(threading.Event(), 300)
    assert {*crowd.statuses} == {200}
    for model in ("gpt-4o-mini-2024-07-18", "gpt-4.1-nano-2025-04-14"):
        stage.provider.behave(model, Behaviour(faults={"status": 1.0}))
    crowd.ask(threading.Event(), 600)
    assert {*crowd.statuses[300:]} == {500}
    (page,) = eventually(lambda: hook.events(name, "page"))
    assert page["rules"][0] == "outage"
    crowd.ask(threading.Event(), 400)
    outcomes = [row for row in stage.outcomes() if row["canary"] == name]
    failed = [row for row in outcomes if row["arm"] == "candidate" and row["outcome"] == "error"]
    print(f"\nan outage: {len(crowd.statuses) - 300} errors, {len(failed)} of them the candidate's users'")
    assert stage.status(name)["state"] == "running"
    assert len(hook.events(name, "page")) == 1
    assert not [each for each in stage.api("GET", "/api/audit").json() if each["canary"] == name][:-1]
