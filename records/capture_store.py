"""Captured exchanges in the database: brought in from files, read by datasets, deleted when they expire."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, Row, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from records import tables
from records.capture import About, Capture, Said
from records.capture_files import Unstored, clear, unstored
from records.errors import StoreDown, Unstorable
from records.store import Store

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
EXPIRE_EVERY_S = 3600.0
PAGE = 200

_DAY_S = 86400
_Place = tuple[str, int, str]
"""(canary, day, category): what a quota is counted for."""


class CaptureStore:
    """The captures of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, captures: Sequence[Capture], *, now: float) -> int:
        """Store those that have not expired; how many were new. Storing one again changes nothing.

        Of those kept for their category a day has `per_category` at most, however many workers sent some.
        """
        wanted = [each for each in captures if each.about.expires_at > now]
        if not wanted:
            return 0
        with self._store.writing() as connection:
            rows = [_row(each) for each in _within_quota(connection, wanted)]
            insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
            added = insert(tables.captures).on_conflict_do_nothing().returning(tables.captures.c.exchange_id)
            return len(connection.execute(added, rows).all()) if rows else 0

    def expire(self, now: float) -> int:
        """Delete what has expired, and overwrite it where that is up to us; how many."""
        gone = delete(tables.captures).where(tables.captures.c.expires_at <= now)
        with self._store.writing() as connection, _overwriting(connection):
            return connection.execute(gone).rowcount

    def read(
        self, canary: str, *, since: float = 0.0, until: float = float("inf"), category: str | None = None
    ) -> Iterator[Capture]:
        """A canary's captures without mirror copies, by time; `since` ≤ at < `until`, UTC seconds."""
        for rows in self._pages(canary, since, until, category):
            yield from map(_capture, rows)

    def pairs(
        self, canary: str, *, since: float = 0.0, until: float = float("inf"), category: str | None = None
    ) -> Iterator[tuple[Capture, Capture]]:
        """(real exchange, the candidate's answer to a copy of it), of those that have both."""
        table = tables.captures
        for rows in self._pages(canary, since, until, category):
            query = select(table).where(table.c.copy_of.in_([row.exchange_id for row in rows]))
            with self._store.reading() as connection:
                copies = {row.copy_of: row for row in connection.execute(query)}
            for row in rows:
                if row.exchange_id in copies:
                    yield _capture(row), _capture(copies[row.exchange_id])

    def has_pair(self, canary: str, exchange_id: str) -> bool:
        """True when both a real exchange of this canary and a copy of it are there."""
        table = tables.captures.c
        real = (table.canary == canary) & (table.exchange_id == exchange_id) & (table.copy_of == "")
        with self._store.asking() as connection:
            found = [
                connection.execute(select(func.count()).where(wanted)).scalar_one()
                for wanted in (real, table.copy_of == exchange_id)
            ]
        return all(found)

    def _pages(
        self, canary: str, since: float, until: float, category: str | None
    ) -> Iterator[Sequence[Row[Any]]]:
        table = tables.captures.c
        wanted = (table.canary == canary) & (table.copy_of == "") & (table.at < until)
        if category is not None:
            wanted &= table.category == category
        after = (since, "")
        while True:
            beyond = (table.at > after[0]) | ((table.at == after[0]) & (table.exchange_id > after[1]))
            query = select(tables.captures).where(wanted & beyond).order_by(table.at, table.exchange_id)
            with self._store.reading() as connection:
                rows = connection.execute(query.limit(PAGE)).all()
            if not rows:
                return
            yield rows
            after = (rows[-1].at, rows[-1].exchange_id)


class CaptureShipper:
    """Brings a folder's files into the database and keeps the ends of both. `run` it beside the records'."""

    def __init__(self, folder: Path, captures: CaptureStore) -> None:
        self._folder, self._captures = folder, captures

    async def run(self) -> None:
        """Look once a second, and for what has expired once an hour, until cancelled."""
        expired = float("-inf")
        while True:
            await asyncio.to_thread(self.turn, time.time())
            if time.monotonic() - expired >= EXPIRE_EVERY_S:
                expired = time.monotonic()
                await asyncio.to_thread(self.expire, time.time())
            await asyncio.sleep(LOOK_EVERY_S)

    def turn(self, now: float) -> int:
        """Store what there is; how many files. A database that is down is waited for: the files stay."""
        done = 0
        try:
            for file in unstored(self._folder):
                self._store_file(file, now)
                file.path.unlink(missing_ok=True)
                done += 1
        except (StoreDown, OSError) as problem:
            log.warning("captures.not_stored", problem=str(problem))
        return done

    def expire(self, now: float) -> None:
        """Delete what has expired, in the folder and then in the database, as far as they answer."""
        try:
            clear(self._folder, now=now)
            log.info("captures.expired", count=self._captures.expire(now))
        except (StoreDown, OSError) as problem:
            log.error("captures.not_expired", problem=str(problem))

    def _store_file(self, file: Unstored, now: float) -> None:
        if not file.captures:
            log.error("captures.unreadable", file=file.path.name)
        try:
            self._captures.keep(file.captures, now=now)
        except Unstorable:
            for each in file.captures:
                self._store_one(each, now)

    def _store_one(self, capture: Capture, now: float) -> None:
        try:
            self._captures.keep([capture], now=now)
        except Unstorable:
            log.error("captures.refused", exchange=capture.about.exchange_id)


def _within_quota(connection: Connection, captures: Sequence[Capture]) -> Iterator[Capture]:
    """All but those that a category has enough of on their day."""
    left: dict[_Place, int] = {}
    for each in captures:
        about = each.about
        if about.kept != "category" or about.copy_of:
            yield each
            continue
        place = (about.canary, int(about.at // _DAY_S), about.category)
        if place not in left:
            left[place] = about.per_category - _kept(connection, place)
        left[place] -= 1
        if left[place] >= 0:
            yield each


def _kept(connection: Connection, place: _Place) -> int:
    table = tables.captures.c
    here = (table.canary == place[0]) & (table.day == place[1]) & (table.category == place[2])
    query = select(func.count()).where(here, table.kept == "category", table.copy_of == "")
    return int(connection.execute(query).scalar_one())


def _row(capture: Capture) -> dict[str, Any]:
    about = capture.about
    return {
        "exchange_id": about.exchange_id,
        "copy_of": about.copy_of,
        "at": about.at,
        "day": int(about.at // _DAY_S),
        "expires_at": about.expires_at,
        "canary": about.canary,
        "category": about.category,
        "kept": about.kept,
        "about": msgspec.to_builtins(about),
        "messages": msgspec.to_builtins(capture.messages),
        "answer": capture.answer,
        "truncated": capture.truncated,
    }


def _capture(row: Row[Any]) -> Capture:
    return Capture(
        about=msgspec.convert(row.about, About),
        messages=tuple(msgspec.convert(each, Said) for each in row.messages),
        answer=row.answer,
        truncated=row.truncated,
    )


@contextmanager
def _overwriting(connection: Connection) -> Iterator[None]:
    """SQLite fills what is deleted with zeros meanwhile, instead of leaving it in the file."""
    if connection.dialect.name != "sqlite":
        yield
        return
    before = connection.exec_driver_sql("PRAGMA secure_delete").scalar()
    connection.exec_driver_sql("PRAGMA secure_delete = ON")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA secure_delete = {before}")
