"""A bad candidate's two ways into Alertmanager: canary's own page, and Prometheus' alerts.

Real parts: the server with its /metrics, Debian's Prometheus with the rules that `canary rules` wrote, and
Debian's Alertmanager. One canary is rolled back; the other may only page and goes on failing.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from canary.cli import app
from demo.provider.behaviour import Behaviour
from tests.e2e.crowd import Crowd
from tests.e2e.receivers import alertmanager, alerts_about
from tests.e2e.stage import Stage, on_stage
from tests.servers.prometheus import Prometheus, scraping
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: is-rolled-back
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 5%
  - name: goes-on
    match: {{models: [gpt-4o-mini]}}
    baseline: {{provider: openai, model: gpt-4o-mini-2024-07-18}}
    candidate: {{provider: openai, model: gpt-4.1-nano-2025-04-14}}
    share: 5%
    guardrails: [{{rule: error_rate, action: page}}, {{rule: error_rate_vs_baseline, action: page}}]
notify: [{{alertmanager: "ALERTMANAGER"}}]
"""
SECRET = "a-secret-of-the-alerting-tests-0123456789"
RUNBOOKS = "https://wiki.example/canary"


@dataclass
class Scene:
    """The stage, and a Prometheus that sends its alerts to the Alertmanager at `address`."""

    stage: Stage
    prometheus: Prometheus
    address: str

    def alerts(self, canary: str) -> set[str]:
        """The names of the alerts that Alertmanager has about one canary. Canary's own is CanaryIncident."""
        return {alert["labels"]["alertname"] for alert in alerts_about(self.address, canary)}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        address = stack.enter_context(alertmanager(tmp_path_factory.mktemp("alertmanager")))
        folder = tmp_path_factory.mktemp("alerting")
        config = CONFIG.replace("ALERTMANAGER", address)
        stage = stack.enter_context(on_stage(folder, config, workers=2, env={"CANARY_SECRET": SECRET}))
        rules = folder / "canary.rules.yml"
        asked = ["rules", "--config", str(stage.server.config), "--runbooks", RUNBOOKS, "-o", str(rules)]
        assert CliRunner().invoke(app, asked).exit_code == 0
        target = stage.server.admin.removeprefix("http://")
        told = address.removeprefix("http://")
        prometheus = stack.enter_context(scraping([target], folder, rules=[rules], alertmanager=told))
        scraped = 'count(canary_requests_total{canary="goes-on"}) > 0'
        eventually(lambda: prometheus.at(scraped, time.time()))
        yield Scene(stage, prometheus, address)


@contextmanager
def asking(scene: Scene, canary: str, model: str, candidate: str) -> Iterator[None]:
    """Half of the candidate's answers are errors, and the crowd keeps asking."""
    scene.stage.provider.behave(candidate, Behaviour(faults={"status": 0.5}))
    crowd, stop = Crowd(scene.stage, canary, model), threading.Event()
    thread = threading.Thread(target=crowd.ask, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_rollback_reaches_alertmanager_from_canary_and_from_prometheus(scene: Scene) -> None:
    name = "is-rolled-back"
    with asking(scene, name, "gpt-4o", "gpt-4o-2024-11-20"):
        eventually(lambda: scene.stage.status(name)["state"] == "rolled_back")
    eventually(lambda: {"CanaryIncident", "CanaryRolledBack"} <= scene.alerts(name))
    convicting = {"CanaryErrorRate", "CanaryErrorRateVsBaseline"}
    eventually(lambda: convicting & scene.alerts(name))


def test_a_guardrail_that_may_only_page_reaches_it_from_both_too(scene: Scene) -> None:
    name = "goes-on"
    with asking(scene, name, "gpt-4o-mini", "gpt-4.1-nano-2025-04-14"):
        eventually(lambda: {"CanaryIncident", "CanaryErrorRate"} <= scene.alerts(name))
    assert scene.stage.status(name)["state"] == "running"


def test_an_alert_says_what_is_wrong_and_links_its_runbook(scene: Scene) -> None:
    alerts = alerts_about(scene.address, "goes-on")
    (alert,) = [each for each in alerts if each["labels"]["alertname"] == "CanaryErrorRate"]
    assert alert["labels"]["severity"] == "critical"
    assert alert["annotations"]["runbook_url"] == f"{RUNBOOKS}/CanaryErrorRate.md"
    assert "Too many of the candidate's outcomes fail" in alert["annotations"]["description"]


def test_nobody_is_woken_for_the_baseline_or_the_server(scene: Scene) -> None:
    names = {*scene.alerts("is-rolled-back"), *scene.alerts("goes-on"), *scene.alerts("")}
    assert names == {"CanaryIncident", "CanaryErrorRate", "CanaryErrorRateVsBaseline", "CanaryRolledBack"}
