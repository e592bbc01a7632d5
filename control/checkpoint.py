"""What the leader knows, stored for the next leader: its listeners' memory, and how far it has read."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog

from control.deduplicator import Position
from control.events import StatefulListener
from records.errors import StoreDown
from records.store.checkpoints import Checkpoints, StoredCheckpoint

log = structlog.get_logger()


class SharedCheckpoint:
    """One admin's access to the checkpoint that all admins share."""

    def __init__(self, checkpoints: Checkpoints, *, boot: str) -> None:
        self._checkpoints, self._boot = checkpoints, boot
        self._recalled: StoredCheckpoint | None = None
        self.listeners: Sequence[StatefulListener] = ()

    async def recall(self, *, again: bool) -> Mapping[str, Any]:
        """Restore the listeners from the stored checkpoint, and return it whole.

        An unchanged checkpoint is restored only with `again`. An unreadable one (of a newer version, say) is
        logged and counts as empty. May raise StoreDown.
        """
        stored = await asyncio.to_thread(self._checkpoints.load)
        if stored == self._recalled and not again:
            return {}
        self._recalled = stored
        try:
            return self._restore(stored.document)
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as problem:
            log.error("checkpoint.unreadable", problem=str(problem), term=stored.term)
            return {}

    async def save(self, term: int, position: Position) -> None:
        """Store what the listeners know now. A store that is down, or a later leader, leaves it unstored."""
        document: dict[str, Any] = {"boot": self._boot, "position": position}
        for listener in self.listeners:
            document.update(listener.snapshot())
        stored = StoredCheckpoint(term, msgspec.json.encode(document))
        try:
            if not await asyncio.to_thread(self._checkpoints.save, stored, time.time()):
                log.error("checkpoint.outrun", term=term)  # the next look at the lease says more
        except StoreDown as problem:
            log.error("checkpoint.not_kept", problem=str(problem))

    def _restore(self, data: bytes) -> Mapping[str, Any]:
        document: Mapping[str, Any] = msgspec.json.decode(data) if data else {}
        if document:
            new_boot = None if document["boot"] == self._boot else time.time() - time.monotonic()
            for listener in self.listeners:
                listener.restore(document, new_boot=new_boot)
        return document
