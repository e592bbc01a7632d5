"""Upgrades a database to the schema of this version, by Alembic: a step is a file in `migrations/versions/`.

    empty             runs every step
    older             runs the missing steps
    current           does nothing
    newer             raises StoreTooNew
    of no release     raises StoreTooOld

The upgrade is one transaction under a database lock: concurrent starts are safe, and a failed step changes
nothing. The baseline is the schema of the first release. Each later change is a step,
`NNNN_what_it_does.py`: write it, raise HEAD and change `records/store/tables.py`; tests compare the two on
both databases. From the first release on, no step imports `records.store.tables`, which has the current
schema, and none changes once it is released.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine, inspect

from records.errors import StoreTooNew, StoreTooOld
from records.store.database import TIMEOUTS, engine_of, one_at_a_time, transaction

T = TypeVar("T")

BASELINE = "v0001"
"""The first step. What was made before the first release has a number without a letter, or none."""

HEAD = "v0001"
"""The newest step of this version. Steps are numbered, so that a newer database can be recognised."""

MIGRATIONS = Path(__file__).with_name("migrations")

_LOCK = 0x63616E617279  # "canary"


def migrate(engine: Engine) -> None:
    """Upgrade the database. Raises StoreDown, StoreTooNew, StoreTooOld."""
    with transaction(engine, within_s=10.0) as connection:
        if version_of(connection) == HEAD:
            return
    with transaction(engine, within_s=None, writes=True) as connection:
        one_at_a_time(connection, _LOCK)
        if version_of(connection) != HEAD:  # again, since another process may have upgraded
            _upgrade(connection)


def version_of(connection: Connection) -> str | None:
    """Return the database's last step; None before the first. Raises StoreTooNew, StoreTooOld."""
    names = set(inspect(connection).get_table_names())
    found: str | None = None
    if "alembic_version" in names:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if found is None and not names >= {"states", "audit", "cursors"}:
        return None
    if found is None or found < BASELINE:
        raise StoreTooOld(
            f"the database is of a canary from before the first release (schema {found or '0001'}), which "
            "this version does not read: start with another data folder (--data) and an empty database. The "
            "canary that made it can still export its outcomes (`canary records export`)"
        )
    if found > HEAD:
        raise StoreTooNew(
            f"the database was made by a newer canary (schema {found}, this version supports up to "
            f"{HEAD}): start the newer version, or use another database"
        )
    return found


def found_at(url: str, data: Path, read: Callable[[Connection], T]) -> T | None:
    """What `read` finds in the database of this URL; None where there is none of this schema: creates and
    upgrades nothing. A relative SQLite path is relative to `data`. Raises StoreDown."""
    engine = engine_of(url, data)
    try:
        if engine.dialect.name == "sqlite" and not os.access(engine.url.database or "", os.R_OK | os.W_OK):
            return None  # connecting would create it, or wait for a right to write it
        with transaction(engine, within_s=TIMEOUTS.answer_s) as connection:
            return read(connection) if version_of(connection) == HEAD else None
    finally:
        engine.dispose()


def _upgrade(connection: Connection) -> None:
    from alembic import command  # slow to import and rarely needed
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
