"""The store, on both databases."""

import json
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import IntegrityError

from records.errors import StoreDown, Unstorable
from records.facts.metric import BUILT_IN
from records.outcome import Usage
from records.spool.reader import WriterDeath
from records.store import FixedRubric, SpoolCounts, Store, tables
from records.store.retention import SLICE
from routing.states import State
from tests.records.samples import DAY, WRITER, a_batch, act, an_outcome, recent, some_feedback

TABLES = ("unit_days", "sessions")


def values(store: Store) -> list[float]:
    with store._engine.connect() as connection:
        found = connection.execute(text("SELECT value FROM feedback ORDER BY key"))
        return [row.value for row in found]


def test_a_relative_database_lies_in_the_data_folder_in_wal_and_full_sync(
    sqlite_store: Store, tmp_path: Path
) -> None:
    assert (tmp_path / "canary.db").exists()
    with sqlite_store._engine.connect() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        ]
    assert pragmas == ["wal", 2]


def test_an_outcome_is_stored_with_every_field(store: Store) -> None:
    store.ship(a_batch(an_outcome(1)))
    (row,) = recent(store, "support-nov")
    assert (row["tags"], row["usage_estimated"], row["stream"]) == ('{"region":"eu"}', False, True)
    assert (row["input_tokens"], row["cached_input_tokens"], row["cache_write_tokens"]) == (10, 0, None)
    assert (row["cost_usd"], row["ttft_s"], row["latency_s"]) == (None, None, 0.25)
    assert json.loads(row["attempts"])[0]["error_type"] == "provider_timeout"
    for name in (
        "exchange_id",
        "at",
        "run",
        "phase",
        "share",
        "arm",
        "served_by",
        "reason",
        "unit",
        "outcome",
    ):
        assert row[name] == getattr(an_outcome(1), name)


def test_what_is_shipped_twice_is_stored_and_counted_once(store: Store) -> None:
    batch = a_batch(an_outcome(1), an_outcome(2), cursors={"a.spool": 10})
    first, again = store.ship(batch), store.ship(batch)
    last = store.ship(a_batch(an_outcome(3), cursors={"a.spool": 15}))
    assert (first.stored, again.stored, last.stored) == (2, 2, 3)
    assert len(recent(store, "support-nov")) == 3
    assert store.totals() == SpoolCounts(accepted=3, stored=3)


def test_the_same_id_on_another_day_is_another_outcome(store: Store) -> None:
    shipped = store.ship(a_batch(an_outcome(1), an_outcome(1, at=20_001 * DAY)))
    assert shipped.stored == 2


def test_a_value_of_every_built_in_metric_is_stored(store: Store) -> None:
    names = sorted(BUILT_IN)
    shipped = store.ship(
        a_batch(*(replace(some_feedback(number, key=name), metric=name) for number, name in enumerate(names)))
    )
    assert (values(store), shipped.stored) == ([*map(float, range(len(names)))], len(names))


def test_the_newest_value_of_a_feedback_key_wins_whatever_the_order(store: Store) -> None:
    store.ship(a_batch(some_feedback(3, at=100)))
    store.ship(a_batch(some_feedback(5, at=300)))
    late = store.ship(a_batch(some_feedback(4, at=200)))
    assert (values(store), late.stored) == ([5.0], 2)


def test_a_correction_of_the_same_second_wins_and_a_replay_is_a_duplicate(store: Store) -> None:
    before = store.ship(a_batch(some_feedback(3), some_feedback(4)))
    assert values(store) == [4.0]
    assert store.ship(a_batch(some_feedback(4))) == before


def test_every_feedback_id_that_several_workers_took_of_one_subject_is_kept(store: Store) -> None:
    """Each worker refuses its own 21st, and has told 202 of the others."""
    many = [some_feedback(1, at=100.0 + number, key=f"e/id/f-{number}") for number in range(40)]
    store.ship(a_batch(*many[:20]))
    later = store.ship(a_batch(*many[20:], some_feedback(3, at=900.0, key="e/id/f-2")))
    assert (later.stored, values(store).count(1.0), values(store).count(3.0)) == (41, 39, 1)


