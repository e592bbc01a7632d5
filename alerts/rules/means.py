"""`cost_per_request`, `csat`, `thumbs` and other values: the candidate's mean is worse than the baseline's.

Each value becomes a badness ≥ 0. The null, tested by betting, is that the candidate's mean badness is at
most m: the rule's limit applied to a cautious estimate of the baseline's mean, two standard errors worse than
the mean of its last 2,000 values. Betting starts when the baseline has 30; the candidate's wait until then.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from alerts.evidence.exchanges import FEWEST_VALUES, GuardrailSample, RecentMean
from alerts.evidence.statistics import MINIMUM_UNITS, Evidence, Window, betting_steps
from alerts.rules.rule import GuardrailStatus, Rule, Waits, decided
from common.numbers import decimal, dollars
from records.facts.metric import Metric

RATERS = 50_000
MOST_WAITING = 500
"""Values of the candidate that wait for the baseline's first 30."""


@dataclass(slots=True)
class MeanState:
    """Both arms' values, the evidence, and (for ratings) the units that have rated, JSON-able.

    `waiting` holds the candidate's values, with their units, that came before the baseline had 30.
    """

    candidate: Window
    baseline: Window
    evidence: Evidence = field(default_factory=Evidence)
    recent: RecentMean = field(default_factory=RecentMean)
    waiting: list[tuple[str, float]] = field(default_factory=list)
    raters: dict[str, bool] = field(default_factory=dict)
    convicted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BadnessScale:
    """How bad a value is. `low` and `high` are the ends of its scale, None for none.

    A higher value is better up to `high`, or up to the baseline's largest one. A lower value is better down
    to `low`, or down to 0.
    """

    higher_is_better: bool
    low: float | None = None
    high: float | None = None

    def clip(self, value: float) -> float:
        """The value, at least the scale's best end where lower is better."""
        return value if self.higher_is_better else max(value, self.low or 0.0)

    def badness(self, value: float, recent: RecentMean) -> float:
        """How far the value is from the best end, ≥ 0."""
        if not self.higher_is_better:
            return value - (self.low or 0.0)
        return max(0.0, (recent.largest if self.high is None else self.high) - value)

    def cautious_mean(self, recent: RecentMean) -> float | None:
        """The baseline's mean as it may be at worst; None with fewer than 30 values."""
        bounded = self.low is not None and self.high is not None
        worst = (self.low if self.higher_is_better else self.high) if bounded else None
        return recent.cautious(upward=not self.higher_is_better, worst=worst)


COST = BadnessScale(higher_is_better=False)


def _observe(
    state: MeanState, rule: Rule, scale: BadnessScale, *, unit: str, candidate: bool, value: float
) -> None:
    """Add one value to the evidence against a mean that is worse than `limit` times the baseline's."""
    value = scale.clip(value)
    if candidate:
        state.waiting.append((unit, value))
        del state.waiting[:-MOST_WAITING]
    else:
        state.recent.add(value)
    if not state.waiting or not state.recent.is_known:
        return
    mean = scale.cautious_mean(state.recent)
    if mean is not None and mean > 0.0:
        allowed = scale.badness(rule.limit * mean, state.recent)
        for each, waited in state.waiting:
            _bet(state, each, scale.badness(waited, state.recent), allowed)
    state.waiting.clear()


def _bet(state: MeanState, unit: str, badness: float, allowed: float) -> None:
    """Add one candidate value to the evidence against a mean badness of at most `allowed`."""
    if allowed <= 0.0:
        return
    state.evidence.add(unit, betting_steps(badness, allowed))
    if badness > allowed and not state.convicted:
        state.convicted = state.evidence.convicts(MINIMUM_UNITS)


def _decided(
    rule: Rule,
    state: MeanState,
    now: float,
    *,
    over: bool,
    value: float | None,
    threshold: float | None,
    sentence: str,
    more: dict[str, float] | None = None,
) -> GuardrailStatus:
    outcomes, baseline_outcomes = state.candidate.count(now), state.baseline.count(now)
    counted = {"outcomes": float(outcomes), "baseline_outcomes": float(baseline_outcomes)}
    return decided(
        rule,
        enough=min(outcomes, baseline_outcomes) >= rule.minimum,
        over=over,
        convincing=state.evidence.pages(MINIMUM_UNITS),
        convicted=state.convicted,
        value=value,
        threshold=threshold,
        evidence=state.evidence.numbers() | counted | state.recent.numbers() | (more or {}),
        sentence=sentence,
        waits=_waits_for(rule, len(state.recent.values), outcomes, baseline_outcomes),
    )


