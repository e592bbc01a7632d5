"""`canary demo`: both stories, on one machine or on replicas. The demo is a program of its own."""

import os
from typing import Annotated

import typer

from canary.commands.shell import fail
from canary.interpreter import environment, program


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end.")] = False,
    store: Annotated[
        str | None, typer.Option(help="With --shared: on replicas over this PostgreSQL.")
    ] = None,
    shared: Annotated[str | None, typer.Option(help="With --store: and this Redis.")] = None,
) -> None:
    """See it work: no key, no network, about a minute."""
    arguments = ["--keep"] if keep else []
    if store is not None and shared is not None:
        arguments += ["--store", store, "--shared", shared]
    elif store is not None or shared is not None:
        fail("replicas need both: --store postgresql://… and --shared redis://…", code=2)
    command = program("demo.story", *arguments)
    os.execve(command[0], command, environment())  # noqa: S606
