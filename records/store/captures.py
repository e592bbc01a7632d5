"""Captured exchanges in the database: imported from files, read by datasets, labelled by people, deleted
when they expire. A label is written once and never changed: a person takes it back by another row, so
everything that anybody ever said stays readable."""

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog
from sqlalchemy import Connection, Row, Select, delete, func, select, update

from records.captures.capture import (
    Capture,
    CapturedMessage,
    CapturedToolCall,
    CaptureInfo,
    UnstoredFile,
    WireRequest,
    delete_left_behind,
    unstored,
)
from records.errors import StoreDown, Unstorable
from records.store import Store, tables
from records.store.database import insert_new, one_at_a_time

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
EXPIRE_EVERY_S = 3600.0
PAGE = 200

_DAY_S = 86400
_LOCK = 0x63617074  # "capt"
"""PostgreSQL's advisory lock under which a category's quota is filled, so that replicas keep one."""

_QuotaKey = tuple[str, int, str]
"""(source, day, category): the scope of a `per_category` quota."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPair:
    """A pair of which nothing is read but its category. `by_rate`: it was captured as often as the category's
    others, not for the category's quota."""

    exchange_id: str
    category: str
    by_rate: bool


class CaptureStore:
    """The captures of one database. Every method may raise StoreDown.

    The argument `source` is a canary's name, or `records.captures.capture.source` of a model without one.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, captures: Sequence[Capture], *, now: float) -> int:
        """Store the captures that have not expired and return how many were new. Idempotent.

        A category gets at most `per_category` captures a day over all workers.
        """
        fresh = [capture for capture in captures if capture.about.expires_at > now]
        if not fresh:
            return 0
        with self._store.writing() as connection:
            if any(map(_is_for_quota, fresh)):
                one_at_a_time(connection, _LOCK)
            rows = [_row(capture) for capture in _within_quota(connection, fresh)]
            return insert_new(connection, tables.captures, rows)

    def expire(self, now: float) -> int:
        """Delete expired captures, the judge's reasons about them and wrong answers of benchmarks; return how
        many rows. SQLite also overwrites their bytes."""
        calls = tables.judge_calls
        with self._store.writing() as connection, overwriting(connection):
            expired = (calls.c.expires_at <= now) & (calls.c.reason != "")
            connection.execute(update(calls).where(expired).values(reason=""))
            return sum(
                connection.execute(delete(table).where(table.c.expires_at <= now)).rowcount
                for table in (tables.captures, tables.bench_failures)
            )

    def read(
        self, source: str, *, since: float = 0.0, until: float = float("inf"), category: str | None = None
    ) -> Iterator[Capture]:
        """Yield a source's captures by time, without mirror copies; `since` ≤ at < `until`, UTC seconds."""
        for rows in self._pages(source, since, until, category):
            yield from map(_capture, rows)

    def sources(self) -> list[str]:
        """What exchanges were captured for."""
        query = select(tables.captures.c.canary).distinct().order_by(tables.captures.c.canary)
        with self._store.reading() as connection:
            return list(connection.execute(query).scalars())

    def abouts(self) -> Iterator[CaptureInfo]:
        """Yield what each real exchange is about, without its texts, by time."""
        table = tables.captures.c
        query = select(table.about).where(table.copy_of == "").order_by(table.at, table.exchange_id)
        with self._store.reading() as connection:
            for about in connection.execute(query).scalars():
                yield msgspec.convert(about, CaptureInfo)

    def several(self, exchange_ids: Sequence[str]) -> Iterator[Capture]:
        """Yield those of these exchanges that are stored, page by page."""
        table = tables.captures
        for first in range(0, len(exchange_ids), PAGE):
            page = select(table).where(table.c.exchange_id.in_(exchange_ids[first : first + PAGE]))
            yield from self._found(page.order_by(table.c.at, table.c.exchange_id))

    def newest(self, sources: Collection[str], limit: int) -> list[Capture]:
        """The newest captures of these sources, without mirror copies, the newest first."""
        table = tables.captures
        wanted = table.c.canary.in_(list(sources)) & (table.c.copy_of == "")
        newest = select(table).where(wanted).order_by(table.c.at.desc(), table.c.exchange_id)
        return self._found(newest.limit(limit))

    def pairs(
        self, canary: str, *, since: float = 0.0, until: float = float("inf"), category: str | None = None
    ) -> Iterator[tuple[Capture, Capture]]:
        """Yield (real exchange, its mirror copy) for every real exchange whose copy was captured too."""
        table = tables.captures
        for rows in self._pages(canary, since, until, category):
            query = select(table).where(table.c.copy_of.in_([row.exchange_id for row in rows]))
            with self._store.reading() as connection:
                copies = {row.copy_of: row for row in connection.execute(query)}
            for row in rows:
                if row.exchange_id in copies:
                    yield _capture(row), _capture(copies[row.exchange_id])

    def one(self, exchange_id: str) -> Capture | None:
        """The capture of a real exchange or a copy; None if there is none, or none any more."""
        query = select(tables.captures).where(tables.captures.c.exchange_id == exchange_id)
        return next(iter(self._found(query)), None)

    def session(self, source: str, session: str, run: int | None = None) -> list[Capture]:
        """The captures of a session by time, without mirror copies; of one run, or of all."""
        table = tables.captures
        of_it = (table.c.canary == source) & (table.c.session == session) & (table.c.copy_of == "")
        found = self._found(select(table).where(of_it).order_by(table.c.at, table.c.exchange_id))
        return [each for each in found if run is None or each.about.run == run]

    def pair(self, canary: str, exchange_id: str) -> tuple[Capture, Capture] | None:
        """One pair, None unless both the real exchange of this canary and its mirror copy are stored."""
        table = tables.captures
        real = (table.c.canary == canary) & (table.c.exchange_id == exchange_id) & (table.c.copy_of == "")
        found = self._found(select(table).where(real))
        copies = self._found(select(table).where(table.c.copy_of == exchange_id)) if found else []
        return (found[0], copies[0]) if copies else None

    def pairs_known(self, canary: str, category: str | None = None) -> list["KnownPair"]:
        """All pairs by time, read without their texts."""
        table, copies = tables.captures.c, tables.captures.alias()
        wanted = (table.canary == canary) & (table.copy_of == "")
        if category is not None:
            wanted &= table.category == category
        paired = select(copies.c.exchange_id).where(copies.c.copy_of == table.exchange_id).exists()
        told = select(table.exchange_id, table.category, table.kept)
        with self._store.reading() as connection:
            rows = connection.execute(told.where(wanted, paired).order_by(table.at, table.exchange_id))
            return [
                KnownPair(exchange_id=row.exchange_id, category=row.category, by_rate=row.kept != "category")
                for row in rows
            ]

    def messages(self, exchange_ids: Collection[str]) -> list[tuple[CapturedMessage, ...]]:
        """The messages of those of these exchanges that are stored, in no order."""
        table = tables.captures.c
        query = select(table.messages).where(table.exchange_id.in_(list(exchange_ids)))
        with self._store.reading() as connection:
            return [_messages(found) for found in connection.execute(query).scalars()]

    def _found(self, query: Select[Any]) -> list[Capture]:
        with self._store.reading() as connection:
            return [_capture(row) for row in connection.execute(query)]

    def _pages(
        self, source: str, since: float, until: float, category: str | None
    ) -> Iterator[Sequence[Row[Any]]]:
        table = tables.captures.c
        wanted = (table.canary == source) & (table.copy_of == "") & (table.at < until)
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
    """Moves captures from a folder's files into the database and deletes expired captures from both."""

    def __init__(self, folder: Path, captures: CaptureStore) -> None:
        self._folder, self._captures = folder, captures

    async def run(self) -> None:
        """Store files once a second and delete expired captures once an hour, until cancelled."""
        expired = float("-inf")
        while True:
            await asyncio.to_thread(self.turn, time.time())
            if time.monotonic() - expired >= EXPIRE_EVERY_S:
                expired = time.monotonic()
                await asyncio.to_thread(self.expire, time.time())
            await asyncio.sleep(LOOK_EVERY_S)

    def turn(self, now: float) -> int:
        """Store all files and return how many. While the database is down, the files stay in the folder."""
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
        """Delete expired captures in the folder and then in the database; failures are logged."""
        try:
            delete_left_behind(self._folder, now=now)
            if count := self._captures.expire(now):
                log.info("captures.expired", count=count)
        except (StoreDown, OSError) as problem:
            log.error("captures.not_expired", problem=str(problem))

    def _store_file(self, file: UnstoredFile, now: float) -> None:
        if not file.captures:
            log.error("captures.unreadable", file=file.path.name)
        try:
            self._captures.add(file.captures, now=now)
        except Unstorable:
            for capture in file.captures:
                self._store_one(capture, now)

    def _store_one(self, capture: Capture, now: float) -> None:
        try:
            self._captures.add([capture], now=now)
        except Unstorable:
            log.error("captures.refused", exchange=capture.about.exchange_id)


