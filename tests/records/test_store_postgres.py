"""What PostgreSQL alone does: partitions, an agent among many, a server that hangs or dies."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import select, text

from records.errors import StoreDown, Unstorable
from records.spool.reader import WriterDeath
from records.spool.writer import SpoolWriter
from records.store import SpoolCounts, Store, StoreTimeouts, tables
from records.store.leader import Checkpoints, LeaderLeases
from records.store.shipper import Shipper
from tests.records.samples import DAY, WRITER, a_batch, an_outcome, recent, some_feedback
from tests.records.stored import stored
from tests.servers.postgres import Postgres

TODAY = 20_000


@pytest.fixture
def shared(migrated: str, postgres: Postgres, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens one PostgreSQL store, as several machines would."""
    url, opened = postgres.fresh(like=migrated), list[Store]()

    def another() -> Store:
        opened.append(Store.open(url, tmp_path))
        return opened[-1]

    yield another
    for store in opened:
        store.close()


def days(store: Store, parent: str) -> list[int]:
    query = "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = "
    with store.reading() as connection:
        names = connection.execute(text(f"{query} '{parent}'::regclass")).scalars().all()
    return sorted(int(name.rpartition("_")[2]) for name in names)


def ids(store: Store) -> set[str]:
    return {row["exchange_id"] for row in stored(store)}


def test_a_days_partitions_are_made_when_it_comes_and_the_next_ones_ahead(
    shared: Callable[[], Store],
) -> None:
    store, other = shared(), shared()
    store.ship(a_batch(an_outcome(1)))
    assert days(store, "unit_days") == [TODAY + n for n in range(4)]
    other.ship(a_batch(an_outcome(2, at=(TODAY + 1) * DAY), an_outcome(3, at=(TODAY - 400) * DAY)))
    assert days(store, "unit_days") == [TODAY - 400, *(TODAY + n for n in range(5))]
    assert ids(store) == {"exchange-1", "exchange-2", "exchange-3"}


def test_retention_drops_whole_days_and_old_rows_elsewhere(shared: Callable[[], Store]) -> None:
    store, other = shared(), shared()
    old, new = (TODAY - 90) * DAY, TODAY * DAY
    for at, session in ((old, "old"), (new, "new")):
        store.ship(
            a_batch(
                replace(an_outcome(1, at=at), session=session),
                replace(an_outcome(2, at=at), session=session),
                some_feedback(4, at=at, key=session),
                cursors={f"{session}.spool": 7},
            )
        )
    other.ship(a_batch(an_outcome(3, at=old + 60)))
    assert store.expire((TODAY - 89) * DAY, lambda: None) == 1
    assert days(store, "unit_days")[0] == TODAY - 89
    with store.reading() as connection:
        assert set(connection.execute(select(tables.unit_days.c.day)).scalars()) == {TODAY}
        assert connection.execute(select(tables.sessions.c.session)).scalars().all() == ["new"]
        assert connection.execute(select(tables.feedback.c.key)).scalars().all() == ["new"]
    other.ship(a_batch(an_outcome(4, at=old)))  # late, of a day that is gone: kept until the next time
    assert days(store, "unit_days")[0] == TODAY - 90
    store.expire((TODAY - 89) * DAY, lambda: None)
    assert days(store, "unit_days")[0] == TODAY - 89


def test_a_reader_that_takes_long_delays_retention_and_not_the_agents(shared: Callable[[], Store]) -> None:
    store = shared()
    store.ship(a_batch(an_outcome(1, at=(TODAY - 90) * DAY), an_outcome(2)))
    with store.reading() as connection:
        connection.execute(select(tables.unit_days)).all()
        with pytest.raises(StoreDown, match="lock timeout"):
            store.expire((TODAY - 80) * DAY, lambda: None)
        store.ship(a_batch(an_outcome(3)))
    store.expire((TODAY - 80) * DAY, lambda: None)
    assert days(store, "unit_days")[0] >= TODAY - 80


