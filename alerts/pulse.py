"""Live figures of a canary's two arms, for display only: no rule reads them."""

import math
from dataclasses import dataclass, field
from typing import Any

import msgspec

from alerts.windows import SLICES, Window
from records.outcome import INVALID_OUTPUT, Fault, Feedback, Outcome
from records.wilson import Z
from routing.canary import ArmName

RECENT_S = 600.0
_FEW = 10
"""The fewest values for which a mean has an interval."""


@dataclass(slots=True)
class Sum:
    """The sum of values whose mean is shown. A corrected rating counts in addition to the original."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """Add a value."""
        self.count += 1
        self.total += value
        self.squares += value * value

    def mean(self) -> float | None:
        """None without values."""
        return self.total / self.count if self.count else None

    def interval(self) -> tuple[float, float] | None:
        """The mean's 95 % interval, as if values were independent; None for fewer than ten."""
        if self.count < _FEW:
            return None
        mean = self.total / self.count
        variance = max(0.0, self.squares - self.count * mean * mean) / (self.count - 1)
        reach = Z * math.sqrt(variance / self.count)
        return mean - reach, mean + reach


@dataclass(slots=True)
class AnswerPulse:
    """Counts of the whole run: answers that were read (`finished`), their output checked (`judged`), requests
    that `ended` in an answer, an error or because the caller left; and by metric those that are bad."""

    finished: int = 0
    judged: int = 0
    ended: int = 0
    found: dict[str, int] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Add an outcome: `ok`, `fallback`, `error` or `aborted`."""
        self.ended += 1
        self._count("abandoned", outcome.abandoned)
        if outcome.finish is None or outcome.outcome == "aborted":
            return
        judged, faults = outcome.output_check == "judged", outcome.faults
        self.finished += 1
        self.judged += judged
        for name in _OF_ANSWERS:
            self._count(name, name in faults)
        self._count("answer_faults", bool(faults))
        self._count("invalid_output", judged and not INVALID_OUTPUT.isdisjoint(faults))

    def document(self) -> dict[str, Any]:
        """The counts and `shares` by metric; None where nothing was read."""
        among = dict.fromkeys((*_OF_ANSWERS, "answer_faults"), self.finished)
        among |= {"invalid_output": self.judged, "abandoned": self.ended}
        counts = {name: self.found.get(name, 0) if of else None for name, of in among.items()}
        shares = {name: self.found.get(name, 0) / of if of else None for name, of in among.items()}
        return {
            **counts,
            "shares": shares,
            "finished": self.finished,
            "output_judged": self.judged,
            "ended": self.ended,
        }

    def _count(self, name: str, bad: bool) -> None:
        if bad:
            self.found[name] = self.found.get(name, 0) + 1


_OF_ANSWERS: tuple[Fault, ...] = ("refused", "cut_off", "empty")


def _recent() -> Window:
    return Window(RECENT_S, binned=True)


@dataclass(slots=True)
class ArmPulse:
    """One arm in this run: counts of the whole run, times of the last ten minutes, known costs.

    `counted` are the requests that ended in an answer or an error. `cost` sums the known costs. `over` in the
    latency window counts failures. `per_token` holds each stream's seconds per token. `error_types` counts
    the failures by type. `foreign_state` counts exchanges that the other arm answered, since it had made
    the state in the request; `unreached` those that did not reach the arm though it is not to blame, by type.
    """

    requests: int = 0
    counted: int = 0
    assigned: int = 0
    errors: int = 0
    aborted: int = 0
    foreign_state: int = 0
    unreached: dict[str, int] = field(default_factory=dict)
    error_types: dict[str, int] = field(default_factory=dict)
    answers: AnswerPulse = field(default_factory=AnswerPulse)
    cost: Sum = field(default_factory=Sum)
    latency: Window = field(default_factory=_recent)
    first_token: Window = field(default_factory=_recent)
    per_token: Window = field(default_factory=_recent)
    ratings: dict[str, Sum] = field(default_factory=dict)


@dataclass(slots=True)
class Pulse:
    """One canary in one run. `mirrors_dropped` counts the mirror copies that were not sent."""

    run: int
    arms: dict[ArmName, ArmPulse] = field(
        default_factory=lambda: {"baseline": ArmPulse(), "candidate": ArmPulse()}
    )
    mirror: ArmPulse = field(default_factory=ArmPulse)
    mirrors_dropped: int = 0

    def observe(self, outcome: Outcome) -> None:
        """Add one outcome of this canary. Other runs and pinned requests do not count. Mirror copies count
        separately, in neither arm. Of exchanges that the arm, without a failure, did not get or could not
        read, only the number counts."""
        if outcome.run != self.run or outcome.reason == "pinned":
            return
        arm = self.mirror if outcome.mirror else self.arms[outcome.arm]
        arm.requests += 1
        if outcome.reason == "foreign_state":
            arm.foreign_state += 1
            return
        arm.assigned += outcome.reason == "cohort"
        if outcome.unreached:
            why = outcome.error_type or ""
            arm.unreached[why] = arm.unreached.get(why, 0) + 1
            return
        arm.errors += outcome.failed
        if outcome.failed and outcome.error_type is not None:
            arm.error_types[outcome.error_type] = arm.error_types.get(outcome.error_type, 0) + 1
        arm.aborted += outcome.outcome == "aborted"
        if outcome.cost_usd is not None:
            arm.cost.add(outcome.cost_usd)
        if outcome.measured or outcome.outcome == "aborted":
            arm.answers.add(outcome)
        if not outcome.measured:
            return
        arm.counted += 1
        if outcome.latency_s is not None:
            ended = outcome.mono + outcome.latency_s
            arm.latency.add(ended, outcome.latency_s, over=outcome.failed)
            if outcome.ttft_s is not None:
                arm.first_token.add(ended, outcome.ttft_s)
            if (per_token_s := outcome.per_token_s) is not None:
                arm.per_token.add(ended, per_token_s)

    def observe_feedback(self, feedback: Feedback) -> None:
        """Add one feedback value about an exchange in this run."""
        if feedback.run != self.run or feedback.arm is None:
            return
        self.arms[feedback.arm].ratings.setdefault(feedback.metric, Sum()).add(feedback.value)

    def actual_share(self) -> float | None:
        """The candidate's share of the exchanges that the hash assigned; None without any."""
        assigned = sum(arm.assigned for arm in self.arms.values())
        return self.arms["candidate"].assigned / assigned if assigned else None

    def document(self, now: float) -> dict[str, dict[str, Any]]:
        """The arms as `canary status -o json` shows them, at monotonic `now`."""
        return {name: _document(arm, now) for name, arm in self.arms.items()}

    def recent(self, now: float) -> dict[str, Any]:
        """The last ten minutes in slices of `slice_s`, oldest first: answers and errors that ended in each
        slice, how many failed, and the p95 latency (None: no answer). The newest slice is `newest_s` old."""
        slice_s = RECENT_S / SLICES
        return {
            "slice_s": slice_s,
            "newest_s": now % slice_s,
            "arms": {name: _course(arm, now) for name, arm in self.arms.items()},
        }

    def mirror_document(self, now: float) -> dict[str, Any]:
        """The mirror copies in the same form, and how many were dropped."""
        return {**_document(self.mirror, now), "dropped": self.mirrors_dropped}


