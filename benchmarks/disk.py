"""Measures whether a spool append waits for the disk, on an idle and on a busy disk.

    python -m benchmarks.disk [FOLDER]

Compares the spool, with its grouped fdatasync, with a bare write() of the same frames, each alone and beside
a process that writes as fast as the disk allows. FOLDER (default: the current one) selects the disk. Writes
at most 2 GiB, deletes all of it, and takes about thirty seconds.
"""

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from records.outcome import Outcome, Usage
from records.spool.frame import encode
from records.spool.writer import SpoolWriter

A_SECOND = 1000
PHASE_S = 6.0
MOST_BYTES = 1 << 30
"""The bytes that the busy process writes in each of the two phases."""

_PIECE = os.urandom(4 << 20)
_SYNC_EVERY = 16


def an_outcome(serial: int) -> Outcome:
    """The record of a typical chat exchange."""
    return Outcome(
        exchange_id=f"{serial:086d}",
        at=1.7e9,
        mono=1.0,
        outcome="ok",
        canary="support-nov",
        unit="ab" * 16,
        model="gpt-4o-2024-08-06",
        latency_s=1.25,
        ttft_s=0.25,
        usage=Usage(input_tokens=812, output_tokens=190),
    )


def timed(append: Callable[[Outcome], object]) -> list[float]:
    """The duration of each append in seconds, at a constant rate."""
    took, began = [], time.perf_counter()
    for serial in range(int(A_SECOND * PHASE_S)):
        record = an_outcome(serial)
        before = time.perf_counter()
        append(record)
        took.append(time.perf_counter() - before)
        time.sleep(max(0.0, began + (serial + 1) / A_SECOND - time.perf_counter()))
    return sorted(took)


@contextmanager
def spool(folder: Path) -> Iterator[Callable[[Outcome], object]]:
    """A worker's spool."""
    with closing(SpoolWriter(folder / "spool", worker=0)) as writer:
        yield writer.append


@contextmanager
def bare(folder: Path) -> Iterator[Callable[[Outcome], object]]:
    """The same frames without fdatasync."""
    with (folder / "bare").open("ab", buffering=0) as file:
        yield lambda record: file.write(encode(record))


@contextmanager
def busy_disk(folder: Path) -> Iterator[Callable[[], float]]:
    """A process that writes and syncs as fast as it can; yields a function that returns the MiB written."""
    written, stop = multiprocessing.Value("q", 0), multiprocessing.Event()
    process = multiprocessing.Process(target=_write_on, args=(folder / "busy", written, stop))
    process.start()
    try:
        yield lambda: written.value / (1 << 20)
    finally:
        stop.set()
        process.join()


def _write_on(path: Path, written: "multiprocessing.sharedctypes.Synchronized[int]", stop: object) -> None:
    """Write and sync 64 MiB over and over in the same place, up to the bound."""
    with path.open("wb", buffering=0) as file:
        while written.value < MOST_BYTES and not stop.is_set():  # type: ignore[attr-defined]
            file.seek(0)
            for _ in range(_SYNC_EVERY):
                file.write(_PIECE)
                written.value += len(_PIECE)
            os.fdatasync(file.fileno())
    path.unlink()


def row(name: str, took: list[float], beside: str) -> str:
    """One line of the table, in microseconds and milliseconds."""
    p50, p99, p999 = (took[int(part * (len(took) - 1))] for part in (0.5, 0.99, 0.999))
    stalled = sum(each > 0.01 for each in took)
    return (
        f"| {name} | {beside} | {p50 * 1e6:.0f} µs | {p99 * 1e6:.0f} µs | {p999 * 1e3:.2f} ms "
        f"| {took[-1] * 1e3:.1f} ms | {stalled} of {len(took)} |"
    )


def main() -> None:
    place = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    print("| appended by | beside it | p50 | p99 | p99.9 | longest | over 10 ms |")
    print("|---|---|---|---|---|---|---|")
    for name, kind in (("the spool, with its fdatasync", spool), ("write() alone", bare)):
        with tempfile.TemporaryDirectory(dir=place) as folder, kind(Path(folder)) as append:
            print(row(name, timed(append), "nothing"), flush=True)
        with tempfile.TemporaryDirectory(dir=place) as folder, busy_disk(Path(folder)) as written:
            with kind(Path(folder)) as append:
                began = time.perf_counter()
                took = timed(append)
                rate = written() / (time.perf_counter() - began)
            print(row(name, took, f"{rate:.0f} MiB/s written and synced"), flush=True)


if __name__ == "__main__":
    main()
