"""Every command prints JSON on request, and refuses a form that there is not."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from canary.cli import app

RUN_ON = ("serve", "demo", "mcp", "init")
"""They print no result: they stay."""

TEXT_OR_JSON = [
    *(["start", "one"], ["pause", "one"], ["rollback", "one"], ["ramp", "one", "5%"]),
    *(["resume", "one", "--reason", "r"], ["promote", "one", "--reason", "r"], ["status"], ["explain", "u"]),
    *(["wait", "one"], ["check"], ["doctor"], ["simulate"], ["archive", "list"], ["archive", "trends"]),
    *(["archive", "show", "one"], ["archive", "import", "f"], ["feedback", "import", "f"], ["schema"]),
]


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with how it is called."""
    if hasattr(command, "commands"):
        for name, each in command.commands.items():
            yield from leaves(each, (*path, name))
    else:
        yield path, command


def test_every_command_with_a_result_takes_o() -> None:
    without = {
        path
        for path, command in leaves(typer.main.get_command(app))
        if not any("-o" in option.opts for option in command.params)
    }
    assert without == {(name,) for name in RUN_ON}


@pytest.mark.parametrize("call", TEXT_OR_JSON, ids=" ".join)
def test_a_form_that_there_is_not_is_refused_with_those_there_are(call: list[str]) -> None:
    done = CliRunner().invoke(app, [*call, "-o", "jsno"])
    assert done.exit_code == 2
    assert "'jsno'" in done.stderr
    assert "'json'" in done.stderr
