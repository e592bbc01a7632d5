"""The guardrails over one part of the traffic: all of it, one category, or one segment."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

from alerts.evidence.exchanges import (
    SLOTS,
    EndedExchange,
    ExchangeTime,
    FirstStartedExchanges,
    GuardrailSample,
    RunningExchange,
    unit_slot,
)
from alerts.evidence.sessions import LiveSession, SessionStep
from alerts.evidence.statistics import Evidence
from alerts.rules.answers import (
    AbandonmentRule,
    AnswerFaultRule,
    OutcomeRule,
    StallRule,
    UnusableAnswerRule,
    may_count,
)
from alerts.rules.events import EventWorthRule
from alerts.rules.failures import ErrorRateRule, OutageRule, TelemetryRule
from alerts.rules.latency import LatencyP95, LatencyRule, LatencyVsBaseline
from alerts.rules.means import CostRule, ValueMeanRule
from alerts.rules.relative import ErrorRateVsBaselineRule, RelativeRule, RepeatQuestionRule, ReportedEventRule
from alerts.rules.rule import (
    FAULT_OF,
    FAULT_RULES,
    SESSION_SIZES,
    Action,
    GuardrailStatus,
    Rule,
    RuleName,
    rule_key,
)
from alerts.rules.sessions import EVENTS_OF_SESSIONS, CacheHitsRule, SessionEventRule, SessionRule, StuckRule
from records.facts.metric import BUILT_IN, Metric
from records.outcome import Feedback, InFlight, Outcome

DEFAULT_ERROR_LIMIT = 0.05
COUNT_USERS: tuple[RuleName, ...] = (
    *("error_rate", "error_rate_vs_baseline", "abandoned", "escalated", "repeat_question"),
    *FAULT_RULES,
)
KNOWN, MOST_USERS = 60, 1_000
"""Users of the baseline that are met before the first of the candidate, to tell how many a rule needs."""
LEAST_SHOWN = 0.01
"""With a smaller share, a rule needs no other number of users."""
SHAPE = 5
"""Part of a state's key: a higher number drops evidence whose shape is an earlier one."""


class Guardrail(Protocol):
    """A rule with its state, a JSON-able dataclass that `restore` replaces."""

    rule: Rule
    state: Any

    def status(self, now: float) -> GuardrailStatus: ...


@runtime_checkable
class ConvictionState(Protocol):
    """The state of a rule whose evidence can convict the candidate."""

    evidence: Evidence
    convicted: bool


Growth = tuple[Guardrail, float]
"""A rule whose evidence may have grown, and the monotonic time of the exchange behind it."""


SCORED = ErrorRateRule | ErrorRateVsBaselineRule | OutageRule | CostRule | UnusableAnswerRule
"""The rules that learn from counted exchanges; those about latency count their own."""
SHOWN = ErrorRateRule | ErrorRateVsBaselineRule | OutageRule | CostRule
"""The rules whose figures for people have every exchange."""


