"""`canary demo`: replaces this process with the demo, on one machine or on replicas."""

import os
from typing import Annotated

import typer

from canary.commands.shell import fail
from canary.interpreter import environment, program


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server running at the end.")] = False,
    opening: Annotated[
        bool,
        typer.Option(
            "--open", help="Add three made-up releases, leave the server running, and open its page."
        ),
    ] = False,
    store: Annotated[
        str | None, typer.Option(help="A PostgreSQL URL; with --shared, run the demo on replicas.")
    ] = None,
    shared: Annotated[
        str | None, typer.Option(help="A Redis URL; with --store, run the demo on replicas.")
    ] = None,
) -> None:
    """Run the demo: two candidates are rolled back, one passes. Takes a minute; needs no key or network."""
    arguments = [*(["--keep"] if keep else []), *(["--open"] if opening else [])]
    if opening and (store is not None or shared is not None):
        fail("--open makes up its releases in a new store: leave out --store and --shared", code=2)
    if store is not None and shared is not None:
        arguments += ["--store", store, "--shared", shared]
    elif store is not None or shared is not None:
        fail("replicas need both --store postgresql://… and --shared redis://…", code=2)
    command = program("demo.story", *arguments)
    os.execve(command[0], command, environment())  # noqa: S606
