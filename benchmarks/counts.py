"""Counts what an exchange costs where time would depend on the neighbours: calls and instructions.

    .venv/bin/python -m benchmarks.counts                       # needs valgrind and a C compiler
    .venv/bin/python -m benchmarks.counts --compiled build/compiled
    .venv/bin/python -m benchmarks.counts --functions chat      # which functions are called, how often

Calls are entries into Python functions (`sys.monitoring`), of which a compiled function is none. Instructions
are those of the worker's thread under `valgrind --tool=callgrind`, counted only while a warm worker serves.
The worker stands between two fake transports: nothing of the kernel or of uvloop's sockets is in either.
"""

import argparse
import ctypes
import json
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import CodeType

import uvloop

from benchmarks.build import library
from benchmarks.compiled import output
from benchmarks.lone_worker import lone_worker
from benchmarks.shapes import CHUNKS, SHAPES, ExchangeShape

COUNTED = 200
_TOOL = 3
_STREAMS = f"stream of {CHUNKS} chunks", f"stream of {2 * CHUNKS} chunks"

Counts = dict[str, float]
"""By shape, for each exchange."""


async def called(shape: ExchangeShape) -> Counts:
    """How often an exchange of this shape calls each Python function. What runs by the clock is left out."""
    calls: Counter[str] = Counter()

    def entered(code: CodeType, offset: int) -> None:
        if "benchmarks" not in code.co_filename:
            calls[f"{Path(code.co_filename).name}:{code.co_qualname}"] += 1

    with lone_worker() as worker:
        await worker.warm_up(shape)
        monitoring = sys.monitoring
        monitoring.use_tool_id(_TOOL, "counts")
        monitoring.register_callback(_TOOL, monitoring.events.PY_START, entered)
        monitoring.set_events(_TOOL, monitoring.events.PY_START)
        await worker.serve(shape, COUNTED)
        monitoring.set_events(_TOOL, monitoring.events.NO_EVENTS)
        monitoring.free_tool_id(_TOOL)
    often = {name: round(count / COUNTED) for name, count in calls.most_common()}
    return {name: count for name, count in often.items() if count}


async def serve_under_callgrind(marks: ctypes.CDLL) -> None:
    """Serve every shape; callgrind writes a file of counts for each."""
    with lone_worker() as worker:
        for name, shape in SHAPES.items():
            await worker.warm_up(shape)
            marks.begin()
            await worker.serve(shape, COUNTED)
            marks.end(name.encode())


def instructions(compiled: Path | None) -> Counts:
    """The instructions of an exchange of each shape. Raises NoCompilerError, CalledProcessError."""
    with tempfile.TemporaryDirectory(prefix="canary-callgrind-") as folder:
        marks = library(Path(folder), "callgrind")
        valgrind = ("valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes")
        under = (*valgrind, f"--callgrind-out-file={folder}/counts")
        output("benchmarks.counts", "--under-callgrind", str(marks), compiled=compiled, under=under)
        written = [path.read_text() for path in Path(folder).glob("counts.*-01")]
    return {name: total / COUNTED for name, total in map(_total, written) if name in SHAPES}


def calls(compiled: Path | None) -> Counts:
    """The calls of an exchange of each shape, in a process of its own."""
    return dict(json.loads(output("benchmarks.counts", "--print-calls", compiled=compiled)))


def _total(text: str) -> tuple[str, int]:
    name = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.MULTILINE)
    total = re.search(r"^(?:totals|summary): (\d+)$", text, re.MULTILINE)
    return (name[1] if name else "", int(total[1]) if total else 0)


def _per_chunk(counts: Counts) -> float:
    short, long = _STREAMS
    return (counts[long] - counts[short]) / CHUNKS


def main() -> None:
    """Count, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.counts", description=__doc__)
    parser.add_argument("--compiled", type=Path, help="a folder with canary's compiled wheel, unpacked")
    parser.add_argument("--functions", choices=SHAPES, help="list the calls of one shape by function")
    parser.add_argument("--print-calls", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--under-callgrind", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.functions:
        for name, count in uvloop.run(called(SHAPES[args.functions])).items():
            sys.stdout.write(f"{count:4.0f}  {name}\n")
    elif args.print_calls:
        sums = {name: sum(uvloop.run(called(shape)).values()) for name, shape in SHAPES.items()}
        sys.stdout.write(json.dumps(sums))
    elif args.under_callgrind:
        uvloop.run(serve_under_callgrind(ctypes.CDLL(args.under_callgrind)))
    else:
        _print(calls(args.compiled), instructions(args.compiled))


def _print(called: Counts, executed: Counts) -> None:
    rows = [(name, called[name], executed[name]) for name in SHAPES]
    rows.append(("each chunk more", _per_chunk(called), _per_chunk(executed)))
    sys.stdout.write("  calls  instructions\n")
    for name, count, number in rows:
        sys.stdout.write(f"{count:7.0f}  {number:12,.0f}  {name}\n")


if __name__ == "__main__":
    main()
