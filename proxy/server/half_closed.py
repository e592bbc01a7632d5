"""A caller that has shut down its sending side: is it still there?

A caller that leaves closes its socket, and a caller that has merely said all it will say shuts down its
sending side: both send the same FIN, and answering the first costs tokens. So a FIN means gone, as it does
for nginx, but for one that was there together with the request's last byte (seen in the next turn of the
loop: `printf … | nc`). That caller is served; where nothing has gone out to it for 50 ms, an interim 100
(RFC 9110 §15.2) is sent as a probe: a closed socket answers it with a RST.
"""

import asyncio
import socket
from time import monotonic

from proxy.server.incoming import CONTINUE, Incoming

PROBE_S = 0.05
LOOK_S = 0.03


class HalfClosed:
    """One such caller."""

    __slots__ = ("_loop", "_probed", "_since", "_transport")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self._loop = loop
        self._transport = transport
        self._since = monotonic()
        self._probed = False

    def probe(self, running: Incoming, now: float) -> None:
        """Find out. `running` is the request that it waits for."""
        if running.old or running.started or self._probed:
            self._look()
        elif now - self._since >= PROBE_S:
            self._probed = True
            self._transport.write(CONTINUE)
            self._loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        """Nothing is read after a FIN, so that a RST shows in the socket's error alone."""
        sock = self._transport.get_extra_info("socket")
        if not self._transport.is_closing() and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._transport.abort()
