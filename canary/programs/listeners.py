"""What listens, for apps and for operators: uvicorn's Server without resets, TLS below its protocol, and the
admin listener beside a process's own loops.

`TrafficServer` resets nobody who has connected, when it ends or when it has no descriptors.
A connection that waits in the queue of a listening socket is reset with the socket's last close. uvloop
closes at the end of a turn, and who comes in that turn is lost. So the sockets are held here, and let go when
their queues have been emptied; uvloop listens on copies. Those are closed while descriptors are short:
callers wait then in the queue, where libuv would accept all and close them at once.

At the admin listener (`sheds`) whoever has owed a request for longest makes room: an order must not wait for
those who never send one.
"""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from functools import partial
from heapq import nsmallest
from ipaddress import ip_address
from operator import itemgetter
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from canary.config.certificate import Certificate, server_context
from canary.config.quantity import is_loopback
from canary.programs.config_pipe import FollowedConfig
from canary.programs.process import SIGINT_GRACE_S, ShutdownSignal, WorkerArgs
from canary.secrets import Secret, admin_token
from console.access.guard import Access
from console.access.session import LINK, OneTimeLink
from proxy.network.file_descriptors import MOST_RESERVED, FileDescriptors
from proxy.network.server.caller_connection import SharedByConnections, TrafficProtocol
from proxy.network.server.endpoints import AsgiHandler
from proxy.network.server.listeners import url_of
from proxy.network.server.tls import CallerTls
from proxy.network.ticker import Ticker

HELD_S = 0.05
"""Longer than uvloop takes to close its socket. A caller who connects meanwhile waits that long."""

PAUSE_S = 0.02
"""How often free descriptors are looked for while no caller is accepted."""

SHED_AT_ONCE = MOST_RESERVED // 2


