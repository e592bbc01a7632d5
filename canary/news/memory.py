"""What the leader knows, kept in the store for whoever leads next: its listeners' memory, and its place."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog

from canary.news.gathering import Position
from canary.news.listener import Listener
from records.errors import StoreDown
from records.store.kept import Checkpoints, Kept

log = structlog.get_logger()


class Memory:
    """One admin's access to it."""

    def __init__(self, checkpoints: Checkpoints, listeners: Sequence[Listener], *, boot: str) -> None:
        self._checkpoints, self._listeners, self._boot = checkpoints, listeners, boot
        self._recalled: Kept | None = None

    async def recall(self, *, again: bool) -> Mapping[str, Any]:
        """Give the listeners what was kept last, unless they have it (`again`: all the same); all of it.

        May raise StoreDown. What cannot be read, as of a newer version, is as good as nothing, and said so.
        """
        kept = await asyncio.to_thread(self._checkpoints.load)
        if kept == self._recalled and not again:
            return {}
        self._recalled = kept
        try:
            return self._restore(kept.document)
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as problem:
            log.error("checkpoint.unreadable", problem=str(problem), term=kept.term)
            return {}

    async def save(self, term: int, position: Position) -> None:
        """Keep what the listeners know now. A store that is down, or a later leader, leaves it unkept."""
        document: dict[str, Any] = {"boot": self._boot, "position": position}
        for listener in self._listeners:
            document.update(listener.snapshot())
        kept = Kept(term, msgspec.json.encode(document))
        try:
            if not await asyncio.to_thread(self._checkpoints.save, kept, time.time()):
                log.error("checkpoint.outrun", term=term)  # the next look at the lease tells more
        except StoreDown as problem:
            log.error("checkpoint.not_kept", problem=str(problem))

    def _restore(self, data: bytes) -> Mapping[str, Any]:
        document: Mapping[str, Any] = msgspec.json.decode(data) if data else {}
        if document:
            new_boot = None if document["boot"] == self._boot else time.time() - time.monotonic()
            for listener in self._listeners:
                listener.restore(document, new_boot=new_boot)
        return document