def test_spools_of_one_file_name_keep_cursors_and_counts_of_their_own(
    shared: Callable[[], Store], tmp_path: Path
) -> None:
    here, there = shared(), shared()
    here.ship(a_batch(an_outcome(1), cursors={"w0-b-1-0.spool": 10}), "here")
    there.ship(a_batch(an_outcome(2), cursors={"w0-b-1-0.spool": 20}, dropped=3), "there")
    assert (here.cursors("here"), here.cursors("there")) == ({"w0-b-1-0.spool": 10}, {"w0-b-1-0.spool": 20})
    here.forget(["w0-b-1-0.spool"], "here")
    assert (here.cursors("here"), here.cursors("there")) == ({}, {"w0-b-1-0.spool": 20})
    assert here.totals("there") == SpoolCounts(accepted=4, stored=1, dropped=3)
    assert here.totals() == SpoolCounts(accepted=5, stored=2, dropped=3)
    (tmp_path / "spool").mkdir()
    Shipper(tmp_path / "spool", here).drain()  # which has no such file, and must leave the others' alone
    assert here.cursors("there") == {"w0-b-1-0.spool": 20}


def test_a_batch_whose_confirmation_got_lost_counts_once(store: Store) -> None:
    batch = a_batch(
        an_outcome(1), some_feedback(3), cursors={"a.spool": 10}, dropped=3, deaths=[WriterDeath(WRITER, 4)]
    )
    first = store.ship(batch, "here")
    again = store.ship(batch, "here")
    assert again == first
    assert store.totals() == SpoolCounts(accepted=5, stored=2, dropped=3, lost=4)


def test_text_that_postgresql_has_no_character_for_is_stored_all_the_same(store: Store) -> None:
    strange = replace(
        an_outcome(1), model="a\0b", request_id="\0", tags={"region": "e\0u"}, category="\\.\n\t"
    )
    store.ship(a_batch(strange, replace(some_feedback(3), comment="so\0so")))
    (row,) = recent(store, "support-nov")
    assert (row["model"], row["request_id"], row["category"]) == ("a\ufffdb", "\ufffd", "\\.\n\t")


def test_the_audit_log_cannot_be_emptied(shared: Callable[[], Store]) -> None:
    with pytest.raises(Unstorable, match="append-only"), shared().writing() as connection:
        connection.execute(text("TRUNCATE audit"))


def test_a_server_that_hangs_is_down_within_the_time_and_heals(
    durable_postgres: Postgres, tmp_path: Path
) -> None:
    patience = StoreTimeouts(answer_s=0.5, batch_s=0.5)
    with closing(Store.at(f"{durable_postgres.url}?connect_timeout=2", tmp_path, patience)) as store:
        store.ship(a_batch(an_outcome(1)))
        durable_postgres.freeze()
        with pytest.raises(StoreDown, match="did not answer within"):
            store.ship(a_batch(an_outcome(2)))
        for ask in (store.states, LeaderLeases(store).read, Checkpoints(store).load):
            with pytest.raises(StoreDown):
                ask()
        durable_postgres.thaw()
        store.ship(a_batch(an_outcome(2)))
        assert ids(store) == {"exchange-1", "exchange-2"}


def test_a_restart_between_two_calls_is_not_noticed(durable_postgres: Postgres, tmp_path: Path) -> None:
    with closing(Store.open(durable_postgres.url, tmp_path)) as store:
        store.ship(a_batch(an_outcome(1)))
        durable_postgres.restart()
        assert store.ship(a_batch(an_outcome(2))).stored == 2


def test_a_server_that_is_killed_again_and_again_loses_and_doubles_nothing(
    durable_postgres: Postgres, tmp_path: Path
) -> None:
    writer = SpoolWriter(tmp_path / "spool", worker=0, segment_bytes=100_000)
    shipped, stop, kills = threading.Semaphore(0), threading.Event(), 3
    with closing(Store.at(durable_postgres.url, tmp_path)) as store:
        shipper = Shipper(tmp_path / "spool", store, shipped=lambda batch: shipped.release())
        thread = threading.Thread(target=shipper.run, args=(stop,))
        thread.start()
        for kill in range(kills):
            for n in range(300):
                assert writer.append(an_outcome(kill * 300 + n))
            assert shipped.acquire(timeout=30)
            durable_postgres.kill()
            durable_postgres.start()
        writer.close()
        stop.set()
        thread.join(60)
        assert shipper.drain()
        assert ids(store) == {f"exchange-{n}" for n in range(300 * kills)}
        with store.reading() as connection:
            assert connection.execute(select(tables.unit_days.c.exchanges)).scalars().all() == [300 * kills]
        assert store.totals() == SpoolCounts(accepted=300 * kills, stored=300 * kills)
