"""The GitHub action and the GitLab example pass their audits, and their very steps run against a real server.

The runner has a data folder of its own, as one far from the server, and reaches the server and the store.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.provider.behaviour import Behaviour
from tests.e2e.stage import Stage, on_stage
from tests.servers.postgres import Postgres

DEPLOY = Path(__file__).parents[2] / "deploy"
ACTION_FILE = DEPLOY / "github-action" / "action.yml"
GITLAB_FILE = DEPLOY / "gitlab" / "canary.gitlab-ci.yml"
ACTION: dict[str, Any] = yaml.safe_load(ACTION_FILE.read_text())
GITLAB: dict[str, Any] = yaml.safe_load(GITLAB_FILE.read_text())["canary"]
INPUT = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")
CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: k}}
canaries:
  - name: waits
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 5%
    start: manual
    rubric: &rubric
      - {{metric: error_rate, acceptable: "< 2%", ideal: "< 1%", weight: 1, question: "Do answers arrive?"}}
  - name: support
    standing: true
    match: {{models: [support-bot]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai}}
    share: 5%
    start: manual
    rubric: *rubric
datasets:
  sums: {{file: sums.jsonl, layer: synthetic}}
prices: {{old: {{input: 1, output: 2}}, gpt-good: {{input: 1, output: 2}}, gpt-next: {{input: 1, output: 2}}}}
store: STORE
"""
KNOWS = Behaviour(says={f"{n} + 1 = ?": str(n + 1) for n in reversed(range(60))})


def tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name(name)), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_zizmor_and_the_schemas_find_nothing() -> None:
    audit = tool("zizmor", "--offline", "--persona=pedantic", "--no-progress", str(ACTION_FILE))
    assert audit.returncode == 0, audit.stdout + audit.stderr
    for name, file in (("github-actions", ACTION_FILE), ("gitlab-ci", GITLAB_FILE)):
        more = ("--data-transform=gitlab-ci",) if name == "gitlab-ci" else ()
        schema = tool("check-jsonschema", *more, "--builtin-schema", f"vendor.{name}", str(file))
        assert schema.returncode == 0, schema.stdout


def test_every_input_reaches_the_steps_as_a_variable_and_none_as_script() -> None:
    steps = ACTION["runs"]["steps"]
    used = [INPUT.findall(str([each.get("env"), each.get("with")])) for each in steps]
    conditions = re.findall(r"inputs\.(\w+) [!=]= 'true'", str([each.get("if") for each in steps]))
    assert {name for each in used for name in each} | {*conditions} == set(ACTION["inputs"])
    assert not [each for each in steps if "${{" in each.get("run", "")]


def test_the_action_installs_what_lies_beside_it() -> None:
    install = ACTION["runs"]["steps"][0]
    assert install["env"]["SOURCE"] == "${{ github.action_path }}/../.."
    for name in re.findall(r"\$SOURCE/([\w.-]+)", install["run"]):
        assert (ACTION_FILE.parent / "../.." / name).is_file()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Stage]:
    text = CONFIG.replace("STORE", postgres.fresh())
    with on_stage(tmp_path_factory.mktemp("pipelines"), text) as stage:
        sums = [
            {"id": str(n), "task": "exact", "input": f"{n} + 1 = ?", "expected": str(n + 1)}
            for n in range(60)
        ]
        (stage.server.config.parent / "sums.jsonl").write_text("\n".join(map(json.dumps, sums)))
        stage.provider.behave("old", KNOWS)
        yield stage