class Scope:
    """Guardrails over one part of the traffic, and that part's selection of counted exchanges."""

    def __init__(
        self, category: str | None, segment: Mapping[str, str] | None, guardrails: Sequence[Guardrail]
    ) -> None:
        self.category = category
        self.segment = dict(segment or {})
        self.guardrails = list(guardrails)
        self.first = FirstStartedExchanges()
        self._of_outcomes = [g for g in guardrails if isinstance(g, OutcomeRule)]
        self._of_whole = [g for g in guardrails if isinstance(g, SessionEventRule | CacheHitsRule)]
        self._of_sessions = [*(g for g in guardrails if isinstance(g, SessionRule)), *self._of_whole]
        self._of_questions = [g for g in guardrails if isinstance(g, RepeatQuestionRule)]
        self.latencies = [g for g in guardrails if isinstance(g, LatencyRule)]
        self._shows = [g for g in guardrails if isinstance(g, SHOWN)]
        self._scores = [g for g in guardrails if isinstance(g, SCORED)]
        self._learning = [
            g for g in guardrails if isinstance(g, ValueMeanRule | ReportedEventRule | EventWorthRule)
        ]
        self._proving = [g for g in self._scores if isinstance(g.state, ConvictionState)]

    @property
    def name(self) -> str:
        """The part of the traffic as a string."""
        return _scope_name(self.category, self.segment)

    @property
    def is_part(self) -> bool:
        """False over all of the traffic."""
        return self.category is not None or bool(self.segment)

    def takes(self, exchange: Outcome | InFlight) -> bool:
        """True when the exchange belongs to this part of the traffic."""
        if self.category is not None and exchange.category != self.category:
            return False
        return not self.segment or all(exchange.tags.get(tag) == v for tag, v in self.segment.items())

    def observe(self, ended: Sequence[EndedExchange]) -> Iterator[Growth]:
        """Pass exchanges that have ended to the rules, those of this part. Yields the evidence that grew."""
        mine = [each for each in ended if self.takes(each.outcome)] if self.is_part else ended
        yield from self._hear(mine)
        for latency in self.latencies:
            key = state_key(latency)
            latency.finish(_uncounted(key, mine))
            latency.answer([each.timed for each in mine if key in each.counted])
        samples = [each.sample for each in mine if each.sample is not None]
        for guardrail in self._shows:
            guardrail.show(samples)
        if self._scores:
            for sample in samples:
                self.first.offer(sample)

    def _hear(self, ended: Sequence[EndedExchange]) -> Iterator[Growth]:
        """Pass outcomes to the rules about outcomes. Most of the baseline's tell them nothing."""
        heard = [(each, unit_slot(each.outcome.unit), may_count(each.outcome)) for each in ended]
        for guardrail in self._of_outcomes:
            met = guardrail.state.met
            for each, slot, may in heard:
                if (may or met.lacks(slot, each.at)) and guardrail.hear(each.outcome, each.at, slot):
                    yield guardrail, each.at
        for repeated in self._of_questions:
            for each in ended:
                if each.outcome.fingerprint:
                    repeated.hear(each.outcome, each.at)

    def follow(self, steps: Sequence[SessionStep]) -> Iterator[Growth]:
        """Pass exchanges of sessions to the rules about sessions. Yields the evidence that grew."""
        for guardrail in self._of_sessions:
            for step in steps:
                if guardrail.hear(step):
                    yield guardrail, step.at

    def end(self, sessions: Sequence[LiveSession]) -> Iterator[Growth]:
        """Pass sessions that are over to the rules about whole ones. Yields the evidence that grew."""
        for guardrail in self._of_whole:
            for session in sessions:
                if guardrail.end(session):
                    yield guardrail, session.last

    def time_running(self, running: Sequence[RunningExchange], now: float) -> None:
        """Pass the exchanges in flight to the latency rules, each until it has counted."""
        for guardrail in self.latencies:
            key = state_key(guardrail)
            for each in running:
                if (
                    key not in each.counted
                    and self.takes(each.record)
                    and guardrail.time(each.timed(now), now)
                ):
                    each.counted.append(key)

    def score(self, until: float, now: float) -> Iterator[Growth]:
        """Score the counted exchanges that ended by monotonic `until`, in order of completion, and those
        whose latency is known at `now`. Yields the evidence after each of the candidate's."""
        for sample in self.first.release(until):
            for guardrail in self._scores:
                guardrail.score(sample)
            if sample.candidate:
                yield from ((guardrail, sample.completed) for guardrail in self._proving)
        for latency in self.latencies:
            for sample in latency.count(now):
                if sample.candidate:
                    yield latency, sample.completed

    def forget_before(self, now: float) -> None:
        """Forget units that cannot be asked about any more."""
        self.first.forget_before(now)
        for latency in self.latencies:
            latency.state.first.forget_before(now)

    def observe_feedback(self, feedback: Feedback, *, share: float, at: float) -> None:
        """Pass feedback to the rules about its metric. Feedback has no category and no tags, so only rules
        over the whole canary get it."""
        if self.is_part:
            return
        unit = feedback.unit or feedback.session or feedback.exchange_id
        candidate = feedback.arm == "candidate"
        for guardrail in self._learning:
            if guardrail.rule.rule == feedback.metric:
                guardrail.observe_feedback(
                    unit=unit, candidate=candidate, share=share, value=feedback.value, at=at
                )


