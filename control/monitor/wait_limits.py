"""How long a request may wait for a candidate, and how long a stream may be silent: from what the baseline
needed in the last hour."""

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from alerts.evidence.statistics import Window
from records.outcome import Outcome
from routing.states import LEAST_SILENCE_S, request_kind

FACTOR = 5.0
QUANTILE = 0.99
LEAST_S = 10.0
FEWEST = 20
SPAN_S = 3600.0
LOOK_EVERY_S = 5.0


def _last_hour() -> Window:
    return Window(SPAN_S, binned=True)


Kinds = Mapping[str, Mapping[str, float]]
"""Seconds by canary and kind of request."""


@dataclass(slots=True)
class BaselineTimes:
    """One time of the baseline's answers by canary and kind of request, and the seconds that follow from it:
    five times the p99 of the last hour, rounded up, at least `least_s`. Kinds with fewer than 20 answers in
    the hour are missing.

    Saved are the seconds, not the answers behind them: they hold for an hour after a restart, or until the
    baseline has given enough answers since.
    """

    least_s: float
    windows: dict[str, dict[str, Window]] = field(default_factory=dict)
    restored: dict[str, dict[str, float]] = field(default_factory=dict)
    found: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, canary: str, kind: str, times: Iterable[tuple[float, float]]) -> None:
        """Add times of good answers: (monotonic second, seconds)."""
        self.windows.setdefault(canary, {}).setdefault(kind, _last_hour()).add_all(times)

    def look(self, now: float) -> None:
        """Compute `found` anew at monotonic `now`."""
        names = {**self.restored, **self.windows}
        found = {name: {**self.restored.get(name, {}), **self._known(name, now)} for name in names}
        self.found = {name: kinds for name, kinds in found.items() if kinds}

    def keep_only(self, canaries: Container[str]) -> None:
        """Forget the canaries that left the config."""
        self.windows = {name: each for name, each in self.windows.items() if name in canaries}
        self.restored = {name: each for name, each in self.restored.items() if name in canaries}

    def _known(self, name: str, now: float) -> Mapping[str, float]:
        known = {}
        for kind, window in self.windows.get(name, {}).items():
            answers = window.whole(now)
            p99_s = answers.quantile(QUANTILE) if answers.count >= FEWEST else None
            if p99_s is not None:
                known[kind] = max(self.least_s, float(math.ceil(FACTOR * p99_s)))
        return known


class CandidatePatience:
    """The patience with every candidate, and with the silences of both arms' streams. Belongs to the event
    loop's thread.

    Patience follows the seconds to the first body byte of a stream, or to the end of JSON; silence follows
    the longest gap in a stream.
    """

    def __init__(self) -> None:
        self._waits, self._gaps = BaselineTimes(LEAST_S), BaselineTimes(LEAST_SILENCE_S)
        self._restored_at: float | None = None
        self._looked_at = float("-inf")

    def observe(self, *alike: Outcome) -> None:
        """Add outcomes of a canary that are alike (`records.facts.counts`)."""
        one = alike[0]
        if not _is_good_baseline(one):
            return
        kind = request_kind(one.operation, stream=one.stream)
        waited = [(each.mono, each.ttfb_s if one.stream else each.latency_s) for each in alike]
        self._waits.add(one.canary, kind, _known(waited))
        if one.stream:
            gaps = [(each.mono + (each.latency_s or 0.0), each.longest_gap_s) for each in alike]
            self._gaps.add(one.canary, kind, [(at, gap_s) for at, gap_s in gaps if gap_s is not None])

    def by_canary(self, now: float) -> Kinds:
        """`States.patience` at monotonic `now`, computed anew every five seconds."""
        self._look(now)
        return self._waits.found

    def silence(self, now: float) -> Kinds:
        """`States.silence`, likewise."""
        self._look(now)
        return self._gaps.found

    def keep_only(self, canaries: Container[str]) -> None:
        """Forget the canaries that left the config."""
        for times in (self._waits, self._gaps):
            times.keep_only(canaries)

    def snapshot(self) -> dict[str, Kinds]:
        """The seconds by canary and kind, as last computed."""
        return {"patience": self._waits.found, "silence": self._gaps.found}

    def restore(self, document: object) -> None:
        """Continue from a snapshot. Raises msgspec.ValidationError for a document of another shape."""
        saved = msgspec.convert(document, dict[str, dict[str, dict[str, float]]])
        for name, times in (("patience", self._waits), ("silence", self._gaps)):
            times.restored = times.found = saved.get(name, {})
        self._restored_at, self._looked_at = None, float("-inf")

    def _look(self, now: float) -> None:
        if now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        self._forget_restored(now)
        for times in (self._waits, self._gaps):
            times.look(now)

    def _forget_restored(self, now: float) -> None:
        if self._restored_at is None:
            self._restored_at = now
        elif now - self._restored_at >= SPAN_S:
            for times in (self._waits, self._gaps):
                times.restored = {}


def _known(waited: Iterable[tuple[float, float | None]]) -> list[tuple[float, float]]:
    """When the waits that are known ended, and how long they were."""
    return [(began + waited_s, waited_s) for began, waited_s in waited if waited_s is not None]


def _is_good_baseline(outcome: Outcome) -> bool:
    counts = outcome.arm == "baseline" and outcome.outcome == "ok"
    return counts and not outcome.mirror and outcome.reason not in ("pinned", "foreign_state")
