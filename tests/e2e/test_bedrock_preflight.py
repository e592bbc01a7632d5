"""`canary preflight` and `doctor --probe` of canaries on Bedrock, with requests in Bedrock's own form."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from canary.cli import app
from tests.servers.aws_issuers import NOWHERE
from tests.servers.bedrock import ACCESS_KEY, BEARER_KEY, SECRET_KEY, LocalBedrock

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
    assert [request.target for request in bedrock.taken] == [f"{PRO}/converse", f"{PRO}/invoke"]


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
