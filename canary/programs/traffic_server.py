"""uvicorn's Server for both listeners: one that resets nobody who has connected, when it ends or when it has
no descriptors.

A connection that waits in the queue of a listening socket is reset with the socket's last close. uvloop
closes at the end of a turn, and who comes in that turn is lost. So the sockets are held here, and let go when
their queues have been emptied; uvloop listens on copies. Those are closed while descriptors are short:
callers wait then in the queue, where libuv would accept all and close them at once.

At the admin listener (`sheds`) whoever has owed a request for longest makes room: an order must not wait for
those who never send one.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from heapq import nsmallest
from operator import itemgetter
from typing import Any, cast

import uvicorn

from proxy.network.descriptors import MOST_RESERVED, Descriptors
from proxy.network.server.caller_connection import Shared

HELD_S = 0.05
"""Longer than uvloop takes to close its socket. A caller who connects meanwhile waits that long."""

PAUSE_S = 0.02
"""How often free descriptors are looked for while no caller is accepted."""

SHED_AT_ONCE = MOST_RESERVED // 2


class TrafficServer(uvicorn.Server):
    """uvicorn's Server, except in how it accepts without descriptors and how it shuts down."""

    def __init__(self, config: uvicorn.Config, descriptors: Descriptors, *, sheds: bool = False) -> None:
        super().__init__(config)
        self._descriptors = descriptors
        self._sheds = sheds
        self._held: list[socket.socket] = []
        self._pause: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on duplicates of the sockets."""
        self._held = list(sockets or ())
        self.lifespan.state["shared"] = Shared(asyncio.get_running_loop(), self._came)
        await super().startup([each.dup() for each in self._held])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listeners, accept the callers in their queues, and serve requests under way."""
        if self._pause is not None:
            self._pause.cancel()
        async with asyncio.TaskGroup() as ending:
            ending.create_task(super().shutdown())
            await asyncio.sleep(HELD_S)
            for connection in [each for listener in self._held for each in _emptied(listener)]:
                ending.create_task(self._take_in(connection))

    def _came(self, number: int) -> bool:
        """True if a connection with this descriptor may stay."""
        if self._descriptors.is_last(number) and self._pause is None:
            for server in self.servers:
                server.close()
            self._pause = asyncio.get_running_loop().create_task(self._wait_for_room())
        if not self._descriptors.in_reserve(number):
            return True
        if self._sheds:
            self._shed()
        return self._sheds

    def _shed(self) -> None:
        """Close the connections that have owed a request for longest. Several, because the next ones get the
        numbers that they leave, which do not look short."""
        waiting = [
            (since, each)
            for each in cast(set[Any], self.server_state.connections)
            if (since := each.waits_since) is not None
        ]
        for _, each in nsmallest(SHED_AT_ONCE, waiting, key=itemgetter(0)):
            each.shed()

    async def _wait_for_room(self) -> None:
        """Listen again once connections have ended."""
        while not (copies := self._copies()):  # noqa: ASYNC110 - nobody tells when a descriptor gets free
            await asyncio.sleep(PAUSE_S)
        await super().startup(copies)
        self._pause = (
            None  # not before: a second pause would forget these servers, which then listen for ever
        )

    def _copies(self) -> list[socket.socket]:
        """Copies of the sockets, to listen on; none where no descriptor would be left for a caller then."""
        copies: list[socket.socket] = []
        with suppress(OSError):
            copies += [each.dup() for each in self._held]
            if not self._descriptors.is_last(self._descriptors.next()):
                return copies
        for each in copies:
            each.close()
        return []

    async def _take_in(self, connection: socket.socket) -> None:
        with suppress(OSError):  # gone again
            await asyncio.get_running_loop().connect_accepted_socket(self._last, connection)

    def _last(self) -> asyncio.Protocol:
        """The protocol of a connection that was accepted during shutdown."""
        made: Any = self.config.http_protocol_class
        protocol = made(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        protocol.ending = True
        return cast(asyncio.Protocol, protocol)


def _emptied(listener: socket.socket) -> Iterator[socket.socket]:
    """The connections in a listener's queue. The listener is closed afterwards."""
    with listener, suppress(OSError):  # it is empty, or there is no descriptor
        listener.setblocking(False)
        while True:
            yield listener.accept()[0]
