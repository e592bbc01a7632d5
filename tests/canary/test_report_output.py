"""Where a report goes: printed in a form, or into a file whose ending tells the form."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from canary.cli import app
from canary.commands.report import ReportOutput
from tests.examples import FOLDER, WORLDS, write_log


@pytest.mark.parametrize(
    ("form", "output", "expected"),
    [
        (None, None, ("text", None)),
        (None, "json", ("json", None)),
        ("html", None, ("html", None)),
        (None, "report.html", ("html", "report.html")),
        (None, "report.MD", ("markdown", "report.MD")),
        ("json", "nameless", ("json", "nameless")),
        ("html", "json", ("html", "json")),
    ],
)
def test_a_form_is_printed_and_a_file_is_written(
    form: str | None, output: str | None, expected: tuple[str, str | None]
) -> None:
    found = ReportOutput.asked(form, output)
    assert (found.form, None if found.file is None else str(found.file)) == expected


@pytest.mark.parametrize(
    ("form", "output", "said"),
    [
        ("pdf", None, "use text, json, markdown, html"),
        (None, "pdf", "neither a form"),
        (None, "report.pdf", ".html, .md, .json or .txt"),
        (None, "/nowhere/report.html", "its folder does not exist"),
        ("html", "/", "its folder does not exist"),
    ],
)
def test_what_cannot_be_is_refused_with_what_would_be_right(
    form: str | None, output: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended:
        ReportOutput.asked(form, output)
    assert (ended.value.exit_code, said in capsys.readouterr().err) == (2, True)


def test_the_command_writes_the_file_whole_and_exits_with_the_verdict(tmp_path: Path) -> None:
    world = next(world for world in WORLDS if world.verdict == "dont_ship")
    log, page = write_log(world, tmp_path), tmp_path / "report.html"
    asked = ["report", "dont_ship", "--from", str(log), "--config", str(FOLDER / "canary.yaml")]
    done = CliRunner().invoke(app, [*asked, "-f", "html", "-o", str(page)])
    assert (done.exit_code, done.stdout) == (3, "")
    assert page.read_text().startswith("<!doctype html>")
    narrow = CliRunner().invoke(app, asked, env={"COLUMNS": "80"}).stdout.splitlines()
    assert max(map(len, narrow)) == 80
    assert [each.name for each in tmp_path.iterdir() if each.suffix not in (".csv", ".html")] == []
    wrong = CliRunner().invoke(app, [*asked, "-o", "pdf"])
    assert (wrong.exit_code, "neither a form" in wrong.output) == (2, True)


def test_without_a_server_ever_run_it_says_what_to_start(tmp_path: Path) -> None:
    asked = ["report", "--config", str(FOLDER / "canary.yaml"), "--data", str(tmp_path / "nowhere")]
    done = CliRunner().invoke(app, [*asked, "ship"])
    assert done.exit_code == 1
    assert done.stderr == (
        f"there is no data folder {tmp_path / 'nowhere'}; start `canary serve` first, or name its folder "
        f"with --data\n"
    )


def test_a_canary_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    asked = ["report", "nobody", "--config", str(FOLDER / "canary.yaml"), "--data", str(tmp_path)]
    done = CliRunner().invoke(app, asked)
    assert (done.exit_code, done.stderr.startswith("no canary 'nobody'; there are: ")) == (1, True)
