"""A started canary whose `request:` changes in the file: nothing says that users get the candidate."""

import json
import signal
from pathlib import Path

import httpx2

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


def configure(stage: Stage, old: str, new: str) -> None:
    """Change the file, and wait until worker and admin process have taken it."""
    reloads = stage.server.log_file.read_text().count("config.reloaded")
    stage.configure(stage.server.config.read_text().replace(old, new))
    stage.server.process.send_signal(signal.SIGHUP)
    eventually(lambda: stage.server.log_file.read_text().count("config.reloaded") >= reloads + 2)


def arm(stage: Stage, user: str) -> str:
    url = f"{stage.server.traffic}/v1/chat/completions"
    key = {"authorization": "Bearer sk-caller"}
    return httpx2.post(url, json=chat("gpt-4o", user), headers=key, trust_env=False).headers["x-canary-arm"]


def test_a_refused_canary_takes_no_order_for_its_candidate_until_the_file_is_as_it_was(
    tmp_path: Path,
) -> None:
    with on_stage(tmp_path, CONFIG) as stage:
        user = next(stage.users("candidate", "trial", 0.2))
        assert stage.canary("start", "trial").returncode == 0
        eventually(lambda: arm(stage, user) == "candidate")

        configure(stage, "[seed]", "[seed, top_p]")
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
