"""`canary drift` shows what is known of models, and asks the probes at once."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from canary.cli import app
from demo.provider.behaviour import Behaviour
from records.store import Store
from tests.control.test_drift import reference
from tests.serving import ProviderThread

CONFIG = """
providers: {{openai: {{api: openai, base_url: "{url}/v1", api_key: k}}}}
prices: {{assistant-1: {{input: 1, output: 2}}}}
{probes}
"""
PROBES = "probes: {models: [openai/assistant-1], daily_budget: 1}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a store whose reference is whole."""
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        reference(store, "as ever")
    return tmp_path


def run(folder: Path, url: str, *words: str, probes: str = PROBES) -> tuple[int, str, str]:
    (folder / "canary.yaml").write_text(CONFIG.format(url=url, probes=probes))
    files = ("--config", str(folder / "canary.yaml"), "--data", str(folder))
    done = CliRunner().invoke(app, ["drift", *words, *files])
    return done.exit_code, done.stdout, done.stderr


def probes(text: str) -> Any:
    (model,) = json.loads(text)["models"]
    return model["probes"]


def test_a_model_that_answers_as_ever_is_steady(provider: ProviderThread, folder: Path) -> None:
    provider.behave("assistant-1", Behaviour(says={"": "as ever"}))
    code, told, _ = run(folder, provider.url, "assistant-1", "--now", "-o", "json")
    assert (code, probes(told)["state"], len(probes(told)["rounds"])) == (0, "steady", 1)
    code, told, _ = run(folder, provider.url)
    assert code == 0
    assert "answers as it did on 1970-01-01: 0 of 30 probes outside" in told


def test_one_that_does_not_is_asked_twice_and_exits_3(provider: ProviderThread, folder: Path) -> None:
    provider.behave("assistant-1", Behaviour(says={"": "otherwise"}))
    code, told, _ = run(folder, provider.url, "openai/assistant-1", "--now", "-o", "json")
    assert (code, probes(told)["state"], len(probes(told)["rounds"])) == (3, "drifted", 2)


@pytest.mark.parametrize(
    ("words", "probes", "code", "says"),
    [
        (("--now",), PROBES, 2, "name the model to probe"),
        (("assistant-1", "--now"), "", 2, "probes need a budget"),
        (("assistant-1", "--now"), PROBES.replace(": 1}", ": 0.0001}"), 1, "no room for another round"),
        (("other",), PROBES, 1, "nothing is known of other"),
    ],
)
def test_what_cannot_be_asked_is_said(
    folder: Path, words: tuple[str, ...], probes: str, code: int, says: str
) -> None:
    found, _, told = run(folder, "http://127.0.0.1:1", *words, probes=probes)
    assert (found, says in told) == (code, True), told
