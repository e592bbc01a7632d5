"""Serves the admin listener beside a process's own loops."""

import asyncio
import os
import socket
from collections.abc import Coroutine, Sequence
from ipaddress import ip_address
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from canary.config.quantity import is_loopback
from canary.programs.config_pipe import FollowedConfig
from canary.programs.process import ShutdownSignal, WorkerArgs
from canary.programs.tls_listener import spoken
from canary.programs.traffic_server import TrafficServer
from canary.secrets import Secret, admin_token
from console.access.guard import Access
from proxy.network.descriptors import Descriptors
from proxy.network.server.caller_connection import TrafficProtocol
from proxy.network.server.endpoints import AsgiHandler
from proxy.network.server.listeners import url_of

GRACE_S = 5


def access_to(args: WorkerArgs) -> Access:
    """The tokens and rules of access to this process."""
    loopback = is_loopback(args.host)
    return Access(
        admin_token=admin_token(os.environ, args.folder, loopback=loopback).value,
        metrics_token=Secret("CANARY_METRICS_TOKEN", os.environ).value,
        loopback=loopback,
        viewer_token=Secret("CANARY_VIEWER_TOKEN", os.environ).value,
    )


def own_url(args: WorkerArgs, *, tls: bool) -> str:
    """The URL of this process's listener, as another machine may reach it."""
    with socket.socket(fileno=os.dup(args.fd)) as listener:
        host, port = listener.getsockname()[:2]
    if ip_address(host).is_unspecified:  # on every address of this machine
        host = socket.gethostname()
    return url_of(host, port, tls=tls)


async def listen(
    app: Starlette,
    args: WorkerArgs,
    config: FollowedConfig,
    shutdown: ShutdownSignal,
    loops: Sequence[Coroutine[Any, Any, None]],
) -> None:
    """Serve `app` and run the loops until the process is to end; then cancel them. Raises what broke one."""
    behind_proxies: Any = ProxyHeadersMiddleware(app, os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1"))  # type: ignore[arg-type]
    handler = AsgiHandler(behind_proxies, lambda: "http" if config.certificate is None else "https")
    server = TrafficServer(
        _uvicorn(handler, spoken(config, TrafficProtocol)), Descriptors.of_this_process(), sheds=True
    )
    listener = socket.socket(fileno=args.fd)
    tasks = [asyncio.create_task(each) for each in loops]
    serving = asyncio.create_task(server._serve([listener]))
    ended = asyncio.create_task(shutdown.wait())
    try:
        await asyncio.wait({ended, serving, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
        await handler.finish(GRACE_S)
    finally:
        for task in (*tasks, ended):
            task.cancel()
        results = await asyncio.gather(*tasks, ended, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


def _uvicorn(handler: AsgiHandler, protocol: type[asyncio.Protocol]) -> uvicorn.Config:
    return uvicorn.Config(
        cast(Any, handler),
        http=protocol,
        loop="none",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
    )
