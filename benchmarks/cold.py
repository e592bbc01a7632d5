"""Times single exchanges in warm and in cold caches, with the request path compiled and not.

    make build/compiled && .venv/bin/python -m benchmarks.cold build/compiled

Before each cold exchange a block larger than the core's own caches is written, as busy neighbours would fill
them. No socket is used. The two kinds of worker take turns, in processes of their own.
"""

import json
import statistics
import sys
from pathlib import Path
from time import thread_time

import uvloop

from benchmarks.compiled import output
from benchmarks.lone_worker import LoneWorker, lone_worker
from benchmarks.shapes import PLAIN

ROUNDS, EXCHANGES = 5, 150
_BLOCK = bytearray(96 << 20)
_LINE = 64
_LINES = bytes(len(_BLOCK) // _LINE)


async def _median_us(worker: LoneWorker, *, cold: bool) -> float:
    """CPU microseconds of one exchange."""
    times = []
    for _ in range(EXCHANGES):
        if cold:
            _BLOCK[::_LINE] = _LINES
        before = thread_time()
        await worker.serve(PLAIN, 1)
        times.append(thread_time() - before)
    return statistics.median(times) * 1e6


async def _medians_us() -> tuple[float, float]:
    with lone_worker() as worker:
        await worker.warm_up(PLAIN)
        return await _median_us(worker, cold=False), await _median_us(worker, cold=True)


def main(compiled: Path) -> None:
    """Measure in turns, and print a row for each kind: warm and cold, medians of the rounds."""
    rounds: dict[str, list[tuple[float, float]]] = {"plain": [], "compiled": []}
    for _ in range(ROUNDS):
        for name, folder in (("plain", None), ("compiled", compiled)):
            rounds[name].append(json.loads(output("benchmarks.cold", compiled=folder)))
    for name, found in rounds.items():
        for caches, times in zip(("warm", "cold"), zip(*found, strict=True), strict=True):
            low, middle, high = min(times), statistics.median(times), max(times)
            sys.stdout.write(f"{name}, {caches} caches: {middle:.0f} µs ({low:.0f} to {high:.0f})\n")


if __name__ == "__main__":
    if sys.argv[1:]:
        main(Path(sys.argv[1]))
    else:
        sys.stdout.write(json.dumps(uvloop.run(_medians_us())))
