"""Measures one worker before and after a million exchanges: cost and memory must not depend on age."""

import sys
from functools import partial
from pathlib import Path

from benchmarks.contender import Way
from benchmarks.own import Upstream, canary
from benchmarks.prober import Prober
from benchmarks.rounds import BenchSection, SectionResult
from benchmarks.sections import EXCHANGE
from benchmarks.turn import Figures, Lengths, LoopTurn

EXCHANGES = 1_000_000
NEW, OLD = "new", f"after {EXCHANGES:,} exchanges"
ROUNDS = 3
ROWS = EXCHANGE | {
    "rss_worker_mib": "resident memory, MiB",
    "rss_admin_mib": "the same, admin process",
}


def take(upstream: Upstream, prober: Prober, lengths: Lengths, folder: Path) -> SectionResult:
    """Measure, send a million exchanges through the same process, and measure again."""
    start = partial(canary, upstream)
    section = BenchSection(
        title="Age of the process",
        ways=[Way(NEW, start), Way(OLD, start)],
        loads=[],
        rows=ROWS,
        base=NEW,
        rounds=ROUNDS,
    )
    with start() as contender:
        turn = LoopTurn(prober, contender, lengths, folder)
        turn.warm_up()
        new = [_measured(turn) for _ in range(ROUNDS)]
        sys.stderr.write(f"{section.title}: {EXCHANGES:,} exchanges; minutes\n")
        turn.exchanges(EXCHANGES)
        old = [_measured(turn) for _ in range(ROUNDS)]
    return SectionResult(section, [{NEW: before, OLD: after} for before, after in zip(new, old, strict=True)])


def _measured(turn: LoopTurn) -> Figures:
    return turn.closed() | turn.memory()
