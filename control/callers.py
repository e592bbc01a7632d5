"""What each caller has sent since the counting began, for people to read."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from alerts.payloads import utc_text
from control.events import WorkerEvents
from routing.caller import Caller


class CallerFigures(msgspec.Struct):
    """One caller's requests, those of them that the proxy refused, and UTC seconds of the newest."""

    requests: int = 0
    refused: int = 0
    last_seen: float | None = None


class CallerTraffic:
    """Counts by caller. Only callers of the config count, so memory is bounded."""

    def __init__(self) -> None:
        self._since = time.time()
        self._figures: dict[str, CallerFigures] = {}

    def configure(self, callers: Sequence[Caller]) -> None:
        """Count for these callers; what was counted for those that stay is kept."""
        self._figures = {each.name: self._figures.get(each.name) or CallerFigures() for each in callers}

    def take(self, events: WorkerEvents) -> None:
        """Count these events."""
        for each in events.callers:
            if (figures := self._figures.get(each.caller)) is not None:
                figures.requests += each.requests
                figures.refused += each.requests if each.refused else 0
                figures.last_seen = max(figures.last_seen or 0.0, each.at)

    def document(self, callers: Sequence[Caller]) -> dict[str, Any]:
        """Each caller of the config with its figures, in the file's order. `last_seen` is None for one that
        has not been seen."""
        return {"since": utc_text(self._since), "callers": [self._one(each) for each in callers]}

    def snapshot(self) -> dict[str, Any]:
        """The figures as JSON types."""
        return {"since": self._since, "figures": dict(self._figures)}

    def restore(self, document: Mapping[str, Any]) -> None:
        """Continue from a snapshot, with the callers of the present config."""
        if not document:
            return
        self._since = document["since"]
        figures = msgspec.convert(document["figures"], dict[str, CallerFigures])
        self._figures = {name: figures.get(name) or CallerFigures() for name in self._figures}

    def _one(self, caller: Caller) -> dict[str, Any]:
        figures = self._figures.get(caller.name) or CallerFigures()
        return {
            "name": caller.name,
            "keys": len(caller.key_sha256),
            "providers": caller.providers and list(caller.providers),
            "models": caller.models and list(caller.models),
            "requests_per_minute": caller.requests_per_minute,
            "requests": figures.requests,
            "refused": figures.refused,
            "last_seen": None if figures.last_seen is None else utc_text(figures.last_seen),
        }
