"""Detects whether a caller that has shut down its sending side is still there.

A caller that leaves closes its socket. A caller that only finished its request shuts down its sending side.
Both send the same FIN, and answering a caller that has left costs tokens. So a FIN means that the caller has
left, as in nginx, unless it arrives together with the request's last byte (by the next turn of the loop, as
from `printf … | nc`). Such a caller is served. If nothing has been sent to it for 50 ms, an interim 100
(RFC 9110 §15.2) is sent as a probe, which a closed socket answers with a RST.
"""

import asyncio
import socket
from time import monotonic

from proxy.server.incoming import CONTINUE, Incoming

PROBE_S = 0.05
LOOK_S = 0.03


class HalfClosed:
    """A caller that has shut down its sending side."""

    __slots__ = ("_loop", "_probed", "_since", "_transport")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self._loop = loop
        self._transport = transport
        self._since = monotonic()
        self._probed = False

    def probe(self, running: Incoming, now: float) -> None:
        """Probe the caller. `running` is the request whose response it waits for."""
        if running.old or running.started or self._probed:
            self._look()
        elif now - self._since >= PROBE_S:
            self._probed = True
            self._transport.write(CONTINUE)
            self._loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        """Check the socket's error, the only sign of a RST since nothing is read after a FIN."""
        sock = self._transport.get_extra_info("socket")
        if not self._transport.is_closing() and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._transport.abort()
