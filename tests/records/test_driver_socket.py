"""The line to a database: shut while somebody waits on it, and never afterwards."""

import select
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from records.store.database import DriverSocket, driver_of, engine_of, transaction
from tests.servers.postgres import Postgres

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A driver's end of a connection, and the server's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(10.0)
        yield ours, theirs


def driver(ours: socket.socket) -> Any:
    """What a line needs to know of psycopg's connection."""
    return SimpleNamespace(pgconn=SimpleNamespace(socket=ours.fileno()))


def works(ours: socket.socket, theirs: socket.socket) -> bool:
    ours.sendall(b"?")
    return theirs.recv(1) == b"?"


def test_a_line_is_shut_while_it_is_waited_on(ends: Ends) -> None:
    ours, theirs = ends
    line = DriverSocket(driver(ours))
    line.shut()
    assert (line.late, ours.recv(1), theirs.recv(1)) == (True, b"", b"")
    line.let_go()


def test_a_timer_that_comes_too_late_touches_nothing(ends: Ends) -> None:
    line = DriverSocket(driver(ends[0]))
    line.let_go()
    line.shut()
    assert (line.late, works(*ends)) == (False, True)


def test_a_descriptor_that_is_another_files_by_now_is_not_touched(ends: Ends) -> None:
    ours, theirs = ends
    line, number = DriverSocket(driver(ours)), ours.fileno()
    ours.close()
    others = socket.socketpair()
    with others[0], others[1]:
        assert number in (others[0].fileno(), others[1].fileno())
        line.shut()
        assert (line.late, theirs.recv(1), works(*others)) == (True, b"", True)
        line.let_go()


def test_a_line_that_has_ended_by_itself_is_none(ends: Ends) -> None:
    ends[0].close()
    line = DriverSocket(driver(ends[0]))
    line.shut()
    assert not line.late
    line.let_go()


def test_a_connection_that_was_shut_does_not_go_back_into_the_pool(
    postgres: Postgres, tmp_path: Path
) -> None:
    engine = engine_of(postgres.fresh(), tmp_path)
    with transaction(engine, within_s=0.5) as connection:
        connection.exec_driver_sql("SELECT 1")
        connection.commit()  # all is well, until the time is up
        select.select([driver_of(connection).pgconn.socket], [], [], 10.0)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    engine.dispose()
