"""How long a request may wait for a candidate: from what the baseline needed in the last hour."""

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

import msgspec

from alerts.windows import Window
from records.outcome import Outcome
from routing.plan import request_kind

FACTOR = 5.0
QUANTILE = 0.99
LEAST_S = 10.0
FEWEST = 20
SPAN_S = 3600.0
LOOK_EVERY_S = 5.0


def _last_hour() -> Window:
    return Window(SPAN_S, binned=True)


@dataclass(slots=True)
class BaselineTimes:
    """How long one canary's baseline took, by kind of request: seconds to the first body byte of a stream, or
    to the end of JSON."""

    kinds: dict[str, Window] = field(default_factory=dict)

    def observe(self, *alike: Outcome) -> None:
        """Add outcomes that are alike if they are good answers of the baseline."""
        one = alike[0]
        if not _is_good_baseline(one):
            return
        kind = request_kind(one.operation, stream=one.stream)
        waited = [(each.mono, each.ttfb_s if one.stream else each.latency_s) for each in alike]
        self.kinds.setdefault(kind, _last_hour()).add_all(
            [(began + waited_s, waited_s) for began, waited_s in waited if waited_s is not None]
        )

    def patience(self, now: float) -> dict[str, float]:
        """Seconds by kind, at monotonic `now`: five times the p99, rounded up, at least ten. Kinds with fewer
        than 20 answers in the hour are missing."""
        known = {}
        for kind, window in self.kinds.items():
            answers = window.whole(now)
            p99_s = answers.quantile(QUANTILE) if answers.count >= FEWEST else None
            if p99_s is not None:
                known[kind] = max(LEAST_S, float(math.ceil(FACTOR * p99_s)))
        return known


class CandidatePatience:
    """The patience with every candidate. Belongs to the event loop's thread.

    Saved are the seconds, not the answers behind them: they hold for an hour after a restart, or until the
    baseline has given enough answers since.
    """

    def __init__(self) -> None:
        self._times: dict[str, BaselineTimes] = {}
        self._restored: dict[str, dict[str, float]] = {}
        self._found: dict[str, dict[str, float]] = {}
        self._restored_at: float | None = None
        self._looked_at = float("-inf")

    def observe(self, *alike: Outcome) -> None:
        """Add outcomes of a canary that are alike (`records.alike`)."""
        self._times.setdefault(alike[0].canary, BaselineTimes()).observe(*alike)

    def by_canary(self, now: float) -> Mapping[str, Mapping[str, float]]:
        """`Plan.patience` at monotonic `now`, computed anew every five seconds."""
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._forget_restored(now)
            found = {name: self._patience(name, now) for name in {**self._restored, **self._times}}
            self._found = {name: kinds for name, kinds in found.items() if kinds}
        return self._found

    def keep_only(self, canaries: Container[str]) -> None:
        """Forget the canaries that left the config."""
        self._times = {name: times for name, times in self._times.items() if name in canaries}
        self._restored = {name: kinds for name, kinds in self._restored.items() if name in canaries}

    def snapshot(self) -> dict[str, dict[str, float]]:
        """The seconds by canary and kind, as last computed."""
        return self._found

    def restore(self, document: object) -> None:
        """Continue from a snapshot. Raises msgspec.ValidationError for a document of another shape."""
        self._restored = msgspec.convert(document, dict[str, dict[str, float]])
        self._found, self._restored_at, self._looked_at = self._restored, None, float("-inf")

    def _patience(self, name: str, now: float) -> dict[str, float]:
        times = self._times.get(name)
        return {**self._restored.get(name, {}), **(times.patience(now) if times is not None else {})}

    def _forget_restored(self, now: float) -> None:
        if self._restored_at is None:
            self._restored_at = now
        elif now - self._restored_at >= SPAN_S:
            self._restored = {}


def _is_good_baseline(outcome: Outcome) -> bool:
    counts = outcome.arm == "baseline" and outcome.outcome == "ok"
    return counts and not outcome.mirror and outcome.reason not in ("pinned", "foreign_state")
