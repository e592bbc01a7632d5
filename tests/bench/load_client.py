"""The benchmark's client: bare asyncio, driven by JSON lines on stdin, one result line each on stdout.

open     {port, connections}   connect, so that connecting is not measured
closed   {seconds}             every connection sends again as soon as it has its answer
rate     {rate, seconds}       arrivals by a Poisson process, the same in every run
streams  {chunks, pace_ms}     one stream on every connection, their starts spread over a pace
close    {}
"""

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import uvloop

USERS = 2000
HEADERS = (
    "host: 127.0.0.1\r\nauthorization: Bearer sk-bench\r\naccept: application/json\r\n"
    "content-type: application/json\r\nuser-agent: OpenAI/Python 3.57.0\r\nx-stainless-lang: python\r\n"
    "x-stainless-retry-count: 0\r\nx-stainless-runtime: CPython\r\n"
)
CHAT = [
    {"role": "system", "content": "You answer customers of a shop. Be brief and kind. " * 8},
    {"role": "user", "content": "My parcel came damaged and I would like my money back. " * 6},
]


def request(user: int, **fields: Any) -> bytes:
    """A chat completion request of about a kilobyte."""
    body = {"model": "gpt-4o", "messages": CHAT, "user": f"user-{user}", "temperature": 0.2, **fields}
    sent = json.dumps(body, separators=(",", ":")).encode()
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\n{HEADERS}content-length: {len(sent)}\r\n\r\n".encode() + sent
    )


class Link(asyncio.Protocol):
    """One connection; `done` is called with it after every whole answer."""

    def __init__(self, tally: "Tally") -> None:
        self._tally = tally
        self._busy = False
        self._head = b""
        self._left: int | None = None
        self._tail = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport
        self.done: Callable[[Link], None] = lambda _: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        if self._busy:
            self._busy = False
            self._tally.blame(f"connection lost: {exc}")
            self.done(self)

    def send(self, data: bytes, since: float | None = None) -> None:
        """Send a request; its latency runs from `since` (monotonic seconds; None: now)."""
        self._sent_at = time.monotonic() if since is None else since
        self._busy, self._head = True, b""
        self._transport.write(data)

    def close(self) -> None:
        """End the connection."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._head.endswith(b"\r\n\r\n"):
            self._body(data)
            return
        self._head += data
        end = self._head.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        self._head, rest = self._head[:end], self._head[end:]
        lower = self._head.lower()
        place = lower.find(b"content-length: ")
        self._left = int(lower[place + 16 : lower.index(b"\r", place)]) if place >= 0 else None
        self._tail = b"\r\n"
        self._tally.candidate += b"x-canary-arm: candidate" in lower
        self._body(rest)

    def _body(self, data: bytes) -> None:
        if self._left is not None:
            self._left -= len(data)
            ended = self._left == 0
        else:
            self._tail = (self._tail + data)[-24:]
            ended = self._tail.endswith(b"\r\n0\r\n\r\n")
        if not ended:
            return
        self._busy = False
        if self._head.startswith(b"HTTP/1.1 200") and (self._left == 0 or b"[DONE]" in self._tail):
            self._tally.latencies.append(time.monotonic() - self._sent_at)
        else:
            self._tally.blame((self._head + data).decode("latin-1")[:600])
        self.done(self)


class Tally:
    """What one run saw: seconds of every good answer, how many were not, how many the candidate gave."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.broken = 0
        self.candidate = 0
        self.example = ""

    def clear(self) -> None:
        """Begin a run."""
        self.latencies.clear()
        self.broken = self.candidate = 0
        self.example = ""

    def blame(self, example: str) -> None:
        """Count an answer that was not what it should be, and keep what it was."""
        self.broken += 1
        self.example = example

    def result(self, seconds: float) -> dict[str, Any]:
        """The run as a result line."""
        ordered = sorted(self.latencies)
        return {
            "answers": len(ordered),
            "broken": self.broken,
            "example": self.example,
            "candidate": self.candidate,
            "seconds": seconds,
            "p50_s": ordered[len(ordered) // 2] if ordered else None,
            "p99_s": ordered[len(ordered) * 99 // 100] if ordered else None,
        }


class Client:
    """The connections, and the runs over them."""

    def __init__(self) -> None:
        self._links: list[Link] = []
        self._tally = Tally()
        self._requests = [request(user) for user in range(USERS)]

    async def run(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command."""
        do = command.pop("do")
        self._tally.clear()
        started = time.monotonic()
        commands: dict[str, Callable[..., Awaitable[None]]] = {
            "open": self._open,
            "closed": self._closed,
            "rate": self._rate,
            "streams": self._streams,
            "close": self._close,
        }
        await commands[do](**command)
        return self._tally.result(time.monotonic() - started)

    async def _open(self, port: int, connections: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, link = await loop.create_connection(lambda: Link(self._tally), "127.0.0.1", port)
            self._links.append(link)

    async def _close(self) -> None:
        for link in self._links:
            link.close()
        self._links.clear()

    async def _closed(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        ended = asyncio.Event()
        left, sent = len(self._links), 0

        def again(link: Link) -> None:
            nonlocal left, sent
            if time.monotonic() >= deadline or self._tally.broken:
                left -= 1
                if not left:
                    ended.set()
                return
            sent += 1
            link.send(self._requests[sent % USERS])

        for link in self._links:
            link.done = again
            again(link)
        await ended.wait()

    async def _rate(self, rate: float, seconds: float) -> None:
        gaps = Random(7)
        idle, waiting = deque(self._links), deque[tuple[bytes, float]]()
        quiet = asyncio.Event()

        def free(link: Link) -> None:
            if waiting:
                link.send(*waiting.popleft())
            else:
                idle.append(link)
                if len(idle) == len(self._links):
                    quiet.set()

        for link in self._links:
            link.done = free
        due = time.monotonic()
        for number in range(int(rate * seconds)):
            due += gaps.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            data = self._requests[number % USERS]
            if idle:
                idle.popleft().send(data)
            else:
                waiting.append((data, time.monotonic()))
        quiet.clear()
        if waiting or len(idle) < len(self._links):
            await asyncio.wait_for(quiet.wait(), 10)

    async def _streams(self, chunks: int, pace_ms: int) -> None:
        ended = asyncio.Event()
        left = len(self._links)

        def done(_: Link) -> None:
            nonlocal left
            left -= 1
            if not left:
                ended.set()

        for place, link in enumerate(self._links):
            link.done = done
            data = request(place, stream=True, max_tokens=chunks, seed=pace_ms)
            wait_s = place * pace_ms / 1e3 / len(self._links)
            asyncio.get_running_loop().call_later(wait_s, link.send, data)
        await asyncio.wait_for(ended.wait(), 60)


def main() -> None:
    """Carry out commands until stdin ends."""
    client = Client()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin:
            sys.stdout.write(json.dumps(runner.run(client.run(json.loads(line)))) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
