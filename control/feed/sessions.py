"""Tells a machine's workers which arm each session has, and other replicas' workers through Redis.

What exchanges say of their sessions comes from the machine's own spool. It reaches the other workers within
two tenths of a second, another replica's within half a second; a session's next request comes later.
"""

import asyncio
import time
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from common.clock import every
from control.feed.events import WorkerEvents
from records.errors import SharedDown, StoreDown
from records.outcome import Outcome
from records.shared.session_arms import NAME, SessionArms, SessionsFile, decoded, encoded, is_news
from records.store import Store
from records.store.last_exchanges import fresh_batches
from routing.sessions import SessionArm

if TYPE_CHECKING:  # redis takes memory, which one machine does without
    from records.shared.stream import SessionsStream

log = structlog.get_logger()

WRITE_EVERY_S = 0.1
SHARE_EVERY_S = 0.3
HOUR_S = 3_600.0
MOST_AT_ONCE = 200
"""Sessions of one message."""


class SessionsPublisher:
    """A listener to the machine's own exchanges. Belongs to the event loop's thread."""

    def __init__(self, folder: Path, store: Store, *, stream: "SessionsStream | None" = None) -> None:
        """`stream`: by which replicas tell one another; None for a single machine."""
        self._path, self._store = folder / NAME, store
        self._file = SessionsFile(self._path)
        self._known = SessionArms()
        self._fresh: dict[tuple[str, str], SessionArm] = {}
        self._untold: dict[tuple[str, str], SessionArm] = {}
        self._stream = stream

    def take(self, events: WorkerEvents) -> None:
        """Note what is new of these exchanges' sessions."""
        self._note(events.outcomes)

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """What has to run, without end."""
        loops: list[Coroutine[Any, Any, None]] = [self._run()]
        return loops if self._stream is None else [*loops, every(SHARE_EVERY_S, self._share)]

    async def _run(self) -> None:
        await self._recall()
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            if self._fresh:
                await self.write()

    async def _recall(self) -> None:
        """Learn what an earlier process wrote, or where that is lost what the store has of the last hour."""
        try:
            lines = await asyncio.to_thread(self._path.read_bytes)
        except OSError:
            batches = fresh_batches(self._store, time.time() - HOUR_S)
            with suppress(StoreDown):
                while (batch := await asyncio.to_thread(next, batches, None)) is not None:
                    self._note(batch, told=True)
        else:
            found = await asyncio.to_thread(decoded, lines)
            for first in range(0, len(found), MOST_AT_ONCE):
                self._known.hear(found[first : first + MOST_AT_ONCE])
                await asyncio.sleep(0)

    def _note(self, outcomes: Iterable[Outcome], *, told: bool = False) -> None:
        for outcome in outcomes:
            if outcome.session:
                before = self._known.find(outcome.canary, outcome.session)
                after = self._known.note(outcome)
                if after is not None and is_news(before, after):
                    self._fresh[after.canary, after.session] = after
                    if self._stream is not None and not told:
                        self._untold[after.canary, after.session] = after

    async def write(self) -> None:
        """Append what is new to the workers' file. What a full disk refuses is written with what follows."""
        fresh, self._fresh = self._fresh, {}
        try:
            await asyncio.to_thread(self._file.write, [*fresh.values()], self._known)
        except OSError as problem:
            log.error("sessions.not_written", file=str(self._path), problem=str(problem))
            self._fresh = {**fresh, **self._fresh}

    async def _share(self) -> None:
        """Tell the other replicas, and hear what they tell. Without Redis each knows its own sessions."""
        stream = self._stream
        if stream is None:
            return
        try:
            while self._untold:
                some = [*self._untold][:MOST_AT_ONCE]
                await stream.send(encoded([self._untold[key] for key in some]))
                for key in some:
                    del self._untold[key]
            heard = decoded(await stream.read())
        except SharedDown:
            self._untold = dict([*self._untold.items()][-MOST_AT_ONCE:])
            return
        for each in heard:
            before = self._known.find(each.canary, each.session)
            self._known.hear([each])
            after = self._known.find(each.canary, each.session)
            if after is not None and is_news(before, after):
                self._fresh[after.canary, after.session] = after
