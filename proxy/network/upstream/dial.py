"""New connections to one origin: DNS, happy eyeballs, TLS. No pooling and no HTTP."""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, TypeVar, cast

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from proxy.network.descriptors import Descriptors
from proxy.network.ticker import PERIOD_S, Ticker
from proxy.network.upstream.response import UpstreamError

HEAD_START_S = 0.25
"""RFC 8305 §5: the delay before the next address is tried in parallel."""

LOOKS = 10
"""Ticks before dialling may time out. DNS, connect and TLS each need turns of our loop, and a slow loop is
not the provider's fault."""

P = TypeVar("P")


class Deadline:
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
        descriptors: Descriptors,
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
                deadline = Deadline(self._ticker, timeout, limit_s)
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
