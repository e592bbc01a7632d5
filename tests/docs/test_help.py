"""What `--help` says: every command has an example that it would take, and the shell can complete."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from canary.cli import app


def commands(group: Any, before: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every command by its words."""
    found: dict[str, Any] = {}
    for name, each in group.commands.items():
        words = (*before, name)
        found |= commands(each, words) if hasattr(each, "commands") else {" ".join(words): each}
    return found


COMMANDS = commands(typer.main.get_command(app))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_help_ends_with_an_example_that_it_takes(name: str) -> None:
    command = COMMANDS[name]
    text = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "200"}).output
    found = re.search(r"Example: canary (.+)", text)
    assert found is not None
    words = shlex.split(found[1].partition(" > ")[0])
    assert words[: len(name.split())] == name.split()
    # Parsed as the real call would be: an unknown option or a missing one raises.
    command.make_context(name, words[len(name.split()) :], resilient_parsing=False).close()


@pytest.mark.parametrize("words", ["", "check", "archive", "archive list"])
def test_the_short_form_asks_for_help_everywhere(words: str) -> None:
    short, long = (CliRunner().invoke(app, [*words.split(), option]) for option in ("-h", "--help"))
    assert (short.exit_code, short.output) == (0, long.output)


def test_bash_completes_a_command() -> None:
    asked = {"_CANARY_COMPLETE": "complete_bash", "COMP_WORDS": "canary sta", "COMP_CWORD": "1"}
    program = Path(sys.executable).with_name("canary")
    done = subprocess.run(
        [program], env={**os.environ, **asked}, capture_output=True, text=True, timeout=30, check=True
    )
    assert set(done.stdout.split()) == {"start", "status"}
