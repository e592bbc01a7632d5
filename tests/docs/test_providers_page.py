"""docs/providers.md has a row for each promised provider, each with a sound entry and tests that exist."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from canary.cli import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/providers.md").read_text()
PROMISED = (
    "OpenAI", "Azure v1", "Azure, older", "Bedrock, OpenAI's form", "Bedrock, Anthropic's form",
    "Bedrock, InvokeModel and Converse", "Anthropic", "Gemini, generateContent", "Gemini, Interactions",
    "Vertex, Gemini", "Vertex, Claude", "OpenRouter", "Groq", "Mistral", "DeepSeek", "xAI", "Together",
    "Cohere", "vLLM", "Ollama", "llama.cpp",
)  # fmt: skip
ENTRY = re.compile(r"`([a-z-]+: \{api: [^`]+\})`")
ROWS = {
    cells[0]: cells[1:]
    for line in re.findall(r"^\| (.+) \|$", PAGE, re.MULTILINE)
    if (cells := line.split(" | "))[0] != "provider"
}
TESTS = re.compile(r"`(tests/[\w/]+\.py)`")


def check(folder: Path, text: str) -> str:
    """What `canary check` says of a file; it must accept it."""
    config = folder / "canary.yaml"
    config.write_text(text)
    done = CliRunner().invoke(app, ["check", "--config", str(config)])
    assert done.exit_code == 0, done.output
    return done.output


def test_every_promised_provider_has_one_row() -> None:
    assert len(re.findall(r"^\| (?!provider|-)", PAGE, re.MULTILINE)) == len(ROWS)
    assert [name for name in PROMISED if name not in ROWS] == []


@pytest.mark.parametrize("name", ROWS)
def test_a_row_says_whether_it_works_and_by_which_tests(name: str) -> None:
    works, _, tried = ROWS[name]
    assert re.match(r"yes|by ", works), works
    files = TESTS.findall(tried)
    assert files
    assert [file for file in files if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize("name", ROWS)
def test_an_entry_passes_canary_check(name: str, tmp_path: Path) -> None:
    (entry,) = ENTRY.findall(ROWS[name][1])
    assert check(tmp_path, f"providers:\n  {entry}\n").endswith("canary.yaml: fine\n")


def test_the_pages_other_lines_pass_canary_check(tmp_path: Path) -> None:
    for entry in ENTRY.findall(PAGE.partition("\n## ")[0]):
        check(tmp_path, f"providers:\n  {entry}\n")
    (prices,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    check(tmp_path, f'providers:\n  azure: {{api: openai, base_url: "http://127.0.0.1:9"}}\n{prices}')


def test_the_tests_of_usage_have_the_providers_that_are_known_by_the_wire() -> None:
    documents = (ROOT / "tests/proxy/test_usage_of_providers.py").read_text()
    known = [name for name, cells in ROWS.items() if "test_usage_of_providers" in cells[2]]
    assert [name for name in known if f'"{name.lower()}' not in documents] == []
