"""Writes the tables of docs/sizing.md: the costs from docs/performance.md, and a worked example.

python -m tests.docs.sizing
"""

import re
from math import ceil
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/sizing.md"
MEASURED = (ROOT / "docs/performance.md").read_text()
SPOOLED_BYTES = 496
"""Size of an outcome in the spool, from the command on the page."""

_FIGURES, _INGEST, _REPORTS = (
    "[figures](performance.md#figures)",
    "[ingest](performance.md#into-the-database)",
    "[reports](performance.md#a-report-over-weeks)",
)
Rows = list[tuple[str, str, str]]


def cell(row: str, column: int, place: int = 0, *, under: str = "") -> str:
    """A number in a cell of the first table row that begins with `row`, after `under`; places from 0."""
    line = re.search(rf"^\| {re.escape(row)}.*$", MEASURED[MEASURED.index(under) :], re.MULTILINE)
    assert line is not None, f"docs/performance.md has no row {row!r}"
    return str(re.findall(r"\d[\d,]*(?:\.\d+)?", line[0].split("|")[column])[place])


def number(text: str) -> float:
    return float(text.replace(",", ""))


TLS = "| provider behind TLS | nginx | canary |"
EXCHANGE, COMPILED = (cell("CPU µs per exchange, worker", column, under=TLS) for column in (3, 4))
CHUNK, COMPILED_CHUNK = (cell("CPU µs per chunk, a chunk each 20 ms", column, under=TLS) for column in (3, 4))
ADMIN = cell("the same, admin process", 3, under=TLS)
STREAM_KIB = cell("memory per open stream", 3, under=TLS)
SHIPPER, SERVER = (cell("PostgreSQL, the same", 3, place) for place in (0, 1))
SQLITE_BYTES, POSTGRES_BYTES = cell("SQLite, quiet machine", 4), cell("PostgreSQL, the same", 4)
SLOW_READER_KIB = cell("reads of at most 64 KiB from a provider", 3)
REPORT_S, REPORT_MIB = (cell("the contract's rubric: four rows", column) for column in (3, 4))
NINE_ROWS_MIB = cell("and nine rows", 4)
WORKER_MIB, ADMIN_MIB = re.findall(
    r"exchanges: worker ([\d.]+) MiB \([\d.]+ before\), admin process (\d+) MiB", MEASURED
)[0]
PER_GIB = int((1 << 30) / SPOOLED_BYTES / 1000) * 1000

COSTS: Rows = [
    (
        "exchange, provider behind TLS",
        f"{EXCHANGE} µs of a worker's core (compiled: {COMPILED} µs)",
        _FIGURES,
    ),
    (
        "chunk of a stream, one by one, behind TLS",
        f"{CHUNK} µs of a worker's core (compiled: {COMPILED_CHUNK} µs)",
        _FIGURES,
    ),
    ("exchange, admin process", f"{ADMIN} µs of another core", _FIGURES),
    (
        "outcome stored in PostgreSQL",
        f"shipper {SHIPPER} µs (part of the admin process's work), PostgreSQL server {SERVER} µs",
        _INGEST,
    ),
    ("open stream, behind TLS", f"{STREAM_KIB} KiB", _FIGURES),
    ("slow reader, at worst", f"{SLOW_READER_KIB} KiB", "[R11](reliability.md)"),
    ("worker", f"{WORKER_MIB} MiB after a million exchanges", _FIGURES),
    ("admin process", f"{ADMIN_MIB} MiB after a million exchanges, without reports", _FIGURES),
    (
        "report of 50 million exchanges, 500,000 users",
        f"{REPORT_MIB} MiB at its peak, {REPORT_S} s of CPU plus the database's; "
        f"nine rows: {NINE_ROWS_MIB} MiB",
        _REPORTS,
    ),
    (
        "outcome on disk",
        f"SQLite {SQLITE_BYTES} bytes, PostgreSQL {POSTGRES_BYTES} bytes, including its totals and indexes",
        _INGEST,
    ),
    ("outcome in the spool", f"{SPOOLED_BYTES:,} bytes, so {PER_GIB:,} fit into the spool's 1 GiB", "below"),
]


def example() -> Rows:
    """50 exchanges a second and 150 at the peak, half of them streams of 300 chunks in 6 seconds."""
    exchanges, chunks = 150 * number(EXCHANGE) * 1e-6, 75 * 300 * number(CHUNK) * 1e-6
    workers, streams, day = ceil((exchanges + chunks) / 0.6), 75 * 6, 50 * 86_400
    disks = [day * number(each) / 1e9 for each in (SQLITE_BYTES, POSTGRES_BYTES)]
    workers_mib = workers * number(WORKER_MIB) + streams * number(STREAM_KIB) / 1024
    kept = {days: f"{days * disks[0]:.0f} or {days * disks[1]:.0f} GB" for days in (21, 90)}
    return [
        ("exchanges at the peak", f"150 × {EXCHANGE} µs", f"{exchanges:.2f} cores"),
        ("chunks at the peak", f"75 × 300 × {CHUNK} µs", f"{chunks:.2f} cores"),
        ("workers", f"{exchanges + chunks:.2f} cores, none over 60 %", f"{workers}"),
        ("admin process at the peak", f"150 × {ADMIN} µs", f"{150 * number(ADMIN) * 1e-6:.2f} cores"),
        ("open streams at the peak", "75 × 6 s", f"{streams}"),
        (
            "memory of workers",
            f"{workers} × {WORKER_MIB} MiB + {streams} × {STREAM_KIB} KiB",
            f"{workers_mib:.0f} MiB",
        ),
        (
            "memory of the admin process",
            f"{ADMIN_MIB} + {REPORT_MIB} MiB",
            f"{number(ADMIN_MIB) + number(REPORT_MIB):.0f} MiB",
        ),
        ("outcomes a day", "50 × 86,400", f"{day / 1e6:.2f} million"),
        (
            "disk a day",
            f"{day / 1e6:.2f} million × {SQLITE_BYTES} or {POSTGRES_BYTES} bytes",
            f"{disks[0]:.1f} or {disks[1]:.1f} GB",
        ),
        ("disk with `retention: 21d`", "21 times that", kept[21]),
        ("disk with `retention: 90d`", "90 times that", kept[90]),
        ("the database may be down for", f"{PER_GIB:,} ÷ 50 a second", f"{PER_GIB / 50 / 3600:.1f} hours"),
    ]


def page() -> str:
    """Return docs/sizing.md with both tables computed."""
    text = PAGE.read_text()
    for head, rows in (("| per | costs | from |", COSTS), ("| what | calculation | result |", example())):
        table = "\n".join([head, "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])
        text, found = re.subn(rf"^{re.escape(head)}\n(?:\|.*\n)+", lambda _: table + "\n", text, flags=re.M)  # noqa: B023
        assert found == 1, f"docs/sizing.md has {found} tables {head!r}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
