"""`canary serve`: reads the flags, the environment and the config file, and starts the supervisor."""

import os
from typing import Annotated

import typer

from canary.commands.shell import CONFIG, ConfigFile, fail, say
from canary.config import ConfigError, load


def serve(
    config: ConfigFile = CONFIG,
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
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Share the ports with the server that holds them.")
    ] = False,
) -> None:
    """Start the server: the traffic workers and the admin process."""
    from canary.config.data_folder import data_folder
    from canary.config.roles import check_role
    from canary.programs.serve import InUse, serve
    from canary.secrets import BadSecret

    flags = {
        "traffic": traffic,
        "admin": admin,
        "workers": workers,
        "data": data
        if data is not None
        else os.environ.get("CANARY_DATA") or str(data_folder(config, os.environ)),
        "grace": grace,
        "role": role,
    }
    try:
        read = load(config, os.environ)
        for warning in read.warnings:
            say(warning)
        settings = read.server.overridden(os.environ, flags)
        check_role(read, settings.role)
        serve(config, settings, take_over=take_over)
    except ConfigError as problem:
        fail(str(problem), code=2)
    except (InUse, BadSecret, OSError) as problem:
        fail(str(problem))
