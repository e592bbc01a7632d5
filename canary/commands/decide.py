"""`canary decide`: what a person decides of a canary, kept for good."""

from typing import Annotated, Literal
from urllib.parse import quote

import typer

from canary.commands.shell import DATA, Admin, DataFolder, Form, admin_client, ask, fail, print_json, say


def decide(
    name: Annotated[str, typer.Argument(help="The canary's name.")],
    decision: Annotated[Literal["ship", "dont_ship", "extend"], typer.Option("--decision", help="What.")],
    by: Annotated[str, typer.Option("--by", help="Who decides.")],
    reason: Annotated[str, typer.Option("--reason", help="Why.")],
    compensating: Annotated[
        str | None,
        typer.Option("--compensating", help="With ship: what outweighs a missed bound."),
    ] = None,
    admin: Admin = None,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Record what was decided of a canary. It moves no share: promote, ramp and rollback do."""
    if not by.strip() or not reason.strip():
        fail("a decision needs who (--by) and why (--reason)", code=2)
    if compensating and decision != "ship":
        fail("--compensating goes with --decision ship: it says why a missed bound is outweighed", code=2)
    document = {"decision": decision, "who": by, "reason": reason, "compensating": compensating}
    path = f"/api/canaries/{quote(name, safe='')}/decide"
    done = ask(lambda: admin_client(admin, data).post(path, document))
    if output == "json":
        return print_json(done)
    say(f"{name}, run {done['run']}: {decision.replace('_', ' ')}, by {by}")
    return None
