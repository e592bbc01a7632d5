"""One contender's turn in one round: runs the load, and reads the kernel's figures before and after.

Each turn is a separate process, and no other contender runs meanwhile.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contender import Contender
from benchmarks.prober import Prober
from benchmarks.processes import ProcessSample, sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """The length of a turn: seconds of each load, chunks of each paced and each fast stream."""

    warm_s: float
    closed_s: float
    rate_s: float
    paced_chunks: int
    fast_chunks: int


FULL = Lengths(warm_s=1.0, closed_s=4.0, rate_s=5.0, paced_chunks=250, fast_chunks=500)
QUICK = Lengths(warm_s=0.5, closed_s=1.0, rate_s=1.5, paced_chunks=100, fast_chunks=500)

CONNECTIONS = 32
RATE = 200.0
STREAM_RATE, STREAM_CHUNKS = 50.0, 10
PACE_MS = 20
GAP_STREAMS = 500
FEW, MANY = 250, 1000
MEMORY_CHUNKS, MEMORY_PACE_MS = 15, 100
LOOK_S = 0.1
UNLIMITED = 10**9

Figures = dict[str, float]


class LoopTurn:
    """The loads that a contender is put under; each method is one, and returns its figures."""

    def __init__(self, prober: Prober, contender: Contender, lengths: Lengths, folder: Path) -> None:
        self.contender = contender
        self._prober = prober
        self._lengths = lengths
        self._folder = folder
        self._per_s: float | None = None

    def warm_up(self) -> Figures:
        """Let caches and connections settle."""
        self._open(CONNECTIONS)
        self._prober.run("closed", self._document(), self._lengths.warm_s, UNLIMITED)
        self._open(4)
        self._prober.run("spread", self._stream(5, 0), 5, 0)
        self._close()
        return {}

    def stream_memory(self) -> Figures:
        """Memory per stream, from 250 to 1,000 of them: the first live in what starting up has left free."""
        if self.contender.streams < FEW:
            return {}
        few, many = (self._streams(streams, MEMORY_CHUNKS, MEMORY_PACE_MS)[1] for streams in (FEW, MANY))
        figures = {f"rss_{role}_mib": rss / 2**20 for role, rss in many.items()}
        for role, rss in many.items():
            figures[f"stream_{role}_kib"] = (rss - few[role]) / (MANY - FEW) / 1024
        return figures

    def gaps(self) -> Figures:
        """500 paced streams: gaps between chunks that the provider did not make."""
        if self.contender.streams < FEW:
            return {}
        result, _ = self._streams(GAP_STREAMS, self._lengths.paced_chunks, PACE_MS)
        return {
            "gaps": float(result["gaps"]),
            "own_gaps": float(result["own_gaps"]),
            "held_up_ms": 1e3 * result["held_up_s"],
        }

    def closed(self) -> Figures:
        """Every connection sends again at once: CPU per exchange."""
        self._open(CONNECTIONS)
        before = self._now()
        result = self._prober.run("closed", self._document(), self._lengths.closed_s, UNLIMITED)
        self._close()
        return self._exchanges(before, result)

    def latency(self) -> Figures:
        """Documents at 200 requests a second; nothing of a contender that could hardly do twice as much."""
        if self._per_s is None or self._per_s < 2 * RATE:
            return {}
        self._open(CONNECTIONS)
        result = self._prober.run("poisson", self._document(), 0, RATE, self._lengths.rate_s)
        self._close()
        return _milliseconds("", result["latency_s"])

    def first_token(self) -> Figures:
        """Time to the first content chunk of short streams; nothing where their rate is not a modest one."""
        if self._per_s is None or self._per_s < 4 * STREAM_RATE:
            return {}
        self._open(2 * CONNECTIONS)
        request = self._stream(STREAM_CHUNKS, PACE_MS)
        result = self._prober.run("poisson", request, STREAM_CHUNKS, STREAM_RATE, self._lengths.rate_s)
        self._close()
        return _milliseconds("ttft_", result["first_token_s"])

    def paced(self) -> Figures:
        """300 streams with a chunk each 20 ms."""
        before = self._now()
        result, _ = self._streams(self.contender.streams, self._lengths.paced_chunks, PACE_MS)
        return self._per_chunk("paced", before, result) | _milliseconds("delay_", result["delay_s"])

    def fast(self) -> Figures:
        """300 streams as fast as they come."""
        before = self._now()
        result, _ = self._streams(self.contender.streams, self._lengths.fast_chunks, 0)
        return self._per_chunk("fast", before, result)

    def exchanges(self, count: int) -> Figures:
        """So many exchanges, however long they take."""
        self._open(CONNECTIONS)
        before = self._now()
        result = self._prober.run("closed", self._document(), 3600, count)
        self._close()
        return self._exchanges(before, result)

    def memory(self) -> Figures:
        """Resident memory as it is."""
        return {f"rss_{role}_mib": rss / 2**20 for role, rss in self._memory().items()}

    def _document(self) -> Path:
        return self.contender.dialect.write(self._folder / "document.http")

    def _stream(self, chunks: int, pace_ms: int) -> Path:
        return self.contender.dialect.write(
            self._folder / "stream.http",
            stream=True,
            max_tokens=chunks,
            seed=pace_ms,
            stream_options={"include_usage": True},
        )

    def _streams(self, streams: int, chunks: int, pace_ms: int) -> tuple[dict[str, Any], dict[str, int]]:
        """The result, and the most memory that each role held meanwhile, in bytes."""
        self._open(streams)
        self._prober.start("spread", self._stream(chunks, pace_ms), chunks, pace_ms)
        most = self._memory()
        while not self._prober.has_result(within_s=LOOK_S):
            most = {role: max(most[role], now) for role, now in self._memory().items()}
        result = self._prober.result()
        self._close()
        return result, most

    def _exchanges(self, before: dict[str, ProcessSample], result: dict[str, Any]) -> Figures:
        answers = result["answers"]
        spent = self._spent(before)
        self._per_s = answers / result["seconds"]
        figures = {f"exchange_{role}_us": 1e6 * s / answers for role, s in spent.items()}
        figures["closed_per_s"] = self._per_s
        figures["candidate_share"] = result["candidate"] / answers
        figures["machine_limit_per_s"] = (os.cpu_count() or 1) * answers / sum(spent.values())
        figures["prober_core_share"] = (spent["client"] + spent["provider"]) / result["seconds"]
        if self.contender.roles:
            figures["per_core"] = 1e6 / figures["exchange_worker_us"]
            whole = sum(figures[f"exchange_{role}_us"] for role in self.contender.roles)
            figures["per_core_whole"] = 1e6 / whole
        return figures

    def _per_chunk(self, name: str, before: dict[str, ProcessSample], result: dict[str, Any]) -> Figures:
        return {f"{name}_{role}_us": 1e6 * s / result["chunks"] for role, s in self._spent(before).items()}

    def _open(self, connections: int) -> None:
        self._prober.run("open", self.contender.port, connections, int(self.contender.exact))

    def _close(self) -> None:
        self._prober.run("close")

    def _memory(self) -> dict[str, int]:
        return {role: sample(pids).rss for role, pids in self.contender.roles.items()}

    def _now(self) -> dict[str, ProcessSample]:
        roles = self.contender.roles | self._prober.roles
        return {role: sample(pids) for role, pids in roles.items()}

    def _spent(self, before: dict[str, ProcessSample]) -> dict[str, float]:
        return {role: now.cpu_s - before[role].cpu_s for role, now in self._now().items()}


Load = Callable[[LoopTurn], Figures]


def _milliseconds(name: str, sample_s: dict[str, float]) -> Figures:
    return {f"{name}{part}_ms": 1e3 * sample_s[part] for part in ("p50", "p99")}
