"""Live figures of both arms, of the last minutes and of the whole run. For display: no rule reads them."""

import math
from dataclasses import dataclass, field
from typing import Any

import msgspec

from alerts.course import Course
from alerts.evidence.statistics import Window
from alerts.quota import CandidateQuota
from common.interval import Z
from records.facts.counts import Alike
from records.outcome import INVALID_OUTPUT, THROTTLED, Fault, Feedback, Outcome
from routing.assignment import UNASSIGNED
from routing.canary import ArmName

RECENT_S = 600.0
_FEW = 10
"""The fewest values for which a mean has an interval."""
_ALIKE = 1e-12
"""So small a part of a squared mean is no spread but rounding."""


@dataclass(slots=True)
class SummedValues:
    """The sum of values whose mean is shown."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, *values: float) -> None:
        """Add values."""
        self.count += len(values)
        self.total += sum(values)
        self.squares += sum([value * value for value in values])

    def replace(self, before: float, value: float) -> None:
        """Count a value in the place of another."""
        self.total += value - before
        self.squares += value * value - before * before

    def mean(self) -> float | None:
        """None without values."""
        return self.total / self.count if self.count else None

    def interval(self) -> tuple[float, float] | None:
        """The mean's 95 % interval, as if values were independent; None for fewer than ten, and where all are
        alike: those do not say how far the next one may be off."""
        if self.count < _FEW:
            return None
        mean = self.total / self.count
        variance = max(0.0, self.squares - self.count * mean * mean) / (self.count - 1)
        if variance <= _ALIKE * mean * mean:
            return None
        reach = Z * math.sqrt(variance / self.count)
        return mean - reach, mean + reach


@dataclass(slots=True)
class AnswerPulse:
    """Counts of the whole run: answers that were read or stalled (`finished`), their output checked
    (`judged`), requests that `ended` in an answer, an error or because the caller left; and by metric those
    that are bad."""

    finished: int = 0
    judged: int = 0
    ended: int = 0
    found: dict[str, int] = field(default_factory=dict)

    def add(self, *alike: Outcome) -> None:
        """Add outcomes that are alike: `ok`, `fallback`, `error` or `aborted`."""
        one, count = alike[0], len(alike)
        self.ended += count
        self._count("abandoned", sum([each.abandoned for each in alike]) if one.outcome == "aborted" else 0)
        if one.finish is None and not one.faults:
            return
        judged, faults = one.output_check == "judged", one.faults
        self.finished += count
        if judged:
            self.judged += count
        if not faults:
            return
        for name in _OF_ANSWERS:
            self._count(name, count if name in faults else 0)
        self._count("answer_faults", count)
        self._count("invalid_output", count if judged and not INVALID_OUTPUT.isdisjoint(faults) else 0)

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

    def _count(self, name: str, bad: int) -> None:
        if bad:
            self.found[name] = self.found.get(name, 0) + bad


_OF_ANSWERS: tuple[Fault, ...] = ("refused", "cut_off", "empty", "stalled")


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
    cost: SummedValues = field(default_factory=SummedValues)
    latency: Window = field(default_factory=_recent)
    first_token: Window = field(default_factory=_recent)
    per_token: Window = field(default_factory=_recent)
    ratings: dict[str, SummedValues] = field(default_factory=dict)

    def add_times(self, measured: Alike) -> None:
        """Add the times of outcomes that are alike and `measured`."""
        ended = [
            (each.mono + each.latency_s, each.latency_s, each)
            for each in measured
            if each.latency_s is not None
        ]
        latencies = [(at, latency_s) for at, latency_s, _ in ended]
        self.latency.add_all(latencies, over=measured[0].failed)
        streams = [(at, each.ttft_s, each.per_token_s) for at, _, each in ended if each.ttft_s is not None]
        self.first_token.add_all([(at, ttft_s) for at, ttft_s, _ in streams if ttft_s is not None])
        self.per_token.add_all([(at, each_s) for at, _, each_s in streams if each_s is not None])


MOST_OFF = 1.5
_SURELY = 3.0
"""Standard deviations, as if requests were independent."""


@dataclass(slots=True)
class PhaseSplit:
    """The requests of assigned units in the newest phase of a run, and the candidate's share of the users
    that was set for it."""

    phase: int = -1
    share: float = 0.0
    requests: int = 0
    candidate: int = 0

    def add(self, one: Outcome, count: int) -> None:
        """Add outcomes of one phase and arm."""
        if one.phase > self.phase:
            self.phase, self.share, self.requests, self.candidate = one.phase, one.share, 0, 0
        if one.phase == self.phase:
            self.requests += count
            self.candidate += count if one.arm == "candidate" else 0

    def actual(self) -> float | None:
        """The candidate's share of these requests if it is surely off by more than MOST_OFF, else None."""
        actual = self.candidate / self.requests if self.requests else self.share
        near = self.share / MOST_OFF <= actual <= self.share * MOST_OFF and 0.0 < actual < 1.0
        noise = math.sqrt(self.share * (1.0 - self.share) / max(1, self.requests))
        return None if near or abs(actual - self.share) <= _SURELY * noise else actual


