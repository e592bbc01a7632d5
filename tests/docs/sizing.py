"""Writes the tables of docs/sizing.md: the costs from docs/performance.md, a worked example, and the scale.

python -m tests.docs.sizing
"""

import re
from collections.abc import Callable
from math import ceil

from tests.docs import scale
from tests.docs.measured import (
    ADMIN,
    ADMIN_MIB,
    CHUNK,
    COMPILED,
    COMPILED_CHUNK,
    EXCHANGE,
    FIGURES,
    FRESH_BYTES,
    INGEST,
    NINE_ROWS_MIB,
    PER_GIB,
    POSTGRES_TOTALS,
    REPORT_MIB,
    REPORT_S,
    REPORTS,
    ROLLING_US,
    ROOT,
    SEGMENT_BYTES,
    SERVER_US,
    SHIPPER_US,
    SLOW_READER_KIB,
    SPOOLED_BYTES,
    SQLITE_TOTALS,
    STREAM_KIB,
    WORKER_MIB,
    Rows,
    number,
)

PAGE = ROOT / "docs/sizing.md"

COSTS: Rows = [
    (
        "exchange, provider behind TLS",
        f"{EXCHANGE} µs of a worker's core (compiled: {COMPILED} µs)",
        FIGURES,
    ),
    (
        "chunk of a stream, one by one, behind TLS",
        f"{CHUNK} µs of a worker's core (compiled: {COMPILED_CHUNK} µs)",
        FIGURES,
    ),
    ("exchange, admin process", f"{ADMIN} µs of another core", FIGURES),
    (
        "outcome stored in PostgreSQL",
        f"shipper {SHIPPER_US:g} µs (part of the admin process's work), PostgreSQL server {SERVER_US:g} µs; "
        f"{ROLLING_US:g} µs more to write it into its file",
        INGEST,
    ),
    ("open stream, behind TLS", f"{STREAM_KIB} KiB", FIGURES),
    ("slow reader, at worst", f"{SLOW_READER_KIB} KiB", "[R11](reliability.md)"),
    ("worker", f"{WORKER_MIB} MiB after a million exchanges", FIGURES),
    ("admin process", f"{ADMIN_MIB} MiB after a million exchanges, without reports", FIGURES),
    (
        "report of 50 million exchanges, 500,000 users",
        f"{REPORT_MIB} MiB at its peak, {REPORT_S} s of CPU plus the database's; "
        f"nine rows: {NINE_ROWS_MIB} MiB",
        REPORTS,
    ),
    (
        "outcome on disk",
        f"{SEGMENT_BYTES} bytes in its file, before that {FRESH_BYTES} in the database for up to an hour; "
        f"of totals at most {SQLITE_TOTALS} in SQLite, {POSTGRES_TOTALS} in PostgreSQL, with indexes",
        INGEST,
    ),
    ("outcome in the spool", f"{SPOOLED_BYTES:,} bytes, so {PER_GIB:,} fit into the spool's 1 GiB", "below"),
]


def example() -> Rows:
    """50 exchanges a second and 150 at the peak, half of them streams of 300 chunks in 6 seconds."""
    exchanges, chunks = 150 * number(EXCHANGE) * 1e-6, 75 * 300 * number(CHUNK) * 1e-6
    workers, streams, day = ceil((exchanges + chunks) / 0.6), 75 * 6, 50 * 86_400
    disks = [day * (SEGMENT_BYTES + totals) / 1e9 for totals in (SQLITE_TOTALS, POSTGRES_TOTALS)]
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
            f"{day / 1e6:.2f} million × ({SEGMENT_BYTES} + {SQLITE_TOTALS} or {POSTGRES_TOTALS} bytes)",
            f"{disks[0]:.1f} or {disks[1]:.1f} GB",
        ),
        ("disk with `retention: 21d`", "21 times that", kept[21]),
        ("disk with `retention: 90d`", "90 times that", kept[90]),
        ("the database may be down for", f"{PER_GIB:,} ÷ 50 a second", f"{PER_GIB / 50 / 3600:.1f} hours"),
    ]


TABLES: dict[str, Callable[[], Rows]] = {
    "| per | costs | from |": lambda: COSTS,
    "| what | calculation | result |": example,
    "| step | costs, measured | 10,000 a second need | full at | from |": scale.steps,
    "| of a deployment | calculation | result |": scale.shards,
}


def page() -> str:
    """Return docs/sizing.md with its tables computed."""
    text = PAGE.read_text()
    for head, rows in TABLES.items():
        text = _with_table(text, head, rows())
    return text


def _with_table(text: str, head: str, rows: Rows) -> str:
    rule = "|---" * (head.count("|") - 1) + "|"
    table = "\n".join([head, rule, *(f"| {' | '.join(row)} |" for row in rows)])
    text, found = re.subn(rf"^{re.escape(head)}\n(?:\|.*\n)+", lambda _: table + "\n", text, flags=re.M)
    assert found == 1, f"docs/sizing.md has {found} tables {head!r}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
