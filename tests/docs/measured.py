"""The figures of docs/performance.md, by the row and column in which they stand."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MEASURED = (ROOT / "docs/performance.md").read_text()

FIGURES = "[figures](performance.md#figures)"
LEADER = "[leader](performance.md#the-leader-of-a-fleet)"
INGEST = "[ingest](performance.md#into-the-database)"
REPORTS = "[reports](performance.md#a-report-over-weeks)"

Rows = list[tuple[str, ...]]

# What it costs to keep an outcome, as the section "Into the database" says: CPU µs of the shipper and of the
# database's server, bytes on disk with totals and indexes, the most that one shipper stores a second, and CPU
# µs of writing it into a segment (None: not measured).
SHIPPER_US, SERVER_US = 20.0, 23.0
SQLITE_BYTES, POSTGRES_BYTES = 1_153, 1_589
INGEST_PER_S = 25_362
ROLLING_US: float | None = None

SPOOLED_BYTES = 1_113
"""Size of an outcome in the spool, from the command in docs/sizing.md."""

PER_GIB = int((1 << 30) / SPOOLED_BYTES / 1000) * 1000


def cell(row: str, column: int, text: str = MEASURED, *, place: int = 0) -> str:
    """A number in a cell of the first table row of the text that begins with `row`; places from 0."""
    line = re.search(rf"^\| {re.escape(row)}.*$", text, re.MULTILINE)
    assert line is not None, f"docs/performance.md has no row {row!r}"
    return str(re.findall(r"\d[\d,]*(?:\.\d+)?", line[0].split("|")[column])[place])


def number(text: str) -> float:
    """The number that a cell shows."""
    return float(text.replace(",", ""))


_TLS = MEASURED[MEASURED.index("| provider behind TLS | nginx | canary |") :]
_TLS_PACED = _TLS[_TLS.index("CPU µs per chunk, a chunk each 20 ms, all processes") :]

EXCHANGE, COMPILED = (cell("of these, worker", column, _TLS) for column in (3, 4))
ADMIN = cell("of these, admin process and supervisor", 3, _TLS)
CHUNK, COMPILED_CHUNK = (cell("of these, worker", column, _TLS_PACED) for column in (3, 4))
STREAM_KIB = cell("memory per open stream", 3, _TLS)
SLOW_READER_KIB = cell("reads of at most 64 KiB from a provider", 3)
REPORT_S, REPORT_MIB = (cell("the contract's rubric: four rows", column) for column in (3, 4))
NINE_ROWS_MIB = cell("and nine rows", 4)
WORKER_MIB, ADMIN_MIB = re.findall(
    r"exchanges: worker ([\d.]+) MiB \([\d.]+ before\), admin process (\d+) MiB", MEASURED
)[0]
PUBLISH, REDIS, REDIS_BYTES, LED, FOUND = (
    cell(row, -2, place=-1)  # the newest run
    for row in (
        "an agent publishes an outcome",
        "Redis takes it",
        "it has in Redis",
        "the leader takes it, always some waiting",
        "the leader finds it in the store",
    )
)
