"""The store's schema: made, and refused when it is newer or of no release; on both databases."""

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from records.errors import StoreDown, StoreTooNew, StoreTooOld
from records.store import Store, tables
from records.store.database import engine_of
from records.store.migrate import BASELINE, HEAD, MIGRATIONS
from tests.records.samples import a_batch, an_outcome, some_feedback
from tests.servers.postgres import Postgres

CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"

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


def test_the_steps_lead_to_the_schema_that_the_program_uses(empty_url: str, tmp_path: Path) -> None:
    with closing(Store.open(empty_url, tmp_path)) as store, store._engine.connect() as connection:
        options = {"compare_type": connection.dialect.name == "postgresql"}
        context = MigrationContext.configure(connection, opts=options)
        found = compare_metadata(context, tables.metadata)
    if connection.dialect.name == "postgresql":  # which needs none, and SQLAlchemy cannot be told so here
        found = [each for each in found if "unit_days_by_day" not in str(each)]
    assert found == []


def test_the_newest_step_is_the_one_that_the_program_names() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    assert scripts.get_current_head() == HEAD


def test_no_step_follows_the_present_tables_once_there_is_a_release() -> None:
    released = "\n".join(re.findall(r"^## .*", CHANGELOG.read_text(), re.MULTILINE)) != "## [Unreleased]"
    if released or HEAD != BASELINE:
        for step in (MIGRATIONS / "versions").glob("*.py"):
            assert "records.store.tables" not in re.sub('""".*?"""', "", step.read_text(), flags=re.DOTALL), (
                f"write the tables of {step.name} out: a released step never changes"
            )


def test_a_step_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "canary.db")) as database:
        database.execute("CREATE TABLE sessions (in_the_way INTEGER)")
    with pytest.raises(StoreDown, match="sessions already exists"):
        Store.open("sqlite:///canary.db", tmp_path)
    with closing(sqlite3.connect(tmp_path / "canary.db")) as database:
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert names == {"sessions"}
        database.execute("DROP TABLE sessions")
    Store.open("sqlite:///canary.db", tmp_path).close()


@pytest.mark.parametrize("step", ["0021", None], ids=["numbered", "unnumbered"])
def test_a_database_from_before_the_first_release_is_refused_with_what_to_do(
    empty_url: str, tmp_path: Path, step: str | None
) -> None:
    with closing(Store.open(empty_url, tmp_path)) as store, store.writing() as connection:
        if step is None:
            connection.execute(text("DROP TABLE alembic_version"))
        else:
            connection.execute(text(f"UPDATE alembic_version SET version_num = '{step}'"))
        before = set(inspect(connection).get_table_names())
    said = rf"from before the first release \(schema {step or '0001'}\).*--data.*canary records export"
    with pytest.raises(StoreTooOld, match=said):
        Store.open(empty_url, tmp_path)
    engine = engine_of(empty_url, tmp_path)
    assert set(inspect(engine).get_table_names()) == before
    engine.dispose()


def test_a_database_with_tables_of_others_is_no_canarys_yet(empty_url: str, tmp_path: Path) -> None:
    engine = engine_of(empty_url, tmp_path)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE outcomes (of_another INTEGER)"))
    engine.dispose()
    with closing(Store.open(empty_url, tmp_path)) as store:
        assert store.states() == {}


def test_a_database_newer_than_the_program_is_refused_in_plain_words(empty_url: str, tmp_path: Path) -> None:
    with closing(Store.open(empty_url, tmp_path)) as store, store.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v9999'"))
    with pytest.raises(StoreTooNew, match=r"made by a newer canary.*v9999"):
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
        out, err = program.communicate(timeout=120)
        told.append((program.returncode, out, err))
    assert told == [(0, "0\n", "")] * 2


def test_a_database_that_comes_up_later_is_made_ready_then(tmp_path: Path) -> None:
    folder = tmp_path / "not-there-yet"
    with closing(Store.at("sqlite:///canary.db", folder)) as store:
        with pytest.raises(StoreDown):
            store.ship(a_batch(an_outcome(1)))
        folder.mkdir()
        assert store.ship(a_batch(an_outcome(1), some_feedback(3))).stored == 2


def test_what_is_no_database_url_is_said_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StoreDown, match="postgresql://USER:PASSWORD@HOST/NAME") as refused:
        Store.open("postgresql://canary:s3cret@host:port/canary", tmp_path)
    assert "s3cret" not in str(refused.value)
