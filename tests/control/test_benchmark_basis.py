"""What would make another benchmark say something else changes the basis; nothing else does."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.benchmark.run import basis_of
from canary.config import parse

TEXT = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries:
  - name: c
    match: {models: [old]}
    baseline: {provider: openai, model: old}
    candidate: {provider: openai, model: older}
    share: 5%
    rubric: [{metric: task_completed, acceptable: "> 5%", ideal: "> 9%", weight: 1, question: "Enough?"}]
datasets:
  sums: {file: sums.jsonl, layer: synthetic}
"""
LINE = {"id": "1", "task": "exact", "input": "1 + 1 = ?", "expected": "2", "tags": {"label": "proposed"}}


def basis(folder: Path, text: str = TEXT, against: str | None = None) -> dict[str, str]:
    config = parse(text, "canary.yaml", {})
    return dict(basis_of(config.bench, folder / "canary.yaml", "openai/new", against))


def written(folder: Path, **changes: object) -> None:
    (folder / "sums.jsonl").write_text(json.dumps({**LINE, **changes}))


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return [part for part in before if before[part] != after[part]]


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("datasets", lambda folder: written(folder, expected="3")),
        ("datasets", lambda folder: written(folder, tags={"label": "reviewed"})),
        ("datasets", lambda folder: (folder / "sums.jsonl").unlink()),
        ("datasets", lambda folder: (folder / "sums.jsonl").write_text("{")),
        ("known issues", lambda folder: (folder / "known-issues.jsonl").write_text("x")),
    ],
)
def test_a_changed_file_changes_its_part(tmp_path: Path, part: str, change: Callable[[Path], None]) -> None:
    written(tmp_path)
    before = basis(tmp_path)
    change(tmp_path)
    assert changed(before, basis(tmp_path)) == [part]
    assert basis(tmp_path) == basis(tmp_path)


@pytest.mark.parametrize(
    ("part", "old", "new"),
    [
        ("rubric", '"> 5%"', '"> 4%"'),
        ("datasets", "layer: synthetic", "layer: synthetic, floor: 80%"),
        ("unpriced", "datasets:", "prices: {new: {input: 1, output: 2}}\ndatasets:"),
    ],
)
def test_a_changed_config_changes_its_part(tmp_path: Path, part: str, old: str, new: str) -> None:
    written(tmp_path)
    assert changed(basis(tmp_path), basis(tmp_path, TEXT.replace(old, new))) == [part]


def test_another_current_model_changes_what_is_compared_with_and_its_rubric(tmp_path: Path) -> None:
    written(tmp_path)
    now = basis(tmp_path, against="openai/older")
    assert now["current model"] == "openai/older"
    assert changed(basis(tmp_path), now) == ["current model", "rubric", "unpriced"]


def test_a_current_model_that_is_not_clear_is_a_part_too(tmp_path: Path) -> None:
    text = TEXT[: TEXT.index("canaries:")]
    assert "name the current model" in basis(tmp_path, text)["current model"]
