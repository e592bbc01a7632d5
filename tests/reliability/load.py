"""Callers for load: many connections at once on one loop, each with one request at a time."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.reliability.strict_http import Message, Reader


class Gone(ConnectionError):
    """The proxy closed the connection before the answer's end."""


class Caller(asyncio.Protocol):
    """One connection. `ended` is set once the proxy, or we, have closed it."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.ended = asyncio.Event()
        self.answers: list[Message] = []
        self._reader = Reader(responses=True)
        self._waiter: asyncio.Future[None] | None = None

    @classmethod
    async def connect(cls, address: str) -> Self:
        """A connection to the proxy."""
        loop = asyncio.get_running_loop()
        host, port = address.removeprefix("http://").split(":")
        _, caller = await loop.create_connection(cls, host, int(port))
        return caller

    async def ask(self, data: bytes) -> Message:
        """Send a request and wait for its final answer. Raises Gone."""
        self.transport.write(data)
        return await self.answer()

    async def answer(self) -> Message:
        """The next final answer. Raises Gone."""
        while not self.answers:
            if self.ended.is_set():
                raise Gone
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self.answers.pop(0)

    async def begun(self) -> None:
        """Wait for the first bytes of an answer's body. Raises Gone."""
        while not self.answers and (self._reader.under_way is None or not self._reader.under_way.body):
            if self.ended.is_set():
                raise Gone
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def leave(self) -> None:
        """Close, whatever is under way."""
        self.transport.abort()

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.answers += [each for each in self._reader.feed(data) if each.status >= 200]
        self._wake()

    def eof_received(self) -> None:
        if (last := self._reader.end()) is not None:
            self.answers.append(last)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@dataclass
class Traffic:
    """What became of a load's requests: their statuses, and how long each took in seconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)
    broken: int = 0


async def closed_loop(address: str, requests: Iterator[bytes], traffic: Traffic, *, connections: int) -> None:
    """Send them all over a few connections, each one's next as soon as it has its answer."""

    async def one_by_one() -> None:
        caller = await Caller.connect(address)
        for data in requests:
            began = time.monotonic()
            try:
                answer = await caller.ask(data)
            except Gone:
                traffic.broken += 1
                caller = await Caller.connect(address)
                continue
            traffic.statuses[answer.status] += 1
            traffic.took_s.append(time.monotonic() - began)
        caller.leave()

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one_by_one())


def resident_kib(pid: int) -> int:
    """A process's resident memory in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
