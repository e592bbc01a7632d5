"""Why a candidate was rolled back: the evidence at that moment, for people to read. Holds no prompts."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from alerts.evidence.exchanges import GuardrailSample
from alerts.evidence.statistics import ROLLBACK_CUSUM, ROLLBACK_MIXTURE, Window
from alerts.rules.places import CandidateError
from alerts.rules.rule import FAULTS, GuardrailStatus
from alerts.wording import ArmMeans, FailuresSeen, Trouble, clock, on_call
from common.clock import Utc
from common.concentration import NOWHERE, Concentration
from records.outcome import Fault, Outcome
from routing.states import State

POINTS = 60
FAILURES = 20
RECENT_S = 600.0

_EVERY_FAULT = frozenset[str](get_args(Fault))

Saw = Literal["", "baseline", "error", "broken"]
"""What a user saw of a failure: the baseline's answer, an error, an answer that broke off; "": the answer."""


class EvidencePoint(NamedTuple):
    """The evidence at one moment: UTC seconds, natural logarithms, number of observations."""

    at: Utc
    ln_mixture: float
    ln_cusum: float
    observations: float


@dataclass(slots=True)
class EvidencePath:
    """One rule's evidence over time in bounded memory: the whole run at low resolution, the end at full."""

    whole: list[EvidencePoint] = field(default_factory=list)
    last: list[EvidencePoint] = field(default_factory=list)
    spacing_s: float = 1.0
    ended: bool = False

    def add(self, point: EvidencePoint) -> None:
        """Add a later point. Ignored without a new observation, and once the path has ended."""
        if self.ended or (self.last and self.last[-1].observations == point.observations):
            return
        if self.last and self.last[-1].at > point.at:  # a few outcomes arrive out of order
            point = point._replace(at=self.last[-1].at)
        self.last.append(point)
        del self.last[:-POINTS]
        if not self.whole or point.at - self.whole[-1].at >= self.spacing_s:
            self.whole.append(point)
        if len(self.whole) > POINTS:
            self.whole = self.whole[::2]
            self.spacing_s *= 2.0

    def points(self) -> tuple[EvidencePoint, ...]:
        """All points in order of time, at most 120."""
        last_from = self.last[0].at if self.last else 0.0
        return tuple(point for point in self.whole if point.at < last_from) + tuple(self.last)

    @property
    def rising_since(self) -> Utc | None:
        """UTC seconds since when there has been evidence without a break; None if there is none now."""
        since = None
        for point in reversed(self.points()):
            if point.ln_cusum <= 0.0:
                break
            since = point.at
        return since


class FailureSample(NamedTuple):
    """A failed or faulty exchange of the candidate: its id, UTC seconds, the error type or the answer faults,
    what the provider said, what its user saw, after how many seconds, and the provider's request id."""

    exchange_id: str
    at: float
    error_type: str
    status: int | None
    message: str = ""
    saw: Saw = ""
    waited_s: float = 0.0
    request_id: str = ""


def seen_in(failures: Sequence[FailureSample], *, fall_back: bool) -> FailuresSeen:
    """What users saw of these failures. `fall_back`: the baseline answers where the candidate fails."""
    saw = Counter(each.saw for each in failures)
    waits = [each.waited_s for each in failures if each.saw == "baseline"]
    silent = [each.waited_s for each in failures if each.error_type == "provider_timeout"]
    return FailuresSeen(
        fall_back=fall_back,
        fault=_shared_fault(failures),
        covered=saw["baseline"],
        errors=saw["error"],
        broken=saw["broken"],
        silent=len(silent),
        waited_s=sum(waits) / len(waits) if waits else 0.0,
        silent_s=min(silent, default=0.0),
    )


