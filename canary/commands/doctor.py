"""`canary doctor`: prints what the checks found."""

import os
from typing import Annotated

import typer

from canary.commands.shell import CONFIG, Admin, ConfigFile, Form, print_json, print_text


def doctor(
    config: ConfigFile = CONFIG,
    data: Annotated[
        str | None, typer.Option("--data", envvar="CANARY_DATA", help="The server's data folder.")
    ] = None,
    admin: Admin = None,
    output: Form = "text",
) -> None:
    """Look at everything a server needs and say what is wrong, and what to do. Exits 1 when something is."""
    from canary.commands.doctor_checks import document, examine, lines

    findings = examine(config, os.environ, data=data, admin=admin)
    result = document(findings)
    if output == "json":
        print_json(result)
    else:
        print_text("\n".join(lines(findings)))
    raise typer.Exit(0 if result["ok"] else 1)
