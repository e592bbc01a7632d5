"""Clients of the admin process for other hosts' answers, which are read in bounds and never unpacked.

A kilobyte of brotli may unpack to gigabytes in one step of a decoder. So these clients ask for plain answers,
and refuse what comes packed when somebody reads it.
"""

import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2

MOST_BYTES = 8 << 20
"""The most bytes of an answer that is read."""

LIMITS = httpx2.Limits(max_connections=100, max_keepalive_connections=20)

PLAIN = {"accept-encoding": "identity"}


def refuse_packed(headers: Mapping[str, str]) -> None:
    """Raises DecodingError where the answer with these headers is packed."""
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise httpx2.DecodingError(f"it sent a packed answer ({coding[:20]}), though asked for a plain one")


def bounded(
    *,
    verify: ssl.SSLContext | bool = True,
    limits: httpx2.Limits = LIMITS,
    most_bytes: int = MOST_BYTES,
) -> dict[str, Any]:
    """The arguments of an `httpx2.AsyncClient` that reads `most_bytes` of an answer at most, follows no
    redirect and uses no proxy of the environment. Longer and packed answers raise DecodingError."""
    inner = httpx2.AsyncHTTPTransport(verify=verify, trust_env=False, limits=limits)
    return {
        "transport": _BoundedTransport(inner, most_bytes),
        "headers": PLAIN,
        "trust_env": False,
        "follow_redirects": False,
    }


class _BoundedTransport(httpx2.AsyncBaseTransport):
    def __init__(self, inner: httpx2.AsyncBaseTransport, most_bytes: int) -> None:
        self._inner = inner
        self._most_bytes = most_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await self._inner.handle_async_request(request)
        assert isinstance(answer.stream, httpx2.AsyncByteStream)  # noqa: S101
        return httpx2.Response(
            status_code=answer.status_code,
            headers=answer.headers,
            stream=_BoundedStream(answer.stream, answer.headers, self._most_bytes),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, headers: httpx2.Headers, most_bytes: int) -> None:
        self._stream = stream
        self._headers = headers
        self._left = self._most_bytes = most_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            refuse_packed(self._headers)  # an answer that nobody reads may be anything
            self._left -= len(piece)
            if self._left < 0:
                raise httpx2.DecodingError(f"its answer is longer than {self._most_bytes >> 20} MiB")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()