def _is_for_quota(capture: Capture) -> bool:
    return capture.about.kept == "category" and not capture.about.copy_of


def _within_quota(connection: Connection, captures: Sequence[Capture]) -> Iterator[Capture]:
    """Yield the captures whose category has not reached its quota for the day."""
    left: dict[_QuotaKey, int] = {}
    for capture in captures:
        about = capture.about
        if not _is_for_quota(capture):
            yield capture
            continue
        key = (about.source, int(about.at // _DAY_S), about.category)
        if key not in left:
            left[key] = about.per_category - _stored(connection, key)
        left[key] -= 1
        if left[key] >= 0:
            yield capture


def _stored(connection: Connection, key: _QuotaKey) -> int:
    table = tables.captures.c
    same = (table.canary == key[0]) & (table.day == key[1]) & (table.category == key[2])
    query = select(func.count()).where(same, table.kept == "category", table.copy_of == "")
    return int(connection.execute(query).scalar_one())


def _row(capture: Capture) -> dict[str, Any]:
    about = capture.about
    return {
        "exchange_id": about.exchange_id,
        "copy_of": about.copy_of,
        "at": about.at,
        "day": int(about.at // _DAY_S),
        "expires_at": about.expires_at,
        "canary": about.source,
        "category": about.category,
        "session": about.session,
        "kept": about.kept,
        "about": msgspec.to_builtins(about),
        "messages": msgspec.to_builtins(capture.messages),
        "answer": capture.answer,
        "answer_calls": msgspec.to_builtins(capture.answer_calls),
        "tools": capture.tools,
        "truncated": capture.truncated,
        "request": None if capture.request is None else msgspec.json.encode(capture.request).decode(),
    }


def _capture(row: Row[Any]) -> Capture:
    return Capture(
        about=msgspec.convert(row.about, CaptureInfo),
        messages=_messages(row.messages),
        answer=row.answer,
        answer_calls=msgspec.convert(row.answer_calls, tuple[CapturedToolCall, ...]),
        tools=row.tools,
        truncated=row.truncated,
        request=None if row.request is None else msgspec.json.decode(row.request, type=WireRequest),
    )


def _messages(found: Sequence[Any]) -> tuple[CapturedMessage, ...]:
    return tuple(msgspec.convert(message, CapturedMessage) for message in found)


@contextmanager
def overwriting(connection: Connection) -> Iterator[None]:
    """Make SQLite overwrite deleted content with zeros inside this block (`PRAGMA secure_delete`)."""
    if connection.dialect.name != "sqlite":
        yield
        return
    before = connection.exec_driver_sql("PRAGMA secure_delete").scalar()
    connection.exec_driver_sql("PRAGMA secure_delete = ON")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA secure_delete = {before}")


Right = Literal["baseline", "candidate", "both", "neither", "unclear"]
"""Which arm's answer is right; `unclear`: the labeller could not decide."""

Chosen = Literal["", "disagreement"]
"""Why a pair was put before its labeller: in the usual order, or because its judgements differ."""

Better = Literal["candidate", "baseline", "tie"]

WITHDRAWN = "withdrawn"
"""The column `right` of a row by which a person takes back their label of the pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One person's label of one pair. `at` is UTC seconds; `exchange_id` is the id of the real exchange."""

    at: float
    canary: str
    exchange_id: str
    right: Right
    who: str
    chosen: Chosen = ""

    @property
    def better(self) -> Better | None:
        """The better answer's arm, in the words of a judge; None if the labeller could not decide."""
        words: Mapping[Right, Better] = {
            "candidate": "candidate", "baseline": "baseline", "both": "tie", "neither": "tie"
        }  # fmt: skip
        return words.get(self.right)


class Labels:
    """The labels of one database; they outlive the labelled texts. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, label: Label) -> None:
        """Store a label. It replaces an earlier one of the same person and pair."""
        self._store.add(tables.labels, label)

    def withdraw(self, label: Label, *, at: float) -> None:
        """Take back a person's label of a pair, and any that it replaced."""
        row = asdict(label) | {"at": at, "right": WITHDRAWN}
        with self._store.writing() as connection:
            connection.execute(tables.labels.insert().values(**row))

    def given(self, canary: str) -> list[Label]:
        """Each person's label of each pair of a canary, in the order in which they were given."""
        table, found = tables.labels, dict[tuple[str, str], Label]()
        query = select(table).where(table.c.canary == canary).order_by(table.c.id)
        with self._store.asking() as connection:
            for row in connection.execute(query):
                found.pop((row.exchange_id, row.who), None)
                if row.right != WITHDRAWN:
                    found[row.exchange_id, row.who] = _label(row)
        return list(found.values())

    def of(self, canary: str) -> Mapping[str, Label]:
        """The newest label of each pair of a canary, by exchange id."""
        return {label.exchange_id: label for label in self.given(canary)}

    def sample(self, canary: str) -> Mapping[str, Label]:
        """The label of each pair that tells what a judge is worth, by exchange id."""
        return {pair: votes[0] for pair, votes in comparable(self.given(canary)).items()}


def comparable(votes: Iterable[Label]) -> Mapping[str, Sequence[Label]]:
    """The votes that an agreement may be counted from, by exchange id, each pair's in the order in which they
    were given: without those of people who could not decide, and without those that were asked for because
    judgements differ.

    A second opinion where the first person and the judge differ can only bring the two closer, and pairs that
    the order decided are harder than the others. Both would bias an agreement.
    """
    found: dict[str, list[Label]] = {}
    for each in votes:
        if each.better is not None and not each.chosen:
            found.setdefault(each.exchange_id, []).append(each)
    return found


def _label(row: Row[Any]) -> Label:
    return Label(**{name: getattr(row, name) for name in Label.__dataclass_fields__})
