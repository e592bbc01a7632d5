"""Measures answers and refusals under overload, compared with the maximum throughput.

    .venv/bin/python -m benchmarks.overload

Requests arrive by a Poisson process, and ignore `retry-after`. With slow answers the limit is the bound on
requests in flight; with fast answers it is the CPU.
"""

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.build import compiled
from benchmarks.contender import CLIENT_CORE, Contender
from benchmarks.own import Upstream, canary
from benchmarks.prober import BrokenAnswersError, Prober, probers
from benchmarks.processes import sample

CONNECTIONS = 8192
A_LANE, BASELINES_SHARE = 2048, 0.9
SECONDS = 10.0
LOADS = (1.0, 1.3, 2.0)
LATE_MS, SOON_MS = 4000, 50
CLOSED, UNLIMITED = 1024, 10**9


@dataclass(frozen=True, slots=True)
class Answered:
    """One load: the offered requests per second, the client's result, and the worker's CPU seconds."""

    offered_per_s: float
    result: dict[str, Any]
    worker_s: float

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return float(self.result["answers"] / self.result["seconds"])

    def line(self) -> str:
        """A row: offered, answered, answered per second of the worker's CPU, refused, and the latency (p50 /
        p99 in ms) of answers and refusals."""
        late = [_late(self.result[sample]) for sample in ("latency_s", "refusal_s")]
        refused = self.result["refused"] / self.result["seconds"]
        per_cpu_s = self.result["answers"] / self.worker_s
        return " | ".join(
            [f"{self.offered_per_s:.0f}", f"{self.per_s:.0f}", f"{per_cpu_s:.0f}", f"{refused:.0f}", *late]
        )


def _late(sample_s: dict[str, float] | None) -> str:
    return "–" if sample_s is None else f"{1e3 * sample_s['p50']:.0f} / {1e3 * sample_s['p99']:.0f}"


class Overload:
    """A contender and the load client."""

    def __init__(self, prober: Prober, contender: Contender, folder: Path) -> None:
        self._prober = prober
        self._contender = contender
        self._folder = folder

    def late(self) -> Iterator[Answered]:
        """Slow answers: the maximum is the bound on requests in flight."""
        yield from self._loads(A_LANE / BASELINES_SHARE / LATE_MS * 1e3, LATE_MS)

    def soon(self) -> Iterator[Answered]:
        """Fast answers: a closed loop within the bound finds the maximum."""
        self._prober.run("open", self._contender.port, CLOSED, 1)
        most = self._taken(0.0, "closed", self._request(SOON_MS), SECONDS, UNLIMITED)
        yield most
        yield from self._loads(most.per_s, SOON_MS)

    def _loads(self, most_per_s: float, latency_ms: int) -> Iterator[Answered]:
        for times in LOADS:
            self._prober.run("open", self._contender.port, CONNECTIONS, 1)
            rate = times * most_per_s
            yield self._taken(rate, "overload", self._request(latency_ms), rate, SECONDS)
        self._prober.run("close")

    def _request(self, latency_ms: int) -> Path:
        return self._contender.dialect.write(self._folder / "document.http", seed=latency_ms)

    def _taken(self, offered_per_s: float, *command: object) -> Answered:
        before = self._worker_s()
        result = self._prober.run(*command)
        return Answered(offered_per_s, result, self._worker_s() - before)

    def _worker_s(self) -> float:
        return sample(self._contender.roles["worker"]).cpu_s


def main() -> None:
    """Measure both limits and print a row per load."""
    with tempfile.TemporaryDirectory(prefix="canary-overload-") as name:
        folder = Path(name)
        with (
            probers(compiled(folder), CLIENT_CORE) as prober,
            canary(Upstream(prober.upstream, folder)) as contender,
        ):
            overload = Overload(prober, contender, folder)
            for title, loads in (("late", overload.late), ("soon", overload.soon)):
                try:
                    for answered in loads():
                        sys.stdout.write(f"{title}: {answered.line()}\n")
                except BrokenAnswersError as broken:
                    sys.stdout.write(f"{title}: ended, {broken}\n")


if __name__ == "__main__":
    main()
