"""What a writer says of itself in its heartbeats: how much it dropped, and what died with it."""

from collections.abc import Sequence
from dataclasses import dataclass

from records.frame import Record
from records.outcome import Heartbeat, Outcome


@dataclass(slots=True)
class Track:
    """What a writer has said of itself up to the reader's place."""

    last: Heartbeat | None = None
    recorded_since: int = 0
    dropped: int = 0

    def see(self, records: Sequence[Record]) -> int:
        """Take in records; returns how many more drops their heartbeats tell of."""
        before = self.dropped
        for record in records:
            if type(record) is Heartbeat:
                self.last, self.recorded_since = record, 0
                self.dropped = max(self.dropped, record.dropped)
            elif type(record) is Outcome and not record.mirror and self.last is not None:
                # Begun after the last heartbeat: it is not in that heartbeat's `started`.
                self.recorded_since += record.mono <= self.last.mono
        return self.dropped - before

    def lost(self) -> int | None:
        """Exchanges begun and never recorded, at least; None after an orderly end."""
        if self.last is None or self.last.closing:
            return None
        return max(0, self.last.started - self.last.finished - self.recorded_since)
