"""Prints runs as the tables of docs/performance.md, side by side: a quiet machine's, then a busy one's.

python -m benchmarks.compare -o json > quiet.json
python -m benchmarks.figures quiet.json busy.json
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import sections
from benchmarks.table import NONE, number

OURS = ("nginx", sections.PLAIN, sections.COMPILED)
PEERS = ("nginx", "envoy", "tensorzero", "portkey", "litellm")
NAMES = {"compiled": "canary, compiled", "envoy": "Envoy", "tensorzero": "TensorZero", "portkey": "Portkey"}
NAMES |= {"litellm": "LiteLLM"}
ROWS = {
    key: label
    for key, label in (
        sections.EXCHANGE
        | sections.LATENCY
        | sections.PACED
        | sections.FAST
        | sections.GAPS
        | sections.MEMORY
    ).items()
    if key.startswith(("exchange", "per_core", "added", "paced", "fast"))
    or key in ("gaps", "stream_worker_kib")
}

Run = Mapping[str, Any]
"""One run, as `compare -o json` writes it."""


def main() -> None:
    """Print the tables of the runs that are named, at most a quiet and a busy one."""
    runs = [json.loads(Path(name).read_text()) for name in sys.argv[1:3]]
    for title, first, names in (
        (sections.PLAINTEXT, "", OURS),
        (sections.TLS, "provider behind TLS", OURS),
        (sections.PLAINTEXT, "other gateways", PEERS),
    ):
        print("\n".join(table(runs, title, first, names)), end="\n\n")
    for run in runs:
        print(f"{run['machine']['foreign_cpu_share']:.0%} of the CPU time was other work; aims, {_aims(run)}")


def table(runs: Sequence[Run], title: str, first: str, names: Sequence[str]) -> list[str]:
    """One section's figures as Markdown; `first` is the first cell. Rows that no run has are omitted."""
    figures = [run["sections"].get(title, {}).get("figures", {}) for run in runs]
    columns = [
        (found, name) for found in figures for name in names if name in found.get("exchange_all_us", {})
    ]
    heads = [
        f"{NAMES.get(name, name)}{', busy' if found is not figures[0] else ''}" for found, name in columns
    ]
    rows = [
        [label, *(_cell(key, found.get(key, {}).get(name)) for found, name in columns)]
        for key, label in ROWS.items()
        if any(name in found.get(key, {}) for found, name in columns)
    ]
    head, *rest = [_line(row) for row in ([first, *heads], *rows)]
    return [head, "|---" * (len(heads) + 1) + "|", *rest]


def _line(cells: Sequence[str]) -> str:
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def _cell(key: str, found: Mapping[str, float | None] | None) -> str:
    if found is None:
        return NONE
    median, low, high, ratio = (found[name] for name in ("median", "low", "high", "ratio"))
    text = _amount(median)
    if low != high:
        text += f" ({_amount(low)}–{_amount(high)})"
    return text + (f" ×{number(ratio)}" if ratio is not None and key.endswith("_us") else "")


def _amount(value: float | None) -> str:
    return NONE if value is None else number(value) if abs(value) < 1000 else f"{value:,.0f}"


def _aims(run: Run) -> str:
    words = {True: "met", False: "not met", None: "not measured"}
    aims = run["aims"]
    results = [f"{each['aim']}: {_amount(each['value'])} {words[each['met']]}" for each in aims["results"]]
    return f"{aims['contender']}: {'; '.join(results)}"


if __name__ == "__main__":
    main()
