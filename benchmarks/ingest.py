"""`python -m benchmarks.ingest`: outcomes per second from the spool into SQLite and into PostgreSQL.

Times everything: reading and decoding the spool, storing each outcome with its unit's and session's totals,
and the commit. PostgreSQL is a local server with fsync on; SQLite uses WAL with synchronous=FULL.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from uuid import UUID

from sqlalchemy import text

from records.facts.exchange_id import mint
from records.outcome import AttemptRecord, Outcome, ProviderError, Usage
from records.spool.writer import SpoolWriter
from records.store import Store
from records.store.shipper import Shipper
from routing.canary import ArmName
from tests.servers.postgres import Postgres

UNITS, CATEGORIES, REGIONS, TIERS = 200_000, 20, ("eu", "us", "apac"), ("free", "pro")
ROUNDS = 3
_KEY = bytes(32)
_SORRY = "The server had an error while processing your request. Sorry about that! (request ID {})"


@dataclass(frozen=True, slots=True)
class Round:
    """The cost of storing one spool: wall seconds, and CPU seconds of shipper and database server."""

    wall_s: float
    cpu_s: float
    server_cpu_s: float


def outcomes(count: int, seed: int) -> Iterator[Outcome]:
    """Outcomes of a busy canary, a hundred a second: two thirds in a session, with failures, streams, tokens,
    costs, the app's own ids and tracing. Ids and hashes are random, and times have all digits."""
    dice = Random(seed)
    units = [dice.randbytes(16).hex() for _ in range(UNITS)]
    sessions = [dice.randbytes(16).hex() for _ in range(count // 4 + 1)]
    began = time.time() // 3600 * 3600
    for serial in range(count):
        at, mono = (
            began + serial * 1e-2 + dice.random() * 1e-2,
            123_456.789 + serial * 1e-2 + dice.random() * 1e-2,
        )
        yield _outcome(dice, dice.choice(units), dice.choice(sessions) if serial % 3 else "", at, mono)


def _outcome(dice: Random, unit: str, session: str, at: float, mono: float) -> Outcome:
    arm: ArmName = "candidate" if int(unit[:4], 16) % 10 == 0 else "baseline"
    model = "gpt-4.1" if arm == "candidate" else "gpt-4o"
    is_stream, failed = dice.random() < 0.5, dice.random() < 0.01
    sent = mono + dice.lognormvariate(-8.5, 0.5)
    first = sent + dice.lognormvariate(-0.7, 0.4)
    ended = first + dice.lognormvariate(0.3, 0.6)
    used = Usage(
        input_tokens=dice.randrange(200, 4000), output_tokens=dice.randrange(20, 900), cached_input_tokens=0
    )
    cost = None if failed else (used.input_tokens or 0) * 2.5e-6 + (used.output_tokens or 0) * 1e-5
    status, error = (500, "provider_5xx") if failed else (200, None)
    attempt = AttemptRecord(
        arm=arm,
        provider="openai",
        model=model,
        status=status,
        error_type=error,
        latency_s=ended - sent,
        cost_usd=cost,
    )
    said = ProviderError(
        code="server_error", type="server_error", message=_SORRY.format(dice.randbytes(16).hex())
    )
    return Outcome(
        exchange_id=mint(
            _KEY,
            canary="support-nov",
            run=1,
            phase=2,
            arm=arm,
            unit_hash=unit,
            at=at,
            serial=dice.randbytes(8),
        ),
        at=at,
        mono=mono,
        outcome="error" if failed else "ok",
        error_type=error,
        canary="support-nov",
        run=1,
        phase=2,
        share=0.1,
        arm=arm,
        served_by=arm,
        reason="cohort",
        unit=unit,
        session=session,
        category=f"category-{dice.randrange(CATEGORIES)}",
        tags={"region": dice.choice(REGIONS), "tier": dice.choice(TIERS)},
        request_id=str(UUID(bytes=dice.randbytes(16), version=4)),
        provider="openai",
        api="openai",
        operation="chat",
        model_requested="gpt-4o",
        model=model,
        stream=is_stream,
        status=status,
        latency_s=ended - mono,
        ttft_s=first - mono if is_stream and not failed else None,
        ttfb_s=first - mono,
        overhead_s=sent - mono,
        usage=Usage() if failed else used,
        cost_usd=cost,
        finish=None if failed else dice.choices(("stop", "length", "tool_calls"), (90, 2, 8))[0],
        faults=("cut_off",) if not failed and dice.random() < 0.02 else (),
        provider_error=said if failed else None,
        attempts=(attempt,),
        fingerprint=dice.randbytes(8).hex() if session else "",
        traceparent=f"00-{dice.randbytes(16).hex()}-{dice.randbytes(8).hex()}-01",
    )


def measured(store: Store, server: Postgres | None, folder: Path, count: int, seed: int) -> Round:
    """Write a spool of `count` outcomes and store all of them."""
    writer = SpoolWriter(folder / "spool", worker=0)
    for outcome in outcomes(count, seed):
        writer.append(outcome)
    writer.close()
    shipper = Shipper(folder / "spool", store)
    stored = store.totals().stored
    served = server.cpu_s() if server else 0.0
    wall, cpu = time.perf_counter(), time.thread_time()
    assert shipper.drain(), shipper.down
    taken = Round(
        time.perf_counter() - wall,
        time.thread_time() - cpu,
        server.cpu_s() - served if server else 0.0,
    )
    assert store.totals().stored - stored == count
    return taken


def line(name: str, rounds: list[Round], count: int) -> str:
    """One line: the median of the rounds, and every round."""
    rates = [count / each.wall_s for each in rounds]
    cpu_us = median(each.cpu_s for each in rounds) / count * 1e6
    server_us = median(each.server_cpu_s for each in rounds) / count * 1e6
    each_rate = ", ".join(f"{rate:,.0f}" for rate in rates)
    cpu = f"CPU an outcome: shipper {cpu_us:.0f} µs" + (f", server {server_us:.0f} µs" if server_us else "")
    return f"{name:10} {median(rates):7,.0f} outcomes/s ({each_rate}); {cpu}"


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[tuple[Store, Postgres | None]]:
    """An empty store of this kind, and its server."""
    if kind == "SQLite":
        with closing(Store.open("sqlite:///canary.db", folder)) as store:
            yield store, None
        return
    server = Postgres(durable=True)
    try:
        with closing(Store.open(server.url, folder)) as store:
            yield store, server
    finally:
        server.close()


def size_bytes(store: Store) -> int:
    """The database's size on disk."""
    query = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    if not store.one_spool:
        query = "SELECT pg_database_size(current_database())"
    with store.reading() as connection:
        return int(connection.execute(text(query)).scalar_one())


def main() -> None:
    """Print a line for each database."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--count", type=int, default=60_000, help="outcomes a round")
    parser.add_argument("--only", choices=("SQLite", "PostgreSQL"), help="one of the two")
    asked = parser.parse_args()
    print(
        f"{ROUNDS} rounds of {asked.count:,} outcomes of {UNITS:,} units, unit totals and sessions included"
    )
    for kind in (asked.only,) if asked.only else ("SQLite", "PostgreSQL"):
        folder = Path(tempfile.mkdtemp(prefix="canary-ingest-"))
        try:
            with opened(kind, folder) as (store, server):
                empty = size_bytes(store)
                rounds = [measured(store, server, folder, asked.count, seed) for seed in range(ROUNDS)]
                grown = (size_bytes(store) - empty) / (ROUNDS * asked.count)
                print(line(kind, rounds, asked.count), f"{grown:,.0f} bytes an outcome on disk", sep="; ")
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
