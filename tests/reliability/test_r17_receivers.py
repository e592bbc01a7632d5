"""R17: every receiver of pages is down, hangs, fails or throttles when a candidate is rolled back; the admin
process is killed meanwhile. Afterwards each has exactly one incident, and no request has waited for any.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from tests.e2e.receivers import alertmanager, alerts_about
from tests.e2e.stage import Stage, on_stage
from tests.reliability.ailing_receivers import AilingReceiver, Ailment
from tests.reliability.rig import percentile
from tests.reliability.steady import Steady
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: trial
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 20%
    settle: 0s
notify: NOTIFY
"""
CANDIDATE = "gpt-4o-2024-11-20"
SECRET = "a-secret-of-the-receivers-test-0123456789"
KINDS: dict[str, Ailment] = {
    "webhook": "away",
    "pagerduty": "throttles",
    "slack": "fails",
    "alertmanager": "hangs",
    "apprise": "fails",
}
LONGEST_BACKOFF_S = 60.0


@dataclass
class Scene:
    """The stage, its receivers by kind, and how long they ail."""

    stage: Stage
    receivers: dict[str, AilingReceiver]
    outage_s: float

    def outbox(self) -> list[dict[str, Any]]:
        """What is queued on the disk."""
        document = json.loads((self.stage.server.data / "live.json").read_bytes())
        return [entry for entry in document["outbox"]["entries"] if not entry["repeat"]]

    def queued(self) -> list[dict[str, Any]] | None:
        """All of it, once what was done is among it; None before."""
        entries = self.outbox()
        done = [each for each in entries if "was rolled back" in each["notice"]["done"]]
        return entries if len(done) >= len(KINDS) else None

    def kill_admin(self) -> None:
        """Kill the admin process, and wait for the next one."""
        old = admin_pid(self.stage)
        os.kill(old, signal.SIGKILL)
        eventually(lambda: admin_pid(self.stage) not in (0, old))
        eventually(lambda: answers(self.stage))


def admin_pid(stage: Stage) -> int:
    """The admin process's pid; 0 while there is none."""
    return next(iter(stage.server.children_of("canary.programs.controller")), 0)


def answers(stage: Stage) -> bool:
    """True when the admin API does."""
    try:
        return stage.api("GET", "/api/status").status_code == 200
    except httpx2.TransportError:  # a connection that the dying process took with it
        return False


