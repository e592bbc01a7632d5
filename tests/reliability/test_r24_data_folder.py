"""R24: the data folder stands beside the config file, wherever a command is started."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import Result
from typer.testing import CliRunner

from canary.cli import app
from tests.serving import ProviderThread, eventually

CONFIG = """
providers: {{openai: {{api: openai, base_url: "{url}/v1"}}}}
canaries:
  - name: here
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 10%
{more}
"""
CANARY = (sys.executable, "-m", "canary")
COMMANDS = (
    ["status"],
    ["explain", "user-1"],
    ["report", "here"],
    ["archive", "list"],
    ["records", "export", "-o", "-"],
    ["pause", "here"],
)


def write(folder: Path, url: str = "http://127.0.0.1:9", more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "canary.yaml"
    config.write_text(CONFIG.format(url=url, more=more))
    return config


def canary(config: Path, folder: Path, *arguments: str) -> Result:
    """A command, started in `folder`. It runs in our process: a program's start takes a second."""
    with contextlib.chdir(folder):
        named = ["--config", os.path.relpath(config, folder)]
        return CliRunner(env=environment()).invoke(app, [*arguments, *named], catch_exceptions=False)


def environment() -> dict[str, str | None]:
    """Without the variables of ours."""
    return {name: None for name in os.environ if name.startswith("CANARY_")}


def serving(config: Path, folder: Path, data: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`canary serve`, started in `folder` without --data, once `data` has its addresses."""
    command = [*CANARY, "serve", "--config", os.path.relpath(config, folder)]
    command += ["--traffic", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    plain = {name: value for name, value in os.environ.items() if name not in environment()}
    with subprocess.Popen(command, cwd=folder, env=plain, stderr=subprocess.DEVNULL) as server:
        try:
            eventually(lambda: (data / "server.json").exists() or server.poll() is not None)
            yield server
        finally:
            server.terminate()


@pytest.mark.parametrize(
    ("more", "name"),
    [("", "canary-data"), pytest.param("data: state/here", "state/here", marks=pytest.mark.more)],
)
def test_every_command_finds_the_folder_beside_the_config_from_any_folder(
    provider: ProviderThread, tmp_path: Path, more: str, name: str
) -> None:
    config, elsewhere = write(tmp_path / "config", provider.url, more), tmp_path / "elsewhere"
    elsewhere.mkdir()
    data = config.parent / name
    for server in serving(config, elsewhere, data):
        assert msgspec.json.decode((data / "server.json").read_bytes())["pid"] == server.pid
        eventually(lambda: canary(config, elsewhere, "status").exit_code == 0)
        for command in COMMANDS:
            done = canary(config, elsewhere, *command)
            assert done.exit_code in (0, 4), (command, done.stderr)
        found = canary(config, elsewhere, "doctor").stdout
        assert f"only you can read {data}" in found
    assert list(elsewhere.iterdir()) == []


def test_a_folder_that_is_named_is_relative_to_the_working_folder(tmp_path: Path) -> None:
    config, elsewhere = write(tmp_path / "config"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = canary(config, elsewhere, "status", "--data", "mine")
    assert "no server has run in mine" in done.stderr
    assert (
        f"{elsewhere / 'mine'} does not exist yet"
        in canary(config, elsewhere, "doctor", "--data", "mine").stdout
    )


def test_the_data_folder_of_another_config_file_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "canary-data").mkdir()
    told = canary(write(tmp_path / "second"), tmp_path, "status")
    assert "no server has run in second/canary-data" in told.stderr


def test_a_config_file_that_is_named_and_missing_is_said_and_no_folder_beside_it(tmp_path: Path) -> None:
    told = canary(tmp_path / "nowhere" / "canary.yaml", tmp_path, "status")
    assert told.exit_code == 2
    assert "there is no file" in told.stderr
    assert "no server has run" not in told.stderr