def _waits_for(rule: Rule, known: int, outcomes: int, baseline_outcomes: int) -> Waits | None:
    least = max(rule.minimum, FEWEST_VALUES)
    if known < FEWEST_VALUES or baseline_outcomes < rule.minimum:
        return Waits(min(known, baseline_outcomes), least, "baseline values")
    if outcomes < rule.minimum:
        return Waits(outcomes, rule.minimum, "values of the candidate")
    return None


class CostRule:
    """The candidate's exchanges cost more than `limit` times the baseline's. Unpriced ones do not count."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.state = MeanState(candidate=Window(rule.window_s), baseline=Window(rule.window_s))

    def show(self, samples: Sequence[GuardrailSample]) -> None:
        """Add exchanges to the windows."""
        for window, candidate in ((self.state.candidate, True), (self.state.baseline, False)):
            window.add_all(
                [
                    (each.completed, each.cost_usd)
                    for each in samples
                    if each.candidate is candidate and each.cost_usd is not None
                ]
            )

    def score(self, sample: GuardrailSample) -> None:
        """Add one counted exchange to the evidence. Call in order of completion."""
        if sample.cost_usd is not None:
            unit, cost_usd = sample.unit, sample.cost_usd
            _observe(self.state, self.rule, COST, unit=unit, candidate=sample.candidate, value=cost_usd)

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        state = self.state
        mean_usd, baseline_usd = state.candidate.mean(now), state.baseline.mean(now)
        factor = mean_usd / baseline_usd if mean_usd is not None and baseline_usd else None
        return _decided(
            self.rule,
            state,
            now,
            over=factor is not None and factor > self.rule.limit,
            value=factor,
            threshold=self.rule.limit,
            sentence=f"candidate: {dollars(mean_usd)} per request"
            f" ({state.candidate.count(now)} with a known price);"
            f" baseline: {dollars(baseline_usd)} (limit {self.rule.limit:g}× the baseline)",
        )


class ValueMeanRule:
    """The candidate's mean of a metric is worse than `limit` times the baseline's. Only a unit's first value
    counts. `of` says who has given the values."""

    def __init__(self, rule: Rule, metric: Metric, *, of: str = "raters") -> None:
        self.rule = rule
        self.of = of
        self.scale = BadnessScale(higher_is_better=metric.higher_is_better, low=metric.low, high=metric.high)
        self.state = MeanState(candidate=Window(rule.window_s), baseline=Window(rule.window_s))

    def observe_feedback(self, *, unit: str, candidate: bool, share: float, value: float, at: float) -> None:
        """Add one value on the metric's scale. A unit's later values are ignored."""
        state = self.state
        if unit in state.raters:
            return
        state.raters[unit] = candidate
        if len(state.raters) > RATERS:
            del state.raters[next(iter(state.raters))]
        (state.candidate if candidate else state.baseline).add(at, value)
        _observe(state, self.rule, self.scale, unit=unit, candidate=candidate, value=value)

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        state = self.state
        mean, baseline_mean = state.candidate.mean(now), state.baseline.mean(now)
        bound = self.rule.limit * baseline_mean if baseline_mean is not None else None
        return _decided(
            self.rule,
            state,
            now,
            over=mean is not None and bound is not None and self._is_worse(mean, bound),
            value=mean,
            threshold=bound,
            more=({} if baseline_mean is None else {"baseline_mean": baseline_mean})
            | {"higher_is_better": float(self.scale.higher_is_better)},
            sentence=f"candidate: {self.rule.rule} {decimal(mean)}"
            f" from {state.candidate.count(now)} {self.of};"
            f" baseline: {decimal(baseline_mean)} from {state.baseline.count(now)}"
            f" (limit {100 * self.rule.limit:g} % of the baseline)",
        )

    def _is_worse(self, mean: float, bound: float) -> bool:
        return mean < bound if self.scale.higher_is_better else mean > bound
