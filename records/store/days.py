"""PostgreSQL's daily partitions: created ahead of time or on demand for old days, dropped after retention."""

from collections.abc import Iterable

from sqlalchemy import Connection, Engine, text

from records import tables
from records.store.database import transaction

AHEAD_DAYS = 3
_LOCK = 0x63616E617279_02
_PREFIX_OF = {table.name: f"{table.name}_day_" for table in tables.PARTITIONED}
_LIST = text(
    "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid "
    "WHERE inhparent = to_regclass(:parent)"
)


class Days:
    """Creates and drops daily partitions. Safe for several threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._existing: set[int] = set()

    def need(self, days: Iterable[int], *, look: bool = False) -> bool:
        """Create the missing partitions of these days and the days ahead, in a separate transaction.

        True when a partition was missing. `look` queries the database even for days known to exist, since
        another program may have dropped a partition.
        """
        if self._engine.dialect.name != "postgresql":
            return False
        wanted = set(days)
        if not wanted or (wanted <= self._existing and not look):
            return False
        made = False
        wanted |= {max(wanted) + ahead for ahead in range(1, AHEAD_DAYS + 1)}
        with transaction(self._engine, within_s=30.0, writes=True) as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            for parent in _PREFIX_OF:
                for day in sorted(wanted - set(_partitions(connection, parent))):
                    _make(connection, parent, day)
                    made = True
        self._existing = wanted
        return made

    def drop_before(self, day: int) -> None:
        """Drop the partitions before `day`."""
        for parent in _PREFIX_OF:
            with transaction(self._engine, within_s=30.0, writes=True) as connection:
                old_days = [found for found in _partitions(connection, parent) if found < day]
            for old_day in old_days:
                self._drop(parent, old_day)

    def _drop(self, parent: str, day: int) -> None:
        with transaction(self._engine, within_s=300.0, writes=True) as connection:
            # Writers queue behind this lock: behind a long read it gives up and is tried again in an hour.
            connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {_name(parent, day)}")


def _partitions(connection: Connection, parent: str) -> list[int]:
    prefix = _PREFIX_OF[parent]
    names = [row.relname for row in connection.execute(_LIST, {"parent": parent})]
    return [int(name.removeprefix(prefix)) for name in names if name.startswith(prefix)]


def _name(parent: str, day: int) -> str:
    return f'"{_PREFIX_OF[parent]}{day}"'


def _make(connection: Connection, parent: str, day: int) -> None:
    # A table that is attached later: creating a partition directly locks out all writers of the parent.
    name = _name(parent, day)
    fill = " WITH (fillfactor = 80)" if parent == tables.unit_days.name else ""
    connection.exec_driver_sql(
        f"CREATE TABLE {name} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS){fill}"
    )
    connection.exec_driver_sql(
        f"ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ({day}) TO ({day + 1})"
    )
