"""Counts this machine's records for Prometheus."""

from collections.abc import Mapping
from typing import Any

from control.events import WorkerEvents
from records.meters import Meters


class MetricsListener:
    """The listener behind `/metrics`."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    def take(self, events: WorkerEvents) -> None:
        """Count these events."""
        for group in events.alike:
            self._meters.observe(*group)
        self._meters.count_callers(events.callers)
        for each in events.feedback:
            self._meters.observe_feedback(each)
        for _, beat in events.beats:
            self._meters.beat(beat)
        for _, lost in events.deaths:
            self._meters.lose(lost)

    def snapshot(self) -> Mapping[str, Any]:
        """The totals."""
        return {"meters": self._meters.snapshot()}

    def restore(self, document: Mapping[str, Any], *, new_boot: float | None) -> None:
        """Continue from a snapshot's totals."""
        if "meters" in document:
            self._meters.restore(document["meters"])
