"""The guardrails over one part of the traffic: all of it, one category, or one segment."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from alerts.absolute import ErrorRate, LatencyP95
from alerts.evidence import Evidence
from alerts.means import CostPerRequest, Rating
from alerts.outage import Outage
from alerts.relative import ErrorRateVsBaseline, Escalated
from alerts.rule import Rule
from alerts.selection import FirstStarted, GuardrailSample
from alerts.status import GuardrailStatus, rule_key
from alerts.telemetry import Telemetry
from records.metric import Metric
from records.outcome import Feedback, Outcome

DEFAULT_ERROR_LIMIT = 0.05


class Guardrail(Protocol):
    """A rule with its state, a JSON-able dataclass that `restore` replaces."""

    rule: Rule
    state: Any

    def status(self, now: float) -> GuardrailStatus: ...


@runtime_checkable
class Shows(Protocol):
    """A rule that shows every exchange in a window."""

    def show(self, sample: GuardrailSample) -> None: ...


@runtime_checkable
class Scores(Protocol):
    """A rule that learns from counted exchanges."""

    def score(self, sample: GuardrailSample) -> None: ...


@runtime_checkable
class LearnsFromFeedback(Protocol):
    """A rule that learns from feedback."""

    rule: Rule

    def observe_feedback(
        self, *, unit: str, candidate: bool, share: float, value: float, at: float
    ) -> None: ...


@runtime_checkable
class Proves(Protocol):
    """A rule whose evidence can convict the candidate."""

    rule: Rule

    @property
    def evidence(self) -> Evidence: ...

    @property
    def convicted(self) -> bool: ...


class Scope:
    """Guardrails over one part of the traffic, and that part's selection of counted exchanges."""

    def __init__(
        self, category: str | None, segment: Mapping[str, str] | None, guardrails: Sequence[Guardrail]
    ) -> None:
        self.category = category
        self.segment = dict(segment or {})
        self.guardrails = list(guardrails)
        self.first = FirstStarted()
        self._shows = [g for g in guardrails if isinstance(g, Shows)]
        self._scores = [g for g in guardrails if isinstance(g, Scores)]
        self._learning = [g for g in guardrails if isinstance(g, LearnsFromFeedback)]
        self.proving = [g for g in guardrails if isinstance(g, Proves)]

    @property
    def name(self) -> str:
        """The part of the traffic as a string."""
        return _scope_name(self.category, self.segment)

    def takes(self, outcome: Outcome) -> bool:
        """True when the outcome belongs to this part of the traffic."""
        if self.category is not None and outcome.category != self.category:
            return False
        return not self.segment or all(outcome.tags.get(tag) == v for tag, v in self.segment.items())

    def observe(self, sample: GuardrailSample) -> None:
        """Show one exchange, and queue it for scoring."""
        for guardrail in self._shows:
            guardrail.show(sample)
        if self._scores:
            self.first.offer(sample)

    def score(self, until: float) -> Iterator[GuardrailSample]:
        """Score the counted exchanges that ended by monotonic `until`, in order of completion. Yields each
        after scoring it."""
        for sample in self.first.release(until):
            for guardrail in self._scores:
                guardrail.score(sample)
            yield sample

    def observe_feedback(self, feedback: Feedback, *, share: float, at: float) -> None:
        """Pass feedback to the rules about its metric. Feedback has no category and no tags, so only rules
        over the whole canary get it."""
        if self.segment or self.category is not None:
            return
        unit = feedback.unit or feedback.session or feedback.exchange_id
        candidate = feedback.arm == "candidate"
        for guardrail in self._learning:
            if guardrail.rule.rule == feedback.metric:
                guardrail.observe_feedback(
                    unit=unit, candidate=candidate, share=share, value=feedback.value, at=at
                )


def build_scopes(rules: Sequence[Rule], metrics: Mapping[str, Metric]) -> list[Scope]:
    """One scope per part of the traffic that the rules name, in the order of their first rules."""
    errors = [rule.limit for rule in rules if rule.rule == "error_rate"]
    least_share = (errors[0] if errors else DEFAULT_ERROR_LIMIT) / 5.0
    parts: dict[str, list[Rule]] = {}
    for rule in rules:
        parts.setdefault(_scope_name(rule.category, rule.segment), []).append(rule)
    return [_scope(same, metrics, least_share) for same in parts.values()]


def _scope(rules: Sequence[Rule], metrics: Mapping[str, Metric], least_share: float) -> Scope:
    guardrails = [_guardrail(rule, metrics, least_share) for rule in rules]
    strictest = min(
        (rule for rule in rules if rule.rule == "error_rate"), key=lambda rule: rule.limit, default=None
    )
    if strictest is not None:
        guardrails.append(Outage(strictest))
    return Scope(rules[0].category, rules[0].segment, guardrails)


def _guardrail(rule: Rule, metrics: Mapping[str, Metric], least_share: float) -> Guardrail:
    build: dict[str, Callable[[], Guardrail]] = {
        "error_rate": lambda: ErrorRate(rule),
        "error_rate_vs_baseline": lambda: ErrorRateVsBaseline(rule, least_share=least_share),
        "latency_p95": lambda: LatencyP95(rule),
        "cost_per_request": lambda: CostPerRequest(rule),
        "csat": lambda: _rating(rule, metrics),
        "thumbs": lambda: _rating(rule, metrics),
        "escalated": lambda: Escalated(rule),
        "telemetry": lambda: Telemetry(rule),
    }
    return build[rule.rule]()


def _rating(rule: Rule, metrics: Mapping[str, Metric]) -> Rating:
    metric = metrics[rule.rule]
    if metric.low is None or metric.high is None:
        raise ValueError(f"the guardrail {rule.rule} needs a metric {rule.rule} with `low` and `high`")
    worst, best = (metric.low, metric.high) if metric.higher_is_better else (metric.high, metric.low)
    return Rating(rule, worst=worst, best=best)


def state_key(guardrail: Guardrail) -> str:
    """The key of a guardrail's state in a snapshot. Another limit or window gives another key."""
    rule = guardrail.rule
    kind = type(guardrail).__name__
    return f"{kind} {rule_key(rule.rule, rule.category, rule.segment)} {rule.limit:g} {rule.window_s}"


def _scope_name(category: str | None, segment: Mapping[str, str] | None) -> str:
    return rule_key("telemetry", category, segment).removeprefix("telemetry") or "all"