@pytest.fixture(
    params=[
        pytest.param(6.0, id="six-seconds"),
        pytest.param(600.0, id="ten-minutes", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ]
)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        receivers = {kind: stack.enter_context(AilingReceiver(ailment)) for kind, ailment in KINDS.items()}
        notify = [
            {"webhook": f"{receivers['webhook'].url}/hook"},
            {"pagerduty": {"key": "routing", "url": f"{receivers['pagerduty'].url}/v2/enqueue"}},
            {"slack": f"{receivers['slack'].url}/services/T/B/x"},
            {"alertmanager": receivers["alertmanager"].url},
            {"apprise": f"{receivers['apprise'].url.replace('http', 'json')}/hook"},
        ]
        told = json.dumps(notify).replace("{", "{{").replace("}", "}}")
        config = CONFIG.replace("NOTIFY", told)
        stage = stack.enter_context(on_stage(tmp_path, config, workers=2, env={"CANARY_SECRET": SECRET}))
        yield Scene(stage, receivers, request.param)


def steady(stage: Stage) -> Steady:
    candidates = list(islice(stage.users("candidate", "trial", 0.2), 1000))
    baselines = list(islice(stage.users("baseline", "trial", 0.2), 3000))
    mixed = [user for pair in zip(candidates, *[iter(baselines)] * 3, strict=True) for user in pair]
    return Steady([stage.server.traffic], mixed, pause_s=0.02)


def test_every_receiver_has_exactly_one_incident_after_an_outage_and_no_request_waited(scene: Scene) -> None:
    stage, receivers = scene.stage, scene.receivers
    with steady(stage).running() as load:
        eventually(lambda: len(load.asked) > 200)
        began = time.monotonic()
        stage.provider.behave(CANDIDATE, Behaviour(faults={"status": 0.5}))
        eventually(lambda: stage.status("trial")["state"] == "rolled_back")
        queued = eventually(scene.queued)
        (key,) = {entry["notice"]["dedup_key"] for entry in queued}
        assert [each.taken for each in receivers.values()] == [[]] * len(KINDS)
        threading.Event().wait(scene.outage_s / 2)
        scene.kill_admin()
        assert sorted(map(_id, scene.outbox())) == sorted(map(_id, queued))
        threading.Event().wait(max(0.0, began + scene.outage_s - time.monotonic()))
        refused = {kind: each.refused for kind, each in receivers.items()}
        for each in receivers.values():
            each.mend()
        mended = time.monotonic()
        eventually(lambda: scene.outbox() == [], LONGEST_BACKOFF_S + 30.0)
        caught_up_s = time.monotonic() - mended
        outage = load.since(began)
    assert stage.canary("resume", "trial", "--reason", "mended").returncode == 0
    eventually(lambda: receivers["webhook"].taken[-1]["event"] == "resolved")
    eventually(lambda: scene.outbox() == [])

    webhook = receivers["webhook"].taken
    middle = ["update"] * (len(webhook) - 2)
    assert [each["event"] for each in webhook] == ["page", *middle, "resolved"]
    assert [each["sequence"] for each in webhook] == list(range(len(webhook)))
    assert {each["dedup_key"] for each in webhook} == {key}
    duty = receivers["pagerduty"].taken
    assert [each["event_action"] for each in duty] == ["trigger", *(["trigger"] * len(middle)), "resolve"]
    assert {each["dedup_key"] for each in duty} == {key}
    assert receivers["pagerduty"].too_soon == 0
    slack = [each["text"] for each in receivers["slack"].taken]
    assert ["*page*" in text for text in slack] == [True] + [False] * (len(webhook) - 1)
    apprise = receivers["apprise"].taken
    assert [each["type"] for each in apprise] == ["failure", *(["warning"] * len(middle)), "success"]
    alerts = [alert for body in receivers["alertmanager"].taken for alert in body]
    assert len({json.dumps(alert["labels"], sort_keys=True) for alert in alerts}) == 1
    assert alerts[0]["labels"]["dedup_key"] == key
    link = webhook[0]["link"]
    page = f"{stage.server.admin}/canaries/trial"  # it may page before it rolls back
    assert link in (page, f"{page}/why?run=1")
    assert webhook[-1]["link"] == f"{page}/why?run=1"
    assert all(link in json.dumps(each) for each in (duty[0], slack[0], alerts[0], apprise[0]))

    assert {each.status for each in outage} == {200}
    took = [each.took_s for each in outage]
    print(
        f"\nR17: {scene.outage_s:.0f} s: away, 429, 503 twice, hanging ({refused} tries), the admin process "
        f"killed between; all caught up {caught_up_s:.1f} s after they were mended, one incident each; "
        f"{len(outage)} requests, 0 failed, p99 {1000 * percentile(took, 0.99):.0f} ms, "
        f"longest {1000 * max(took):.0f} ms"
    )


def _id(entry: dict[str, Any]) -> tuple[str, str, int]:
    return entry["receiver"], entry["notice"]["dedup_key"], entry["notice"]["sequence"]


@pytest.mark.more
def test_a_real_alertmanager_that_was_down_has_one_alert_afterwards(tmp_path: Path) -> None:
    with ExitStack() as stack:
        gone = AilingReceiver("away")  # nobody listens at its port until Alertmanager does
        told = json.dumps([{"alertmanager": gone.url}]).replace("{", "{{").replace("}", "}}")
        config = CONFIG.replace("NOTIFY", told)
        env = {"CANARY_SECRET": SECRET}
        stage = stack.enter_context(on_stage(tmp_path / "canary", config, workers=1, env=env))
        stage.provider.behave(CANDIDATE, Behaviour(faults={"status": 1.0}))
        with steady(stage).running():
            eventually(lambda: stage.status("trial")["state"] == "rolled_back")
        scene = Scene(stage, {}, 0.0)
        eventually(lambda: len(scene.outbox()) == 2 and scene.outbox()[0]["attempts"] >= 2)
        folder = tmp_path / "alertmanager"
        folder.mkdir()
        address = stack.enter_context(alertmanager(folder, at=gone.url.removeprefix("http://")))
        assert address == gone.url
        eventually(lambda: scene.outbox() == [])
        (alert,) = eventually(lambda: alerts_about(gone.url, "trial"))
        assert alert["generatorURL"] == f"{stage.server.admin}/canaries/trial/why?run=1"
