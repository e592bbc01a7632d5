"""What happened, as a source tells it to whoever listens: records, signs of life, deaths.

Monotonic times are those of this process's machine, wherever a record was written.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec import structs

from records.outcome import Feedback, Heartbeat, Outcome
from records.spool_reader import Batch, Writer

WorkerKey = tuple[str, int, int]
"""(replica, slot, pid); the replica is empty for this machine's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerEvents:
    """`deaths` says how many exchanges a worker took with it; `heard` counts the outcomes that arrived, those
    of no canary too (a source may leave their records out), mirror copies not; `dropped` the records that
    workers say they could not keep."""

    records: Sequence[Outcome | Feedback] = ()
    beats: Sequence[tuple[WorkerKey, Heartbeat]] = ()
    deaths: Sequence[tuple[WorkerKey, int]] = ()
    heard: int = 0
    dropped: int = 0


class Listener(Protocol):
    """Somebody who is told the news, and whose memory is kept together with the place up to which it is."""

    def take(self, news: WorkerEvents) -> None:
        """Take it in; each piece comes once."""
        ...

    def snapshot(self) -> Mapping[str, Any]:
        """Its memory, JSON-able, under keys of its own."""
        ...

    def restore(self, document: Mapping[str, Any], *, new_boot: float | None) -> None:
        """Go on from a snapshot, which may lack its keys. `new_boot` is UTC minus CLOCK_MONOTONIC here if
        the snapshot is of another boot or machine, in seconds."""
        ...


def of_batch(batch: Batch, boot: str) -> WorkerEvents:
    """The news in a batch of this machine's spool. `boot` is this boot's id."""
    records: list[Outcome | Feedback] = []
    beats: list[tuple[WorkerKey, Heartbeat]] = []
    for chunk in batch.chunks:
        foreign = not boot.startswith(chunk.writer.boot)
        for record in chunk.records:
            if type(record) is Heartbeat:
                beats.append((_key(chunk.writer), record))
            elif type(record) is Outcome or type(record) is Feedback:
                records.append(carried_over(record) if foreign else record)
    deaths = [(_key(death.writer), death.lost) for death in batch.deaths]
    return WorkerEvents(
        records=records, beats=beats, deaths=deaths, heard=heard_in(records), dropped=batch.dropped
    )


def heard_in(records: Iterable[Outcome | Feedback]) -> int:
    """The outcomes among records; copies are no part of what a worker has finished."""
    return sum(type(record) is Outcome and not record.mirror for record in records)


def carried_over(record: Outcome | Feedback) -> Outcome | Feedback:
    """A record of another boot or machine, its time moved to where this clock would have had it."""
    return structs.replace(record, mono=here(record.at))


def here(at: float) -> float:
    """A UTC second on this machine's monotonic clock. Another machine's clock may be ahead: no later than
    now."""
    return time.monotonic() + min(0.0, at - time.time())


def _key(writer: Writer) -> WorkerKey:
    return "", writer.worker, writer.pid
