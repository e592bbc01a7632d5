"""The figures of docs/performance.md, by the row and column in which they stand."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MEASURED = (ROOT / "docs/performance.md").read_text()

FIGURES = "[figures](performance.md#figures)"
LEADER = "[leader](performance.md#the-leader-of-a-fleet)"
INGEST = "[ingest](performance.md#into-the-database)"
"""Without the last words once docs/performance.md has figures of a quiet one."""

REPORTS = "[reports](performance.md#a-report-over-weeks)"

Rows = list[tuple[str, ...]]


def cell(row: str, column: int, text: str = MEASURED, *, place: int = 0) -> str:
    """A number in a cell of the first table row of the text that begins with `row`; places from 0."""
    line = re.search(rf"^\| {re.escape(row)}.*$", text, re.MULTILINE)
    assert line is not None, f"docs/performance.md has no row {row!r}"
    return str(re.findall(r"\d[\d,]*(?:\.\d+)?", line[0].split("|")[column])[place])


def number(text: str) -> float:
    """The number that a cell shows."""
    return float(text.replace(",", ""))


def said(pattern: str) -> float:
    """The number in a sentence, from the group of the pattern."""
    found = re.search(pattern, MEASURED)
    assert found is not None, f"docs/performance.md does not say {pattern!r}"
    return number(found[1])


# What it costs to keep an outcome: CPU µs of the shipper, of the database's server, and of writing it into a
# segment; bytes in the spool, in the database until it is in a segment, in the segment, and of its totals.
_INGEST = MEASURED[MEASURED.index("| bytes an outcome in the database |") :]

SHIPPER_US, SERVER_US = (number(cell("PostgreSQL", 3, _INGEST, place=place)) for place in (0, 1))
ROLLING_US = said(r"Rolling [\d,]+ fresh outcomes took ([\d.]+) µs of CPU each")
SPOOLED_BYTES, FRESH_BYTES = (
    int(said(pattern)) for pattern in (r"takes (\d+) bytes in the spool", r"(\d+) in `fresh_outcomes`")
)
SEGMENT_BYTES = round(number(cell("**taken:**", 2, place=0)))
SQLITE_TOTALS, POSTGRES_TOTALS = (
    int(number(cell(store, 4, _INGEST))) - FRESH_BYTES for store in ("SQLite", "PostgreSQL")
)
"""At most: each outcome of the benchmark is a row of totals of its own."""

INGEST_PER_S = int(number(cell("PostgreSQL", 2, _INGEST)))
"""The most that one shipper stores, which waits for its server."""

PER_GIB = int((1 << 30) / SPOOLED_BYTES / 1000) * 1000

_TLS = MEASURED[MEASURED.index("| provider behind TLS | nginx | canary |") :]
_TLS_PACED = _TLS[_TLS.index("CPU µs per chunk, a chunk each 20 ms, all processes") :]

EXCHANGE, COMPILED = (cell("of these, worker", column, _TLS) for column in (3, 4))
ADMIN = cell("of these, admin process and supervisor", 3, _TLS)
CHUNK, COMPILED_CHUNK = (cell("of these, worker", column, _TLS_PACED) for column in (3, 4))
STREAM_KIB = cell("memory per open stream", 3, _TLS)
SLOW_READER_KIB = cell("reads of at most 64 KiB from a provider", 2)
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
