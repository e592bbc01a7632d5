"""Deletes expired rows in slices, one transaction each, so that writers can run in between; and makes and
drops PostgreSQL's daily partitions."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Table,
    delete,
    exists,
    func,
    literal_column,
    select,
    text,
)

from records.store import tables
from records.store.database import one_at_a_time, transaction
from records.store.sums import MOST_ROWS

SLICE = 2000
_NAMES_KEPT_DAYS = 365
"""Beyond the outcomes: a name that comes back after a quarter is no new one."""

_PROBES_KEPT_DAYS = 3 * 365
"""A reference is pinned for as long as its model answers alike."""


def expire(
    begin: Callable[[], AbstractContextManager[Connection]],
    before: float,
    breathe: Callable[[], object],
    *,
    partitioned: bool,
) -> int:
    """Delete rows before this UTC second; return the number of feedback values deleted.

    `breathe` is called between slices. Unit totals are left where they are `partitioned` by day. A judgement
    stays as long as the text that it is about, or that would be judged again.
    """
    day = int(before // 86400)
    feedback, sessions, cursors = tables.feedback.c, tables.sessions.c, tables.cursors.c

    def sweep(table: Table, old: ColumnElement[bool]) -> int:
        return _sweep(begin, table, old, breathe)

    deleted = sweep(tables.feedback, feedback.at < before)
    sweep(tables.sessions, (sessions.first_at < before) & (sessions.last_at < before))
    sweep(tables.cursors, cursors.moved_at < before)  # of deleted spools
    sweep(tables.prior_weeks, tables.prior_weeks.c.week < max(day // 7, _first_week(begin, MOST_ROWS)))
    judged, calls = tables.judgements.c, tables.judge_calls.c
    captured = exists().where(tables.captures.c.exchange_id == judged.exchange_id)
    sweep(tables.judgements, (judged.at < before) & ~captured)
    sweep(tables.judge_calls, (calls.day < day) & ~exists().where(judged.exchange_id == calls.exchange_id))
    sweep(tables.failure_days, tables.failure_days.c.day < day)
    sweep(tables.model_days, tables.model_days.c.day < day)
    sweep(tables.served_models, tables.served_models.c.day < day - _NAMES_KEPT_DAYS)
    sweep(tables.probe_rounds, tables.probe_rounds.c.day < day - _PROBES_KEPT_DAYS)
    if not partitioned:
        sweep(tables.unit_days, tables.unit_days.c.day < day)
    return deleted


def _first_week(begin: Callable[[], AbstractContextManager[Connection]], most: int) -> int:
    """The first of the newest weeks of `prior_weeks` that have at most this many rows; always the newest."""
    week, rows = tables.prior_weeks.c.week, 0
    with begin() as connection:
        weeks = connection.execute(select(week, func.count()).group_by(week).order_by(week.desc())).all()
    kept = 0
    for number, count in weeks:
        rows += count
        if rows > most and kept:
            break
        kept = number
    return kept


def _sweep(
    begin: Callable[[], AbstractContextManager[Connection]],
    table: Table,
    old: ColumnElement[bool],
    breathe: Callable[[], object],
) -> int:
    total = 0
    while True:
        with begin() as connection:
            row: ColumnElement[int] = literal_column(
                "ctid" if connection.dialect.name == "postgresql" else "rowid"
            )
            slice_ = select(row).select_from(table).where(old).limit(SLICE)
            deleted = connection.execute(delete(table).where(row.in_(slice_))).rowcount
        total += deleted
        if deleted < SLICE:
            return total
        breathe()


AHEAD_DAYS = 3
_LOCK = 0x63616E617279_02
_PREFIX_OF = {table.name: f"{table.name}_day_" for table in tables.PARTITIONED}
_LIST = text(
    "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid "
    "WHERE inhparent = to_regclass(:parent)"
)


class DailyPartitions:
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
            one_at_a_time(connection, _LOCK)
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
