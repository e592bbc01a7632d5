"""`canary init` writes a first canary.yaml that `check` takes, and says what the plan says of it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from canary.cli import app
from tests.docs.casts import output

MODEL = ("--model", "gpt-5.6-terra")
LETTERS = st.characters(codec="utf-8", categories=["L", "N", "P", "S"], exclude_characters=",=$*")
NAMES = st.text(LETTERS, min_size=1, max_size=12)
SHARES = st.integers(1, 500).map(lambda tenths: f"{tenths / 10:g}%")
RECEIVERS = ("none", "https://pager.example/x", "slack=https://hooks.slack.com/s", "pagerduty=key")
FLAGS = st.fixed_dictionaries(
    {"--model": NAMES},
    optional={
        "--api": st.sampled_from(["openai", "anthropic", "gemini"]),
        "--port": st.integers(1, 65535).map(str),
        "--users": st.integers(1, 10**6).map(str),
        "--raters": st.one_of(st.just("0"), SHARES),
        "--categories": st.lists(NAMES, max_size=3).map(",".join),
        "--critical": st.lists(NAMES.map(lambda name: f"{name}=5%"), min_size=1, max_size=2).map(",".join),
        "--page": st.sampled_from(RECEIVERS),
        "--share": SHARES,
    },
)
FEW = settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--config", str(folder / "canary.yaml")])


def written(folder: Path) -> Any:
    return yaml.safe_load((folder / "canary.yaml").read_text())


@FEW
@given(flags=FLAGS)
def test_check_takes_what_init_writes(flags: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "canary.yaml").unlink(missing_ok=True)
    done = run(tmp_path, "init", *(each for pair in flags.items() for each in pair))
    assert done.exit_code == 0, done.output
    checked = run(tmp_path, "check")
    assert checked.exit_code == 0, checked.output
    assert all("has no known price" in line for line in checked.stderr.splitlines()), checked.output
    (canary,) = written(tmp_path)["canaries"]
    assert canary["match"]["models"] == [canary["baseline"]["model"]] == [flags["--model"]]


def test_init_tells_the_plans_own_figures_and_what_a_critical_category_needs(tmp_path: Path) -> None:
    traffic = ("--users", "20000", "--requests-a-day", "4300", "--raters", "20%")
    done = run(tmp_path, "init", *MODEL, *traffic, "--categories", "delivery", "--critical", "refund=10%")
    assert "With refund critical you need a share of 18 %, or 43 days." in done.stdout
    (line,) = [each for each in done.stdout.splitlines() if each.startswith("app: a candidate")]
    assert "with 20,000 users (from the config) who send 3.01 requests each" in line
    assert line == run(tmp_path, "plan").stdout.splitlines()[0]
    assert line in run(tmp_path, "check").stdout.splitlines()
    assert "refund" in written(tmp_path)["canaries"][0]["critical_categories"]
    assert "not seen" not in done.stdout
    (tmp_path / "canary.yaml").unlink()
    silent = run(tmp_path, "init", *MODEL, "--raters", "0").stdout
    assert "invention: not seen without feedback or a judge." in silent
    assert "csat" not in str(written(tmp_path)["canaries"])


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "canary.yaml").write_text("mine")
    done = run(tmp_path, "init", *MODEL)
    assert (done.exit_code, (tmp_path / "canary.yaml").read_text()) == (2, "mine")
    assert "overwrites nothing" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--model is required"),
        ([*MODEL, "--api", "azure"], "--api: 'azure' is not openai, anthropic or gemini; clouds"),
        ([*MODEL, "--port", "80800"], "--port: '80800' is not a port"),
        ([*MODEL, "--users", "many"], "--users: 'many' is not a number"),
        ([*MODEL, "--users", "20000", "--requests-a-day", "10"], "each asks at least once"),
        ([*MODEL, "--raters", "12"], "--raters: 12 is more than 100%; did you mean 12%?"),
        ([*MODEL, "--critical", "refund="], "'refund=' is not NAME or NAME=SHARE"),
        ([*MODEL, "--page", "anna"], "--page: 'anna' is not a URL"),
        ([*MODEL, "--page", "${NO_SUCH_VARIABLE}"], "NO_SUCH_VARIABLE"),
        ([*MODEL, "--name", "my app"], "a canary's name may contain letters"),
        ([*MODEL, "--base-url", "localhost"], "base_url"),
        (["--model", "a\nb"], "--model: give one line of text"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = run(tmp_path, "init", *arguments)
    assert (done.exit_code, (tmp_path / "canary.yaml").exists()) == (2, False), done.output
    assert said in " ".join(done.stderr.split())


def test_in_a_terminal_init_asks_and_asks_again(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "canary", "init", "--config", str(tmp_path / "canary.yaml")]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, b"azure\nanthropic\n\nclaude-opus-5\n9\n\n\n0\n\nrefund\n\n")
        said = "".join(text for _, text in output(ours))
    os.close(ours)
    assert process.returncode == 0, said
    assert "'azure' is not openai" in said
    found = written(tmp_path)
    assert (found["traffic"], list(found["providers"])) == ("127.0.0.1:9", ["anthropic"])
    assert found["canaries"][0]["critical_categories"] == ["refund"]


def test_init_says_of_a_small_team_what_check_then_says(tmp_path: Path) -> None:
    done = run(tmp_path, "init", *MODEL, "--users", "40", "--raters", "10%")
    said = (
        "2 users get the candidate: only empty, invalid_output, stalled can roll it back, once both have "
        "many such answers; at a share of 20 % the other rules can, too; csat needs 30 users"
    )
    assert said in done.stdout
    assert said in run(tmp_path, "check").stdout
