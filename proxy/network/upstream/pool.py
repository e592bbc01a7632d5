"""The connection pool: dials origins, assigns connections to exchanges, limits the exchanges of each arm."""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, TypeVar, cast

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from proxy.network.file_descriptors import FileDescriptors
from proxy.network.ticker import PERIOD_S, Ticker
from proxy.network.upstream.connection import READ, Connection
from proxy.network.upstream.response import SWITCHING, ConnectionLimit, UpstreamError, UpstreamResponse
from proxy.network.upstream.tunnel import Tunnel, upgrade_head, whole
from proxy.providers.headers import Address, declared_length
from proxy.providers.provider import Provider, Timeout

HEAD_START_S = 0.25
"""RFC 8305 §5: the delay before the next address is tried in parallel."""

LOOKS = 10
"""Ticks before dialling may time out. DNS, connect and TLS each need turns of our loop, and a slow loop is
not the provider's fault."""

P = TypeVar("P")


class DialDeadline:
    """Ends a dial `limit_s` from now. Watched by the ticker."""

    def __init__(self, ticker: Ticker, timeout: asyncio.Timeout, limit_s: float) -> None:
        self.check_at = monotonic() + limit_s
        self._ticker = ticker
        self._timeout = timeout
        self._least_looks = ticker.looks + min(LOOKS, int(limit_s / PERIOD_S))

    def check(self, now: float) -> None:
        """Expire the timeout."""
        if self._ticker.looks > self._least_looks:
            self._ticker.forget(self)
            self._timeout.reschedule(0.0)


class Dialer:
    """Dials one host and port. Each dialer has its own resolver thread, so that a hanging name server delays
    neither other providers nor the spool's fdatasync."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ticker: Ticker,
        *,
        scheme: str,
        host: str,
        port: int,
        ca_file: str | None,
        descriptors: FileDescriptors,
    ) -> None:
        self._loop = loop
        self._descriptors = descriptors
        self._ticker = ticker
        self._host = host
        self._port = port
        self._tls = tls_context(ca_file) if scheme == "https" else None
        self._resolver: ThreadPoolExecutor | None = None
        self._closed = False
        self._lookup: asyncio.Future[list[AddrInfoType]] | None = None

    async def dial(self, factory: Callable[[], P], limit_s: float) -> P:
        """Open a connection. Raises UpstreamError: provider_connect or proxy_no_descriptors.

        Cancellation leaves nothing open.
        """
        try:
            async with asyncio.timeout(None) as timeout:
                deadline = DialDeadline(self._ticker, timeout, limit_s)
                self._ticker.watch(deadline)
                try:
                    return await self._dial(factory)
                finally:
                    self._ticker.forget(deadline)
        except TimeoutError as exc:
            raise UpstreamError("provider_connect", f"no connection within {limit_s} s") from exc

    def close(self) -> None:
        """End the resolver thread after its running lookup. A later lookup gets a thread of its own."""
        self._closed = True
        if self._lookup is None:
            self._end_resolver()

    async def _dial(self, factory: Callable[[], P]) -> P:
        try:
            sock = await aiohappyeyeballs.start_connection(
                await self._addresses(),
                happy_eyeballs_delay=HEAD_START_S,
                interleave=1,
                loop=self._loop,
                socket_factory=self._socket,
            )
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _, protocol = await self._loop.create_connection(
                    cast(Any, factory),
                    sock=sock,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
            except BaseException:
                sock.close()
                raise
        except (OSError, RuntimeError) as exc:  # ssl.SSLError is an OSError; uvloop raises RuntimeErrors
            ours = self._descriptors.explain(exc)
            raise UpstreamError(
                "proxy_no_descriptors" if ours else "provider_connect",
                f"cannot connect to {self._host}:{self._port}: {exc}",
            ) from exc
        return cast(P, protocol)

    def _socket(self, address: AddrInfoType) -> socket.socket:
        """Create a socket. Raises OSError when its descriptor is in the reserve."""
        family, kind, protocol, *_ = address
        sock = socket.socket(family, kind, protocol)
        if self._descriptors.in_reserve(sock.fileno()):
            sock.close()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return sock

    async def _addresses(self) -> list[AddrInfoType]:
        """Resolve the host. Concurrent dials share one lookup; results are not cached."""
        if self._lookup is None:
            if self._resolver is None:
                self._resolver = ThreadPoolExecutor(1, thread_name_prefix="canary-resolve")
            lookup = self._loop.run_in_executor(self._resolver, self._resolve)
            lookup.add_done_callback(self._forget_lookup)
            self._lookup = lookup
        return await asyncio.shield(self._lookup)

    def _resolve(self) -> list[AddrInfoType]:
        found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        return cast(list[AddrInfoType], found)

    def _forget_lookup(self, lookup: asyncio.Future[list[AddrInfoType]]) -> None:
        self._lookup = None
        if self._closed:
            self._end_resolver()
        if not lookup.cancelled():
            lookup.exception()  # marks it as retrieved even when no waiter is left

    def _end_resolver(self) -> None:
        if self._resolver is not None:
            self._resolver.shutdown(wait=False)
            self._resolver = None


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """A context for verified TLS ≥ 1.2 that offers only HTTP/1.1. `ca_file` replaces the system's CAs.

    OpenSSL sends no SNI for an address and checks the certificate's addresses instead (RFC 6066 §3).
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


