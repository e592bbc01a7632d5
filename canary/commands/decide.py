"""`canary decide`: records a person's decision on a canary."""

from typing import Annotated, Literal
from urllib.parse import quote

import typer

from canary.commands.shell import (
    CONFIG,
    DATA,
    Admin,
    ConfigFile,
    DataFolder,
    Form,
    Minutes,
    admin_client,
    ask,
    fail,
    print_json,
    say,
)


def decide(
    name: Annotated[str, typer.Argument(help="The canary's name.")],
    decision: Annotated[
        Literal["ship", "dont_ship", "extend"], typer.Option("--decision", help="The decision.")
    ],
    by: Annotated[str, typer.Option("--by", help="The person who decides.")],
    reason: Annotated[str, typer.Option("--reason", help="The reason.")],
    compensating: Annotated[
        str | None,
        typer.Option("--compensating", help="With --decision ship: what outweighs a missed bound."),
    ] = None,
    minutes: Minutes = None,
    admin: Admin = None,
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Record a decision on a canary. Changes no share; use promote, ramp or rollback for that."""
    if not by.strip() or not reason.strip():
        fail("--by and --reason must not be empty", code=2)
    if compensating and decision != "ship":
        fail("--compensating needs --decision ship: it says what outweighs a missed bound", code=2)
    document = {
        "decision": decision,
        "who": by,
        "reason": reason,
        "compensating": compensating,
        "minutes": minutes,
    }
    path = f"/api/canaries/{quote(name, safe='')}/decide"
    done = ask(lambda: admin_client(admin, data).post(path, document))
    if output == "json":
        return print_json(done)
    say(f"{name}, run {done['run']}: {decision.replace('_', ' ')}, by {by}")
    return None
