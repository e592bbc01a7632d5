"""What each caller has sent since it came into the config, for people to read."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from alerts.incidents.notice import utc_text
from control.events import WorkerEvents
from records.caller_counts import MOST_LEFT
from routing.caller import Caller


class CallerFigures(msgspec.Struct):
    """One caller's requests, those of them that the proxy refused, and UTC seconds of the newest; `since`
    when the counting began, that is when the caller came into the config."""

    since: float
    requests: int = 0
    refused: int = 0
    last_seen: float | None = None


class CallerTraffic:
    """Counts by caller, of names that are or were in the config. Who comes back goes on with its counts.

    `clock` gives UTC seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._figures: dict[str, CallerFigures] = {}
        self._left: dict[str, CallerFigures] = {}

    def configure(self, callers: Sequence[Caller]) -> None:
        """Count for these callers, and keep what was counted for the others."""
        self._follow([each.name for each in callers], self._left | self._figures)

    def take(self, events: WorkerEvents) -> None:
        """Count these events."""
        for each in events.callers:
            if (figures := self._figures.get(each.caller) or self._left.get(each.caller)) is not None:
                figures.requests += each.requests
                figures.refused += each.requests if each.refused else 0
                figures.last_seen = max(figures.last_seen or 0.0, each.at)

    def document(self, callers: Sequence[Caller]) -> dict[str, Any]:
        """Each caller of the config with its figures, in the file's order. `last_seen` is None for one that
        has not been seen."""
        return {"callers": [self._one(each) for each in callers]}

    def snapshot(self) -> dict[str, Any]:
        """The figures as JSON types."""
        return {"by_name": self._left | self._figures}

    def restore(self, document: Mapping[str, Any]) -> None:
        """Continue from a snapshot, with the callers of the present config."""
        known = msgspec.convert(document.get("by_name", {}), dict[str, CallerFigures])
        self._follow(list(self._figures), self._figures | known)

    def _follow(self, names: Sequence[str], known: Mapping[str, CallerFigures]) -> None:
        """Show these names. Of the others those that were seen are kept, the newest last."""
        left = {name: each for name, each in known.items() if name not in names and each.requests}
        self._left = dict(list(left.items())[-MOST_LEFT:])
        self._figures = {name: known.get(name) or CallerFigures(since=self._clock()) for name in names}

    def _one(self, caller: Caller) -> dict[str, Any]:
        figures = self._figures.get(caller.name) or CallerFigures(since=self._clock())
        return {
            "name": caller.name,
            "keys": len(caller.key_sha256),
            "providers": caller.providers and list(caller.providers),
            "models": caller.models and list(caller.models),
            "requests_per_minute": caller.requests_per_minute,
            "requests": figures.requests,
            "refused": figures.refused,
            "since": utc_text(figures.since),
            "last_seen": None if figures.last_seen is None else utc_text(figures.last_seen),
        }
