"""`canary preflight` and `doctor --probe` of canaries on Bedrock, with requests in Bedrock's own form."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from canary.cli import app
from tests.servers.aws_issuers import NOWHERE
from tests.servers.bedrock import ACCESS_KEY, BEARER_KEY, SECRET_KEY, LocalBedrock
from tests.serving import WAIT_S, eventually

pytestmark = pytest.mark.more  # for one provider

CONFIG = """
providers:
  aws: {{api: anthropic, kind: bedrock, base_url: "{url}", region: eu-west-1}}
  anthropic: {{api: anthropic, base_url: "{url}/anthropic", api_key: {key}}}
canaries:
  - name: trial
    match: {{models: ["amazon.nova-lite-v1:0"]}}
    baseline: {{provider: aws, model: "amazon.nova-lite-v1:0"}}
    candidate: {{provider: {candidate}, model: "amazon.nova-pro-v1:0"}}
    share: 5%
"""
KEYS = {**NOWHERE, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
LITE, PRO = "/model/amazon.nova-lite-v1%3A0", "/model/amazon.nova-pro-v1%3A0"


@pytest.fixture
def bedrock() -> Iterator[LocalBedrock]:
    with LocalBedrock() as up:
        yield up


def run(folder: Path, bedrock: LocalBedrock, *words: str, candidate: str = "aws") -> Result:
    config = folder / "canary.yaml"
    config.write_text(CONFIG.format(url=bedrock.url, candidate=candidate, key=BEARER_KEY))
    return CliRunner().invoke(app, [*words, "--config", str(config)], env=KEYS)


def test_bedrocks_own_chat_is_among_the_minimal_requests(tmp_path: Path, bedrock: LocalBedrock) -> None:
    done = run(tmp_path, bedrock, "preflight", "trial", "-o", "json")
    assert done.exit_code == 0, done.output
    targets = {request.target for request in bedrock.taken}
    assert {f"{PRO}/converse", f"{PRO}/converse-stream", "/anthropic/v1/messages"} <= targets
    assert all(request.is_signed for request in bedrock.taken)
    assert bedrock.refused == []


def test_requests_of_a_file_go_to_the_candidate_in_their_own_form(
    tmp_path: Path, bedrock: LocalBedrock
) -> None:
    bedrock.behave("amazon.nova-pro-v1:0", "invalid")
    body = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
    lines = [json.dumps({"path": f"{LITE}/{method}", "body": body}) for method in ("converse", "invoke")]
    (tmp_path / "requests.jsonl").write_text("\n".join(lines))
    done = run(
        tmp_path, bedrock, "preflight", "trial", "-o", "json", "--from", str(tmp_path / "requests.jsonl")
    )
    assert done.exit_code == 3, done.output
    refusals = json.loads(done.stdout)["refusals"]
    assert [(each["operation"], each["status"], each["message"]) for each in refusals] == [
        ("converse", 400, "This model does not support this."),
        ("invoke", 400, "This model does not support this."),
    ]
    assert {request.target for request in bedrock.taken} == {f"{PRO}/converse", f"{PRO}/invoke"}
    assert len(bedrock.taken) == len(lines)


def test_the_probe_asks_both_arms(tmp_path: Path, bedrock: LocalBedrock) -> None:
    done = run(tmp_path, bedrock, "doctor", "--probe", "-o", "json")
    assert {f"{LITE}/converse", f"{PRO}/converse"} <= {request.target for request in bedrock.taken}
    assert "amazon.nova-pro-v1:0" in done.output


def test_a_candidate_elsewhere_is_not_asked_what_it_has_in_no_form(
    tmp_path: Path, bedrock: LocalBedrock
) -> None:
    done = run(tmp_path, bedrock, "preflight", "trial", "-o", "json", candidate="anthropic")
    assert done.exit_code == 0, done.output
    assert "/anthropic/v1/messages" in {request.target for request in bedrock.taken}
    assert not [request for request in bedrock.taken if request.target.startswith("/model/")]


@pytest.mark.parametrize("words", [["preflight", "trial"], ["doctor", "--probe"]])
def test_a_machine_without_keys_is_told_so_in_the_result_and_in_no_log_line(
    tmp_path: Path, words: list[str]
) -> None:
    config = tmp_path / "canary.yaml"
    config.write_text(CONFIG.format(url="http://127.0.0.1:9", candidate="aws", key=BEARER_KEY))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | NOWHERE
    command = [sys.executable, "-m", "canary", *words, "--config", str(config), "-o", "json"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=WAIT_S, check=False, env=environment
    )
    assert done.returncode == 1
    assert "no AWS credentials were found on this machine" in json.dumps(json.loads(done.stdout))
    assert "credential." not in done.stderr


@pytest.mark.parametrize("words", [["preflight", "trial"], ["doctor", "--probe"]])
def test_when_a_command_has_ended_nobody_fetches_keys(
    tmp_path: Path, bedrock: LocalBedrock, words: list[str]
) -> None:
    before = set(threading.enumerate())
    run(tmp_path, bedrock, *words)
    assert bedrock.taken
    eventually(lambda: not [each for each in fetching() if each not in before])


def fetching() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "aws tokens"]
