"""`canary explain`: which arm a unit gets."""

from typing import Annotated

import typer

from canary.commands.shell import DATA, Admin, DataFolder, Form, admin_client, ask, print_json, print_text


def explain(
    unit: Annotated[str, typer.Argument(help="A user's, or other unit's, raw id.")],
    admin: Admin = None,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Say which arm a unit gets in each canary, and why. Nothing is sent or recorded."""
    document = ask(lambda: admin_client(admin, data).get("/api/explain", unit=unit))
    if output == "json":
        return print_json(document)
    for each in document["canaries"]:
        print_text(f"{each['canary']}: {each['arm']} ({each['sentence']})")
    return None
