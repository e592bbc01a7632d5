"""The GitHub workflows pass their audits, pin what they use, and publish only where the reader says."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

FILES = sorted((Path(__file__).parents[2] / ".github/workflows").glob("*.yml"))
RELEASE: dict[str, Any] = yaml.safe_load(next(file for file in FILES if file.stem == "release").read_text())
WRITES = {
    "sign": {"attestations", "id-token"},
    "index": {"id-token"},
    "image": {"attestations", "id-token", "packages"},
    "draft": {"contents"},
}
"""What each job of a release may write. All others only read."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_zizmor_and_the_workflow_schema_find_nothing(file: Path) -> None:
    for tool, *options in (
        ("zizmor", "--offline", "--persona=pedantic", "--no-progress"),
        ("check-jsonschema", "--builtin-schema", "vendor.github-workflows"),
    ):
        command = [str(Path(sys.executable).with_name(tool)), *options, str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_action_is_pinned_by_its_commit_beside_its_version(file: Path) -> None:
    used = re.findall(r"uses: (.*)", file.read_text())
    others = [each for each in used if not each.startswith("$/")]
    assert others
    for each in others:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each


def test_a_job_may_write_what_it_must_and_no_more() -> None:
    assert RELEASE["permissions"] == {}
    for name, job in RELEASE["jobs"].items():
        given = job["permissions"]
        assert {each for each, may in given.items() if may == "write"} == WRITES.get(name, set()), name
        assert set(given.values()) <= {"read", "write"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_registry_and_no_index_is_named(file: Path) -> None:
    text = file.read_text()
    assert not re.search(r"\b(ghcr|quay|docker|gcr|pypi)\.(io|com|org)\b", text)
    assert "https://" not in text


def test_what_publishes_waits_for_the_tests_and_is_left_out_unless_a_variable_says_where() -> None:
    jobs = RELEASE["jobs"]
    assert set(jobs["sign"]["needs"]) == {"test", "build"}
    for name, variable in (("index", "INDEX_UPLOAD_URL"), ("image", "REGISTRY")):
        assert jobs[name]["needs"] == "sign"
        assert jobs[name]["if"] == f"vars.{variable} != ''"
        assert f"{variable} is not set" in str(jobs["settings"]["steps"])