def _uncounted(key: str, ended: Sequence[EndedExchange]) -> list[tuple[ExchangeTime, float]]:
    """The times of the exchanges that have not counted for the rule of this key, and when they ended."""
    return [(each.timed, each.at) for each in ended if key not in each.counted]


def build_scopes(rules: Sequence[Rule], metrics: Mapping[str, Metric]) -> list[Scope]:
    """One scope per part of the traffic that the rules name, in the order of their first rules."""
    errors = [rule.limit for rule in rules if rule.rule == "error_rate"]
    least_share = (errors[0] if errors else DEFAULT_ERROR_LIMIT) / 5.0
    parts: dict[str, list[Rule]] = {}
    for rule in rules:
        parts.setdefault(_scope_name(rule.category, rule.segment), []).append(rule)
    return [_scope(same, metrics, least_share) for same in parts.values()]


def _scope(rules: Sequence[Rule], metrics: Mapping[str, Metric], least_share: float) -> Scope:
    compared = any(rule.rule == "latency_vs_baseline" for rule in rules)
    guardrails = [_guardrail(rule, metrics, least_share, compared) for rule in rules]
    strictest = min(
        (rule for rule in rules if rule.rule == "error_rate"), key=lambda rule: rule.limit, default=None
    )
    if strictest is not None:
        guardrails.append(OutageRule(strictest))
    return Scope(rules[0].category, rules[0].segment, guardrails)


def _guardrail(rule: Rule, metrics: Mapping[str, Metric], least_share: float, compared: bool) -> Guardrail:
    build: dict[str, Callable[[Rule], Guardrail]] = {
        "error_rate": ErrorRateRule,
        "error_rate_vs_baseline": lambda rule: ErrorRateVsBaselineRule(rule, least_share=least_share),
        "latency_p95": lambda rule: LatencyP95(rule, compared=compared),
        "latency_vs_baseline": LatencyVsBaseline,
        "abandoned": AbandonmentRule,
        "cost_per_request": CostRule,
        "repeat_question": RepeatQuestionRule,
        **dict.fromkeys(SESSION_SIZES, SessionRule),
        "stuck": StuckRule,
        "session_cache_hits": CacheHitsRule,
        **dict.fromkeys(EVENTS_OF_SESSIONS, SessionEventRule),
        "telemetry": TelemetryRule,
        **dict.fromkeys(FAULT_RULES, _answer_fault),
    }
    of_name = build.get(rule.rule)
    return of_name(rule) if of_name is not None else _of_metric(rule, rule.metric or metrics[rule.rule])


def _answer_fault(rule: Rule) -> AnswerFaultRule:
    most = FAULT_OF[rule.rule].absolute
    if most is None:
        return AnswerFaultRule(rule)
    return (StallRule if rule.rule == "stalled" else UnusableAnswerRule)(rule, most=most)


def _of_metric(rule: Rule, metric: Metric) -> Guardrail:
    if metric.is_event and metric.kind == "bool" and not metric.higher_is_better:
        return ReportedEventRule(rule, words="escalated" if metric.name == "escalated" else "")
    if metric.is_event:
        return EventWorthRule(rule, metric)
    if metric.kind in ("rating", "nps") and (metric.low is None or metric.high is None):
        raise ValueError(f"the guardrail {rule.rule} needs a metric {rule.rule} with `low` and `high`")
    return ValueMeanRule(rule, metric)


