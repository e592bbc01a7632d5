"""What a stranger looks for in a repository is there, and says the same everywhere."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))


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
