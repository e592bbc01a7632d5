"""Measures the CPU time of each part of a request: the real worker between two fake transports.

    .venv/bin/python -m benchmarks.costs

Each part is timed within whole requests, by wrapping its function, so that caches are realistic; nested parts
count once. The cost of the wrapper is measured and subtracted, so parts of a few microseconds are imprecise.
No socket is used; `make bench` includes the kernel's part.
"""

import asyncio
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Any

import uvicorn
import uvloop
from uvicorn.server import ServerState

from benchmarks.request import HEADERS, RequestDialect
from canary.programs.process import WorkerArgs
from canary.programs.worker import Worker
from proxy import call, exchange
from proxy.app import TrafficApp
from proxy.attempt import Attempt
from proxy.record import Record
from proxy.routes import Routes
from proxy.server import Incoming, TrafficProtocol
from proxy.upstream.connection import READ, Connection
from proxy.upstream.request import Address
from records.plans import write as write_plan
from routing.canary import definition
from routing.plan import Plan, State
from tests.canary.handed import Hand

EXCHANGES, ROUNDS = 400, 15
CONFIG = """
providers:
  openai: {api: openai, base_url: "http://127.0.0.1:9/v1"}
canaries:
  - name: bench
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o-2024-08-06}
    candidate: {provider: openai, model: gpt-4o-2024-11-20}
    share: 10%
"""
SENTENCE = b"Your refund was approved and reaches you within three days. " * 8
BODY = (
    b'{"id":"chatcmpl-canned","object":"chat.completion","created":1732400000,"model":"gpt-4o-2024-08-06",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"%b","refusal":null},"logprobs":null,'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":120,"completion_tokens":40,"total_tokens":160}}'
) % SENTENCE
ANSWER = (
    b"HTTP/1.1 200 OK\r\nx-request-id: req_canned\r\nopenai-processing-ms: 5\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
) % (len(BODY), BODY)


class Nowhere(asyncio.Transport):
    """A transport that accepts every write at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._written: asyncio.Future[None] = loop.create_future()
        self._socket = socket.socket()  # its number only; nothing is sent

    async def something(self) -> None:
        """Wait for the next write."""
        await self._written
        self._written = self._loop.create_future()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._written.done():
            self._written.set_result(None)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._socket if name == "socket" else default

    def abort(self) -> None:
        """Do nothing."""


class CostParts:
    """The seconds spent in each part, without nested parts, and the number of calls."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._inner = [0.0]

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Time every call of the function `owner.name` as this part."""
        whole: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **named: Any) -> Any:
            self._inner.append(0.0)
            began = thread_time()
            try:
                return whole(*args, **named)
            finally:
                took = thread_time() - began
                self.spent[part] = self.spent.get(part, 0.0) + took - self._inner.pop()
                self._inner[-1] += took

        setattr(owner, name, timed)

    def take(self) -> dict[str, float]:
        """The seconds since the last call of this method."""
        spent, self.spent = self.spent, {}
        return spent


class CostBench:
    """One worker, one caller's connection, one upstream connection."""

    def __init__(self, folder: Path) -> None:
        loop = asyncio.get_running_loop()
        worker = _worker(folder)
        app = TrafficApp(worker.exchanges, worker.endpoints)
        config = uvicorn.Config(app, http=TrafficProtocol, ws="none", lifespan="off", log_config=None)
        self.caller, self.provider = Nowhere(loop), Nowhere(loop)
        self.inbound = TrafficProtocol(config, ServerState(), {}, _loop=loop)
        self.inbound.connection_made(self.caller)
        target = worker.exchanges.routes.trials["bench"].baseline
        _, _, origin = worker.upstreams._learn(target.provider)
        self.room = memoryview(bytearray(READ))
        self.outbound = Connection(loop, worker.upstreams._ticker, origin, self.room)
        self.outbound.connection_made(self.provider)
        origin.put_back(self.outbound)
        self.request = _request()

    async def exchange(self) -> None:
        """One chat completion, request and answer."""
        self.inbound.data_received(self.request)
        await self.provider.something()
        self.room[: len(ANSWER)] = ANSWER
        self.outbound.buffer_updated(len(ANSWER))
        await self.caller.something()

    async def round(self) -> float:
        """CPU microseconds per exchange."""
        before = time.process_time()
        for _ in range(EXCHANGES):
            await self.exchange()
        return (time.process_time() - before) / EXCHANGES * 1e6


