"""A writer's progress from its heartbeats: records that it dropped, exchanges lost when it died."""

from collections.abc import Sequence
from dataclasses import dataclass

from records.outcome import Heartbeat, Outcome, Record


@dataclass(slots=True)
class Track:
    """The state of one writer, up to the reader's cursor."""

    last: Heartbeat | None = None
    recorded_since: int = 0
    dropped: int = 0

    def see(self, records: Sequence[Record]) -> int:
        """Process records and return the number of newly reported drops."""
        before = self.dropped
        for record in records:
            if type(record) is Heartbeat:
                self.last, self.recorded_since = record, 0
                self.dropped = max(self.dropped, record.dropped)
            elif type(record) is Outcome and not record.mirror and self.last is not None:
                # An exchange that started after the last heartbeat is not in its `started`.
                self.recorded_since += record.mono <= self.last.mono
        return self.dropped - before

    def lost(self) -> int | None:
        """Return a lower bound of the exchanges started and never recorded; None after a clean shutdown."""
        if self.last is None or self.last.closing:
            return None
        return max(0, self.last.started - self.last.finished - self.recorded_since)
