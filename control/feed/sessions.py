"""Keeps which arm each session has over a restart, and tells other replicas through Redis.

A machine's workers tell one another and this process (`session_news`); another replica's workers know a fifth
of a second later.
"""

import asyncio
import time
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from common.clock import every
from records.errors import SharedDown, StoreDown
from records.shared.session_arms import MOST_KNOWN, NAME, SessionArms, SessionsFile
from records.shared.session_news import SessionNews, decoded, encoded
from records.store import Store
from records.store.last_exchanges import fresh_batches
from routing.sessions import SessionArm

if TYPE_CHECKING:  # redis takes memory, which one machine does without
    from records.shared.stream import SessionsStream

log = structlog.get_logger()

LOOK_EVERY_S = 0.05
WRITE_EVERY_S = 0.1
AGAIN_S = 0.3
"""How long Redis is left alone after it has failed."""
HOUR_S = 3_600.0
MOST_AT_ONCE = 200
"""Sessions of one message."""

_Sessions = dict[tuple[str, str], SessionArm]


class SessionsPublisher:
    """Belongs to the event loop's thread."""

    def __init__(
        self, folder: Path, store: Store, news: SessionNews, *, stream: "SessionsStream | None" = None
    ) -> None:
        """`news`: what the machine's processes tell one another. `stream`: by which replicas do; None for a
        single machine."""
        self._path, self._store = folder / NAME, store
        self._file = SessionsFile(self._path)
        self._news, self._stream = news, stream
        self._known = SessionArms(news=news)
        self._fresh: _Sessions = {}
        self._untold: _Sessions = {}

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """What has to run, without end."""
        loops: list[Coroutine[Any, Any, None]] = [self._run(), every(WRITE_EVERY_S, self.write)]
        stream = self._stream
        return loops if stream is None else [*loops, self._share(stream), self._hear(stream)]

    async def _run(self) -> None:
        await self._recall()
        while True:
            self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _recall(self) -> None:
        """Learn what an earlier process wrote, or where that is lost what the store has of the last hour."""
        try:
            lines = await asyncio.to_thread(self._path.read_bytes)
        except OSError:
            batches = fresh_batches(self._store, time.time() - HOUR_S)
            with suppress(StoreDown):
                while (batch := await asyncio.to_thread(next, batches, None)) is not None:
                    for outcome in batch:
                        self._keep(self._known.note(outcome))  # which tells the workers
        else:
            found = await asyncio.to_thread(decoded, lines)
            for first in range(0, len(found), MOST_AT_ONCE):
                self._known.hear(found[first : first + MOST_AT_ONCE])
                await asyncio.sleep(0)

    def look(self) -> None:
        """Learn what the workers have told."""
        news = self._known.look()
        self._keep(news)
        if self._stream is not None:
            _add(self._untold, news)

    def _keep(self, news: Iterable[SessionArm]) -> None:
        _add(self._fresh, news)

    async def write(self) -> None:
        """Append what is new to the file. What a full disk refuses is written with what follows."""
        if not self._fresh:
            return
        fresh, self._fresh = self._fresh, {}
        try:
            await asyncio.to_thread(self._file.write, [*fresh.values()], self._known)
        except OSError as problem:
            log.error("sessions.not_written", file=str(self._path), problem=str(problem))
            self._fresh = {**fresh, **self._fresh}

    async def _share(self, stream: "SessionsStream") -> None:
        while True:
            await self.share(stream)
            await asyncio.sleep(AGAIN_S if self._untold else LOOK_EVERY_S)

    async def share(self, stream: "SessionsStream") -> None:
        """Tell the other replicas. What Redis does not take waits for it, as much of it as is known."""
        with suppress(SharedDown):
            while some := [*self._untold.items()][:MOST_AT_ONCE]:
                await stream.send(encoded([arm for _, arm in some]))
                for key, arm in some:
                    if self._untold.get(key) is arm:
                        del self._untold[key]

    async def _hear(self, stream: "SessionsStream") -> None:
        """Learn what the other replicas tell, and tell the workers. Without Redis each knows its own."""
        while True:
            try:
                await self.hear(await stream.read())
            except SharedDown:
                await asyncio.sleep(AGAIN_S)

    async def hear(self, messages: Iterable[bytes]) -> None:
        """Learn what stands in these messages of other replicas, or of this one."""
        for message in messages:
            if news := self._known.hear(decoded(message)):
                self._news.tell(news)
                self._keep(news)
            await asyncio.sleep(0)


def _add(sessions: _Sessions, news: Iterable[SessionArm]) -> None:
    """Add these as the newest, and forget the oldest of too many."""
    for each in news:
        key = each.canary, each.session
        sessions.pop(key, None)
        sessions[key] = each
    while len(sessions) > MOST_KNOWN:
        del sessions[next(iter(sessions))]
