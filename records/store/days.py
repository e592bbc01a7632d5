"""PostgreSQL's partitions, one a day and table: ahead and when an old day turns up, dropped in the end."""

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
    """Which days have their partitions. For several threads and processes: one is never made twice."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._there: set[int] = set()

    def need(self, days: Iterable[int], *, look: bool = False) -> bool:
        """Make the partitions of these days and of the days ahead, in a transaction of its own.

        True when one was missing. `look` asks the database even for those that were there before: another
        program may have dropped one since.
        """
        if self._engine.dialect.name != "postgresql":
            return False
        wanted = set(days)
        if not wanted or (wanted <= self._there and not look):
            return False
        made = False
        wanted |= {max(wanted) + ahead for ahead in range(1, AHEAD_DAYS + 1)}
        with transaction(self._engine, within_s=30.0, writes=True) as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            for parent in _PREFIX_OF:
                for day in sorted(wanted - set(_partitions(connection, parent))):
                    _make(connection, parent, day)
                    made = True
        self._there = wanted
        return made

    def drop_before(self, day: int) -> int:
        """Drop the partitions of earlier days; returns how many outcomes they held."""
        gone = 0
        for parent in _PREFIX_OF:
            with transaction(self._engine, within_s=30.0, writes=True) as connection:
                old = [each for each in _partitions(connection, parent) if each < day]
            for each in old:
                gone += self._drop(parent, each)
        return gone

    def _drop(self, parent: str, day: int) -> int:
        name = _name(parent, day)
        with transaction(self._engine, within_s=300.0, writes=True) as connection:
            held = 0
            if parent == tables.outcomes.name:
                held = connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()  # noqa: S608
            # Writers queue behind this lock: whoever reads for long makes us try again in an hour.
            connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
        return held


def _partitions(connection: Connection, parent: str) -> list[int]:
    prefix = _PREFIX_OF[parent]
    names = [row.relname for row in connection.execute(_LIST, {"parent": parent})]
    return [int(name.removeprefix(prefix)) for name in names if name.startswith(prefix)]


def _name(parent: str, day: int) -> str:
    return f'"{_PREFIX_OF[parent]}{day}"'


def _make(connection: Connection, parent: str, day: int) -> None:
    # Attached, not created as a partition: that would lock every writer of the other days out meanwhile.
    name = _name(parent, day)
    fill = " WITH (fillfactor = 80)" if parent == tables.unit_days.name else ""
    connection.exec_driver_sql(
        f"CREATE TABLE {name} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS){fill}"
    )
    connection.exec_driver_sql(
        f"ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ({day}) TO ({day + 1})"
    )