@dataclass(slots=True)
class Pulse:
    """One canary in one run. `mirrors_dropped` counts the mirror copies that were not sent, `unassigned` the
    requests without a good arm from the flag system that assigns the units, by reason, `split` the newest
    phase's others, and `quota` how many of the candidate's were throttled."""

    run: int
    arms: dict[ArmName, ArmPulse] = field(
        default_factory=lambda: {"baseline": ArmPulse(), "candidate": ArmPulse()}
    )
    mirror: ArmPulse = field(default_factory=ArmPulse)
    mirrors_dropped: int = 0
    unassigned: dict[str, int] = field(default_factory=dict)
    prompt_missed: int = 0
    split: PhaseSplit = field(default_factory=PhaseSplit)
    quota: CandidateQuota = field(default_factory=CandidateQuota)
    course: Course = field(default_factory=Course)

    def observe(self, *alike: Outcome) -> None:
        """Add outcomes of this canary that are alike (`records.facts.counts`). Other runs and pinned requests
        do not count. Mirror copies count separately, in neither arm. Of exchanges that the arm, without a
        failure, did not get or could not read, only the number counts; and of those without the text of a
        prompt, in neither arm."""
        one, count = alike[0], len(alike)
        if one.run != self.run or one.reason == "pinned":
            return
        if one.reason == "prompt_missed":
            self.prompt_missed += count
            return
        arm = self.mirror if one.mirror else self.arms[one.arm]
        arm.requests += count
        if one.reason == "foreign_state":
            arm.foreign_state += count
            return
        if one.reason == "cohort":
            arm.assigned += count
            if not one.mirror:
                self.split.add(one, count)
                if one.arm == "candidate":
                    self._ask(alike)
        elif one.reason in UNASSIGNED:
            self.unassigned[one.reason] = self.unassigned.get(one.reason, 0) + count
        if one.unreached:
            why = one.error_type or ""
            arm.unreached[why] = arm.unreached.get(why, 0) + count
            return
        if one.failed:
            arm.errors += count
            if one.error_type is not None:
                arm.error_types[one.error_type] = arm.error_types.get(one.error_type, 0) + count
        if one.outcome == "aborted":
            arm.aborted += count
        arm.cost.add(*[each.cost_usd for each in alike if each.cost_usd is not None])
        if one.measured or one.outcome == "aborted":
            arm.answers.add(*alike)
        if one.measured:
            arm.counted += count
            arm.add_times(alike)
            if not one.mirror:
                self.course.add(alike)

    def _ask(self, alike: Alike) -> None:
        """Count requests that the candidate's provider took, or throttled."""
        one = alike[0]
        throttled = one.error_type == THROTTLED
        if throttled or (one.measured and one.error_type != "breaker_open"):
            ends = [each.mono + (each.latency_s or 0.0) for each in alike]
            self.quota.add(one.phase, ends, throttled=throttled, covered=one.outcome == "fallback")

    def observe_feedback(self, feedback: Feedback, *, before: float | None = None) -> None:
        """Add one feedback value about an exchange in this run, or replace the value `before` it."""
        if feedback.run != self.run or feedback.arm is None:
            return
        ratings = self.arms[feedback.arm].ratings.setdefault(feedback.metric, SummedValues())
        if before is None or not ratings.count:
            ratings.add(feedback.value)
        else:
            ratings.replace(before, feedback.value)

    def drop_mirrors(self, count: int) -> None:
        """Count mirror copies that were not made."""
        self.mirrors_dropped += count

    def actual_share(self) -> float | None:
        """The candidate's share of the exchanges of assigned units; None without any."""
        assigned = sum(arm.assigned for arm in self.arms.values())
        return self.arms["candidate"].assigned / assigned if assigned else None

    def document(self, now: float) -> dict[str, dict[str, Any]]:
        """The arms as `canary status -o json` shows them, at monotonic `now`."""
        return {name: _document(arm, now) for name, arm in self.arms.items()}

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
        "last_ten_minutes": {"counted": latency.count, "errors": latency.over},
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


def elsewhere(pulse: Pulse) -> Pulse:
    """A pulse from another boot or machine. Counts and course continue; windows, on another clock, are
    dropped."""
    for arm in (*pulse.arms.values(), pulse.mirror):
        arm.latency, arm.first_token, arm.per_token = _recent(), _recent(), _recent()
    pulse.quota = CandidateQuota()
    return pulse


def from_document(document: Any) -> Pulse:
    """The pulse from a checkpoint. Raises msgspec.ValidationError for a document of another shape."""
    return msgspec.convert(document, Pulse, str_keys=True)
