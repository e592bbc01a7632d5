"""Runs as tables for the documentation."""

from typing import Any

from benchmarks import sections
from benchmarks.figures import OURS, table


def figure(median: float, ratio: float | None = None) -> dict[str, float | None]:
    return {"median": median, "low": median, "high": median + 1, "ratio": ratio}


def run(**costs_us: float) -> dict[str, Any]:
    """A run in which nginx took 10 µs."""
    found = {name: figure(cost, cost / 10) for name, cost in costs_us.items()} | {"nginx": figure(10.0)}
    figures = {"exchange_all_us": found, "candidate_share": found}
    return {"sections": {sections.PLAINTEXT: {"figures": figures}}}


def test_a_busy_run_stands_beside_a_quiet_one_and_all_processes_come_first() -> None:
    quiet, busy = run(canary=45.0, compiled=30.0), run(canary=100.0)
    assert table([quiet, busy], sections.PLAINTEXT, "", OURS) == [
        "| | nginx | canary | canary, compiled | nginx, busy | canary, busy |",
        "|---|---|---|---|---|---|",
        "| CPU µs per exchange, all processes | 10 (10–11) | 45 (45–46) ×4.5 | 30 (30–31) ×3 | 10 (10–11) "
        "| 100 (100–101) ×10 |",
    ]