def _worker(folder: Path) -> Worker:
    config = Hand(CONFIG).config
    data = folder / "data"
    data.mkdir(mode=0o700)
    canary = config.current.canaries["bench"].canary
    running = State(state="running", share=0.1, definition=definition(canary))
    write_plan(data / "plan.json", Plan(version=1, refreshed_at=time.time(), states={canary.name: running}))
    orders = WorkerArgs(data=str(data), fd=-1, slot=0, grace_s=5.0, workers=1, host="127.0.0.1")
    return Worker(orders, config)


def _request() -> bytes:
    body = RequestDialect().body()
    head = ["POST /v1/chat/completions HTTP/1.1", *HEADERS, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


def _wrap(parts: CostParts) -> None:
    parts.wrap(TrafficProtocol, "data_received", "parse the request (llhttp, checks, Incoming)")
    parts.wrap(Routes, "route", "find the route")
    parts.wrap(call, "facts_of", "read its JSON")
    parts.wrap(Routes, "trial", "find the canary")
    parts.wrap(exchange, "assign", "assign (HMAC)")
    parts.wrap(Record, "assign", "unit hash and signed id")
    parts.wrap(exchange, "upstream_request", "write the upstream request (splice, headers)")
    parts.wrap(Address, "head", "write its head")
    parts.wrap(Connection, "start", "hand it to the connection")
    parts.wrap(Connection, "buffer_updated", "parse the answer (llhttp, checks)")
    parts.wrap(Attempt, "opened", "judge its head, choose a reader")
    parts.wrap(Attempt, "_finished", "read its JSON, usage")
    parts.wrap(exchange, "to_caller", "headers for the caller")
    parts.wrap(Incoming, "start", "write the response head")
    parts.wrap(Incoming, "end", "write the response, next turn")
    parts.wrap(Record, "_outcome", "build the Outcome, cost")
    parts.wrap(Record, "_close", "encode and spool it (one write)")


async def main() -> None:
    """Measure whole requests and then the parts, and print both."""
    with tempfile.TemporaryDirectory(prefix="canary-costs-") as folder:
        bench = CostBench(Path(folder))
        await bench.round()
        whole = median([await bench.round() for _ in range(ROUNDS)])
        parts = CostParts()
        empty = _overhead_us()
        _wrap(parts)
        rounds = []
        for _ in range(ROUNDS):
            await bench.round()
            rounds.append(parts.take())
    middle = {part: median([spent[part] for spent in rounds]) for part in rounds[0]}
    shown = {part: max(0.0, spent / EXCHANGES * 1e6 - empty) for part, spent in middle.items()}
    for part, cost in shown.items():
        sys.stdout.write(f"{cost:6.1f}  {part}\n")
    sys.stdout.write(f"{whole - sum(shown.values()):6.1f}  the rest: event loop, task, coroutines, pool\n")
    sys.stdout.write(f"{whole:6.1f}  µs per exchange, no sockets; Python {sys.version.split()[0]}\n")


def _overhead_us() -> float:
    """The overhead of timing one call."""

    class Empty:
        @staticmethod
        def call() -> None:
            """Nothing."""

    parts = CostParts()
    parts.wrap(Empty, "call", "empty")
    for _ in range(20_000):
        Empty.call()
    return parts.take()["empty"] / 20_000 * 1e6


if __name__ == "__main__":
    uvloop.run(main())
