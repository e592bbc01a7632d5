"""`canary serve`, `demo` and `mcp`: what runs until it is told to end."""

import asyncio
import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from canary.commands import shell
from canary.commands.client import AdminClient
from canary.config import ConfigError, load
from canary.python_path import environment, program


def serve(
    config: shell.ConfigFile = shell.CONFIG,
    traffic: Annotated[str | None, typer.Option(help="HOST:PORT to listen on for apps.")] = None,
    admin: Annotated[str | None, typer.Option(help="HOST:PORT to listen on for operators.")] = None,
    workers: Annotated[str | None, typer.Option(help="The number of worker processes.")] = None,
    data: Annotated[str | None, typer.Option(help="The data folder.")] = None,
    grace: Annotated[
        str | None, typer.Option(help="How long streams may drain after SIGTERM, for example 600s.")
    ] = None,
    role: Annotated[
        str | None, typer.Option(help="all on a single machine; traffic or admin on replicas.")
    ] = None,
    log: Annotated[
        Literal["text", "json"] | None,
        typer.Option(envvar="CANARY_LOG", help="The log's form: words in a terminal, JSON elsewhere."),
    ] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Share the ports with the server that holds them.")
    ] = False,
) -> None:
    """Start the server: the traffic workers and the admin process."""
    from canary.config.config import check_role
    from canary.config.load import data_folder
    from canary.programs.serve import FolderInUse, serve
    from canary.secrets import BadSecret

    if data is None:
        data = os.environ.get("CANARY_DATA") or str(data_folder(config, os.environ))
    if log is not None:
        os.environ["CANARY_LOG"] = log  # the children read it, too
    flags = {
        "traffic": traffic,
        "admin": admin,
        "workers": workers,
        "data": data,
        "grace": grace,
        "role": role,
    }
    with shell.ended_by(ConfigError, code=2), shell.ended_by(FolderInUse, BadSecret, OSError):
        read = load(config, os.environ, Path(data).absolute())
        for warning in read.warnings:
            shell.say(warning)
        settings = read.server.overridden(os.environ, flags)
        check_role(read, settings.role)
        serve(config, settings, take_over=take_over)


_PROVIDER = "http://127.0.0.1:8082"


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
    provider: Annotated[
        bool,
        typer.Option("--provider", help=f"Run only its provider, at {_PROVIDER}: any key, any model."),
    ] = False,
) -> None:
    """Run the demo: two candidates are rolled back, one passes. Takes a minute; needs no key or network."""
    if provider:
        command = program("demo.provider", "--port", _PROVIDER.rpartition(":")[2])
        os.execve(command[0], command, environment())  # noqa: S606
    arguments = [*(["--keep"] if keep else []), *(["--open"] if opening else [])]
    if opening and (store is not None or shared is not None):
        shell.fail("--open makes up its releases in a new store: leave out --store and --shared", code=2)
    if store is not None and shared is not None:
        arguments += ["--store", store, "--shared", shared]
    elif store is not None or shared is not None:
        shell.fail("replicas need both --store postgresql://… and --shared redis://…", code=2)
    command = program("demo.story", *arguments)
    os.execve(command[0], command, environment())  # noqa: S606


_TOKENS = ("CANARY_VIEWER_TOKEN", "CANARY_ADMIN_TOKEN")


def mcp(
    admin: shell.Admin = None, config: shell.ConfigFile = shell.CONFIG, data: shell.DataFolder = shell.DATA
) -> None:
    """Answer an assistant's questions by the Model Context Protocol, over stdin and stdout: releases, status,
    report, why. Reads only."""
    try:
        from canary.commands.mcp_server import serve
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] != "mcp":
            raise
        shell.fail("the MCP SDK is not installed: pip install 'WHEEL[mcp]', or '.[mcp]' in a checkout")
    asyncio.run(serve(lambda: AdminClient(admin=admin, data=data, environment=os.environ, tokens=_TOKENS)))
