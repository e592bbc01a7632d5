"""Compares canary's upstream pool with HTTP client libraries: `python -m benchmarks.upstream_clients`.

A client process a library and round, on a core of its own, asks the C provider on the other core; what is
measured is the client process's CPU time, all its threads counted. Rounds are interleaved and their order
turns. A library that cannot be imported is left out and named: pyreqwest is no dependency of canary.
"""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import uvloop

from benchmarks.build import compiled
from benchmarks.client_libraries import LIBRARIES, ProviderUrl, ReceivedAnswer, SendRequest
from benchmarks.contender import CLIENT_CORE, PROXY_CORE
from benchmarks.own import Upstream, behind_tls
from benchmarks.processes import child, work
from benchmarks.request import RequestDialect
from benchmarks.table import number

WARM_UP = 300
WITHIN_S = 300
PACE_MS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLoad:
    """A load: the number of answers and of concurrent requests. A stream has `chunks`, one per `pace_ms` (0:
    no pause)."""

    title: str
    count: int
    at_once: int
    chunks: int = 0
    pace_ms: int = 0

    def body(self) -> bytes:
        """The request's body."""
        if not self.chunks:
            return RequestDialect().body()
        return RequestDialect().body(stream=True, max_tokens=self.chunks, seed=self.pace_ms)


def shapes(requests: int) -> list[ClientLoad]:
    """The loads of a turn, sized by the number of JSON requests."""
    streams = max(50, requests // 10)
    return [
        ClientLoad(title="JSON, 1 at once", count=requests, at_once=1),
        ClientLoad(title="JSON, 32 at once", count=requests, at_once=32),
        ClientLoad(title="stream of 50, 1 at once", count=streams, at_once=1, chunks=50),
        ClientLoad(title="stream of 50, 32 at once", count=streams, at_once=32, chunks=50),
        ClientLoad(
            title=f"stream of 50, each {PACE_MS} ms", count=100, at_once=50, chunks=50, pace_ms=PACE_MS
        ),
    ]


# The client process


async def measure(library: str, target: ProviderUrl, requests: int) -> dict[str, float]:
    """CPU microseconds per answer, by shape."""
    async with LIBRARIES[library](target) as ask:
        await load(ask, ClientLoad(title="", count=WARM_UP, at_once=32))
        await load(ask, ClientLoad(title="", count=WARM_UP // 10, at_once=32, chunks=5))
        found = {}
        for shape in shapes(requests):
            before = time.process_time()
            await load(ask, shape)
            found[shape.title] = (time.process_time() - before) / shape.count * 1e6
        return found


async def load(ask: SendRequest, shape: ClientLoad) -> None:
    """Send requests until all answers have come. Raises ValueError for a wrong one."""
    body = shape.body()
    left = iter(range(shape.count))
    sizes = set()

    async def caller(turn: int) -> None:
        await asyncio.sleep(shape.pace_ms / 1e3 * turn / shape.at_once)
        for _ in left:
            found = ReceivedAnswer()
            await ask(body, shape.chunks > 0, found)
            if found.status != 200 or not found.last.endswith(b"data: [DONE]\n\n" if shape.chunks else b"}"):
                raise ValueError(f"a wrong answer: {found}")
            sizes.add(found.size)

    async with asyncio.TaskGroup() as group:
        for turn in range(shape.at_once):
            group.create_task(caller(turn))
    if len(sizes) != 1:
        raise ValueError(f"answers of different sizes: {sizes}")


# The run


def turn(library: str, target: ProviderUrl, requests: int) -> dict[str, float]:
    """Run one client process. Raises RuntimeError with the end of its output if it fails."""
    command = ["taskset", "-c", PROXY_CORE, sys.executable, "-m", "benchmarks.upstream_clients"]
    command += ["--client", library, "--url", target.url, "--requests", str(requests)]
    command += ["--ca", target.ca_file] if target.ca_file else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{library}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def take(
    names: list[str], target: ProviderUrl, requests: int, rounds: int
) -> list[dict[str, dict[str, float]]]:
    """Every round's figures, by library and shape."""
    taken = []
    for each in range(rounds):
        shift = each % len(names)
        order = [*names[shift:], *names[:shift]]
        taken.append({name: turn(name, target, requests) for name in order})
        sys.stderr.write(f"{target.url}: round {each + 1} of {rounds}\n")
    return taken


def table(taken: list[dict[str, dict[str, float]]]) -> Iterator[str]:
    """A line per library: median (low–high), and the median of its ratios to ours in the same round."""
    titles = list(taken[0]["ours"])
    yield " | ".join(["CPU µs an answer".ljust(18), *(title.rjust(28) for title in titles)])
    for name in LIBRARIES:
        if name in taken[0]:
            cells = (_cell(taken, name, title).rjust(28) for title in titles)
            yield " | ".join([_titled(name).ljust(18), *cells])


def _cell(taken: list[dict[str, dict[str, float]]], name: str, title: str) -> str:
    values = [figures[name][title] for figures in taken]
    ratio = median(figures[name][title] / figures["ours"][title] for figures in taken)
    spread = f"{number(median(values))} ({number(min(values))}–{number(max(values))})"
    return spread if name == "ours" else f"{spread} ×{ratio:.2g}"


def _titled(name: str) -> str:
    return name if name == "ours" else f"{name} {version(name)}"


def importable() -> tuple[list[str], list[str]]:
    """The installed libraries, and the missing ones."""
    here, missing = ["ours"], []
    for name in LIBRARIES:
        if name != "ours":
            try:
                version(name)
                here.append(name)
            except PackageNotFoundError:
                missing.append(name)
    return here, missing


@contextmanager
def provider(folder: Path) -> Iterator[Upstream]:
    """The C provider on the client's core, in plain HTTP."""
    with child([str(compiled(folder).provider)], CLIENT_CORE) as process:
        assert process.stdout is not None
        yield Upstream(int(process.stdout.readline()), folder)


def run(requests: int, rounds: int) -> None:
    """Measure plain HTTP, then TLS, and print both."""
    here, missing = importable()
    before = work()
    with tempfile.TemporaryDirectory(prefix="canary-clients-") as name, provider(Path(name)) as plain:
        sections = [("http", take(here, ProviderUrl(f"http://127.0.0.1:{plain.port}"), requests, rounds))]
        with behind_tls(plain) as secured:
            target = ProviderUrl(f"https://127.0.0.1:{secured.port}", str(secured.folder / "ca.pem"))
            sections.append(("https", take(here, target, requests, rounds)))
    spent = work() - before
    for title, taken in sections:
        print(f"{title}: median (low–high) of {rounds} round(s), ×ratio to ours in the same round")
        print(*table(taken), "", sep="\n")
    print(f"left out, not installed: {', '.join(missing)}" if missing else "all libraries are here")
    foreign = max(0.0, 1.0 - spent.own_s / spent.machine_s)
    print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}; load {os.getloadavg()[0]:.1f}, "
        f"{100 * foreign:.0f} % of the CPU time was not this run's"
    )


def main() -> None:
    """Run the comparison, or with --client one of its client processes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upstream_clients", description=__doc__)
    parser.add_argument("--requests", type=int, default=3000, help="JSON requests a shape, library and round")
    parser.add_argument("--rounds", type=int, default=3)
    for inner in ("--client", "--url", "--ca"):
        parser.add_argument(inner, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.client:
        figures = uvloop.run(measure(asked.client, ProviderUrl(asked.url, asked.ca), asked.requests))
        print(json.dumps(figures))
    else:
        run(asked.requests, asked.rounds)


if __name__ == "__main__":
    main()