_Key = tuple[str, str, int, str | None]
"""The key of an origin: scheme, host, port and CA file."""


class PoolContext:
    """State shared by all origins of one pool. `room` is the read buffer of all their connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ticker: Ticker) -> None:
        self.loop = loop
        self.ticker = ticker
        self.room = memoryview(bytearray(READ))
        self.open: set[Connection] = set()
        self.closed = False


class OriginPool:
    """The connections to one scheme, host, port and CA file. The most recently used is picked first, so that
    surplus connections become idle and retire."""

    def __init__(self, context: PoolContext, dialer: Dialer) -> None:
        self._context = context
        self._retired = False
        self.dialer = dialer
        self.idle: dict[Connection, None] = {}

    def pick(self) -> Connection | None:
        """Take an idle connection that is still open, or None."""
        while self.idle:
            connection, _ = self.idle.popitem()
            if connection.is_usable():
                return connection
        return None

    async def dial(self, limit_s: float, *, may_switch: bool = False) -> Connection:
        """Open a connection. Raises UpstreamError: the dialer's, provider_reset or aborted."""
        context = self._context
        connection = Connection(context.loop, context.ticker, self, context.room, may_switch=may_switch)
        try:
            await self.dialer.dial(lambda: connection, limit_s)
        except BaseException:
            context.ticker.forget(connection)  # uvloop calls no connection_lost for a cancelled dial
            raise
        if not connection.is_usable():
            raise UpstreamError("provider_reset", "the provider closed the connection right after it opened")
        if context.closed:
            connection.shut()
            raise UpstreamError("aborted", "the proxy is stopping")
        context.open.add(connection)
        return connection

    def retire(self) -> None:
        """Close idle connections after the last provider here was removed; running exchanges still end."""
        self._retired = True
        self.dialer.close()
        for connection in [*self.idle]:
            connection.shut()

    def put_back(self, connection: Connection) -> None:
        """ConnectionOwner: take back an idle connection."""
        if self._retired:
            connection.shut()
        else:
            self.idle[connection] = None

    def drop(self, connection: Connection) -> None:
        """ConnectionOwner: forget a connection that is gone."""
        self.idle.pop(connection, None)
        self._context.open.discard(connection)


