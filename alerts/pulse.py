"""Both arms of a canary at this moment, for people to look at. No rule decides by it."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from alerts.windows import Window
from records.outcome import Outcome
from routing.canary import ArmName

RECENT_S = 600.0


@dataclass(slots=True)
class Arm:
    """One arm in this run: counts of the whole run, times of the last ten minutes, dollars where known."""

    requests: int = 0
    assigned: int = 0
    errors: int = 0
    aborted: int = 0
    cost_usd: float | None = None
    latency: Window = field(default_factory=lambda: Window(RECENT_S, binned=True))
    first_token: Window = field(default_factory=lambda: Window(RECENT_S, binned=True))


@dataclass(slots=True)
class Pulse:
    """One canary in one run. `mirrors_dropped` are the copies that found no room."""

    run: int
    arms: dict[ArmName, Arm] = field(default_factory=lambda: {"baseline": Arm(), "candidate": Arm()})
    mirror: Arm = field(default_factory=Arm)
    mirrors_dropped: int = 0

    def observe(self, outcome: Outcome) -> None:
        """Take in one outcome of this canary; those of other runs and pins do not count. Mirror copies count
        apart: they are in neither arm."""
        if outcome.run != self.run or outcome.reason == "pinned":
            return
        arm = self.mirror if outcome.mirror else self.arms[outcome.arm]
        arm.requests += 1
        arm.assigned += outcome.reason == "cohort"
        arm.errors += outcome.failed
        arm.aborted += outcome.outcome == "aborted"
        if outcome.cost_usd is not None:
            arm.cost_usd = (arm.cost_usd or 0.0) + outcome.cost_usd
        if outcome.latency_s is not None and outcome.outcome in ("ok", "fallback", "error"):
            ended = outcome.mono + outcome.latency_s
            arm.latency.add(ended, outcome.latency_s)
            if outcome.ttft_s is not None:
                arm.first_token.add(ended, outcome.ttft_s)

    def actual_share(self) -> float | None:
        """The candidate's part of the exchanges that the hash assigned; None before any."""
        assigned = sum(arm.assigned for arm in self.arms.values())
        return self.arms["candidate"].assigned / assigned if assigned else None

    def document(self, now: float) -> dict[str, dict[str, Any]]:
        """The arms as `canary status -o json` shows them, at monotonic `now`."""
        return {name: _document(arm, now) for name, arm in self.arms.items()}

    def mirror_document(self, now: float) -> dict[str, Any]:
        """The mirror copies in the same words, and how many found no room."""
        return {**_document(self.mirror, now), "dropped": self.mirrors_dropped}


def _document(arm: Arm, now: float) -> dict[str, Any]:
    return {
        "requests": arm.requests,
        "errors": arm.errors,
        "aborted": arm.aborted,
        "p50_s": arm.latency.quantile(0.5, now),
        "p95_s": arm.latency.quantile(0.95, now),
        "ttft_p95_s": arm.first_token.quantile(0.95, now),
        "cost_usd": arm.cost_usd,
    }


def to_document(pulse: Pulse) -> dict[str, Any]:
    """JSON-able, for the owner's checkpoint."""
    document: dict[str, Any] = msgspec.to_builtins(pulse, str_keys=True)
    return document


def elsewhere(pulse: Pulse) -> Pulse:
    """A pulse of another boot or machine: the counts go on, the times of its clock mean nothing here."""
    for arm in (*pulse.arms.values(), pulse.mirror):
        arm.latency, arm.first_token = Arm().latency, Arm().first_token
    return pulse


def from_document(document: Any) -> Pulse:
    """The pulse of a checkpoint. Raises msgspec.ValidationError for a document of another shape."""
    return msgspec.convert(document, Pulse, str_keys=True)
