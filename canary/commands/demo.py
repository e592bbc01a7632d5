"""`canary demo`: both stories, on one machine or on replicas."""

from typing import Annotated

import typer

from canary.commands.shell import fail


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end.")] = False,
    store: Annotated[
        str | None, typer.Option(help="With --shared: on replicas over this PostgreSQL.")
    ] = None,
    shared: Annotated[str | None, typer.Option(help="With --store: and this Redis.")] = None,
) -> None:
    """See it work: no key, no network, about a minute."""
    from canary.demo.story import run

    if (store is None) != (shared is None):
        fail("replicas need both: --store postgresql://… and --shared redis://…", code=2)
    raise typer.Exit(run(keep=keep, store=store, shared=shared))
