"""The tables of docs/sizing.md on 10,000 requests a second: what each step needs, how canaries are sharded.

The costs are those of `measured`; this says how often each is paid.
"""

from math import ceil, floor

from control.feed.spool import POLL_S
from control.feed.stream import OVERLAP_S, REMEMBERED, SEARCH_EVERY_S
from records.shared.stream import CAP
from tests.docs import measured
from tests.docs.measured import FIGURES, INGEST, LEADER, REPORTS, Rows, number

RATE, REPLICAS, CANARIES = 10_000, 20, 100
CHUNKS, STREAM_S, STREAMED = 300, 6, 0.5
DAYS, PER_USER, KEPT_DAYS = 14, 100, 90
FULL = 0.6
"""How much of a core a process may use at the peak."""

REPORT_USERS, REPORT_ROOM_MIB = 500_000, 4096
"""The users of the report that was measured; the memory that a report may have."""

DISPATCHES_PER_S = int(1 / POLL_S)
"""Of one replica."""

_EXCHANGE_US, _CHUNK_US = number(measured.COMPILED), number(measured.COMPILED_CHUNK)
_WORKER_US = _EXCHANGE_US + STREAMED * CHUNKS * _CHUNK_US
_AGENT_US = number(measured.ADMIN) + number(measured.PUBLISH)
_REDIS_US, _LED_US = number(measured.REDIS), number(measured.LED)
_SEARCHES = int(OVERLAP_S / SEARCH_EVERY_S) + 1
_LEADER_US = _LED_US + _SEARCHES * number(measured.FOUND)
_REMEMBERS_PER_S = REMEMBERED / (OVERLAP_S + SEARCH_EVERY_S)
_LEADER_PER_S = min(1e6 / _LEADER_US, _REMEMBERS_PER_S)
_ONCE = {"leader": _LEADER_PER_S, "Redis": 1e6 / _REDIS_US, "store": float(measured.INGEST_PER_S)}
"""What a deployment has once, and the most that each takes a second."""

_MOST_PER_S = FULL * min(_ONCE.values())
_SHARDS = ceil(RATE / _MOST_PER_S)


def steps() -> Rows:
    """Each step's cost, what it needs at RATE, and the rate at which one process or machine is full."""
    return [*_in_workers(), *_in_agents(), *_to_the_leader(), *_in_the_store(), _in_a_report()]


def _cores(each_us: float) -> str:
    return f"{RATE * each_us * 1e-6:.2g} cores"


def _full_at(each_us: float) -> str:
    return f"{floor(1e6 / each_us):,}/s"


def _in_workers() -> Rows:
    workers = ceil(RATE / REPLICAS * _WORKER_US * 1e-6 / FULL)
    chunks = f"{_cores(STREAMED * CHUNKS * _CHUNK_US)}; {workers} workers on each of {REPLICAS} replicas"
    streams = RATE * STREAMED * STREAM_S
    memory = f"{streams:,.0f} streams, {streams * number(measured.STREAM_KIB) / 2**20:.1f} GiB"
    exchange, chunk = f"{measured.COMPILED} µs", f"{measured.COMPILED_CHUNK} µs a chunk"
    return [
        ("worker: exchanges", exchange, _cores(_EXCHANGE_US), f"{_full_at(_EXCHANGE_US)} a worker", FIGURES),
        (
            f"worker: {CHUNKS} chunks in half of them",
            chunk,
            chunks,
            f"{_full_at(_WORKER_US)} a worker",
            FIGURES,
        ),
        ("worker: open streams", f"{measured.STREAM_KIB} KiB", memory, "–", FIGURES),
    ]


def _in_agents() -> Rows:
    each_per_s = RATE / REPLICAS
    spool = f"{each_per_s * measured.SPOOLED_BYTES / 1e6:.2f} MB/s a replica, which fill 1 GiB in "
    spool += f"{measured.PER_GIB / each_per_s / 60:.0f} minutes without a store"
    agent = f"{measured.ADMIN} + {measured.PUBLISH} µs"
    full, where = f"{_full_at(_AGENT_US)} a replica", f"{FIGURES}, {LEADER}"
    return [
        ("spool", f"{measured.SPOOLED_BYTES:,} bytes", spool, "–", "above"),
        ("agent: count and ship, publish", agent, _cores(_AGENT_US), full, where),
    ]


