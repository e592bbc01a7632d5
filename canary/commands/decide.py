"""`canary decide`: records a person's decision on a canary."""

from typing import Annotated, Literal, TypeAlias
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
    user,
)

Choice: TypeAlias = Literal["ship", "dont_ship", "extend"]


def decide(
    name: Annotated[str, typer.Argument(help="The canary's name.")],
    reason: Annotated[str, typer.Option("--reason", help="The reason.")],
    choice: Annotated[Choice | None, typer.Argument(metavar="[DECISION]", help="The decision.")] = None,
    decision: Annotated[Choice | None, typer.Option("--decision", help="The same.")] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="The person who decides; by default the system's user name.")
    ] = None,
    despite: Annotated[
        str,
        typer.Option(
            "--despite",
            help="With ship: each miss that it outweighs, for example csat,category:refund.",
        ),
    ] = "",
    minutes: Minutes = None,
    admin: Admin = None,
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Record a decision on a canary. Changes no share; use promote, ramp or rollback for that.

    A decision to ship names each miss of the run. It counts for these as they stand now: one that gets worse
    than its whole interval of now, or another miss, is don't ship again. It never outweighs a rollback, or a
    split of users that does not match the share.
    """
    who, wanted = user() if by is None else by, decision if choice is None else choice
    if not who.strip() or not reason.strip():
        fail("--by and --reason must not be empty", code=2)
    if wanted is None or (choice and decision and choice != decision):
        fail("say one decision: canary decide NAME ship, dont_ship or extend", code=2)
    names = [each.strip() for each in despite.split(",") if each.strip()]
    if names and wanted != "ship":
        fail("--despite needs the decision ship: it names the misses that this outweighs", code=2)
    document = {"decision": wanted, "who": who, "reason": reason, "despite": names, "minutes": minutes}
    path = f"/api/canaries/{quote(name, safe='')}/decide"
    done = ask(lambda: admin_client(admin, data).post(path, document))
    if output == "json":
        return print_json(done)
    weighed = f" despite {', '.join(names)}" if names else ""
    say(f"{name}, run {done['run']}: {wanted.replace('_', ' ')}{weighed}, by {who}")
    if done["note"]:
        say(done["note"])
    return None