def test_the_cursors_move_with_the_records(store: Store) -> None:
    store.ship(a_batch(an_outcome(1), cursors={"a.spool": 10, "b.spool": 5}))
    store.ship(a_batch(an_outcome(2), cursors={"a.spool": -1}))
    assert store.cursors() == {"a.spool": -1, "b.spool": 5}
    store.forget(["a.spool"])
    assert store.cursors() == {"b.spool": 5}


def test_a_batch_that_fails_moves_nothing(store: Store) -> None:
    too_large = replace(an_outcome(2), usage=Usage(input_tokens=2**70))
    with pytest.raises(Unstorable):
        store.ship(a_batch(an_outcome(1), too_large, cursors={"a.spool": 10}))
    assert (recent(store, "support-nov"), store.cursors(), store.totals()) == ([], {}, SpoolCounts())


def test_a_value_that_is_no_json_is_not_blamed_on_the_database(store: Store) -> None:
    entry = {"at": 1.0, "canary": "c", "action": "a", "who": "w", "reason": "r", "before": {}}
    with pytest.raises((Unstorable, TypeError)) as refused, store.writing() as connection:
        connection.execute(tables.audit.insert().values(**entry, after={"names": frozenset("a")}))
    said = "Object of type frozenset is not JSON serializable"
    assert str(refused.value) in (f"a value cannot be stored: {said}", said)  # psycopg says it itself


def test_totals_outlive_the_process(store: Store, open_store: Callable[[], Store]) -> None:
    deaths = [WriterDeath(WRITER, 4)]
    store.ship(a_batch(an_outcome(1), some_feedback(1), dropped=3, quarantined=2, deaths=deaths))
    store.close()
    again = open_store()
    assert again.totals() == SpoolCounts(accepted=5, stored=2, dropped=3, quarantined=2, lost=4)
    again.ship(a_batch(an_outcome(2), dropped=1))
    assert again.totals() == SpoolCounts(accepted=7, stored=3, dropped=4, quarantined=2, lost=4)


def test_a_state_changes_only_under_the_version_that_was_read(store: Store) -> None:
    first, second = State(state="running", share=0.05), State(state="rolled_back")
    assert store.swap("c", 0, first, act())
    assert not store.swap("c", 0, second, act())
    assert store.swap("c", 1, second, act("rollback"))
    assert not store.swap("c", 1, first, act())
    assert (store.states()["c"].version, store.states()["c"].state) == (2, second)


