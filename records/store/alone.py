"""A lock that one process of a database holds at a time, for as long as it lives."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Engine

from records.errors import StoreDown
from records.store.database import transaction

_TAKE = f"SELECT pg_try_advisory_xact_lock({0x726F6C6C})"  # "roll"
_AGAIN_S = 0.1


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
        _wait(take, within_s)
        yield
    finally:
        os.close(folder)


@contextmanager
def _in_database(engine: Engine, within_s: float) -> Iterator[None]:
    """An open transaction holds it, so that a pooler between leaves the connection to it."""
    with transaction(engine, within_s=None) as connection:
        _wait(lambda: bool(connection.exec_driver_sql(_TAKE).scalar()), within_s)
        yield


def _wait(take: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not take():
        if time.monotonic() > deadline:
            raise StoreDown(f"another process has been rolling outcomes for {within_s:g} s: try again later")
        time.sleep(_AGAIN_S)
