"""Detects whether a caller that has shut down its sending side is still there.

A caller that leaves closes its socket. A caller that only finished its request shuts down its sending side.
Both send the same FIN, and answering a caller that has left costs tokens. So a FIN means that the caller has
left, as in nginx, unless it arrives together with the request's last byte (by the next turn of the loop, as
from `printf … | nc`). Such a caller is served. If nothing has been sent to it, an interim 100 (RFC 9110
§15.2) is sent at once as a probe, which a closed socket answers with a RST. Not later, and not by the
answer's first bytes: a candidate's answer is held until it is whole, so it would find fewer callers gone than
the baseline's.
"""

import asyncio
import socket

from proxy.server.incoming import CONTINUE, Incoming

LOOK_S = 0.03


class HalfClosed:
    """A caller that has shut down its sending side."""

    __slots__ = ("_transport",)

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, running: Incoming
    ) -> None:
        """`running` is the request whose response the caller waits for."""
        self._transport = transport
        if not (running.old or running.started):
            transport.write(CONTINUE)
            loop.call_later(LOOK_S, self.has_left)

    def has_left(self) -> bool:
        """Check the socket's error, the only sign of a RST since nothing is read after a FIN. Closes the
        connection of a caller that has left."""
        transport = self._transport
        if transport.is_closing():
            return True
        sock: socket.socket = transport.get_extra_info("socket")
        left = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        if left:
            transport.abort()
        return left
