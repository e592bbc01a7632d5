"""The request that an arm gets, as `proxy.request` has built it."""

from collections.abc import AsyncIterator

import msgspec

from proxy.output import OutputRequest


class UpstreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The upstream request.

    `injected`: the proxy added a request for usage. `hides_usage`: the stream has usage for which the caller
    did not ask. `adapted`: the arm's `request:` changed the body. `output`: the members about tools and
    formats, if the answer is to be judged by them.
    """

    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes | AsyncIterator[bytes]
    injected: bool
    hides_usage: bool = False
    adapted: bool = False
    output: OutputRequest | None = None