def test_of_many_swaps_at_once_exactly_one_wins(store: Store) -> None:
    store.swap("c", 0, State(), act())
    won: list[bool] = []
    start = threading.Barrier(8)

    def swap(n: int) -> None:
        start.wait()
        won.append(store.swap("c", 1, State(reason=str(n)), act(who=str(n))))

    threads = [threading.Thread(target=swap, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sorted(won), store.states()["c"].version, len(store.audit())) == ([False] * 7 + [True], 2, 2)


def test_the_audit_says_who_what_why_and_what_it_was_before(store: Store) -> None:
    store.swap("c", 0, State(share=0.05), act("start"))
    store.swap("c", 1, State(share=0.10), None)  # the ramp's clock is no act
    store.swap("c", 2, State(share=0.0), act("rollback", who="guardrail error_rate"))
    newest, first = store.audit()
    assert (newest.act.action, newest.act.who, newest.act.reason) == (
        "rollback",
        "guardrail error_rate",
        "a reason",
    )
    assert (newest.before, newest.after) == (State(share=0.10), State(share=0.0))
    assert (first.before, first.id < newest.id, len(store.audit(1))) == (None, True, 1)


def test_a_refused_swap_leaves_no_trace_in_the_audit(store: Store) -> None:
    store.swap("c", 5, State(), act())
    assert store.audit() == []


@pytest.mark.parametrize("sql", ["UPDATE audit SET who = 'nobody'", "DELETE FROM audit"])
def test_the_audit_log_cannot_be_rewritten(store: Store, sql: str) -> None:
    store.swap("c", 0, State(), act())
    with pytest.raises(IntegrityError, match="append-only"), store._engine.begin() as connection:
        connection.execute(text(sql))
    assert store.audit()[0].act.who == "ann"


def test_who_reads_sees_one_moment(store: Store, open_store: Callable[[], Store]) -> None:
    store.ship(a_batch(an_outcome(1)))
    writer = open_store()
    counting = text("SELECT count(*) FROM fresh_outcomes")
    with store.reading() as connection:
        before = connection.execute(counting).scalar_one()
        writer.ship(a_batch(an_outcome(2)))
        assert connection.execute(counting).scalar_one() == before == 1
    with store.reading() as connection:
        assert connection.execute(counting).scalar_one() == 2


def test_the_rubric_is_fixed_once(store: Store) -> None:
    first = FixedRubric(sha256="1" * 64, document={"rows": [1]}, fixed_at=5.0)
    later = FixedRubric(sha256="2" * 64, document={"rows": [2]}, fixed_at=6.0)
    assert store.rubric("c") is None
    assert store.fix_rubric("c", first) == first
    assert store.fix_rubric("c", later) == store.rubric("c") == first


def test_recent_shows_the_newest_of_one_canary(store: Store) -> None:
    store.ship(a_batch(*(an_outcome(n, at=1000.0 + n) for n in range(5))))
    store.ship(a_batch(replace(an_outcome(9), canary="other")))
    assert [row["exchange_id"] for row in recent(store, "support-nov", 2)] == ["exchange-4", "exchange-3"]


def test_a_database_that_is_not_there_is_down(tmp_path: Path) -> None:
    with pytest.raises(StoreDown):
        Store.open("sqlite:///no/such/folder/canary.db", tmp_path)


def test_a_locked_database_is_down_and_heals(sqlite_store: Store, tmp_path: Path) -> None:
    store = sqlite_store
    with store._engine.connect() as impatient:
        impatient.exec_driver_sql("PRAGMA busy_timeout=1")  # on the connection that the pool hands out next
    other = create_engine(f"sqlite:///{tmp_path / 'canary.db'}", poolclass=NullPool).connect()
    other.exec_driver_sql("BEGIN IMMEDIATE")
    with pytest.raises(StoreDown, match="locked"):
        store.ship(a_batch(an_outcome(1)))
    other.exec_driver_sql("ROLLBACK")
    other.close()
    assert store.ship(a_batch(an_outcome(1))).stored == 1


def test_what_is_older_than_the_retention_is_deleted_and_the_rest_stays(sqlite_store: Store) -> None:
    store = sqlite_store
    store.ship(a_batch(an_outcome(1, at=10.0), an_outcome(2, at=30.0), some_feedback(4, at=10.0)))
    assert store.expire(20.0) == 1
    assert values(store) == []


def test_sqlite_deletes_in_slices_between_which_others_write(sqlite_store: Store, tmp_path: Path) -> None:
    old = [replace(an_outcome(n, at=10.0), unit=f"{n:032x}", session=f"s{n}") for n in range(2 * SLICE + 1)]
    sqlite_store.ship(a_batch(*old))
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as other:
        breaths = 0

        def breathe() -> None:
            nonlocal breaths
            breaths += 1
            other.ship(a_batch(an_outcome(10_000 + breaths)))

        assert sqlite_store.expire(2 * DAY, breathe) == 0  # no feedback
        assert breaths == 2 * 2  # sessions and units, each in three slices
    assert sqlite_store.totals().stored == len(old) + breaths
    with sqlite_store.reading() as connection:
        found = [connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in TABLES]
    assert found == [1, 0]  # the others' are of another day
