"""Compares direct, nginx and canary in one run: `python -m benchmarks.compare [--quick] [--peers]`.

Rounds are interleaved, and every turn starts a new process of its contender. Figures are medians over the
rounds, with minimum and maximum; ratios are within a round. Client and provider use core 0, the proxy core 1.
"""

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import aged, aims, sections, table
from benchmarks.build import NoCompilerError, Programs, compiled
from benchmarks.contender import BOTH_CORES, CLIENT_CORE, Way
from benchmarks.own import Upstream, behind_tls
from benchmarks.peers import peers
from benchmarks.prober import probers
from benchmarks.processes import work
from benchmarks.rounds import SectionResult, complete, take
from benchmarks.turn import FULL, QUICK

ROUNDS = 3


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description="Direct, nginx and canary side by side.")
    parser.add_argument("--quick", action="store_true", help="about three minutes; wider spread")
    parser.add_argument("--peers", action="store_true", help="with Envoy, TensorZero, Portkey and LiteLLM")
    parser.add_argument("--aged", action="store_true", help="with a million exchanges through one worker")
    parser.add_argument("--compiled", type=Path, metavar="FOLDER", help="with canary compiled, from there")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")
    options = parser.parse_args()
    _allow_many_connections()
    before = work()
    with tempfile.TemporaryDirectory(prefix="canary-bench-") as name:
        folder = Path(name)
        try:
            programs = compiled(folder)
        except NoCompilerError as exc:
            parser.exit(1, f"{exc}\n")
        taken, problem = _taken(_sections(programs, folder, options))
    spent = work() - before
    machine = _machine() | {
        "foreign_cpu_share": max(0.0, 1.0 - spent.own_s / spent.machine_s),
        "stolen_cpu_s": spent.stolen_s,
    }
    sys.stdout.write(_json(taken, machine) if options.output == "json" else _text(taken, machine))
    if problem:
        parser.exit(1, f"The run ended early, and what it had measured until then is above. {problem}\n")


def _taken(found: Iterator[SectionResult]) -> tuple[list[SectionResult], str]:
    """The sections until one of our own contenders failed, and how it did; "" if none."""
    taken: list[SectionResult] = []
    try:
        for section in found:
            taken.append(section)
    except RuntimeError as exc:
        return taken, "\n".join([str(exc), *getattr(exc.__cause__, "__notes__", [])])
    return taken, ""


def _allow_many_connections() -> None:
    """Raise the limit of open files to the hard limit, for this process and its children."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _sections(programs: Programs, folder: Path, options: argparse.Namespace) -> Iterator[SectionResult]:
    """Yield each section when it is done."""
    lengths, few = (QUICK, 1) if options.quick else (FULL, ROUNDS)
    with ExitStack() as stack:
        prober = stack.enter_context(probers(programs, CLIENT_CORE))
        upstream = Upstream(prober.upstream, folder)
        others = [*_compiled(upstream, options), *(peers(upstream) if options.peers else [])]
        yield take(sections.side_by_side(upstream, others, ROUNDS), prober, lengths, folder)
        with behind_tls(upstream) as secured:
            yield take(sections.tls(secured, _compiled(secured, options), ROUNDS), prober, lengths, folder)
        yield take(sections.growth(upstream, few), prober, lengths, folder)
        if options.aged:
            yield complete(aged.take(upstream, prober, lengths, folder))
    with probers(programs, BOTH_CORES) as prober:
        yield take(sections.workers(Upstream(prober.upstream, folder), few), prober, lengths, folder)


def _compiled(upstream: Upstream, options: argparse.Namespace) -> list[Way]:
    return [sections.compiled(upstream, options.compiled.resolve())] if options.compiled else []


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
    }


def _json(taken: Sequence[SectionResult], machine: dict[str, Any]) -> str:
    found = {one.section.title: table.document(one) for one in taken}
    name, results = aims.judged(taken)
    wanted = {"contender": name, "results": [result.document() for result in results]}
    return json.dumps({"machine": machine, "sections": found, "aims": wanted}, indent=2) + "\n"


def _text(taken: Sequence[SectionResult], machine: dict[str, Any]) -> str:
    lines = [line for one in taken for line in (*table.lines(one), *table.per_core(one))]
    lines.append(
        f"{machine['cores']} cores, {machine['system']}, Python {machine['python']}; "
        f"{100 * machine['foreign_cpu_share']:.0f} % of the CPU time was not this run's, "
        f"{machine['stolen_cpu_s']:.1f} s were taken by the hypervisor"
    )
    lines += ["", *aims.lines(taken, machine["foreign_cpu_share"])]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
