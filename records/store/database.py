"""Connections to SQLite and PostgreSQL: setup, timeouts, error mapping, a lock that one process holds."""

import fcntl
import os
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Select, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    SQLAlchemyError,
    StatementError,
)

from records.errors import StoreDown, Unstorable

if TYPE_CHECKING:
    import psycopg


class DriverSocket:
    """A psycopg connection's socket, which another thread may shut down until `let_go`.

    The socket is a duplicate: when the timer fires, the driver may have closed its own descriptor, and the
    number may belong to another file. After `let_go` a late timer has no effect. `late`: the socket was shut.
    """

    def __init__(self, driver: "psycopg.Connection[Any]") -> None:
        import psycopg

        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.late = False
        with suppress(OSError, psycopg.Error):  # the connection has ended, which its waiting thread will see
            self._socket = socket.socket(fileno=os.dup(driver.pgconn.socket))

    def shut(self) -> None:
        """Shut the socket down, which ends every wait on it."""
        with self._lock:
            if self._socket is not None:
                self.late = True
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def let_go(self) -> None:
        """Close the duplicate when no thread waits any more."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None


MOST = 16
"""A session's recent questions: fingerprints separated by spaces, the newest last."""


def canary_seen(asked: str, again: str) -> int:
    """Count the fingerprints in `again` that are also in `asked`."""
    known = set(asked.split())
    return sum(fingerprint in known for fingerprint in again.split())


def canary_asked(asked: str, again: str) -> str:
    """Merge both lists: each fingerprint once, at its last position, and only the newest 16."""
    newest = dict.fromkeys(reversed([*asked.split(), *again.split()]))
    return " ".join(reversed(list(newest)[:MOST]))


if TYPE_CHECKING:
    import psycopg

BUSY_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5
_AGAIN_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreTimeouts:
    """Seconds to wait for PostgreSQL before its connection is cut: for a short query (`answer_s`), a batch of
    records, a report."""

    answer_s: float = 5.0
    batch_s: float = 60.0
    report_s: float = 300.0


TIMEOUTS = StoreTimeouts()

_SQLITE = (
    "synchronous=FULL",
    f"busy_timeout={int(BUSY_TIMEOUT_S * 1000)}",
    "wal_autocheckpoint=4000",  # in pages (16 MiB), so that a page changed by several batches is written once
)
_POSTGRESQL = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "application_name": "canary",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


def engine_of(url: str, data: Path) -> Engine:
    """Create an engine without connecting. A relative SQLite path is relative to `data`.

    Raises StoreDown for a bad URL.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StoreDown("`store` is not a database URL: write postgresql://USER:PASSWORD@HOST/NAME") from None
    if parsed.get_backend_name() != "sqlite":
        asked = {name: value for name, value in _POSTGRESQL.items() if name not in parsed.query}
        engine = create_engine(parsed.set(drivername="postgresql+psycopg"), connect_args=asked)
        event.listen(engine, "connect", _set_up_postgresql)
        return engine
    if parsed.database and parsed.database != ":memory:":
        parsed = parsed.set(database=str(data / parsed.database))
    connect_args = {"timeout": BUSY_TIMEOUT_S, "isolation_level": None}
    engine = create_engine(parsed.set(drivername="sqlite"), connect_args=connect_args)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def transaction(
    engine: Engine, *, within_s: float | None, writes: bool = False, one_moment: bool = False
) -> Iterator[Connection]:
    """One transaction, committed at the end of the block. Raises StoreDown, Unstorable.

    `within_s`: cut the connection to a server that does not answer after so many seconds (None: never).
    `writes`: take SQLite's write lock at the start, so that rows read stay valid until they are written.
    `one_moment`: all queries see one snapshot. SQLite always does this.
    """
    with _answering(), engine.connect() as connection:
        connection.execution_options(writes=writes)
        if one_moment and connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
        with _cut_off(connection, within_s) as line:
            _ping(connection, line)
        with _cut_off(connection, within_s):
            yield connection
            connection.commit()


def _ping(connection: Connection, line: DriverSocket | None) -> None:
    """Replace a pooled connection that died with a restart of the server."""
    if connection.dialect.name == "sqlite":
        return
    try:
        connection.exec_driver_sql("SELECT 1")
    except DBAPIError:
        if (line is not None and line.late) or not connection.invalidated:
            raise
        connection.rollback()
        connection.exec_driver_sql("SELECT 1")


@contextmanager
def _cut_off(connection: Connection, after_s: float | None) -> Iterator[DriverSocket | None]:
    """Shut the connection's socket after `after_s`, which ends every wait on it, and invalidate a connection
    that was shut."""
    if after_s is None or connection.dialect.name == "sqlite":
        yield None
        return
    import psycopg

    line = DriverSocket(driver_of(connection))
    timer = threading.Timer(after_s, line.shut)
    timer.daemon = True
    timer.start()
    try:
        yield line
    except (SQLAlchemyError, psycopg.Error) as exc:
        if line.late:
            raise StoreDown(f"the database did not answer within {after_s:g} s") from exc
        raise
    finally:
        timer.cancel()
        line.let_go()
        if line.late:
            connection.invalidate()


def driver_of(connection: Connection) -> "psycopg.Connection[Any]":
    """Return the underlying psycopg connection, for features that SQLAlchemy lacks."""
    import psycopg

    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101
    return driver


def rows_of(
    connection: Connection, query: Select[*tuple[Any, ...]], *, at_once: int
) -> Iterator[list[tuple[Any, ...]]]:
    """PostgreSQL's rows as plain tuples, so many at a time, where SQLAlchemy's own would cost seconds."""
    compiled = query.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
    with driver_of(connection).cursor(f"rows_{id(compiled):x}") as cursor:
        cursor.execute(str(compiled).encode(), compiled.params)
        while rows := cursor.fetchmany(at_once):
            yield rows


def one_at_a_time(connection: Connection, lock: int) -> None:
    """Wait until no other transaction holds this lock; hold it until this one ends, so that what is counted
    here stays true until it is written. On SQLite a writing transaction is the only one."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({lock})")