class Upstreams:
    """All upstream connections of one worker process."""

    def __init__(
        self,
        *,
        limit: int = 2048,
        most_waiting: int = 1024,
        loop: asyncio.AbstractEventLoop | None = None,
        ticker: Ticker | None = None,
        descriptors: FileDescriptors | None = None,
    ) -> None:
        """`limit`: exchanges in flight per `limit_key`. `most_waiting`: exchanges that may wait for a slot.

        `loop`, `ticker` and `descriptors` default to the running loop, a clock of its own and the process's.
        """
        self._loop = loop or asyncio.get_running_loop()
        self._ticker = ticker or Ticker(self._loop)
        self._descriptors = descriptors or FileDescriptors.of_this_process()
        self._limit = limit
        self._most_waiting = most_waiting
        self._limits: dict[str, ConnectionLimit] = {}
        self._context = PoolContext(self._loop, self._ticker)
        self._routes: dict[str, tuple[Provider, Address, OriginPool]] = {}
        self._origins: dict[_Key, OriginPool] = {}
        self._wanted: set[_Key] | None = None  # None: whatever is asked for

    async def send(
        self,
        provider: Provider,
        *,
        limit_key: str,
        method: bytes,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes],
        streaming: bool,
        timeout: Timeout | None = None,  # noqa: ASYNC109 (five deadlines, not one)
    ) -> UpstreamResponse:
        """Send one request and return when the response head has arrived.

        `target`: raw path and query, appended to the base URL's path. `headers`: the caller's, lower-cased,
        without hop-by-hop fields; Host and framing are set here, and a Content-Length counts only for a
        streamed body. `limit_key`: names the connection limit, one per arm. `streaming`: the first_byte
        deadline applies to the first body byte.

        Raises UpstreamError when there is no response head to relay, ValueError when the request cannot be
        sent, and whatever a streamed `body` raises. After an error nothing is left open.
        """
        address, origin = self._way(provider)
        timeout = timeout or provider.timeout
        whole = body if isinstance(body, bytes) else None
        length = declared_length(headers) if whole is None else len(whole)
        head = address.head(method, target, headers, length)
        slots = self._limits.get(limit_key) or self._add_limit(limit_key)
        if not slots.take():
            await self._wait_for_slot(slots, limit_key, timeout.connect_s)
        response = UpstreamResponse(self._loop, slots, timeout, streaming=streaming)
        try:
            connection = origin.pick() or await origin.dial(timeout.connect_s)
            connection.start(response, head, whole, bodiless=method == b"HEAD")
            if isinstance(body, bytes):
                await response.head()
            else:
                await _pump(connection, response, body, length)
        except BaseException:
            response.abort()
            raise
        return response

    async def upgrade(
        self,
        provider: Provider,
        *,
        limit_key: str,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        timeout: Timeout | None = None,  # noqa: ASYNC109 (four deadlines, not one)
    ) -> Tunnel | UpstreamResponse:
        """Request a WebSocket on a new connection; return the tunnel, or the complete refusal.

        `target`, `headers` and `limit_key` are as in `send`. A tunnel holds its slot until it is gone or
        aborted. Raises UpstreamError when there is neither, ValueError when the request cannot be sent. After
        an error nothing is left open.
        """
        address, origin = self._way(provider)
        timeout = timeout or provider.timeout
        head = upgrade_head(address, target, headers)
        slots = self._limits.get(limit_key) or self._add_limit(limit_key)
        if not slots.take():
            await self._wait_for_slot(slots, limit_key, timeout.connect_s)

        response = UpstreamResponse(self._loop, slots, timeout, streaming=True)
        try:
            connection = await origin.dial(timeout.connect_s, may_switch=True)
            connection.start(response, head, b"", bodiless=False)
            await response.head()
            return Tunnel(connection, response) if response.status == SWITCHING else await whole(response)
        except BaseException:
            response.abort()
            raise

    def free_slots(self, limit_key: str) -> int:
        """Return how many more exchanges this limit allows."""
        return self._limits[limit_key].free if limit_key in self._limits else self._limit

    def keep_only(self, providers: Iterable[Provider]) -> None:
        """Drop connections to other providers, idle ones at once and others after their exchange, and unused
        limits, which are created again on demand."""
        self._wanted = {_key(provider, Address(provider.base_url)) for provider in providers}
        for key in self._origins.keys() - self._wanted:
            self._origins.pop(key).retire()
        self._routes.clear()
        self._limits = {name: slots for name, slots in self._limits.items() if slots.free < self._limit}

    async def close(self) -> None:
        """Abort every connection and wait until the sockets are closed."""
        connections = list(self._context.open)
        self._context.closed = True
        for origin in self._origins.values():
            origin.dialer.close()
        for connection in connections:
            connection.shut()
        await asyncio.gather(*[each.gone for each in connections])

    def _way(self, provider: Provider) -> tuple[Address, OriginPool]:
        known, address, origin = self._routes.get(provider.name) or self._learn(provider)
        if known is not provider:
            _, address, origin = self._learn(provider)
        return address, origin

    def _learn(self, provider: Provider) -> tuple[Provider, Address, OriginPool]:
        """Register a new provider, or one changed by a reload. Connections to the same address stay open.

        An exchange that began before its provider was removed gets a separate, retired origin.
        """
        address = Address(provider.base_url)
        key = _key(provider, address)
        if self._wanted is not None and key not in self._wanted:
            origin = self._open_origin(provider, address)
            origin.retire()
            return provider, address, origin
        if key not in self._origins:
            self._origins[key] = self._open_origin(provider, address)
        route = (provider, address, self._origins[key])
        self._routes[provider.name] = route
        return route

    def _open_origin(self, provider: Provider, address: Address) -> OriginPool:
        dialer = Dialer(
            self._loop,
            self._ticker,
            scheme=address.scheme,
            host=address.host,
            port=address.port,
            ca_file=provider.ca_file,
            descriptors=self._descriptors,
        )
        return OriginPool(self._context, dialer)

    def _add_limit(self, key: str) -> ConnectionLimit:
        limit = self._limits[key] = ConnectionLimit(self._loop, self._limit)
        return limit

    async def _wait_for_slot(self, slots: ConnectionLimit, limit_key: str, limit_s: float) -> None:
        reached = f"the connection limit of {limit_key} is reached"
        if slots.waiting >= self._most_waiting:
            raise UpstreamError("shed", f"{reached}, and {slots.waiting} exchanges already wait")
        try:
            async with asyncio.timeout(limit_s):
                await slots.wait()
        except TimeoutError as exc:
            raise UpstreamError("shed", f"{reached}, and no exchange ended within {limit_s} s") from exc


def _key(provider: Provider, address: Address) -> _Key:
    return address.scheme, address.host, address.port, provider.ca_file


async def _pump(
    connection: Connection, response: UpstreamResponse, body: AsyncIterator[bytes], length: int | None
) -> None:
    """Send a streamed body while waiting for the head; an early final response stops the sending."""
    try:
        async with asyncio.TaskGroup() as group:
            pump = group.create_task(connection.pump(response, body, length))
            await response.head()
            pump.cancel()
    except BaseExceptionGroup as broken:
        raise broken.exceptions[0] from None
