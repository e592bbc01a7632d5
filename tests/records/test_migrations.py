"""The store's schema: made, taken over, refused when it is newer; on both databases."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from msgspec.structs import replace
from sqlalchemy import Engine, MetaData, Table, func, insert, inspect, select, text

from records import migrations, tables
from records.errors import StoreDown, StoreTooNew
from records.rolling import roll
from records.segments import old_rows
from records.segments.columns import COLUMNS
from records.store import RecordTotals, Store
from records.store.database import engine_of
from tests.records.samples import DAY, a_batch, an_outcome, recent, some_feedback
from tests.records.stored import stored
from tests.servers.postgres import Postgres

_OPENS = """
import sys
from pathlib import Path
from records.store import Store
print("ready", flush=True)
sys.stdin.readline()
store = Store.open(sys.argv[1], Path(sys.argv[2]))
print(len(store.states()))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest) -> str:
    """A database without any table."""
    if request.param == "sqlite":
        return "sqlite:///canary.db"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.fresh()


def version_0_1(path: Path) -> None:
    """A database that version 0.1 made: two exchanges, feedback on one, a state and its audit."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(Path(__file__).with_name("version_0_1.sql").read_text())


def at_step(url: str, folder: Path, step: str) -> Engine:
    """A database that an earlier version made: the schema of this step, with one row of unit totals."""
    engine, config = engine_of(url, folder), Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, step)
        if connection.dialect.name == "postgresql":
            every = "CREATE TABLE {0}_every PARTITION OF {0} DEFAULT"
            connection.execute(text(every.format("outcomes")))
            connection.execute(text(every.format("unit_days")))
        connection.execute(insert(Table("unit_days", MetaData(), autoload_with=connection)), [_A_CELL])
    return engine


_A_CELL: dict[str, Any] = {
    "canary": "support-nov", "run": 1, "phase": 2, "arm": "candidate", "mirror": False, "unit": "ab" * 16,
    "day": 20_000, "category": "", "tags": '{"region":"eu"}', "share": 0.05, "first_at": 20_000 * DAY,
    "last_at": 20_000 * DAY, "exchanges": 7, "counted": 7, "failed": 1, "latency_n": 0, "latency_sum": 0,
    "ttft_n": 0, "ttft_sum": 0, "cost_n": 0, "cost_sum": 0, "tokens_n": 0, "tokens_sum": 0, "latency": b"",
    "ttft": b"",
}  # fmt: skip


def test_what_was_counted_before_answers_were_read_is_unknown_and_not_good(
    empty_url: str, tmp_path: Path
) -> None:
    engine = at_step(empty_url, tmp_path, "0008")
    with closing(Store.open(empty_url, tmp_path)) as store:
        with engine.begin() as connection:
            (before,) = connection.execute(select(tables.unit_days)).all()
        assert (before.exchanges, before.finished, before.output_judged, before.ended) == (7, 0, 0, 0)
        outcome = replace(an_outcome(1), outcome="ok", finish="length", faults=("cut_off",))
        with store.writing() as connection:
            store.ingest.outcomes(connection, [outcome])
            (after,) = connection.execute(select(tables.unit_days)).all()
        assert (after.exchanges, after.finished, after.cut_off, after.ended) == (8, 1, 1, 1)
    engine.dispose()


def an_old_row(serial: int, at: float) -> dict[str, Any]:
    """An outcome as earlier versions stored it."""
    return {
        "day": int(at // DAY), "exchange_id": f"exchange-{serial}", "at": at, "canary": "support-nov",
        "run": 1, "phase": 2, "share": 0.05, "arm": "candidate", "served_by": "baseline", "reason": "cohort",
        "unit": "ab" * 16, "session": "", "category": "billing", "tags": {"region": "eu"}, "request_id": "",
        "provider": "openai", "api": "openai", "operation": "chat", "model_requested": "old", "model": "new",
        "stream": True, "mirror": False, "status": 200, "outcome": "fallback",
        "error_type": "provider_timeout",
        "usage_estimated": False, "input_tokens": 10, "output_tokens": 20, "cost_usd": 0.5,
        "attempts": [{"arm": "candidate", "provider": "openai", "model": "new"}], "fingerprint": "f",
        "faults": "", "output_check": "", "provider_error_code": "slow", "provider_error_type": "",
        "provider_error_param": "", "provider_error_message": "Try later.", "adapted": True,
    }  # fmt: skip


def test_outcomes_that_were_rows_stay_readable_and_become_segments(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(old_rows, "AT_ONCE", 2)
    engine = at_step(empty_url, tmp_path, "0019")
    with engine.begin() as connection:
        earlier = Table("outcomes", MetaData(), autoload_with=connection)
        rows = [an_old_row(n, (20_000 + n % 3) * DAY + n) for n in range(12)]
        connection.execute(insert(earlier), rows)
    with closing(Store.open(empty_url, tmp_path)) as store:
        before = stored(store)
        assert [row["at"] for row in before] == sorted(row["at"] for row in rows)
        assert list(before[0]) == list(COLUMNS)
        assert (before[0]["tags"], before[0]["adapted"]) == ('{"region":"eu"}', True)
        assert before[0]["provider_error_message"] == "Try later."
        assert roll(store, 0.0).outcomes == 12
        assert stored(store) == before
        with store.reading() as connection:
            assert connection.execute(select(func.sum(tables.segments.c.rows))).scalar() == 12
            assert connection.execute(select(func.sum(tables.failure_days.c.exchanges))).scalar() == 12
            assert connection.execute(select(func.sum(tables.model_days.c.cost_usd))).scalar() == 6.0
            assert not inspect(connection).has_table("old_outcomes")
        assert roll(store, 0.0).outcomes == 0
    engine.dispose()


def test_an_agent_of_the_version_before_keeps_its_outcomes_during_the_upgrade(
    empty_url: str, tmp_path: Path
) -> None:
    engine = at_step(empty_url, tmp_path, "0019")
    with engine.connect() as connection:
        earlier = Table("outcomes", MetaData(), autoload_with=connection)
    with (
        closing(Store.open(empty_url, tmp_path)) as store,
        pytest.raises(StoreDown, match="outcomes"),
        store.writing() as connection,
    ):
        connection.execute(insert(earlier), [an_old_row(1, 20_000 * DAY)])
    engine.dispose()


def test_the_steps_lead_to_the_schema_that_the_program_uses(empty_url: str, tmp_path: Path) -> None:
    with closing(Store.open(empty_url, tmp_path)) as store, store._engine.connect() as connection:
        options = {"compare_type": connection.dialect.name == "postgresql"}
        context = MigrationContext.configure(connection, opts=options)
        found = compare_metadata(context, tables.metadata)
    if connection.dialect.name == "postgresql":  # which needs none, and SQLAlchemy cannot be told so here
        found = [each for each in found if "unit_days_by_day" not in str(each)]
    assert found == []


def test_the_newest_step_is_the_one_that_the_program_names() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_current_head() == migrations.HEAD


def test_a_database_of_version_0_1_is_taken_over_without_loss(tmp_path: Path) -> None:
    version_0_1(tmp_path / "canary.db")
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        assert [row["exchange_id"] for row in recent(store, "support-nov")] == ["exchange-2", "exchange-1"]
        assert (store.states()["support-nov"].version, store.audit()[0].act.who) == (3, "ann")
        assert store.totals() == RecordTotals(accepted=4, stored=3, dropped=1)
        store.adopt("the-only-spool")
        assert store.cursors("the-only-spool") == {"w0-0123456789abcdef-7-0.spool": 512}
        with store.reading() as connection:
            cells = connection.execute(select(tables.unit_days)).all()
            assert connection.execute(select(tables.feedback.c.value)).scalar_one() == 5.0
        (cell,) = cells
        assert (cell.unit, cell.tags, cell.exchanges, cell.counted, cell.failed) == (
            "ab" * 16,
            '{"region":"eu"}',
            2,
            2,
            1,
        )
        assert (cell.latency_n, cell.cost_n, cell.tokens_sum) == (2, 1, 60.0)
        with pytest.raises(Exception, match="append-only"), store.writing() as connection:
            connection.execute(text("DELETE FROM audit"))
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as again:
        assert again.totals("the-only-spool") == RecordTotals(accepted=4, stored=3, dropped=1)


def test_a_step_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    version_0_1(tmp_path / "canary.db")
    with closing(sqlite3.connect(tmp_path / "canary.db")) as database:
        database.execute("CREATE TABLE sessions (in_the_way INTEGER)")
    with pytest.raises(StoreDown, match="sessions already exists"):
        Store.open("sqlite:///canary.db", tmp_path)
    with closing(sqlite3.connect(tmp_path / "canary.db")) as database:
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert "unit_days" not in names and "alembic_version" not in names
        assert database.execute("SELECT count(*) FROM outcomes").fetchone() == (2,)
        database.execute("DROP TABLE sessions")
    Store.open("sqlite:///canary.db", tmp_path).close()


def test_a_database_newer_than_the_program_is_refused_in_plain_words(empty_url: str, tmp_path: Path) -> None:
    with closing(Store.open(empty_url, tmp_path)) as store, store.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreTooNew, match=r"made by a newer canary.*9999"):
        Store.open(empty_url, tmp_path)


def test_programs_that_start_at_once_make_one_schema(empty_url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _OPENS, empty_url, str(tmp_path)]
    programs = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for program in programs:
        assert program.stdout is not None and program.stdout.readline() == "ready\n"
    told = []
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
    for program in programs:
        out, err = program.communicate(timeout=60)
        told.append((program.returncode, out, err))
    assert told == [(0, "0\n", "")] * 2


def test_a_database_that_comes_up_later_is_made_ready_then(tmp_path: Path) -> None:
    folder = tmp_path / "not-there-yet"
    with closing(Store.at("sqlite:///canary.db", folder)) as store:
        with pytest.raises(StoreDown):
            store.ship(a_batch(an_outcome(1)))
        folder.mkdir()
        assert store.ship(a_batch(an_outcome(1), some_feedback(3))).inserted == 2


def test_what_is_no_database_url_is_said_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StoreDown, match="postgresql://USER:PASSWORD@HOST/NAME") as refused:
        Store.open("postgresql://canary:s3cret@host:port/canary", tmp_path)
    assert "s3cret" not in str(refused.value)