def _to_the_leader() -> Rows:
    held_mb = CAP * RATE / (REPLICAS * DISPATCHES_PER_S) * number(measured.REDIS_BYTES) / 1e6
    redis = f"{measured.REDIS} µs, {measured.REDIS_BYTES} bytes"
    found, dedup = f"{_SEARCHES} × {measured.FOUND} µs more", "[code](../control/feed/stream.py)"
    memory = f"{REMEMBERED:,} outcomes of {OVERLAP_S + SEARCH_EVERY_S:g} s"
    return [
        ("Redis", redis, f"{_cores(_REDIS_US)}, {held_mb:.0f} MB", _full_at(_REDIS_US), LEADER),
        ("leader: from the stream", f"{measured.LED} µs", _cores(_LED_US), _full_at(_LED_US), LEADER),
        ("leader: what it knows to have told", memory, "–", f"{_REMEMBERS_PER_S:,.0f}/s", dedup),
        ("leader: with its searches", found, _cores(_LEADER_US), _full_at(_LEADER_US), LEADER),
    ]


def _in_the_store() -> Rows:
    server, rolling = measured.SERVER_US, measured.ROLLING_US
    each = measured.SEGMENT_BYTES + measured.POSTGRES_TOTALS
    day_bytes = RATE * 86_400 * each
    disk = f"{day_bytes / 1e9:,.0f} GB a day, {KEPT_DAYS * day_bytes / 1e12:.0f} TB in {KEPT_DAYS} days"
    full = f"{measured.INGEST_PER_S:,}/s, the shipper included"
    return [
        ("store: the database's server", f"{server:g} µs", _cores(server), full, INGEST),
        ("Parquet segments", f"{rolling:g} µs", _cores(rolling), _full_at(rolling), INGEST),
        ("disk", f"{measured.SEGMENT_BYTES} + {measured.POSTGRES_TOTALS} bytes", disk, "–", INGEST),
    ]


def _in_a_report() -> tuple[str, ...]:
    """A report reads totals by user, so it grows with a canary's users."""
    users = RATE / CANARIES * DAYS * 86_400 / PER_USER
    times, mib, seconds = users / REPORT_USERS, number(measured.REPORT_MIB), number(measured.REPORT_S)
    most_per_s = REPORT_ROOM_MIB / mib * REPORT_USERS * PER_USER / (DAYS * 86_400)
    return (
        f"report of one of {CANARIES} canaries after {DAYS} days",
        f"{mib:g} MiB, {seconds:g} s for {REPORT_USERS:,} users",
        f"{users / 1e6:.1f} million users: {times * mib / 1024:.1f} GiB, {times * seconds:.0f} s",
        f"{most_per_s:.0f}/s of one canary in {REPORT_ROOM_MIB // 1024} GiB",
        REPORTS,
    )


def shards() -> Rows:
    """Which of the parts that a deployment has once is full first, and what follows for the canaries."""
    order = sorted(_ONCE, key=lambda part: _ONCE[part])
    most = f"{FULL:g} × {_ONCE[order[0]]:,.0f}/s"
    return [
        ("is full first", ", ".join(f"{part} at {_ONCE[part]:,.0f}/s" for part in order), order[0]),
        ("requests a second of one", most, f"{_MOST_PER_S:,.0f}"),
        ("deployments", f"{RATE:,} ÷ {_MOST_PER_S:,.0f}", f"{_SHARDS}"),
        ("canaries in each", f"{CANARIES} ÷ {_SHARDS}", f"{ceil(CANARIES / _SHARDS)}"),
        ("replicas in each", f"{REPLICAS} ÷ {_SHARDS}", f"{ceil(REPLICAS / _SHARDS)}"),
    ]
