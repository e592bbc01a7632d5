"""`canary serve`: reads what the flags, the environment and the file say, and starts the supervisor."""

import os
from typing import Annotated

import typer

from canary.commands.shell import CONFIG, ConfigFile, fail, say
from canary.config import ConfigError, load


def serve(
    config: ConfigFile = CONFIG,
    traffic: Annotated[str | None, typer.Option(help="Where apps connect, HOST:PORT.")] = None,
    admin: Annotated[str | None, typer.Option(help="Where operators connect, HOST:PORT.")] = None,
    workers: Annotated[str | None, typer.Option(help="How many traffic processes.")] = None,
    data: Annotated[str | None, typer.Option(help="The data folder.")] = None,
    grace: Annotated[str | None, typer.Option(help="How long SIGTERM lets streams drain, as 600s.")] = None,
    role: Annotated[str | None, typer.Option(help="all, or traffic or admin of several replicas.")] = None,
) -> None:
    """Start the proxy: traffic workers, the admin process and all they need on this machine."""
    from canary.config.roles import check_role
    from canary.programs.serve import InUse, serve
    from canary.secrets import BadSecret

    flags = {
        "traffic": traffic,
        "admin": admin,
        "workers": workers,
        "data": data,
        "grace": grace,
        "role": role,
    }
    try:
        read = load(config, os.environ)
        for warning in read.warnings:
            say(warning)
        settings = read.server.overridden(os.environ, flags)
        check_role(read, settings.role)
        serve(config, settings)
    except ConfigError as problem:
        fail(str(problem), code=2)
    except (InUse, BadSecret, OSError) as problem:
        fail(str(problem))
