"""`canary doctor`: runs the checks and prints their findings."""

import os
from typing import Annotated

import typer

from canary.commands.shell import (
    CONFIG,
    DATA,
    Admin,
    ConfigFile,
    DataFolder,
    Form,
    print_json,
    print_text,
    without_log_lines,
)


def doctor(
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
    admin: Admin = None,
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Send each arm one small request of each operation; it costs tokens."),
    ] = False,
    output: Form = "text",
) -> None:
    """Check everything a server needs, and say how to fix problems. Works without a server.

    Exits 1 if anything is broken.
    """
    from canary.commands.doctor_checks import document, examine, lines

    without_log_lines()
    findings = examine(config, os.environ, data=data, admin=admin, probe=probe)
    result = document(findings)
    if output == "json":
        print_json(result)
    else:
        print_text("\n".join(lines(findings)))
    raise typer.Exit(0 if result["ok"] else 1)