def _shared_fault(failures: Sequence[FailureSample]) -> str:
    """The one rule about faults that counts every faulty answer among these; "" without one."""
    faulty = [found for each in failures if (found := {*each.error_type.split(", ")} & _EVERY_FAULT)]
    kinds = (each for each in FAULTS if each.faults != _EVERY_FAULT)
    return next((each.rule for each in kinds if faulty and all(each.faults & found for found in faulty)), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmFigures:
    """One arm's figures in this run. `faulty` answers have an answer fault, `left` exchanges ended without an
    answer because their callers left; `exchanges` has those that ended otherwise. `p95_s` covers the last ten
    minutes. None is unknown."""

    exchanges: int
    failed: int
    p95_s: float | None
    mean_cost_usd: float | None
    faulty: int | None = None
    left: int | None = None


HOUR_S = 3_600.0
_SIZES: Mapping[str, Callable[[Outcome], float | None]] = {
    "input": lambda outcome: outcome.usage.input_tokens,
    "cached": lambda outcome: outcome.usage.cached_input_tokens,
    "output": lambda outcome: outcome.usage.output_tokens,
    "cost": lambda outcome: outcome.cost_usd,
}
"""What is known of a request's size."""


def _recent() -> dict[str, Window]:
    return {name: Window(HOUR_S) for name in _SIZES}


@dataclass(slots=True)
class ArmTally:
    """The counts and windows behind `ArmFigures`, and of the last hour the sizes of requests by name."""

    exchanges: int = 0
    failed: int = 0
    faulty: int = 0
    left: int = 0
    latency: Window = field(default_factory=lambda: Window(RECENT_S, binned=True))
    cost: Window = field(default_factory=lambda: Window(None))
    recent: dict[str, Window] = field(default_factory=_recent)

    def add(self, evidence: Sequence[tuple[Outcome, GuardrailSample]]) -> None:
        """Add exchanges of this arm."""
        samples = [sample for _, sample in evidence]
        self.exchanges += len(samples)
        self.failed += sum([each.failed for each in samples])
        self.faulty += sum([bool(outcome.faults) for outcome, _ in evidence])
        self.latency.add_all(
            [(each.completed, each.latency_s) for each in samples if each.latency_s is not None]
        )
        self.cost.add_all([(each.completed, each.cost_usd) for each in samples if each.cost_usd is not None])

        whole = [(outcome, each.completed) for outcome, each in evidence if not outcome.usage.estimated]
        for name, size in _SIZES.items():
            known = ((at, size(outcome)) for outcome, at in whole)
            self.recent[name].add_all([(at, value) for at, value in known if value is not None])

    def means(self, now: float, *, requests: float | None, tool_calls: float | None) -> ArmMeans:
        """The means at monotonic `now`, with those of its sessions."""
        size = {name: window.mean(now) for name, window in self.recent.items()}
        put, cached, output, cost = (size.get(name) for name in _SIZES)
        tokens = (put or 0.0) + (output or 0.0)
        return ArmMeans(
            requests=requests,
            tool_calls=tool_calls,
            input_tokens=put,
            uncached_tokens=None if put is None or cached is None else put - cached,
            output_tokens=output,
            price_usd=1000.0 * cost / tokens if cost is not None and tokens else None,
        )

    def figures(self, now: float) -> ArmFigures:
        """The figures at monotonic `now`."""
        return ArmFigures(
            exchanges=self.exchanges,
            failed=self.failed,
            p95_s=self.latency.quantile(0.95, now),
            mean_cost_usd=self.cost.mean(now),
            faulty=self.faulty,
            left=self.left,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleThen:
    """One guardrail's status at that moment (`alerts.rules.rule`), and its evidence up to then."""

    rule: str
    state: str
    sentence: str
    value: float | None
    threshold: float | None
    evidence: Mapping[str, float]
    path: tuple[EvidencePoint, ...]
    where: Concentration = NOWHERE


def rule_then(status: GuardrailStatus, path: EvidencePath) -> RuleThen:
    """A frozen copy of a rule's status and path."""
    return RuleThen(
        rule=status.key,
        state=status.state,
        sentence=status.sentence,
        value=status.value,
        threshold=status.threshold,
        evidence=dict(status.evidence),
        path=path.points(),
        where=status.where,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackEvidence:
    """The evidence at a rollback. Times are UTC seconds, shares are in [0, 1].

    `rule` is the guardrail that rolled back, "" for a person. `who` and `reason` are as in the audit log.
    `rules` are all guardrails. `failures` are the candidate's last failed exchanges, `where` they lie, and
    `provider_error` what the candidate's provider said last. `limits` are the values
    of `ln_mixture` and `ln_cusum` that cause a rollback. `trouble` is what the rule saw, None for a person.
    """

    canary: str
    run: int
    rule: str
    who: str
    reason: str
    at: Utc
    rules: tuple[RuleThen, ...]
    arms: Mapping[str, ArmFigures]
    failures: tuple[FailureSample, ...]
    share_before: float
    share_after: float
    where: Concentration = NOWHERE
    provider_error: CandidateError | None = None
    limits: Mapping[str, float] = field(default_factory=lambda: dict(LIMITS))
    trouble: Trouble | None = None

    def on_call(self, *, quoting: bool = True) -> str:
        """The sentence on call (`alerts.wording`); for a person's rollback, who did it and why."""
        done = f"Rolled back at {clock(self.at, self.at)}"
        if self.trouble is None:
            return f"{done} by {self.who}: {self.sentence or 'no reason given'}"
        return on_call(self.trouble, done, self.at, quoting=quoting)

    @property
    def convicting(self) -> RuleThen | None:
        """The guardrail that rolled back; None for a person."""
        return next((rule for rule in self.rules if rule.rule == self.rule), None)

    @property
    def sentence(self) -> str:
        """The reason in words: the rule's sentence or the person's reason."""
        rule = self.convicting
        return rule.sentence if rule is not None else self.reason

    @property
    def value(self) -> float | None:
        """The convicting rule's value, in the rule's unit."""
        return rule.value if (rule := self.convicting) is not None else None

    @property
    def threshold(self) -> float | None:
        """The convicting rule's limit, in the rule's unit."""
        return rule.threshold if (rule := self.convicting) is not None else None

    @property
    def evidence(self) -> Mapping[str, float]:
        """The convicting rule's evidence; empty for a person."""
        return rule.evidence if (rule := self.convicting) is not None else {}

    @property
    def path(self) -> tuple[EvidencePoint, ...]:
        """The convicting rule's evidence over time; empty for a person."""
        return rule.path if (rule := self.convicting) is not None else ()


LIMITS: Mapping[str, float] = {"ln_mixture": ROLLBACK_MIXTURE, "ln_cusum": ROLLBACK_CUSUM}
"""The value at which either statistic causes a rollback."""


def limits_of(status: GuardrailStatus | None) -> Mapping[str, float]:
    """The limits of this rule; a rule that shares its error budget with other parts has higher ones."""
    more = math.log(status.evidence.get("parts", 1.0)) if status is not None else 0.0
    return {name: limit + more for name, limit in LIMITS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """One rollback: its evidence, the canary's state before and after, and whether the database has it."""

    why: RollbackEvidence
    before: State
    after: State
    stored: bool


def to_document(why: RollbackEvidence) -> dict[str, Any]:
    """The evidence as a JSON-able document."""
    document: dict[str, Any] = msgspec.to_builtins(why, str_keys=True)
    return document


def rolled_back(
    document: Mapping[str, Any] | None, before: State, after: State, *, stored: bool
) -> RolledBack | None:
    """A stored rollback; None if its evidence is missing or has a shape unknown to this version."""
    try:
        why = msgspec.convert(document, RollbackEvidence)
    except msgspec.ValidationError:
        return None
    return RolledBack(why=why, before=before, after=after, stored=stored)


def sample_of(outcome: Outcome) -> FailureSample:
    """The part of a failed or faulty exchange that is stored."""
    said = outcome.provider_error
    return FailureSample(
        outcome.exchange_id,
        outcome.at,
        outcome.error_type or ", ".join(outcome.faults) or outcome.outcome,
        outcome.status,
        said.message if said is not None else "",
        _saw(outcome),
        (outcome.attempts[0].latency_s if outcome.attempts else outcome.latency_s) or 0.0,
        outcome.provider_request_id,
    )


def _saw(outcome: Outcome) -> Saw:
    """What the user saw of an exchange; "" for the candidate's answer."""
    if outcome.outcome == "fallback":
        return "baseline"
    if outcome.outcome != "error":
        return ""
    return "broken" if outcome.status == 200 else "error"
