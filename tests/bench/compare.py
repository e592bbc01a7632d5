"""Direct, nginx and canary side by side in one run: `python -m tests.bench.compare [--quick] [-o json]`.

Rounds are interleaved and their order turns, so that a slow minute of the machine meets everybody. Figures
are medians over the rounds with the lowest and highest; ratios to nginx are taken within a round. Client and
provider share core 0, the proxy has core 1.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.bench.contenders import CLIENT_CORE, Contender, canary, child, nginx
from tests.bench.measure import FULL, PACE_MS, QUICK, RATE, STREAMS, Figures, LoadClient, Turn
from tests.bench.processes import busy_s, cpu_s, family

ROUNDS = 3
ROWS = {
    "exchange_worker_us": "CPU µs per exchange, worker",
    "exchange_admin_us": "CPU µs per exchange, admin process",
    "per_core": "exchanges per second and core",
    "added_p50_ms": f"added p50 at {RATE:g}/s, ms",
    "added_p99_ms": f"added p99 at {RATE:g}/s, ms",
    "paced_worker_us": f"CPU µs per chunk, {STREAMS} streams, {PACE_MS} ms pace",
    "paced_admin_us": "the same, admin process",
    "fast_worker_us": f"CPU µs per chunk, {STREAMS} streams, unpaced",
    "rss_worker_mib": f"RSS with {STREAMS} streams open, MiB",
    "rss_admin_mib": "the same, admin process",
    "stream_worker_kib": "memory per open stream, KiB",
    "closed_per_s": "exchanges per second reached (client-bound)",
    "p50_ms": f"p50 at {RATE:g}/s, ms",
    "p99_ms": f"p99 at {RATE:g}/s, ms",
    "candidate_share": "share answered by the candidate",
}
Rounds = list[dict[str, Figures]]


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description="Direct, nginx and canary side by side.")
    parser.add_argument("--quick", action="store_true", help="about a minute; wider spread")
    parser.add_argument("--without-canary", action="store_true", help="only what is around it")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")
    options = parser.parse_args()
    rounds, machine = run(quick=options.quick, with_canary=not options.without_canary)
    document = {"machine": machine, "figures": summary(rounds)}
    sys.stdout.write(json.dumps(document, indent=2) + "\n" if options.output == "json" else table(document))


def run(*, quick: bool, with_canary: bool) -> tuple[Rounds, dict[str, Any]]:
    """Start everything, take the rounds, and say how much of the machine others used meanwhile."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="canary-bench-")))
        provider = stack.enter_context(_module("tests.bench.canned_provider"))
        assert provider.stdout is not None
        upstream = int(provider.stdout.readline())
        client = LoadClient(stack.enter_context(_module("tests.bench.load_client")))
        contenders = [Contender("direct", upstream, {}), stack.enter_context(nginx(folder, upstream))]
        if with_canary:
            contenders.append(stack.enter_context(canary(folder, upstream)))
        turns = [Turn(client, contender, QUICK if quick else FULL, {}) for contender in contenders]
        for turn in turns:
            turn.warm_up()
        rounds: Rounds = []
        before = _work()
        for number in range(ROUNDS):
            order = turns[number % len(turns) :] + turns[: number % len(turns)]
            rounds.append({turn.contender.name: turn.take() for turn in order})
            sys.stderr.write(f"round {number + 1} of {ROUNDS}\n")
        _add_latencies(rounds)
        return rounds, _machine(before)


def _module(name: str) -> Any:
    return child([sys.executable, "-m", name], CLIENT_CORE)


def _work() -> tuple[float, float]:
    """CPU seconds of the whole machine, and of this run's own processes."""
    return busy_s(), sum(map(cpu_s, family(os.getpid())))


def _machine(before: tuple[float, float]) -> dict[str, Any]:
    after = _work()
    everybody, own = (now - then for now, then in zip(after, before, strict=True))
    return {
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
        "foreign_cpu_share": max(0.0, 1.0 - own / everybody),
    }


def _add_latencies(rounds: Rounds) -> None:
    """Latency over the direct way, within each round."""
    for taken in rounds:
        for name, figures in taken.items():
            if name != "direct":
                for part in ("p50_ms", "p99_ms"):
                    figures[f"added_{part}"] = figures[part] - taken["direct"][part]


def summary(rounds: Rounds) -> dict[str, dict[str, dict[str, float]]]:
    """Per figure and contender: median, lowest, highest over the rounds, and the median ratio to nginx."""
    return {
        key: {
            name: _over(rounds, key, name)
            for name in rounds[0]
            if all(key in taken[name] for taken in rounds)
        }
        for key in ROWS
    }


def _over(rounds: Rounds, key: str, name: str) -> dict[str, float]:
    values = [taken[name][key] for taken in rounds]
    found = {"median": statistics.median(values), "low": min(values), "high": max(values)}
    nginx_values = [taken["nginx"].get(key) for taken in rounds]
    ratios = [value / base for value, base in zip(values, nginx_values, strict=True) if base]
    if name not in ("direct", "nginx") and len(ratios) == len(values):
        found["to_nginx"] = statistics.median(ratios)
    return found


def table(document: dict[str, Any]) -> str:
    """The document for people."""
    machine, figures = document["machine"], document["figures"]
    names = list(figures["p50_ms"])
    lines = [f"{'':50}" + "".join(f"{name:>32}" for name in names)]
    for key, label in ROWS.items():
        lines.append(f"{label:50}" + "".join(f"{_cell(figures[key].get(name)):>32}" for name in names))
    lines.append(
        f"median (low–high) of {ROUNDS} interleaved rounds, ×ratio to nginx; proxy on core 1, client and "
        f"provider on core 0; {100 * machine['foreign_cpu_share']:.0f} % of the CPU time was not this run's"
    )
    return "\n".join(lines) + "\n"


def _cell(found: dict[str, float] | None) -> str:
    if not found:
        return "–"
    median, low, high = (_number(found[name]) for name in ("median", "low", "high"))
    text = f"{median} ({low}–{high})"
    return text + (f" ×{found['to_nginx']:.2f}" if "to_nginx" in found else "")


def _number(value: float) -> str:
    """Three significant digits, never in powers of ten."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
