"""`canary dataset import`, then `canary bench` over what it made, against the demo provider.

The promptfoo config and the OpenAI Evals file were written for this test, in those formats.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from canary.cli import app
from demo.provider.behaviour import Behaviour
from tests.serving import ProviderThread

pytestmark = pytest.mark.more  # another way to what other tests hold

CONFIG = """\
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: k}}
canaries:
  - name: trial
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 5%
prices:
  old: {{input: 2.0, output: 8.0}}
  new: {{input: 1.0, output: 4.0}}
datasets:
  assertions: {{file: assertions.jsonl, layer: synthetic}}
  samples: {{file: samples.jsonl, layer: synthetic}}
"""
PROMPTFOO = """\
prompts: ["In a word: {{question}}"]
tests:
  - vars: {question: capital of France}
    assert:
      - {type: icontains, value: paris}
      - {type: not-contains, value: Lyon}
      - {type: llm-rubric, value: is short}
  - vars: {question: the sum}
    assert: [{type: equals, value: 4}]
  - vars: {question: an invoice}
    assert: [{type: is-json, value: {type: object, required: [total]}}]
  - vars: {question: the tone}
    assert: [{type: llm-rubric, value: is polite}]
"""
EVALS = [
    {"input": [{"role": "user", "content": "first president"}], "ideal": ["George Washington", "Washington"]},
    {"item": {"input": "first man on the moon", "ideal": "Neil Armstrong"}},
]
SAYS = {
    "capital of France": "It is PARIS.",
    "the sum": "4",
    "an invoice": '{"total": 12}',
    "first president": "Washington, in 1789",
    "first man on the moon": "Neil Armstrong",
}


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"CANARY_CONFIG": str(folder / "canary.yaml")})


@pytest.fixture
def folder(tmp_path: Path, provider: ProviderThread) -> Path:
    (tmp_path / "canary.yaml").write_text(CONFIG.format(url=provider.url))
    (tmp_path / "pf.yaml").write_text(PROMPTFOO)
    (tmp_path / "evals.jsonl").write_text("\n".join(map(json.dumps, EVALS)))
    provider.behave("old", Behaviour(says=SAYS))
    provider.behave("new", Behaviour(says=SAYS | {"capital of France": "Lyon or Paris", "the sum": "5"}))
    return tmp_path


def test_an_imported_set_is_benchmarked_and_the_wrong_answers_are_named(folder: Path) -> None:
    for source, file in (("pf.yaml", "assertions.jsonl"), ("evals.jsonl", "samples.jsonl")):
        done = run(folder, "dataset", "import", str(folder / source), str(folder / file))
        assert (done.exit_code, done.stdout) == (0, ""), done.stderr
    done = run(folder, "bench", "new", "--data", str(folder / "data"), "-o", "json")
    found: dict[str, Any] = json.loads(done.stdout)
    datasets = {each["dataset"]: each for each in found["layers"][0]["datasets"]}
    assertions, samples = datasets["assertions"], datasets["samples"]
    assert (assertions["baseline"]["correct"], assertions["candidate"]["correct"]) == (3, 1)
    assert assertions["new_failures"] == ["pf-1", "pf-2"]
    assert (samples["baseline"]["correct"], samples["candidate"]["correct"]) == (2, 2)


def test_what_was_left_out_is_said_with_name_count_and_why(folder: Path) -> None:
    made = str(folder / "made.jsonl")
    done = run(folder, "dataset", "import", str(folder / "pf.yaml"), made, "-o", "json")
    found = json.loads(done.stdout)
    assert (found["examples"], found["tasks"]) == (3, {"exact": 1, "json": 1, "regex": 1})
    counts = {each["what"]: (each["count"], each["why"]) for each in found["left_out"]}
    judged = "a model judges it: write an example of the task `judge`, with what a good answer says"
    assert counts == {
        "assertion `llm-rubric`": (2, judged),
        "test": (1, "none of its assertions can be imported"),
    }
    again = run(folder, "dataset", "import", str(folder / "pf.yaml"), made)
    assert (again.exit_code, again.stderr) == (2, f"{made} exists; name a new file, or delete it first\n")
    assert run(folder, "dataset", "check", made).exit_code == 0


def test_bad_input_leaves_no_file(folder: Path) -> None:
    made = folder / "made.jsonl"
    (folder / "bad.jsonl").write_text('{"input": "a", "ideal": "b"}\n{"input": "a"}\n')
    (folder / "system.jsonl").write_text('{"input": [{"role": "system", "content": "a"}], "ideal": "b"}\n')
    (folder / "judged.yaml").write_text("prompts: [a]\ntests: [{assert: [{type: llm-rubric, value: x}]}]")
    wrong = {
        "bad.jsonl": "bad.jsonl:2: ideal is missing; it must be a text, or a list of accepted texts\n",
        "system.jsonl": "system.jsonl:1: input must be a text, or messages with the user's or a tool's last",
        "judged.yaml": "nothing can be imported; left out: 1 × assertion `llm-rubric` (a model judges it",
        "none.yaml": "none.yaml cannot be read: No such file or directory\n",
        "canary.yaml": "canary.yaml: has no `tests`; name a promptfoo config",
    }
    for source, message in wrong.items():
        done = run(folder, "dataset", "import", str(folder / source), str(made))
        assert (done.exit_code, made.exists()) == (1, False), source
        assert message in done.stderr, source


def test_the_datasets_folder_is_made(folder: Path) -> None:
    made = folder / "datasets" / "made.jsonl"
    assert run(folder, "dataset", "import", str(folder / "pf.yaml"), str(made)).exit_code == 0
    assert made.exists()
    below_a_file = made / "more.jsonl"
    done = run(folder, "dataset", "import", str(folder / "pf.yaml"), str(below_a_file))
    assert (done.exit_code, done.stderr) == (1, f"{below_a_file} cannot be written: File exists\n")
