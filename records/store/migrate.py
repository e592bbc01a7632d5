"""Upgrades a database to the schema of this version.

    empty             runs every step
    version 0.1       (SQLite, no alembic_version) counts as step 0001; runs the later steps
    older             runs the missing steps
    current           does nothing
    newer             raises StoreTooNew

The upgrade is one transaction under a database lock: concurrent starts are safe, and a failed step changes
nothing.
"""

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect

from records import migrations
from records.errors import StoreTooNew
from records.store import takeover
from records.store.database import transaction

_LOCK = 0x63616E617279  # "canary"
_FIRST = "0001"


def migrate(engine: Engine) -> None:
    """Upgrade the database. Raises StoreDown, StoreTooNew."""
    with transaction(engine, within_s=10.0) as connection:
        if version_of(connection) == migrations.HEAD:
            return
    with transaction(engine, within_s=None, writes=True) as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        version = version_of(connection)  # again, since another process may have upgraded
        if version != migrations.HEAD:
            _upgrade(connection, version)


def version_of(connection: Connection) -> str | None:
    """Return the database's last step; None before the first. Raises StoreTooNew."""
    names = set(inspect(connection).get_table_names())
    if "alembic_version" not in names:
        return _FIRST if "outcomes" in names else None
    found: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if found is not None and found > migrations.HEAD:
        raise StoreTooNew(
            f"the database was made by a newer canary (schema {found}, this version supports up to "
            f"{migrations.HEAD}): start the newer version, or use another database"
        )
    return found


def _upgrade(connection: Connection, version: str | None) -> None:
    from alembic import command  # slow to import and rarely needed
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    if version == _FIRST:
        command.stamp(config, _FIRST)
    command.upgrade(config, migrations.HEAD)
    if version == _FIRST:
        takeover.add_up(connection)
