"""Tells the news of this machine's spool, and keeps the listeners' memory and its own place in one file.

What lies between the last save and a crash is read again and leads to the same memory: nothing is forgotten,
nothing counted twice (ADR 2).
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from canary.news.listener import Listener, of_batch
from records.spool_reader import SpoolReader
from records.whole_file import write_whole

log = structlog.get_logger()

SAVE_EVERY_S = 1.0
BATCH = 1000


class SpoolFeed:
    """Follows one spool folder. Belongs to the event loop's thread."""

    def __init__(self, folder: Path, checkpoint: Path, listeners: Sequence[Listener], *, boot: str) -> None:
        self._folder, self._checkpoint, self._listeners, self._boot = folder, checkpoint, listeners, boot
        document = _read(checkpoint)
        self.reader = SpoolReader(folder, document.get("cursors", {}), quarantine=False)
        self._pending: dict[str, int] = {}
        self._saved_at = float("-inf")
        if document:
            new_boot = None if document["boot"] == boot else time.time() - time.monotonic()
            for listener in listeners:
                listener.restore(document, new_boot=new_boot)

    def turn(self) -> bool:
        """Tell what is new; True when there may be more to tell at once."""
        batch = self.reader.read(BATCH)
        self._pending.update(batch.cursors)
        news = of_batch(batch, self._boot)
        for listener in self._listeners:
            listener.take(news)
        return not batch.is_empty

    def save_if_due(self, now_mono: float) -> None:
        """Save once a second."""
        if now_mono - self._saved_at >= SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write the checkpoint; only then do the cursors count. A disk that is full may have room later."""
        cursors = {**self.reader.committed, **self._pending}
        cursors = {name: place for name, place in cursors.items() if (self._folder / name).exists()}
        document: dict[str, Any] = {"boot": self._boot, "cursors": cursors}
        for listener in self._listeners:
            document.update(listener.snapshot())
        self._saved_at = time.monotonic()
        try:
            write_whole(self._checkpoint, msgspec.json.encode(document))
        except OSError as error:
            log.error("checkpoint.not_saved", file=str(self._checkpoint), problem=str(error))
            return
        self.reader.committed.update(self._pending)
        self._pending = {}


def _read(checkpoint: Path) -> Mapping[str, Any]:
    """The last checkpoint. One that cannot be read is put aside: counting begins anew, and says so."""
    try:
        document: dict[str, Any] = msgspec.json.decode(checkpoint.read_bytes())
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError:
        log.error("checkpoint.unreadable", file=str(checkpoint))
        checkpoint.rename(checkpoint.with_suffix(".unreadable"))
        return {}
    return document