def insert(connection: Connection, table: Table) -> Any:
    """The INSERT of the connection's database, which takes an ON CONFLICT clause."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows whose key is not stored yet, and return how many these were."""
    if not rows:
        return 0
    added = insert(connection, table).on_conflict_do_nothing().returning(*table.primary_key)
    return len(connection.execute(added, rows).all())


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except _errors((DataError, IntegrityError, OverflowError), "DataError", "IntegrityError") as exc:
        raise Unstorable(f"the database refuses a value: {exc}") from exc
    except StatementError as exc:
        if isinstance(exc.orig, TypeError | ValueError):  # it was never sent to the database
            raise Unstorable(f"a value cannot be stored: {exc.orig}") from exc
        raise StoreDown(f"the database does not answer: {_line(exc.orig)}") from exc
    except _errors((SQLAlchemyError,), "Error") as exc:
        raise StoreDown(f"the database does not answer: {_line(exc)}") from exc


def _line(problem: object) -> str:
    """In one line: libpq asks back in a second one."""
    return ", ".join(each.strip() for each in str(problem).splitlines())


def _errors(common: tuple[type[Exception], ...], *of_psycopg: str) -> tuple[type[Exception], ...]:
    """These errors, and psycopg's by name. A process on SQLite does without psycopg, which takes 9 MiB."""
    psycopg = sys.modules.get("psycopg")
    return common if psycopg is None else (*common, *(getattr(psycopg, name) for name in of_psycopg))


@cache
def _binary_cursor() -> type:
    """A server-side cursor in binary format, which avoids converting numbers to text and back."""
    import psycopg

    class BinaryCursor(psycopg.ServerCursor[Any]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.format = psycopg.pq.Format.BINARY

    return BinaryCursor


def _set_up_postgresql(driver: Any, _record: object) -> None:
    driver.server_cursor_factory = _binary_cursor()
    # A spool file is deleted once its records are committed, so commits must be durable.
    with driver.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') = 'off'"
        )
    driver.commit()


def _set_up_sqlite(driver: Any, _record: object) -> None:
    cursor = driver.cursor()
    for pragma in _SQLITE:
        cursor.execute(f"PRAGMA {pragma}")
    _write_ahead(cursor)
    cursor.close()
    for function in (canary_seen, canary_asked):
        driver.create_function(function.__name__, 2, function, deterministic=True)


def _write_ahead(cursor: Any) -> None:
    """Switch a new file to WAL mode, which persists. Retries, since SQLite does not wait for this lock."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_AGAIN_S)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


_TAKE = f"SELECT pg_try_advisory_xact_lock({0x726F6C6C})"  # "roll"
_LOCK_AGAIN_S = 0.1


@contextmanager
def alone(engine: Engine, within_s: float) -> Iterator[None]:
    """Hold the lock inside the block. SQLite's is on the folder of its file, PostgreSQL's in the database.

    Raises StoreDown if another process holds it for so many seconds. A lost connection loses the lock unseen.
    """
    held = _on_folder if engine.dialect.name == "sqlite" else _in_database
    with held(engine, within_s):
        yield


@contextmanager
def _on_folder(engine: Engine, within_s: float) -> Iterator[None]:
    folder = os.open(Path(engine.url.database or "").absolute().parent, os.O_RDONLY | os.O_CLOEXEC)

    def take() -> bool:
        with suppress(BlockingIOError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    try:
        _take_lock(take, within_s)
        yield
    finally:
        os.close(folder)


@contextmanager
def _in_database(engine: Engine, within_s: float) -> Iterator[None]:
    """An open transaction holds it, so that a pooler between leaves the connection to it."""
    with transaction(engine, within_s=None) as connection:
        _take_lock(lambda: bool(connection.exec_driver_sql(_TAKE).scalar()), within_s)
        yield


def _take_lock(take: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not take():
        if time.monotonic() > deadline:
            raise StoreDown(f"another process has been rolling outcomes for {within_s:g} s: try again later")
        time.sleep(_LOCK_AGAIN_S)
