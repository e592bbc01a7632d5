"""`canary rules`: to stdout or a file, of one canary or all, with no server."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from canary.cli import app

CONFIG = """
providers:
  openai: {api: openai, base_url: "http://127.0.0.1:9/v1"}
canaries:
  - name: one
    match: {models: [a]}
    baseline: {provider: openai, model: a-1}
    candidate: {provider: openai, model: a-2}
    share: 5%
    guardrails: [{rule: latency_p95, limit: 2s}]
  - name: other
    match: {models: [b]}
    baseline: {provider: openai, model: b-1}
    candidate: {provider: openai, model: b-2}
    share: 5%
    guardrails: []
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "canary.yaml"
    file.write_text(CONFIG)
    return str(file)


def canaries(text: str) -> set[str]:
    rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    return {rule["labels"]["canary"] for rule in rules if "canary" in rule.get("labels", {})}


def test_the_rules_of_every_canary_go_to_stdout(config: str) -> None:
    done = CliRunner().invoke(app, ["rules", "--config", config])
    assert done.exit_code == 0
    assert canaries(done.stdout) == {"one"}
    assert "runbook_url: docs/runbooks/CanaryLatencyP95.md" in done.stdout


def test_as_json_they_are_the_same_rules(config: str) -> None:
    asked = ["rules", "--config", config]
    as_yaml, as_json = (CliRunner().invoke(app, [*asked, *form]).stdout for form in ([], ["-o", "json"]))
    assert json.loads(as_json) == yaml.safe_load(as_yaml)


def test_they_go_into_a_file_with_links_to_wherever_the_pages_are(config: str, tmp_path: Path) -> None:
    file = tmp_path / "canary.rules.yml"
    arguments = ["rules", "--config", config, "--runbooks", "https://wiki.example/canary/", "-o", str(file)]
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.stdout) == (0, "")
    assert str(file) in done.stderr
    assert "runbook_url: https://wiki.example/canary/CanaryLatencyP95.md" in file.read_text()


def test_one_canary_may_be_asked_for_and_an_unknown_one_is_refused_with_those_there_are(config: str) -> None:
    assert (
        canaries(CliRunner().invoke(app, ["rules", "--config", config, "--canary", "other"]).stdout) == set()
    )
    done = CliRunner().invoke(app, ["rules", "--config", config, "--canary", "thrid"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "the config has no canary 'thrid'; it has: one, other\n"


def test_a_file_that_cannot_be_written_is_named(config: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["rules", "--config", config, "-o", str(tmp_path / "no" / "such")])
    assert done.exit_code == 1
    assert "cannot be written: No such file or directory" in done.stderr
