"""What stands around `make test-image`: the note that it passed, and what it says where it cannot go on."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.image.engine import engine

ROOT = Path(__file__).parents[2]
NOTE = Path("tests/image/passed.sha256")
INPUTS = (
    "Dockerfile", ".dockerignore", "pyproject.toml", "hatch_build.py", "requirements-compile.lock",
    "requirements-server.lock", "deploy/compose/compose.yaml", "tests/image/Build.py", "tests/image/base.py",
)  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The Makefile, with files that are named as the image's inputs."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in INPUTS:
        write(tmp_path / name, name)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def program(path: Path, script: str) -> None:
    """A shell script that can be run."""
    write(path, f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def make(checkout: Path, target: str, locale: str = "C.UTF-8") -> tuple[int, str]:
    """Exit code and stderr."""
    done = subprocess.run(
        ["make", "--silent", "-o", ".venv/dev", target], cwd=checkout,
        env={"PATH": os.environ["PATH"], "LC_ALL": locale}, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    return done.returncode, done.stderr


def note(checkout: Path) -> None:
    """Write the note of these files, as sha256sum does."""
    done = subprocess.run(
        ["sha256sum", *sorted(INPUTS)], cwd=checkout, capture_output=True, text=True, timeout=120, check=True
    )
    (checkout / NOTE).write_text(done.stdout)


def test_without_a_note_the_image_is_not_tested(checkout: Path) -> None:
    code, said = make(checkout, "image-tested")
    assert code != 0
    assert "make test-image has not passed with the files as they are\n" in said


def test_the_note_holds_in_every_locale_and_beside_generated_files(checkout: Path) -> None:
    note(checkout)
    for name in ("deploy/compose/.env", "deploy/compose/secrets/token", "tests/image/__pycache__/base.pyc"):
        write(checkout / name, "of this checkout only")
    assert [make(checkout, "image-tested", locale)[0] for locale in ("C.UTF-8", "en_US.UTF-8")] == [0, 0]


@pytest.mark.parametrize("name", [*INPUTS, "deploy/new"])
def test_a_changed_or_a_new_input_ends_the_note(checkout: Path, name: str) -> None:
    note(checkout)
    write(checkout / name, "changed")
    assert make(checkout, "image-tested")[0] != 0


def test_where_the_test_cannot_run_a_line_says_that_it_was_not(checkout: Path) -> None:
    program(checkout / ".venv" / "bin" / "python", "echo it needs root >&2; exit 2")
    code, said = make(checkout, "check-image")
    assert (code, "it needs root\nmake test-image was NOT run" in said) == (0, True)
    note(checkout)
    assert "NOT run" not in make(checkout, "check-image")[1]


def test_an_engine_that_ends_at_once_is_told_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "dockerd", "echo no room for containers >&2; exit 3")
    program(tmp_path / "bin" / "docker", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    with (
        pytest.raises(AssertionError, match=r"dockerd ended with 3:\nno room for containers"),
        engine(tmp_path),
    ):
        raise RuntimeError("no engine is ready")
