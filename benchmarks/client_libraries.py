"""HTTP client libraries, each used like a proxy would: JSON by its cheapest call, a stream chunk by chunk.

All keep connections alive, follow no redirects, use no proxy and decompress nothing, on uvloop.
"""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.request import HEADERS

FIELDS = [(name, value) for name, _, value in (line.partition(": ") for line in HEADERS) if name != "host"]
RAW_FIELDS = [(name.encode(), value.encode()) for name, value in FIELDS]
PATH = "/v1/chat/completions"
CONNECTIONS = 1000


@dataclass(frozen=True, slots=True)
class ProviderUrl:
    """The provider: `http://127.0.0.1:PORT`, or https with its authority's certificate in `ca_file`."""

    url: str
    ca_file: str | None = None

    @property
    def authority(self) -> bytes:
        """The certificate itself, PEM."""
        return Path(self.ca_file).read_bytes() if self.ca_file else b""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """A verifying context, for the libraries that take one."""
        return ssl.create_default_context(cafile=self.ca_file) if self.ca_file else None


@dataclass(slots=True)
class ReceivedAnswer:
    """An answer: the status, the body's size in bytes, and its last chunk."""

    status: int = 0
    size: int = 0
    last: bytes = b""

    def take(self, piece: bytes) -> bool:
        """Count a chunk of the body."""
        if piece:
            self.size += len(piece)
            self.last = piece
        return True


SendRequest = Callable[[bytes, bool, ReceivedAnswer], Awaitable[None]]
"""Takes a request's body, whether its answer is a stream, and the counter for the answer."""

Open = Callable[[ProviderUrl], AbstractAsyncContextManager[SendRequest]]


@asynccontextmanager
async def ours(target: ProviderUrl) -> AsyncIterator[SendRequest]:
    """proxy.network.upstream, with streams by `pass_on` like `proxy/exchange.py`."""
    from proxy.network.upstream.pool import Upstreams
    from proxy.providers.provider import Provider

    upstreams = Upstreams()
    provider = Provider(name="bench", api="openai", base_url=target.url, ca_file=target.ca_file)

    async def ask(body: bytes, streaming: bool, found: ReceivedAnswer) -> None:
        answer = await upstreams.send(
            provider,
            limit_key="baseline",
            method=b"POST",
            target=PATH.encode(),
            headers=RAW_FIELDS,
            body=body,
            streaming=streaming,
        )
        found.status = answer.status
        end = await answer.pass_on(found.take)
        assert end is not None
        found.take(end)

    yield ask
    await upstreams.close()


@asynccontextmanager
async def by_aiohttp(target: ProviderUrl) -> AsyncIterator[SendRequest]:
    """aiohttp's client session."""
    import aiohttp
    from yarl import URL

    connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=target.tls or True)
    url = URL(target.url + PATH, encoded=True)
    async with aiohttp.ClientSession(
        connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:

        async def ask(body: bytes, streaming: bool, found: ReceivedAnswer) -> None:
            async with session.post(url, data=body, headers=FIELDS, allow_redirects=False) as response:
                found.status = response.status
                if streaming:
                    async for piece in response.content.iter_any():
                        found.take(piece)
                else:
                    found.take(await response.read())

        yield ask


def httpcore_of(name: str) -> Open:
    """A client for httpcore's pool, or for its successor's, which has the same interface."""

    @asynccontextmanager
    async def by_httpcore(target: ProviderUrl) -> AsyncIterator[SendRequest]:
        httpcore = __import__(name)
        pool = httpcore.AsyncConnectionPool(max_connections=CONNECTIONS, ssl_context=target.tls)
        headers = [(b"host", target.url.rpartition("/")[2].encode()), *RAW_FIELDS]

        async def ask(body: bytes, streaming: bool, found: ReceivedAnswer) -> None:
            sent = [*headers, (b"content-length", b"%d" % len(body))]
            async with pool.stream("POST", target.url + PATH, headers=sent, content=body) as response:
                found.status = response.status
                async for piece in response.aiter_stream():
                    found.take(piece)

        async with pool:
            yield ask

    return by_httpcore


@asynccontextmanager
async def by_httpx2(target: ProviderUrl) -> AsyncIterator[SendRequest]:
    """httpx2's async client, on httpcore2."""
    import httpx2

    limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    async with httpx2.AsyncClient(verify=target.tls or True, trust_env=False, limits=limits) as client:

        async def ask(body: bytes, streaming: bool, found: ReceivedAnswer) -> None:
            async with client.stream("POST", target.url + PATH, headers=FIELDS, content=body) as response:
                found.status = response.status_code
                async for piece in response.aiter_raw():
                    found.take(piece)

        yield ask


@asynccontextmanager
async def by_pyreqwest(target: ProviderUrl) -> AsyncIterator[SendRequest]:
    """pyreqwest: Rust's reqwest in its own thread."""
    from pyreqwest.client import ClientBuilder

    builder = ClientBuilder().no_proxy().follow_redirects(False).referer(False)
    builder = builder.gzip(False).brotli(False).zstd(False).deflate(False)
    if target.ca_file:
        builder = builder.add_root_certificate_pem(target.authority)
    async with builder.build() as client:

        async def ask(body: bytes, streaming: bool, found: ReceivedAnswer) -> None:
            request = client.post(target.url + PATH).headers(FIELDS).body_bytes(body)
            if not streaming:
                response = await request.build().send()
                found.status = response.status
                found.take(bytes(await response.bytes()))
                return
            # by default it yields neither head nor body before 64 KiB or the end
            async with request.streamed_read_buffer_limit(0).build_streamed() as response:
                found.status = response.status
                while piece := await response.body_reader.read_chunk():
                    found.take(bytes(piece))

        yield ask


LIBRARIES: dict[str, Any] = {
    "ours": ours,
    "aiohttp": by_aiohttp,
    "httpcore": httpcore_of("httpcore"),
    "httpcore2": httpcore_of("httpcore2"),
    "httpx2": by_httpx2,
    "pyreqwest": by_pyreqwest,
}