def _document(arm: ArmPulse, now: float) -> dict[str, Any]:
    latency, first_token = arm.latency.whole(now), arm.first_token.whole(now)
    per_token = arm.per_token.whole(now)
    slowest, fastest = reversed(per_token.bounds(0.5))
    return {
        "requests": arm.requests,
        "errors": arm.errors,
        "aborted": arm.aborted,
        "foreign_state": arm.foreign_state,
        "unreached": dict(arm.unreached),
        "error_types": dict(arm.error_types),
        **arm.answers.document(),
        "p50_s": latency.quantile(0.5),
        "p95_s": latency.quantile(0.95),
        "ttft_p50_s": first_token.quantile(0.5),
        "ttft_p95_s": first_token.quantile(0.95),
        "tokens_per_s": _rate(per_token.quantile(0.5)),
        "cost_usd": arm.cost.total if arm.cost.count else None,
        "counted": arm.counted,
        "cost_per_request_usd": arm.cost.mean(),
        "feedback": {
            metric: {"mean": ratings.mean(), "count": ratings.count, "interval": ratings.interval()}
            for metric, ratings in arm.ratings.items()
        },
        "intervals": {
            "p50_s": latency.bounds(0.5),
            "p95_s": latency.bounds(0.95),
            "ttft_p50_s": first_token.bounds(0.5),
            "ttft_p95_s": first_token.bounds(0.95),
            "tokens_per_s": (_rate(slowest), _rate(fastest)),
            "cost_per_request_usd": arm.cost.interval(),
        },
    }


def _rate(per_token_s: float | None) -> float | None:
    return 1.0 / per_token_s if per_token_s is not None else None


def _course(arm: ArmPulse, now: float) -> dict[str, list[Any]]:
    slices = arm.latency.course(now)
    return {
        "requests": [part.count for part in slices],
        "errors": [part.over for part in slices],
        "p95_s": [part.quantile(0.95) for part in slices],
    }


def to_document(pulse: Pulse) -> dict[str, Any]:
    """The pulse for the owner's checkpoint, JSON-able."""
    document: dict[str, Any] = msgspec.to_builtins(pulse, str_keys=True)
    return document


def elsewhere(pulse: Pulse) -> Pulse:
    """A pulse from another boot or machine. Counts continue; windows, on another clock, are dropped."""
    for arm in (*pulse.arms.values(), pulse.mirror):
        arm.latency, arm.first_token, arm.per_token = _recent(), _recent(), _recent()
    return pulse


def from_document(document: Any) -> Pulse:
    """The pulse from a checkpoint. Raises msgspec.ValidationError for a document of another shape."""
    return msgspec.convert(document, Pulse, str_keys=True)
