"""A real server asks again by itself what a drifted model answered before, and says everywhere what came."""

import json
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from demo.provider.behaviour import Behaviour
from records.store import Store
from records.store.drift import DriftStore, ModelChange
from tests.e2e.receivers import listening_hook
from tests.e2e.stage import on_stage
from tests.serving import eventually

pytestmark = (
    pytest.mark.more
)  # tests/control/test_aftermath.py holds it by hand clock; a server looks once a minute

CONFIG = """
providers: {{openai: {{api: openai, base_url: "{url}/v1", api_key: k}}}}
prices: {{gpt-4o: {{input: 1, output: 2}}}}
probes: {{models: [gpt-4o], daily_budget: 1.00}}
canaries:
  - name: support
    owner: anna@example.com
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o}}
    candidate: {{provider: openai, model: gpt-4.1-nano-2025-04-14}}
    share: 5%
    start: manual
datasets: {{sums: {{file: sums.jsonl, layer: synthetic}}}}
notify: [{{webhook: "HOOK"}}]
"""
RIGHT = {f"{n} + 1 = ?": str(n + 1) for n in reversed(range(60))}


def test_a_servers_drifted_model_is_measured_against_its_stored_answers(tmp_path: Path) -> None:
    with ExitStack() as stack:
        hook = stack.enter_context(listening_hook())
        stage = stack.enter_context(on_stage(tmp_path, CONFIG.replace("HOOK", hook.url)))
        file = str(stage.server.config)
        lines = [{"id": n, "task": "exact", "input": n, "expected": right} for n, right in RIGHT.items()]
        (stage.server.config.parent / "sums.jsonl").write_text("\n".join(map(json.dumps, lines)))
        stage.provider.behave("gpt-4o", Behaviour(says=RIGHT))
        done = stage.canary("bench", "--dry", "--against", "gpt-4o", "--config", file)
        assert done.returncode == 0, done.stderr
        stage.provider.behave("gpt-4o", Behaviour(says=RIGHT | dict.fromkeys([*RIGHT][:20], "0")))
        drifted(stage.server.data)
        news = eventually(
            lambda: [each for each in hook.bodies if each["event"] == "benchmark_finished"], 150.0
        )
        (told,) = news
        print(told["headline"])
        assert (told["verdict"], told["owner"]) == ("dont_ship", "anna@example.com")
        assert "60 examples asked again: worse than before" in told["headline"]
        says = told["headline"].split(": ", 1)[1]
        assert says in " ".join(stage.canary("drift", "gpt-4o", "--config", file).stdout.split())
        assert "60 examples asked again: worse than before" in stage.api("GET", "/drift").text
        shown = stage.canary("release", "show", told["model"], "--config", file, "-o", "json")
        assert json.loads(shown.stdout)["verdict"] == "dont_ship"


def drifted(data: Path) -> None:
    """The model answers otherwise since today, and was benchmarked before."""
    today = time.strftime("%Y-%m-%d", time.gmtime())
    found = {"since": today, "outside": ["coin"], "asked": 30, "evidence": 200.0}
    change = ModelChange(
        model="openai/gpt-4o",
        kind="model_drifted",
        before="2026-10-01T00:00:00Z",
        now=f"openai/gpt-4o@{today}",
        at=time.time(),
        document=found,
    )
    with closing(Store.open("sqlite:///canary.db", data)) as store:
        with store.writing() as connection:
            connection.exec_driver_sql("UPDATE bench_marks SET at = 1")
        assert DriftStore(store).note_change(change)
