"""What a stranger looks for in a repository is there, and says the same everywhere."""

import ast
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
TESTS = ROOT / "tests"
SKIPS = {
    "records/test_spool.py": "mounts a disk of memory, which takes root",
    "records/test_segment_writer.py": "the same",
    "reliability/test_r04_spool_full.py": "the same, in a namespace of its own",
    "common/test_whole_file.py": "the same",
    "reliability/hanging_disk.py": "mounts files by loop devices, which takes root",
    "deploy/test_systemd.py": "needs systemd (`make test` installs none); another one root",
    "benchmarks/test_probers.py": "needs a C compiler (`make bench` installs one)",
    "benchmarks/test_counts.py": "needs Python 3.12",
    "reliability/test_r10_malformed.py": "needs Envoy, which Debian lacks, and nginx as documented",
}
"""Where a test may be skipped, and for what: never for a program that `make test` installs."""


def test_the_licence_is_the_one_that_the_package_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    assert project["license-files"] == ["LICENSE"]
    assert "Apache License\n" in (ROOT / "LICENSE").read_text().splitlines(keepends=True)[1]


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one_that_github_takes(form: Path) -> None:
    kind = "config" if form.stem == "config" else "forms"
    schema = ["--builtin-schema", f"vendor.github-issue-{kind}"]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("check-jsonschema")), "--quiet", *schema, str(form)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout


def test_a_vulnerability_has_a_private_way_and_no_address_that_nobody_reads() -> None:
    policy = (ROOT / "SECURITY.md").read_text()
    assert "Report a vulnerability" in policy
    assert "@" not in policy
    assert "(../SECURITY.md)" in (ROOT / "docs/security.md").read_text()


def test_no_test_is_skipped_for_what_make_test_installs() -> None:
    """A new skip needs its line in SKIPS. One for a program that CI lacks hides a test from everybody."""
    ways = {"skip", "skipif", "importorskip", "xfail"}
    found = Counter(
        str(file.relative_to(TESTS))
        for file in TESTS.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ways and ast.unparse(node).startswith("pytest.")
    )
    assert found == dict.fromkeys(SKIPS, 1) | {
        "deploy/test_systemd.py": 2,
        "reliability/test_r10_malformed.py": 2,
    }