def users_needed(rule: Rule, share: float) -> int | None:
    """About how many of the candidate's users a rule needs to act at this share, from a run's start, if each
    of them has the event and none of the baseline's; 1,000 for more. None for rules that do not count users,
    and where one arm has them all."""
    if not 0.0 < share < 1.0 or rule.rule not in COUNT_USERS:
        return None
    shown = max(round(share, 3), LEAST_SHOWN)
    return _users_needed(rule.rule, rule.limit, rule.minimum, rule.action, rule.parts, shown)


def users_needed_of(rules: Iterable[Rule], share: float) -> dict[str, int]:
    """The users that the rules over all traffic need which roll back, by rule."""
    whole = [rule for rule in rules if rule.action == "rollback" and not rule.category and not rule.segment]
    needs: dict[str, int] = {}
    for rule in whole:
        users = users_needed(rule, share)
        if users is not None:
            needs[rule.rule] = users
    return needs


@lru_cache(maxsize=1024)
def _users_needed(name: str, limit: float, minimum: int, action: Action, parts: int, share: float) -> int:
    rule = Rule(rule=name, limit=limit, window_s=None, minimum=minimum, action=action, parts=parts)
    guardrail = _guardrail(rule, BUILT_IN, 0.0, False)
    share_budgets([guardrail])
    usual = (1.0 - share) / share
    for number in range(KNOWN):
        _meet(guardrail, number, share, candidate=False)
    number, due = KNOWN, 0.0
    for users in range(1, MOST_USERS):
        _meet(guardrail, number, share, candidate=True)
        number, due = number + 1, due + usual
        while due >= 1.0:
            _meet(guardrail, number, share, candidate=False)
            number, due = number + 1, due - 1.0
        if _acts(guardrail):
            return users
    return MOST_USERS


def _meet(guardrail: Guardrail, number: int, share: float, *, candidate: bool) -> None:
    """Pass the first exchange of one more user to a rule. The candidate's has the event."""
    unit, at, faults = f"u{number}", float(number), FAULT_OF.get(guardrail.rule.rule)
    if isinstance(guardrail, RelativeRule):
        guardrail.add(
            unit=unit,
            slot=number % SLOTS,
            candidate=candidate,
            share=share,
            phase=1,
            at=at,
            event=candidate,
        )
    if isinstance(guardrail, ReportedEventRule) and candidate:
        guardrail.note(unit=unit, candidate=candidate, share=share, at=at)
    if isinstance(guardrail, ErrorRateRule | UnusableAnswerRule):
        had = tuple(faults.faults) if faults is not None and candidate else ()
        sample = GuardrailSample(
            at, number, at, unit, candidate, share, candidate, 0.0, None, 1, had, True, True
        )
        guardrail.score(sample)


def _acts(guardrail: Guardrail) -> bool:
    rule, proof = guardrail.rule, guardrail.state
    if not isinstance(proof, ConvictionState):
        return False
    return proof.convicted if rule.action == "rollback" else proof.evidence.pages(rule.minimum)


def share_budgets(guardrails: Iterable[Guardrail]) -> None:
    """Let each rule's evidence know with how many it shares its error budget."""
    for guardrail in guardrails:
        if isinstance(guardrail.state, ConvictionState):
            guardrail.state.evidence.parts = guardrail.rule.parts


def state_key(guardrail: Guardrail) -> str:
    """The key of a guardrail's state in a snapshot. Another limit or window gives another key."""
    rule = guardrail.rule
    kind = f"{type(guardrail).__name__}/{SHAPE}"
    return f"{kind} {rule.key} {rule.limit:g} {rule.window_s}"


def _scope_name(category: str | None, segment: Mapping[str, str] | None) -> str:
    return rule_key("telemetry", category, segment).removeprefix("telemetry") or "all"
