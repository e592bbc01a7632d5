"""One real worker between two fake transports, without socket and kernel, for `costs` and `counts`."""

import asyncio
import gc
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from benchmarks.shapes import ExchangeShape
from canary.programs.config_pipe import FollowedConfig
from canary.programs.process import WorkerArgs
from canary.programs.worker import GC_THRESHOLDS, Worker
from proxy.exchange import TrafficApp
from proxy.network.server.caller_connection import TrafficProtocol
from proxy.network.upstream.connection import READ, Connection
from records.shared.states_file import write as write_plan
from routing.canary import definition
from routing.states import State, States
from tests.canary.handed import Hand

WARM = 100
_SECRET = "this gives the same users to the candidate in each run"
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

    def close(self) -> None:
        """Release the socket's number."""
        self._socket.close()

    def abort(self) -> None:
        """Do nothing."""


class LoneWorker:
    """One worker, one caller's connection, one upstream connection."""

    def __init__(self, folder: Path) -> None:
        loop = asyncio.get_running_loop()
        self._hand = Hand(CONFIG)
        self._worker = worker = _worker(folder, self._hand.config)
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
        self.inbound.shared.ticker.stop()  # what runs by the clock is no part of an exchange
        worker.ticker.stop()
        gc.set_threshold(*GC_THRESHOLDS)

    async def warm_up(self, shape: ExchangeShape) -> None:
        """Fill caches, and leave nothing of the start to the garbage collector, as a worker does."""
        await self.serve(shape, WARM)
        gc.collect()
        gc.freeze()

    async def serve(self, shape: ExchangeShape, exchanges: int) -> None:
        """So many exchanges, one after the other; each read of the answer leads to a write to the caller."""
        for _ in range(exchanges):
            self.inbound.data_received(shape.request)
            await self.provider.something()
            for read in shape.answer:
                self.room[: len(read)] = read
                self.outbound.buffer_updated(len(read))
                await self.caller.something()

    def close(self) -> None:
        """Close what the worker has opened."""
        self._worker.spool.close()
        self._worker.checker.close()
        self._hand.close()
        self.caller.close()
        self.provider.close()


@contextmanager
def lone_worker() -> Iterator[LoneWorker]:
    """A worker in a folder of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="canary-lone-") as folder,
        closing(LoneWorker(Path(folder))) as lone,
    ):
        yield lone


def _worker(folder: Path, config: FollowedConfig) -> Worker:
    data = folder / "data"
    data.mkdir(mode=0o700)
    (data / "secret").write_text(_SECRET)
    canary = config.current.canaries["bench"].canary
    running = State(state="running", share=0.1, definition=definition(canary))
    write_plan(data / "plan.json", States(version=1, refreshed_at=time.time(), states={canary.name: running}))
    args = WorkerArgs(data=str(data), fd=-1, slot=0, grace_s=5.0, workers=1, host="127.0.0.1")
    return Worker(args, config)
