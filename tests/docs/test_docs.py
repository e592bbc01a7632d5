"""The documents keep up with the code: each name that a user meets is in them, and they name nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from prometheus_client import CollectorRegistry

from alerts.rules.rule import StatusState
from canary.cli import app
from canary.config import parse
from console.access.guard import Access
from console.app import admin_app
from records.facts.metric import BUILT_IN
from records.outcome import ErrorType, OutcomeName
from routing.states import StateName
from verdict.decision.document import Verdict
from verdict.rows.row import State

ROOT = Path(__file__).parents[2]


def commands(group: Any, before: str = "") -> dict[str, Any]:
    """Every command by its words, those of groups too (`feedback import`)."""
    found: dict[str, Any] = {}
    for name, each in group.commands.items():
        words = f"{before}{name}"
        found |= commands(each, f"{words} ") if hasattr(each, "commands") else {words: each}
    return found


COMMANDS = commands(typer.main.get_command(app))
SHARED = {"--config", "--data", "--admin", "--output", "-o"}
"""Options that mean the same in every command which has them; the page says them once."""

DOCUMENTS = sorted(
    path
    for folder in (
        ROOT,
        ROOT / "docs",
        ROOT / "docs/adr",
        ROOT / "docs/guides",
        ROOT / "docs/runbooks",
        ROOT / "deploy",
        ROOT / "grafana",
    )
    for path in folder.glob("*.md")
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def first_cells(name: str) -> set[str]:
    """The code words in the first cells of a document's table rows."""
    rows = (line for line in text_of(name).splitlines() if line.startswith("| "))
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row.split("|")[1])}


def fenced(language: str, *documents: Path) -> Iterator[tuple[Path, str]]:
    for path in documents or DOCUMENTS:
        for found in _FENCE.finditer(path.read_text()):
            if found[1] == language:
                yield path, found[2]


def named(blocks: Iterator[tuple[Path, str]]) -> list[object]:
    return [pytest.param(text, id=f"{path.name}-{place}") for place, (path, text) in enumerate(blocks)]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_stands_in_the_operations_table_with_every_option_of_its_own(command: str) -> None:
    rows = [
        line
        for line in text_of("docs/operations.md").splitlines()
        if line.startswith(f"| `canary {command}`")
    ]
    assert len(rows) == 1
    options = {name for each in COMMANDS[command].params for name in each.opts if name.startswith("-")}
    documented = set(re.findall(r"`(--?[a-z-]+)`", rows[0]))
    assert documented == options - {"--help"} - SHARED
    assert {name for name in SHARED if f"`{name}`" not in text_of("docs/operations.md")} == set()


def test_examples_call_only_commands_and_options_that_exist() -> None:
    calls = [
        call
        for _, block in fenced("sh")
        for call in re.findall(r"(?:^|&& )canary +([^#&|>\n]*)", block, re.MULTILINE)
    ]
    assert len(calls) > 10
    for call in calls:
        words = call.split()
        command = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
        options = {word for word in words if re.fullmatch(r"--?[a-z-]+", word)}
        assert options <= {name for each in COMMANDS[command].params for name in each.opts}, call


@pytest.mark.parametrize(
    ("document", "names"),
    [
        pytest.param("docs/sdks.md", get_args(ErrorType), id="error types"),
        pytest.param("docs/sdks.md", get_args(OutcomeName), id="outcomes"),
        pytest.param("docs/feedback.md", tuple(BUILT_IN), id="feedback metrics"),
        pytest.param("docs/operations.md", get_args(StatusState), id="guardrail states"),
        pytest.param("docs/verdict.md", get_args(State), id="states of a metric"),
        pytest.param("docs/verdict.md", get_args(Verdict), id="verdicts"),
    ],
)
def test_every_name_of_a_closed_set_has_a_row(document: str, names: tuple[str, ...]) -> None:
    assert set(names) <= first_cells(document)


def test_every_built_in_metric_is_described_as_it_is() -> None:
    rows = {
        row.split("`")[1]: row for row in text_of("docs/feedback.md").splitlines() if row.startswith("| `")
    }
    for name, metric in BUILT_IN.items():
        _, _, values, per, better, *_ = rows[name].split("|")
        assert per.strip() == metric.per
        assert better.strip() == ("higher" if metric.higher_is_better else "lower")
        bounds = [f"{bound:g}" for bound in (metric.low, metric.high) if bound is not None]
        assert re.findall(r"\d+", values) == bounds


def test_the_states_of_a_canary_head_the_table_of_orders() -> None:
    header = next(line for line in text_of("docs/operations.md").splitlines() if line.startswith("| order |"))
    assert {cell.strip() for cell in header.split("|")[2:-1]} == set(get_args(StateName))


def test_every_route_of_the_admin_listener_is_documented() -> None:
    access = Access(admin_token=lambda: "t", metrics_token=lambda: None, loopback=True)
    routes = admin_app(None, CollectorRegistry(), access).routes  # type: ignore[arg-type]
    documented = {
        (method, path.partition("?")[0])
        for cell in first_cells("docs/operations.md")
        if cell.startswith(("GET /", "POST /"))
        for method, _, path in [cell.partition(" ")]
    }
    served = {(method, each.path) for each in routes for method in each.methods if method != "HEAD"}  # type: ignore[attr-defined]
    assert documented == served


def test_every_secret_is_documented_with_its_file_form() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "canary").rglob("*.py"))
    names = set(re.findall(r'Secret\(\s*"(CANARY_[A-Z_]+)"', sources))
    assert len(names) >= 6
    assert names | {f"{name}_FILE" for name in names} <= first_cells("docs/operations.md")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_variable_that_stands_for_an_option_is_documented(command: str) -> None:
    variables = {each.envvar for each in COMMANDS[command].params if each.envvar}
    assert {name for name in variables if f"`{name}`" not in text_of("docs/operations.md")} == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    prose = _FENCE.sub("", path.read_text())
    for target in _LINK.findall(prose):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in headings(found), f"{target}: there is no such heading"


def headings(path: Path) -> set[str]:
    """The anchors that a Markdown page's headings get."""
    titles = re.findall(r"^#+ +(.*)$", _FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    "text", named(block for block in fenced("yaml") if block[1].startswith("providers:"))
)
def test_every_whole_config_in_the_documents_is_accepted(text: str) -> None:
    environment = dict.fromkeys(re.findall(r"\$\{(\w+)", text), "http://127.0.0.1:9")
    parse(text, "canary.yaml", environment)


def test_the_readme_begins_with_a_config_of_one_canary_that_needs_no_warning() -> None:
    blocks = [text for _, text in fenced("yaml", ROOT / "README.md")]
    config = parse(blocks[0], "canary.yaml", {})
    assert len(blocks[0].splitlines()) <= 14
    assert len(config.canaries) == 1
    assert config.warnings == ()


def test_the_readme_shows_the_picture_and_both_commands_on_its_first_screen() -> None:
    screen = "\n".join(text_of("README.md").splitlines()[:14])
    assert "(docs/canary.svg)" in screen
    assert "make demo" in screen
    assert "make test" in screen
    assert "## Test\n\n```sh\nmake test\n```" in text_of("README.md")
