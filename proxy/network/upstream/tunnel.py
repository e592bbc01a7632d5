"""A connection that another protocol has taken over, and the request for that."""

from collections.abc import Sequence

from proxy.network.upstream.connection import Connection
from proxy.network.upstream.response import UpstreamError, UpstreamResponse
from proxy.providers.headers import Address

REFUSAL_BOUND = 1 << 20


class Tunnel:
    """One upgraded connection: raw bytes in both directions. `headers` are those of the 101, `gone` is done
    when the socket is closed.

    Its user decides how long it may be silent, since silence is no fault of one side alone. It holds a slot
    of its connection limit until it is gone or aborted, so do close or abort it.
    """

    def __init__(self, connection: Connection, response: UpstreamResponse) -> None:
        self.headers: Sequence[tuple[bytes, bytes]] = response.headers
        self.gone = connection.gone
        self._connection = connection
        self._response = response

    async def read(self) -> bytes:
        """Return the next bytes; b"" once the provider has closed.

        Raises UpstreamError when the connection broke, after the bytes that arrived before.
        """
        return await self._response.read()

    def write(self, data: bytes) -> None:
        """Send bytes; does nothing when the provider has gone."""
        self._connection.write(data)

    async def drain(self) -> None:
        """Wait until the provider has read most of the written bytes, or has gone."""
        await self._connection.drain()

    def close(self) -> None:
        """Send the written bytes, then close, after 2 s at the latest."""
        self._connection.hang_up()

    def abort(self) -> None:
        """Close at once, without a flush or a TLS close_notify. Idempotent."""
        self._response.abort()


async def whole(refusal: UpstreamResponse) -> UpstreamResponse:
    """Wait for the whole body, which can then be read as any other. Raises UpstreamError."""
    body = b""
    while piece := await refusal.read():
        body += piece
        if len(body) > REFUSAL_BOUND:
            raise UpstreamError("provider_malformed", f"a refusal over {REFUSAL_BOUND} bytes")
    if body:
        refusal.feed([body])
    return refusal


def upgrade_head(address: Address, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Build the request head. `headers`: the caller's, lower-cased, without hop-by-hop fields.

    Raises ValueError when a part contains a line break, which would split the request in two.
    """
    head = address.head(b"GET", target, headers, 0)
    return head[:-2] + b"connection: Upgrade\r\nupgrade: websocket\r\n\r\n"