class TrafficServer(uvicorn.Server):
    """uvicorn's Server, except in how it accepts without descriptors and how it shuts down."""

    def __init__(self, config: uvicorn.Config, descriptors: FileDescriptors, *, sheds: bool = False) -> None:
        super().__init__(config)
        self._descriptors = descriptors
        self._sheds = sheds
        self._held: list[socket.socket] = []
        self._pause: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on duplicates of the sockets."""
        self._held = list(sockets or ())
        self.lifespan.state["shared"] = SharedByConnections(asyncio.get_running_loop(), self._came)
        await super().startup([each.dup() for each in self._held])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listeners, accept the callers in their queues, and serve requests under way."""
        if self._pause is not None:
            self._pause.cancel()
        async with asyncio.TaskGroup() as ending:
            ending.create_task(super().shutdown())
            await asyncio.sleep(HELD_S)
            for connection in [each for listener in self._held for each in _emptied(listener)]:
                ending.create_task(self._take_in(connection))

    def _came(self, number: int) -> bool:
        """True if a connection with this descriptor may stay."""
        if self._descriptors.is_last(number) and self._pause is None:
            for server in self.servers:
                server.close()
            self._pause = asyncio.get_running_loop().create_task(self._wait_for_room())
        if not self._descriptors.in_reserve(number):
            return True
        if self._sheds:
            self._shed()
        return self._sheds

    def _shed(self) -> None:
        """Close the connections that have owed a request for longest. Several, because the next ones get the
        numbers that they leave, which do not look short."""
        waiting = [
            (since, each)
            for each in cast(set[Any], self.server_state.connections)
            if (since := each.waits_since) is not None
        ]
        for _, each in nsmallest(SHED_AT_ONCE, waiting, key=itemgetter(0)):
            each.shed()

    async def _wait_for_room(self) -> None:
        """Listen again once connections have ended."""
        while not (copies := self._copies()):  # noqa: ASYNC110 - nobody tells when a descriptor gets free
            await asyncio.sleep(PAUSE_S)
        await super().startup(copies)
        # Not before: a second pause would forget these servers, which then listen for ever.
        self._pause = None

    def _copies(self) -> list[socket.socket]:
        """Copies of the sockets, to listen on; none where no descriptor would be left for a caller then."""
        copies: list[socket.socket] = []
        with suppress(OSError):
            copies += [each.dup() for each in self._held]
            if not self._descriptors.is_last(self._descriptors.next()):
                return copies
        for each in copies:
            each.close()
        return []

    async def _take_in(self, connection: socket.socket) -> None:
        with suppress(OSError):  # gone again
            await asyncio.get_running_loop().connect_accepted_socket(self._last, connection)

    def _last(self) -> asyncio.Protocol:
        """The protocol of a connection that was accepted during shutdown."""
        made: Any = self.config.http_protocol_class
        protocol = made(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        protocol.ending = True
        return cast(asyncio.Protocol, protocol)


def _emptied(listener: socket.socket) -> Iterator[socket.socket]:
    """The connections in a listener's queue. The listener is closed afterwards."""
    with listener, suppress(OSError):  # it is empty, or there is no descriptor
        listener.setblocking(False)
        while True:
            yield listener.accept()[0]


def _spoken(config: FollowedConfig) -> type[asyncio.Protocol]:
    """What uvicorn calls for each connection: the protocol, or with a certificate TLS that has it above."""
    if config.certificate is None:
        return TrafficProtocol
    context = NewestTlsContext(lambda: config.certificate)
    tls = partial(CallerTls, context, TrafficProtocol, Ticker(asyncio.get_running_loop()))
    return cast(type[asyncio.Protocol], tls)


class NewestTlsContext:
    """The TLS context of the newest certificate, for each new connection."""

    def __init__(self, certificate: Callable[[], Certificate | None]) -> None:
        """`certificate` never returns None while connections are made."""
        self._certificate = certificate
        self._of: Certificate | None = None
        self._context: ssl.SSLContext | None = None

    def __call__(self) -> ssl.SSLContext:
        certificate = self._certificate()
        if self._context is None or certificate is not self._of:
            assert certificate is not None  # noqa: S101 - the listener began with one
            self._of, self._context = certificate, server_context(certificate.chain, certificate.key)
        return self._context


GRACE_S = 5


def access_to(args: WorkerArgs) -> Access:
    """The tokens and rules of access to this process."""
    loopback = is_loopback(args.host)
    return Access(
        admin_token=admin_token(os.environ, args.folder, loopback=loopback).value,
        metrics_token=Secret("CANARY_METRICS_TOKEN", os.environ).value,
        loopback=loopback,
        viewer_token=Secret("CANARY_VIEWER_TOKEN", os.environ).value,
        redeems=OneTimeLink(args.folder / LINK, time.time).redeem,
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
    """Serve `app` and run the loops until the process is to end, then cancel them."""
    behind_proxies: Any = ProxyHeadersMiddleware(app, os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1"))  # type: ignore[arg-type]
    handler = AsgiHandler(behind_proxies, lambda: "http" if config.certificate is None else "https")
    server = TrafficServer(
        uvicorn_config(handler, config, grace_s=GRACE_S), FileDescriptors.of_this_process(), sheds=True
    )

    async def serve() -> None:
        await server._serve([socket.socket(fileno=args.fd)])
        await handler.finish(GRACE_S)

    await serve_until_told(server, serve(), loops, shutdown)


async def serve_until_told(
    server: TrafficServer,
    serve: Coroutine[Any, Any, None],
    loops: Sequence[Coroutine[Any, Any, None]],
    shutdown: ShutdownSignal,
) -> None:
    """Serve and run the loops until the process is to end, or one of them does. Then drain, and cancel the
    loops. Raises what broke one."""
    tasks = [asyncio.create_task(each) for each in (*loops, shutdown.wait())]
    serving = asyncio.create_task(serve)
    try:
        await asyncio.wait({serving, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        if shutdown.hasty:
            given = server.config.timeout_graceful_shutdown or 0
            server.config.timeout_graceful_shutdown = int(min(given, SIGINT_GRACE_S))
        server.should_exit = True
        await serving
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


def uvicorn_config(app: Any, config: FollowedConfig, *, grace_s: float) -> uvicorn.Config:
    """How uvicorn serves a listener: by our own protocol, below TLS where the config has it."""
    return uvicorn.Config(
        app,
        http=_spoken(config),
        loop="none",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=int(grace_s),
    )
