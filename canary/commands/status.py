"""`canary status`: shows the canaries' states, once or continuously."""

import time
from collections.abc import Mapping
from typing import Annotated, Any, get_args

import typer

from canary.commands.client import AdminClient, NotReached
from canary.commands.shell import (
    CONFIG,
    DATA,
    Admin,
    ConfigFile,
    DataFolder,
    Form,
    admin_client,
    ask,
    fail,
    print_json,
    print_text,
    say,
)
from canary.commands.wait import Clock
from routing.states import StateName

ROLLED_BACK = 5


def status(
    name: Annotated[str | None, typer.Argument(help="A canary's name. Default: all.")] = None,
    admin: Admin = None,
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh every second, until Ctrl-C.")] = False,
    until: Annotated[
        str | None, typer.Option("--until", help="Watch until every canary shown is in this state.")
    ] = None,
    output: Form = "text",
) -> None:
    """Show the state of every canary. Exits 5 if one was rolled back."""
    if until is not None and until not in get_args(StateName):
        fail(f"--until {until!r} is not a state; use one of: {', '.join(get_args(StateName))}", code=2)
    client = admin_client(admin, data)
    document = ask(lambda: _read(client, name))
    if watch or until is not None:
        document = _watched(client, name, until, output)
    elif output == "json":
        print_json(document)
    else:
        from pages.status.terminal import show_status

        show_status(document, time.time())
    for each in document["degraded"]:
        say(f"degraded: {each}")
    if any(canary["state"] == "rolled_back" for canary in document["canaries"]):
        raise typer.Exit(ROLLED_BACK)


def _read(client: AdminClient, name: str | None) -> Mapping[str, Any]:
    """The status document, limited to the named canary. Exits 1 if the server has no canary of that name."""
    document: Mapping[str, Any] = client.get("/api/status")
    if name is None:
        return document
    found = [canary for canary in document["canaries"] if canary["name"] == name]
    if not found:
        names = ", ".join(canary["name"] for canary in document["canaries"]) or "none"
        fail(f"the server has no canary {name!r}; it has: {names}")
    return {**document, "canaries": found}


def _watched(client: AdminClient, name: str | None, until: str | None, form: str) -> Mapping[str, Any]:
    from rich.console import Console

    from canary.commands.live_status import Lines, OnScreen, looks, watch

    updates = looks(lambda: _read(client, name), Clock())
    console = Console()
    try:
        if form == "text" and console.is_terminal:
            with OnScreen(console, time.time) as screen:
                return watch(updates, screen, until)
        return watch(updates, Lines(print_text, time.time, form=form), until)
    except NotReached as problem:
        fail(str(problem))
