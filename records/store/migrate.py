"""Brings a database to the schema that this program knows, once, whoever starts first.

    empty             every step is run
    of version 0.1    (SQLite, no alembic_version) counts as step 0001, and is taken on from there
    older             the steps that are missing are run
    as known          nothing
    newer             StoreTooNew

All of it is one transaction under a lock of the database's own, so that two starting at once are no matter,
and a step that fails leaves the database as it was.
"""

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, select

from records import migrations, tables
from records.errors import StoreTooNew
from records.store import takeover
from records.store.database import transaction

_LOCK = 0x63616E617279  # "canary"
_FIRST = "0001"


def migrate(engine: Engine) -> None:
    """Bring the database up to date. Raises StoreDown, StoreTooNew."""
    with transaction(engine, within_s=10.0) as connection:
        if version_of(connection) == migrations.HEAD:
            return
    with transaction(engine, within_s=None, writes=True) as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        version = version_of(connection)  # again: somebody may have been faster
        if version != migrations.HEAD:
            _upgrade(connection, version)


def version_of(connection: Connection) -> str | None:
    """The step that the database stands at; None before the first. Raises StoreTooNew."""
    names = set(inspect(connection).get_table_names())
    if "alembic_version" not in names:
        return _FIRST if tables.outcomes.name in names else None
    found: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if found is not None and found > migrations.HEAD:
        raise StoreTooNew(
            f"the database was made by a newer canary (schema {found}, this one knows up to "
            f"{migrations.HEAD}): start that version, or give this one a database of its own"
        )
    return found


def _upgrade(connection: Connection, version: str | None) -> None:
    from alembic import command  # slow to import, and seldom needed
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    if version == _FIRST:
        command.stamp(config, _FIRST)
    command.upgrade(config, migrations.HEAD)
    if version == _FIRST and connection.execute(select(tables.outcomes.c.day).limit(1)).first():
        takeover.add_up(connection)
