"""`canary doctor --probe` sends each arm one small request of each operation, and tells what came."""

import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from bench.preflight.client import refusal
from canary.cli import app
from demo.provider.behaviour import Behaviour
from tests.serving import ProviderThread

CONFIG = """
providers:
  it: {{api: {api}, base_url: "{url}"{key}}}
canaries:
  - name: trial
    match: {match}
    baseline: {{provider: it, model: old}}
    candidate: {{provider: it, model: new}}
    share: 5%
"""
ROOTS = {"openai": "/v1", "anthropic": "", "gemini": ""}
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY")


def doctor(
    folder: Path,
    provider: ProviderThread,
    *words: str,
    api: str = "openai",
    match: str = "{models: [m]}",
    key: str = ", api_key: sk-it",
    more: str = "",
    **environment: str,
) -> Result:
    config = folder / "canary.yaml"
    config.write_text(CONFIG.format(api=api, url=provider.url + ROOTS[api], match=match, key=key) + more)
    env = {**dict.fromkeys(KEYS), **environment}
    return CliRunner().invoke(app, ["doctor", "--config", str(config), *words], env=env)


def probes(done: Result) -> list[str]:
    return [each for each in done.stdout.splitlines() if " probe " in each]


@pytest.mark.parametrize(
    ("api", "operations", "absent"),
    [
        ("openai", ["/chat/completions", "/responses", "/embeddings"], "/completions"),
        ("anthropic", ["/v1/messages", "/v1/messages/count_tokens"], None),
        ("gemini", ["generateContent", "streamGenerateContent", "countTokens"], "embedContent"),
    ],
)
def test_each_operation_is_asked_of_each_arm_once(
    tmp_path: Path, provider: ProviderThread, api: str, operations: list[str], absent: str | None
) -> None:
    """The demo provider lacks one operation of two APIs."""
    done = doctor(tmp_path, provider, "--probe", api=api)
    assert done.exit_code == 0, done.stdout
    for arm, model in (("baseline", "old"), ("candidate", "new")):
        said = [each.split(f"it/{model} ")[1] for each in probes(done) if f"trial {arm}: it/{model} " in each]
        assert [each.split(": 200")[0] for each in said if ": 200" in each] == operations
    refused = [each for each in probes(done) if ": 200" not in each]
    assert [f" {absent}: 404" in each for each in refused] == [True, True] * (absent is not None)
    asked = Counter(each.model for each in provider.log.entries)
    assert asked == dict.fromkeys(("old", "new"), len(operations) + (absent is not None))


def test_a_baseline_that_canaries_share_is_asked_once(tmp_path: Path, provider: ProviderThread) -> None:
    second = """
  - name: second
    match: {models: [other]}
    baseline: {provider: it, model: old}
    candidate: {provider: it, model: newer}
    share: 5%
"""
    done = doctor(tmp_path, provider, "--probe", more=second)
    assert done.exit_code == 0, done.stdout
    assert sum("second baseline: it/old" in each for each in probes(done)) == 4
    assert Counter(each.model for each in provider.log.entries) == {"old": 4, "new": 4, "newer": 4}


def test_an_empty_answer_is_not_taken_for_a_good_one(tmp_path: Path, provider: ProviderThread) -> None:
    provider.behave("new", Behaviour(faults={"empty": 1.0}))
    done = doctor(tmp_path, provider, "--probe")
    assert done.exit_code == 1
    assert "✗ probe trial candidate: it/new /chat/completions: 200 without a readable answer" in done.stdout


def test_without_probe_no_provider_is_asked(tmp_path: Path, provider: ProviderThread) -> None:
    assert probes(doctor(tmp_path, provider)) == []
    assert provider.log.entries == []


def test_a_refused_candidate_ends_with_one_and_the_providers_words(
    tmp_path: Path, provider: ProviderThread
) -> None:
    provider.behave("new", Behaviour(rejects=("messages",)))
    done = doctor(tmp_path, provider, "--probe", "-o", "json")
    assert done.exit_code == 1
    (found,) = [each for each in json.loads(done.stdout)["findings"] if each["state"] == "broken"]
    assert found["check"] == "probe trial candidate"
    assert found["says"].startswith("it/new /chat/completions: 400 ")
    assert "messages" in found["says"]


def test_what_neither_arm_offers_is_no_fault(tmp_path: Path, provider: ProviderThread) -> None:
    for model in ("old", "new"):
        provider.behave(model, Behaviour(rejects=("input",)))
    done = doctor(tmp_path, provider, "--probe")
    assert done.exit_code == 0, done.stdout
    assert sum("the other arm does not take it either" in each for each in probes(done)) == 4


def test_what_only_the_baseline_takes_is_a_fault_of_the_candidate(
    tmp_path: Path, provider: ProviderThread
) -> None:
    provider.behave("new", Behaviour(rejects=("input",)))
    done = doctor(tmp_path, provider, "--probe")
    assert done.exit_code == 1
    faults = [each for each in probes(done) if each[0] == "✗"]
    assert [each.split(": 400")[0] for each in faults] == ["✗ probe trial candidate: it/new /responses"]


def test_the_paths_of_the_match_are_needed_of_both_arms(tmp_path: Path, provider: ProviderThread) -> None:
    provider.behave("old", Behaviour(rejects=("input",)))
    done = doctor(tmp_path, provider, "--probe", match="{paths: [/v1/chat/completions, /v1/responses]}")
    assert done.exit_code == 1
    assert [each[0] for each in probes(done)] == ["✓", "✗", "✓", "✓"]


def test_a_provider_that_refuses_everything_is_broken(tmp_path: Path, provider: ProviderThread) -> None:
    for model in ("old", "new"):
        provider.behave(model, Behaviour(faults={"status": 1.0}, status=401))
    done = doctor(tmp_path, provider, "--probe")
    assert done.exit_code == 1
    assert {each[0] for each in probes(done)} == {"✗"}


def test_an_entry_without_a_key_cannot_be_probed_and_says_so(
    tmp_path: Path, provider: ProviderThread
) -> None:
    done = doctor(tmp_path, provider, "--probe", key="")
    assert provider.log.entries == []
    assert "! probe trial baseline: it/old cannot be probed" in done.stdout
    assert "→ no key for it: set OPENAI_API_KEY, or api_key in the config" in done.stdout
    assert doctor(tmp_path, provider, "--probe", key="", OPENAI_API_KEY="sk-env").exit_code == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"error": {"message": "No such model", "code": "model_not_found"}}', "No such model"),
        ('{"type": "error", "error": {"type": "not_found_error", "message": "model: x"}}', "model: x"),
        ('[{"error": {"code": 404, "status": "NOT_FOUND", "message": "models/x"}}]', "models/x"),
        (
            '{"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}',
            "seed: Extra inputs are not permitted",
        ),
        ("<html>502</html>", "<html>502</html>"),
        ('{"error": "gone"}', "gone"),
        ('{"error": {"message": "bad key sk-it-secret"}}', "bad key [secret]"),
    ],
)
def test_the_words_are_the_providers_message(text: str, told: str) -> None:
    assert refusal(text.encode(), ["sk-it-secret"]).message == told
