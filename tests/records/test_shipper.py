"""From the spool into the store."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import NullPool, create_engine, select

from records.outcome import Feedback, Heartbeat, Outcome
from records.spool.reader import SpoolBatch, SpoolReader
from records.spool.writer import SpoolWriter
from records.store import SpoolCounts, Store, tables
from records.store.shipper import Shipper, name_of_spool
from tests.records.samples import an_exchange_in_flight, recent
from tests.serving import eventually


def an_outcome(serial: int) -> Outcome:
    return Outcome(exchange_id=f"exchange-{serial}", at=1000.0 + serial, mono=1.0, outcome="ok", canary="c")


def a_heartbeat(*, dropped: int = 0) -> Heartbeat:
    return Heartbeat(
        worker=0, pid=1, at=1.0, mono=1.0, started=9, finished=2, dropped=dropped, lag_s=0.0, plan_version=1
    )


def stored(store: Store) -> list[str]:
    return sorted(row["exchange_id"] for row in recent(store, "c", 1_000_000))


def cursors(store: Store) -> list[tuple[str, str]]:
    with store.reading() as connection:
        return [(row.spool, row.file) for row in connection.execute(select(tables.cursors))]


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def writer(spool: Path) -> Iterator[SpoolWriter]:
    writer = SpoolWriter(spool, worker=0, segment_bytes=20_000)
    yield writer
    writer.close()


def test_what_is_spooled_is_stored_once_across_restarts(
    spool: Path, open_store: Callable[[], Store], writer: SpoolWriter, store: Store
) -> None:
    for n in range(300):
        writer.append(an_outcome(n))
        if n % 60 == 59:
            reopened = open_store()
            assert Shipper(spool, reopened).drain()
            reopened.close()
    assert stored(store) == sorted(f"exchange-{n}" for n in range(300))
    assert store.totals() == SpoolCounts(accepted=300, stored=300)


def test_shipped_files_and_their_cursors_go(spool: Path, store: Store) -> None:
    writer = SpoolWriter(spool, worker=0, segment_bytes=2_000)
    for n in range(20):
        writer.append(an_outcome(n))
    writer.close()
    assert Shipper(spool, store).drain()
    assert (list(spool.iterdir()), cursors(store)) == ([], [])


def test_a_file_waits_for_the_other_reader(spool: Path, store: Store) -> None:
    writer = SpoolWriter(spool, worker=0)
    writer.append(an_outcome(1))
    writer.close()
    other = SpoolReader(spool, quarantine=False)
    Shipper(spool, store, others=[other]).drain()
    assert len(list(spool.iterdir())) == 1
    other.commit(other.read())
    assert Shipper(spool, store, others=[other]).drain()
    assert list(spool.iterdir()) == []
    assert store.totals() == SpoolCounts(accepted=1, stored=1)


def test_cursors_of_files_that_are_gone_are_dropped_at_start(spool: Path, store: Store) -> None:
    spool.mkdir()
    store.ship(SpoolBatch(cursors={"w0-0123456789abcdef-7-0.spool": 100}), name_of_spool(spool))
    Shipper(spool, store).drain()
    assert cursors(store) == []


def test_accepted_is_stored_and_spooled_and_dropped(
    spool: Path, open_store: Callable[[], Store], store: Store
) -> None:
    writer = SpoolWriter(spool, worker=0, cap_bytes=9_000, segment_bytes=1_500)
    shipper = Shipper(spool, store)
    accepted = 0
    for n in range(200):
        writer.append(an_outcome(n))
        accepted += 1
        if n == 20:
            shipper.drain()
    writer.append(Feedback(key="k", metric="csat", value=1.0, at=1.0, mono=1.0))
    accepted += 1
    shipper.drain()
    for n in range(200, 205):  # left in the spool
        writer.append(an_outcome(n))
        accepted += 1
    restarted = Shipper(spool, open_store())
    restarted.count()
    totals = store.totals()
    # The drops are told by the worker's next heartbeat, which has not been shipped yet.
    assert writer.dropped > 0
    assert accepted == totals.stored + restarted.spooled + writer.dropped
    eventually(
        lambda: restarted.drain() and writer.append(a_heartbeat(dropped=writer.dropped))
    )  # once there is room
    restarted.drain()
    totals = store.totals()
    assert (restarted.spooled, totals.dropped) == (0, writer.dropped)
    assert accepted == totals.accepted == totals.stored + totals.dropped
    writer.close()


def test_the_backlog_is_counted_without_heartbeats_and_exchanges_in_flight_and_down_to_zero(
    spool: Path, writer: SpoolWriter, store: Store
) -> None:
    shipper = Shipper(spool, store)
    shipper.drain()
    counts = []
    for n in range(150):
        writer.append(an_exchange_in_flight(n))
        writer.append(an_outcome(n))
        writer.append(a_heartbeat())
        counts.append(shipper.count())
    assert counts == list(range(1, 151))
    shipper.drain()
    assert shipper.spooled == 0


def test_exchanges_in_flight_are_read_past_and_neither_stored_nor_counted(
    spool: Path, writer: SpoolWriter, store: Store
) -> None:
    for n in range(50):
        writer.append(an_exchange_in_flight(n))
        writer.append(an_exchange_in_flight(n))
        if n % 2:
            writer.append(an_outcome(n))
    shipper = Shipper(spool, store)
    assert shipper.count() == 25
    assert shipper.drain()
    assert (shipper.spooled, len(stored(store))) == (0, 25)
    totals = store.totals()
    assert (totals.accepted, totals.stored, totals.dropped, totals.quarantined) == (25, 25, 0, 0)


def test_heartbeats_alone_move_the_stored_cursor_every_five_seconds_and_news_at_once(
    spool: Path, writer: SpoolWriter, store: Store
) -> None:
    now, batches = [0.0], list[SpoolBatch]()
    shipper = Shipper(spool, store, shipped=batches.append, mono=lambda: now[0])
    for _ in range(20):
        now[0] += 1.0
        writer.append(a_heartbeat())
        assert shipper.drain()
    assert [len(batches), store.cursors(name_of_spool(spool))] == [3, batches[-1].cursors]
    writer.append(an_outcome(1))
    assert shipper.drain() and len(batches) == 4 and stored(store) == ["exchange-1"]
    writer.append(a_heartbeat(dropped=2))
    assert Shipper(spool, store).drain() and store.totals().dropped == 2


def test_deaths_are_counted_once(spool: Path, open_store: Callable[[], Store], store: Store) -> None:
    writer = SpoolWriter(spool, worker=0)
    writer.append(a_heartbeat())
    writer.close()
    Shipper(spool, store, others=[SpoolReader(spool)]).drain()
    Shipper(spool, open_store()).drain()
    assert store.totals().lost == 7


def test_a_value_that_the_database_refuses_is_set_aside_and_the_rest_is_stored(
    spool: Path, writer: SpoolWriter, store: Store
) -> None:
    for n in range(50):
        outcome = an_outcome(n)
        writer.append(replace(outcome, run=2**63) if n in (3, 40) else outcome)
    assert Shipper(spool, store).drain()
    assert len(stored(store)) == 48
    assert store.totals() == SpoolCounts(accepted=48, stored=48, quarantined=2)
    assert len(list((spool / "quarantine").glob("*@refused-*"))) == 2
    assert Shipper(spool, store).drain() and store.totals().quarantined == 2


def test_a_database_that_is_down_is_waited_for_and_nothing_is_lost(
    spool: Path, tmp_path: Path, writer: SpoolWriter, sqlite_store: Store
) -> None:
    store = sqlite_store
    with store._engine.connect() as impatient:
        impatient.exec_driver_sql("PRAGMA busy_timeout=1")
    other = create_engine(f"sqlite:///{tmp_path / 'canary.db'}", poolclass=NullPool).connect()
    shipped = threading.Event()
    stop = threading.Event()
    shipper = Shipper(spool, store, shipped=lambda batch: shipped.set())
    assert shipper.drain()
    other.exec_driver_sql("BEGIN IMMEDIATE")
    for n in range(10):
        writer.append(an_outcome(n))
    assert not shipper.drain()
    assert "locked" in (shipper.down or "")
    assert (shipper.spooled, stored(store)) == (10, [])
    thread = threading.Thread(target=shipper.run, args=(stop,))
    thread.start()
    other.exec_driver_sql("ROLLBACK")
    other.close()
    assert shipped.wait(30)
    stop.set()
    thread.join(30)
    assert len(stored(store)) == 10
    assert (shipper.down, shipper.spooled) == (None, 0)


def test_stopping_ships_what_is_left(spool: Path, writer: SpoolWriter, store: Store) -> None:
    stop = threading.Event()
    stop.set()
    for n in range(10):
        writer.append(an_outcome(n))
    Shipper(spool, store).run(stop)
    assert len(stored(store)) == 10


_SHIPS_UNTIL_KILLED = """
import sys
from pathlib import Path
import records.store.shipper
from records.store.shipper import name_of_spool, Shipper
from records.store import Store

records.store.shipper.BATCH = 4
data = Path(sys.argv[1])
store = Store.open(sys.argv[2], data)
Shipper(data / "spool", store, shipped=lambda batch: print("batch", flush=True)).drain()
print("done", flush=True)
"""


def test_a_replay_killed_midway_loses_and_doubles_nothing(
    spool: Path, tmp_path: Path, store_url: str, open_store: Callable[[], Store]
) -> None:
    dice = random.Random(5)
    writer = SpoolWriter(spool, worker=0, segment_bytes=30_000)
    for n in range(2000):
        writer.append(an_outcome(n))
    writer.close()
    kills = 0
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", _SHIPS_UNTIL_KILLED, str(tmp_path), store_url], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(dice.randrange(1, 8))]
        if b"done\n" not in lines:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.stdout.close()
        process.wait()
    store = open_store()
    assert stored(store)
    assert Shipper(spool, store).drain()
    assert kills >= 3
    assert stored(store) == sorted(f"exchange-{n}" for n in range(2000))
    assert store.totals() == SpoolCounts(accepted=2000, stored=2000)
    assert list(spool.iterdir()) == []
