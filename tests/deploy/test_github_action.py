"""The GitHub action passes its audit, and its one step starts, watches and reports on a real server."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.stage import Stage, on_stage

FOLDER = Path(__file__).parents[2] / "deploy" / "github-action"
ACTION: dict[str, Any] = yaml.safe_load((FOLDER / "action.yml").read_text())
CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: waits
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 5%
    start: manual
    rubric:
      - {{metric: error_rate, acceptable: "< 2%", ideal: "< 1%", weight: 1, question: "Do answers arrive?"}}
"""


def tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name(name)), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_zizmor_and_the_actions_schema_find_nothing() -> None:
    audit = tool("zizmor", "--offline", "--persona=pedantic", "--no-progress", str(FOLDER / "action.yml"))
    assert audit.returncode == 0, audit.stdout + audit.stderr
    schema = tool("check-jsonschema", "--builtin-schema", "vendor.github-actions", str(FOLDER / "action.yml"))
    assert schema.returncode == 0, schema.stdout


def test_every_input_reaches_the_step_as_a_variable_and_none_as_script() -> None:
    (step,) = ACTION["runs"]["steps"]
    given = re.findall(r"\$\{\{ inputs\.([\w-]+) \}\}", str(step["env"]))
    assert sorted(given) == sorted(ACTION["inputs"])
    assert "${{" not in step["run"]
    script = (FOLDER / "gate.py").read_text()
    read = set(re.findall(r'environment\["(\w+)"\]', script))
    assert read == set(step["env"]) - {"GATE_SCRIPT"}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with on_stage(tmp_path_factory.mktemp("action"), CONFIG) as stage:
        yield stage


def gate(stage: Stage, folder: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """The step as the action runs it, with these inputs over the action's defaults."""
    defaults = {name: str(each.get("default", "")) for name, each in ACTION["inputs"].items()}
    given = defaults | {"admin": stage.server.admin, "token": stage.server.token, "canary": "waits"} | inputs
    (step,) = ACTION["runs"]["steps"]
    filled = {
        name: given[found[1]]
        for name, value in step["env"].items()
        if (found := re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", value))
    }
    environment = {"PATH": os.environ["PATH"], "GITHUB_ACTOR": "octocat", **filled}
    environment |= {"GITHUB_OUTPUT": str(folder / "output"), "GITHUB_STEP_SUMMARY": str(folder / "summary")}
    command: Sequence[str] = [sys.executable, str(FOLDER / "gate.py")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_it_starts_a_waiting_canary_reports_and_passes(stage: Stage, tmp_path: Path) -> None:
    done = gate(stage, tmp_path, **{"wait-minutes": "0", "reason": "release 12"})
    assert done.returncode == 0, done.stderr
    assert stage.status("waits")["state"] == "running"
    (entry,) = [each for each in stage.api("GET", "/api/audit").json() if each["action"] == "start"]
    assert (entry["who"], entry["reason"]) == ("octocat", "release 12")
    assert (tmp_path / "output").read_text() == "verdict=extend\nstate=running\n"
    assert "waits" in (tmp_path / "summary").read_text()


def test_where_a_verdict_is_required_too_little_evidence_does_not_pass(stage: Stage, tmp_path: Path) -> None:
    assert gate(stage, tmp_path, **{"wait-minutes": "0", "require": "verdict"}).returncode == 4


def test_it_fails_as_soon_as_the_canary_is_rolled_back(stage: Stage, tmp_path: Path) -> None:
    stage.api("POST", "/api/canaries/waits/rollback", {"who": "a test", "reason": "it"}).raise_for_status()
    found: list[subprocess.CompletedProcess[str]] = []
    waiting = threading.Thread(target=lambda: found.append(gate(stage, tmp_path, **{"wait-minutes": "10"})))
    waiting.start()
    waiting.join(30)
    assert [done.returncode for done in found] == [5]
    assert "state=rolled_back" in (tmp_path / "output").read_text()


@pytest.mark.parametrize(
    ("inputs", "code", "told"),
    [
        pytest.param({"canary": "wait"}, 1, "it has: waits", id="no such canary"),
        pytest.param({"token": "wrong"}, 1, "token", id="wrong token"),
        pytest.param({"admin": "http://127.0.0.1:9"}, 1, "no answer from", id="nobody there"),
        pytest.param({"admin": "127.0.0.1:9"}, 2, "admin must be a URL", id="no URL"),
        pytest.param({"wait-minutes": "soon"}, 2, "wait-minutes must be a number", id="no number"),
        pytest.param({"require": "luck"}, 2, "require must be", id="unknown requirement"),
    ],
)
def test_what_cannot_work_is_told(
    stage: Stage, tmp_path: Path, inputs: dict[str, str], code: int, told: str
) -> None:
    done = gate(stage, tmp_path, **{"wait-minutes": "0", **inputs})
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr
