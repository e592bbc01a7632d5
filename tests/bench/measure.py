"""One contender's turn in one round: the load is run, the kernel is asked before and after."""

import json
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from tests.bench.contenders import Contender
from tests.bench.processes import Sample, sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How long a turn is: seconds of closed and rate load, chunks of each paced and each fast stream."""

    closed_s: float
    rate_s: float
    paced_chunks: int
    fast_chunks: int


FULL = Lengths(closed_s=5.0, rate_s=5.0, paced_chunks=150, fast_chunks=500)
QUICK = Lengths(closed_s=1.5, rate_s=1.5, paced_chunks=50, fast_chunks=100)

CONNECTIONS = 32
RATE = 200.0
STREAMS = 300
PACE_MS = 20

Figures = dict[str, float]


class LoadClient:
    """The client process, spoken to line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout

    def start(self, do: str, **command: Any) -> None:
        """Send a command without waiting for its end."""
        self._stdin.write(json.dumps({"do": do, **command}) + "\n")
        self._stdin.flush()

    def result(self) -> dict[str, Any]:
        """The result of the command under way. RuntimeError when any answer was wrong."""
        result: dict[str, Any] = json.loads(self._stdout.readline())
        if result["broken"]:
            raise RuntimeError(f"{result['broken']} answers were broken or not 200, as: {result['example']}")
        return result

    def run(self, do: str, **command: Any) -> dict[str, Any]:
        """Carry out a command."""
        self.start(do, **command)
        return self.result()


@dataclass(frozen=True, slots=True)
class Turn:
    """Carries out a contender's turns. `base` is the resident memory before the first stream, per role."""

    client: LoadClient
    contender: Contender
    lengths: Lengths
    base: dict[str, int]

    def warm_up(self) -> None:
        """Let caches and connections settle, and note the memory without streams."""
        self._opened(CONNECTIONS)
        self.client.run("closed", seconds=0.5)
        self.client.run("close")
        self.base.update({role: now.rss for role, now in self._now().items()})

    def take(self) -> Figures:
        """All figures of one turn."""
        self._opened(CONNECTIONS)
        figures = self._closed() | self._rate()
        self.client.run("close")
        if self.contender.roles:
            self._opened(STREAMS)
            figures |= self._paced() | self._fast()
            self.client.run("close")
        return figures

    def _closed(self) -> Figures:
        before = self._now()
        result = self.client.run("closed", seconds=self.lengths.closed_s)
        spent = self._spent(before)
        figures = {f"exchange_{role}_us": 1e6 * s / result["answers"] for role, s in spent.items()}
        figures["closed_per_s"] = result["answers"] / result["seconds"]
        figures["candidate_share"] = result["candidate"] / result["answers"]
        if "worker" in spent:
            figures["per_core"] = 1e6 / figures["exchange_worker_us"]
        return figures

    def _rate(self) -> Figures:
        result = self.client.run("rate", rate=RATE, seconds=self.lengths.rate_s)
        return {"p50_ms": 1e3 * result["p50_s"], "p99_ms": 1e3 * result["p99_s"]}

    def _paced(self) -> Figures:
        chunks = self.lengths.paced_chunks
        before = self._now()
        self.client.start("streams", chunks=chunks, pace_ms=PACE_MS)
        time.sleep(chunks * PACE_MS / 2e3)  # in the middle every stream is open
        during = self._now()
        self.client.result()
        figures = self._per_chunk("paced", before, chunks)
        for role, now in during.items():
            figures[f"stream_{role}_kib"] = (now.rss - self.base[role]) / STREAMS / 1024
            figures[f"rss_{role}_mib"] = now.rss / 2**20
        return figures

    def _fast(self) -> Figures:
        before = self._now()
        self.client.run("streams", chunks=self.lengths.fast_chunks, pace_ms=0)
        return self._per_chunk("fast", before, self.lengths.fast_chunks)

    def _per_chunk(self, name: str, before: dict[str, Sample], chunks: int) -> Figures:
        spent = self._spent(before)
        return {f"{name}_{role}_us": 1e6 * s / (STREAMS * chunks) for role, s in spent.items()}

    def _opened(self, connections: int) -> None:
        self.client.run("open", port=self.contender.port, connections=connections)

    def _now(self) -> dict[str, Sample]:
        return {role: sample(pids) for role, pids in self.contender.roles.items()}

    def _spent(self, before: dict[str, Sample]) -> dict[str, float]:
        return {role: now.cpu_s - before[role].cpu_s for role, now in self._now().items()}
