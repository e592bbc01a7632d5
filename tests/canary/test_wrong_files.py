"""What a person names and cannot be used is named back, with what is wrong, and leaves nothing half done."""

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from canary.cli import app
from records.store import Store
from tests.effort import in_more

CONFIG = """
providers: {openai: {api: openai, base_url: "http://127.0.0.1:9/v1"}}
canaries:
  - name: trial
    match: {models: [a]}
    baseline: {provider: openai, model: a-1}
    candidate: {provider: openai, model: a-2}
    share: 5%
    rubric: [{metric: error_rate, acceptable: "< 3%", ideal: "< 1%", weight: 1, question: "Does it answer?"}]
"""

READS = {
    "feedback import": ["feedback", "import", "FILE", "--traffic", "127.0.0.1:9"],
    "report --from": ["report", "trial", "--from", "FILE"],
    "report --rubric": ["report", "trial", "--rubric", "FILE"],
    "archive import": ["archive", "import", "FILE"],
    "check --config": ["check", "--config", "FILE"],
    "simulate --config": ["simulate", "--config", "FILE"],
}
WRITES = {
    "records export": ["records", "export", "-o", "FILE"],
    "records export as Parquet": ["records", "export", "--format", "parquet", "-o", "FILE"],
    "archive export": ["archive", "export", "-o", "FILE"],
    "rules": ["rules", "-o", "FILE"],
    "report": ["report", "trial", "-f", "html", "-o", "FILE"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A config and a store, and files that nothing can be read from."""
    (tmp_path / "canary.yaml").write_text(CONFIG)
    (tmp_path / "folder").mkdir()
    (tmp_path / "bytes").write_bytes(b"unit,\xff\xfe")
    with closing(Store.open("sqlite:///canary.db", tmp_path)):
        return tmp_path


def where(folder: Path) -> dict[str, str]:
    return {"CANARY_CONFIG": str(folder / "canary.yaml"), "CANARY_DATA": str(folder)}


def refused(folder: Path, call: list[str], file: Path) -> str:
    words = [str(file) if word == "FILE" else word for word in call]
    done = CliRunner().invoke(app, words, env=where(folder))
    assert done.exit_code in (1, 2)
    assert done.stdout == ""
    assert isinstance(done.exception, SystemExit)  # no traceback
    return done.stderr


@pytest.mark.parametrize("call", READS.values(), ids=READS)
@pytest.mark.parametrize(
    ("name", "wrong"), [("nope", "No such file"), ("folder", "Is a directory"), ("bytes", "UTF-8")]
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(
    folder: Path, call: list[str], name: str, wrong: str
) -> None:
    message = refused(folder, call, folder / name)
    assert name in message
    assert wrong in message
    assert "[Errno" not in message


def test_a_file_of_feedback_that_is_not_there_says_what_would_be_right(folder: Path) -> None:
    message = refused(folder, READS["feedback import"], folder / "nope.csv")
    assert "nope.csv cannot be read: No such file or directory; name a CSV file with the columns" in message


def test_a_config_that_is_not_there_says_how_to_name_another(folder: Path) -> None:
    assert "--config, or write it with `canary init`" in refused(
        folder, READS["check --config"], folder / "nope.yaml"
    )


def test_a_log_without_its_columns_is_named(folder: Path) -> None:
    (folder / "log.csv").write_text("who,what\n")
    message = refused(folder, READS["report --from"], folder / "log.csv")
    assert "log.csv line 1: unknown column 'who'. Columns are unit, arm, at" in message


@pytest.mark.parametrize("call", WRITES.values(), ids=WRITES)
def test_a_file_that_cannot_be_written_is_named_with_the_reason(folder: Path, call: list[str]) -> None:
    for file in (folder / "nowhere" / "file", folder / "folder", Path("/")):
        message = refused(folder, call, file)
        assert str(file) in message
        assert "[Errno" not in message
    assert {each.name for each in folder.iterdir() if each.suffix in (".part", ".tmp")} == set()


def test_a_file_system_that_takes_no_file_is_named(folder: Path) -> None:
    for call in WRITES.values():
        assert "/proc/file cannot be written: " in refused(folder, call, Path("/proc/file"))


def run(folder: Path, call: list[str], stdout: str, **environment: str) -> tuple[int, str]:
    """The code and what is said, with stdout at a path."""
    with Path(stdout).open("w") as file:
        done = subprocess.run(
            [sys.executable, "-m", "canary", *call],
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | where(folder) | environment,
            timeout=120,
            check=False,
        )
    return done.returncode, done.stderr


@pytest.mark.parametrize("call", [["schema"], in_more(["records", "export"])], ids=" ".join)
def test_a_full_disk_below_stdout_is_an_error_and_no_traceback(folder: Path, call: list[str]) -> None:
    code, said = run(folder, call, "/dev/full")
    assert (code, said.splitlines()[-1]) == (1, "stdout cannot be written: No space left on device")
    assert "Traceback" not in said


def test_a_reader_that_has_enough_ends_an_export_without_a_word(folder: Path) -> None:
    command = [sys.executable, "-m", "canary", "records", "export"]
    environment: Mapping[str, str] = os.environ | where(folder)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()  # before a word is written
        assert running.stderr.read() == ""
    assert running.returncode == 1


def test_a_terminal_that_is_not_of_utf8_shows_the_rest(folder: Path) -> None:
    out = folder / "out"
    assert run(folder, ["check"], str(out), PYTHONIOENCODING="latin-1")[0] == 0
    assert out.read_text().splitlines()[0] == "trial: openai/a-1 \\u2192 openai/a-2, share 5%"


@pytest.mark.parametrize("requests", ["1e300", "inf"])
def test_more_requests_than_a_user_can_make_are_a_mistake(folder: Path, requests: str) -> None:
    assert "1000000" in refused(folder, ["check", "--requests", requests], folder)