class Pipeline:
    """A runner's folder, in which one job after the other runs."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self._stage, self._folder = stage, folder
        self.summary, self.output = folder / "summary", folder / "output"
        program = str(Path(sys.executable).parent)
        self._environment = {"PATH": f"{program}:{os.environ['PATH']}", "HOME": str(folder)}

    def github(self, **inputs: str) -> subprocess.CompletedProcess[str]:
        """The action's steps, with these inputs over its defaults; one that fails is the last one."""
        for file in (self.summary, self.output):
            file.write_text("")
        defaults = {name: str(each.get("default", "")) for name, each in ACTION["inputs"].items()}
        server = {"admin": self._stage.server.admin, "token": self._stage.server.token}
        given = defaults | server | {"config": str(self._stage.server.config)} | inputs
        variables = {"GITHUB_ACTOR": "octocat", "RUNNER_TEMP": str(self._folder)}
        variables |= {"GITHUB_OUTPUT": str(self.output), "GITHUB_STEP_SUMMARY": str(self.summary)}
        done = subprocess.CompletedProcess((), 0, "", "")
        for step in ACTION["runs"]["steps"]:
            if "run" in step and _holds(step.get("if", ""), given) and not done.returncode:
                filled = {name: INPUT.sub(lambda m: given[m[1]], text) for name, text in step["env"].items()}
                command = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"])
                done = self._ran(command, variables | filled)
        return done

    def result(self) -> dict[str, Any]:
        """The wait's output."""
        (line,) = re.findall(r"^result=(.*)$", self.output.read_text(), re.MULTILINE)
        return dict(json.loads(line))

    def gitlab(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """The example's script, with these variables over its own."""
        server = {"CANARY_ADMIN": self._stage.server.admin, "CANARY_ADMIN_TOKEN": self._stage.server.token}
        given = GITLAB["variables"] | server | {"CANARY_CONFIG": str(self._stage.server.config)} | variables
        return self._ran(("sh", "-e", "-c", "\n".join(GITLAB["script"])), given)

    def _ran(
        self, command: tuple[str, ...], variables: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        environment = self._environment | {name: str(value) for name, value in variables.items()}
        return subprocess.run(
            command, cwd=self._folder, env=environment, capture_output=True, text=True, timeout=120
        )


def _holds(condition: str, given: Mapping[str, str]) -> bool:
    """Whether a step's `if` holds."""
    found = re.findall(r"inputs\.(\w+) ([!=])= '(\w+)'", condition)
    return all((given[name] == value) is (sign == "=") for name, sign, value in found)


@pytest.fixture
def pipeline(stage: Stage, tmp_path: Path) -> Pipeline:
    return Pipeline(stage, tmp_path)


@pytest.mark.more
def test_a_new_model_is_begun_and_reported_and_a_person_decides(stage: Stage, pipeline: Pipeline) -> None:
    by_the_hour = {"canary": "support", "watch": "true", "match": "gpt-*", "wait-minutes": "0"}
    first = pipeline.github(**by_the_hour)
    assert (first.returncode, pipeline.summary.read_text()) == (0, ""), first.stderr
    assert pipeline.result() == {
        "canary": None, "state": None, "verdict": None, "settled": True, "tried": False
    }  # fmt: skip

    stage.provider.behave("gpt-good", KNOWS)
    second = pipeline.github(**by_the_hour)
    assert second.returncode == 0, second.stderr
    told = pipeline.summary.read_text()
    assert told.startswith(
        "openai/gpt-good is a new model\n"
        "openai/gpt-good: its benchmark against openai/old says ship; support-gpt-good is begun and waits "
        "for `canary start support-gpt-good`\n# "
    )
    assert pipeline.result() == {
        "canary": "support-gpt-good", "state": "waiting", "verdict": "extend", "settled": False, "tried": True
    }  # fmt: skip
    assert stage.status("support-gpt-good")["state"] == "waiting", "nobody started it"
    assert f"report={pipeline.summary.parent / 'canary-report.md'}" in pipeline.output.read_text()

    stage.canary("start", "support-gpt-good")
    stage.canary("promote", "support-gpt-good", "--against-verdict", "--reason", "r")
    stage.provider.behave("gpt-next", KNOWS)
    third = pipeline.gitlab(CANARY_MATCH="gpt-*", CANARY_WAIT="0s")
    assert third.returncode in GITLAB["allow_failure"]["exit_codes"], third.stderr
    assert "openai/gpt-next: its benchmark against openai/gpt-good says ship" in third.stdout
    assert "support-gpt-next: waiting, verdict extend, still open after 0s" in third.stderr
    report = pipeline.summary.parent / GITLAB["artifacts"]["paths"][0]
    assert report.read_text().startswith("# ")

    stage.canary("start", "support-gpt-next")
    waiting: list[subprocess.CompletedProcess[str]] = []
    inputs = {"canary": "support", "start": "false", "wait-minutes": "10"}
    thread = threading.Thread(target=lambda: waiting.append(pipeline.github(**inputs)))
    thread.start()
    stage.canary("rollback", "support-gpt-next", "--reason", "it invents discounts")
    thread.join(60)
    # It may have asked first after the rollback: then nothing was tried any more.
    assert [done.returncode for done in waiting] == [5 if pipeline.result()["tried"] else 0]
    assert pipeline.result()["state"] == "rolled_back"
    later = pipeline.github(**inputs)
    assert (later.returncode, pipeline.result()["tried"]) == (0, False)
    assert "it invents discounts" in pipeline.summary.read_text()


def test_it_starts_a_waiting_canary_reports_and_passes(stage: Stage, pipeline: Pipeline) -> None:
    inputs = {"canary": "waits", "wait-minutes": "0", "reason": "release 12"}
    for _ in range(2):
        done = pipeline.github(**inputs)
        assert (done.returncode, pipeline.result()["state"]) == (0, "running"), done.stderr
    audit = [each for each in stage.api("GET", "/api/audit").json() if each["canary"] == "waits"]
    (entry,) = [each for each in audit if each["action"] == "start"]
    assert (entry["who"], entry["reason"]) == ("octocat", "release 12")
    assert pipeline.summary.read_text().startswith("# ")
    assert pipeline.github(**inputs, require="verdict").returncode == 4
    stage.canary("rollback", "waits", "--reason", "r")
    assert pipeline.github(**inputs).returncode == 5


@pytest.mark.parametrize(
    ("inputs", "code", "told"),
    [
        pytest.param({"canary": "wait"}, 1, "it has: ", id="no such canary"),
        pytest.param({"token": "wrong"}, 1, "token", id="wrong token", marks=pytest.mark.more),
        pytest.param(
            {"admin": "http://127.0.0.1:9"}, 1, "no answer from", id="nobody there", marks=pytest.mark.more
        ),
        pytest.param(
            {"wait-minutes": "soon"}, 2, "is not a duration", id="no number", marks=pytest.mark.more
        ),
        pytest.param({"require": "luck"}, 2, "require must be", id="unknown requirement"),
    ],
)
def test_what_cannot_work_is_told(pipeline: Pipeline, inputs: dict[str, str], code: int, told: str) -> None:
    done = pipeline.github(**{"canary": "waits", "start": "false", "wait-minutes": "0", **inputs})
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr
