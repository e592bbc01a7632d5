"""`canary explain`: shows a unit's arm in each canary."""

from typing import Annotated

import typer

from canary.commands.shell import (
    CONFIG,
    DATA,
    Admin,
    ConfigFile,
    DataFolder,
    Form,
    admin_client,
    ask,
    print_json,
    print_text,
)


def explain(
    unit: Annotated[str, typer.Argument(help="The raw id of a user or other unit.")],
    admin: Admin = None,
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Show which arm a unit gets in each canary, and why. Sends and records nothing."""
    document = ask(lambda: admin_client(admin, data).get("/api/explain", unit=unit))
    if output == "json":
        return print_json(document)
    for each in document["canaries"]:
        print_text(f"{each['canary']}: {each['arm']} ({each['sentence']})")
    return None
