"""uvicorn's Server for the traffic listener: one that resets nobody who has connected when it ends.

A connection that waits in the queue of a listening socket is reset with the socket's last close. uvloop
closes at the end of a turn, and who comes in that turn is lost. So the socket is held a moment longer, and
let go right after its queue has been emptied.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import cast

import uvicorn

from proxy.server.protocol import TrafficProtocol

HELD_S = 0.05
"""Longer than uvloop takes to close its own; a caller who connects meanwhile waits that long."""


class TrafficServer(uvicorn.Server):
    """The same in everything but how it begins to end."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listeners, take in who waits there, and serve what is under way."""
        held = [listener.dup() for listener in sockets or ()]
        async with asyncio.TaskGroup() as ending:
            ending.create_task(super().shutdown(sockets))
            await asyncio.sleep(HELD_S)
            for connection in [each for listener in held for each in _emptied(listener)]:
                ending.create_task(self._take_in(connection))

    async def _take_in(self, connection: socket.socket) -> None:
        with suppress(OSError):  # gone again
            await asyncio.get_running_loop().connect_accepted_socket(self._last, connection)

    def _last(self) -> asyncio.Protocol:
        """A connection's protocol that knows from its beginning that the server ends."""
        protocol = TrafficProtocol(self.config, self.server_state, self.lifespan.state)
        protocol.ending = True
        return cast(asyncio.Protocol, protocol)


def _emptied(listener: socket.socket) -> Iterator[socket.socket]:
    """Everybody in a listener's queue; then our hold of it ends."""
    with listener, suppress(BlockingIOError):
        listener.setblocking(False)
        while True:
            yield listener.accept()[0]
