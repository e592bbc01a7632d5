"""`cost_per_request`, `csat`, `thumbs`: the candidate's mean is worse than the baseline's, tested by betting.

Each value becomes a badness ≥ 0. The null is that the candidate's mean badness is at most m, the rule's limit
applied to the mean of the baseline's last 2,000 values. Betting starts when the baseline has 200 values.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from alerts.evidence.exchanges import GuardrailSample, RecentMean
from alerts.evidence.statistics import MINIMUM_UNITS, Evidence, Window, betting_steps
from alerts.rules.rule import GuardrailStatus, Rule, decided
from common.numbers import decimal, dollars

RATERS = 50_000


@dataclass(slots=True)
class MeanState:
    """Both arms' values, the evidence, and (for ratings) the units that have rated, JSON-able."""

    candidate: Window
    baseline: Window
    evidence: Evidence = field(default_factory=Evidence)
    recent: RecentMean = field(default_factory=RecentMean)
    raters: dict[str, bool] = field(default_factory=dict)
    convicted: bool = False


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
        evidence=state.evidence.numbers() | counted | (more or {}),
        sentence=sentence,
    )


class CostPerRequest:
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
        if sample.cost_usd is None:
            return
        state = self.state
        if not sample.candidate:
            state.recent.add(sample.cost_usd)
            return
        mean_usd = state.recent.mean
        if mean_usd is not None:
            _bet(state, sample.unit, sample.cost_usd, self.rule.limit * mean_usd)

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


class Rating:
    """Users rate the candidate below `limit` times the baseline's mean. Only a unit's first rating counts.

    `worst` and `best` are the ends of the metric's scale.
    """

    def __init__(self, rule: Rule, *, worst: float, best: float) -> None:
        self.rule = rule
        self.worst = worst
        self.best = best
        self.state = MeanState(candidate=Window(rule.window_s), baseline=Window(rule.window_s))

    def observe_feedback(self, *, unit: str, candidate: bool, share: float, value: float, at: float) -> None:
        """Add one rating on the metric's scale. A unit's later ratings are ignored."""
        state = self.state
        if unit in state.raters:
            return
        state.raters[unit] = candidate
        if len(state.raters) > RATERS:
            del state.raters[next(iter(state.raters))]
        (state.candidate if candidate else state.baseline).add(at, value)
        if not candidate:
            state.recent.add(value)
            return
        mean = state.recent.mean
        if mean is not None:
            _bet(state, unit, self._badness(value), self._badness(self.rule.limit * mean))

    def _badness(self, rating: float) -> float:
        return (self.best - rating) / (self.best - self.worst)

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        state = self.state
        mean, baseline_mean = state.candidate.mean(now), state.baseline.mean(now)
        bound = self.rule.limit * baseline_mean if baseline_mean is not None else None
        return _decided(
            self.rule,
            state,
            now,
            over=mean is not None and bound is not None and mean < bound,
            value=mean,
            threshold=bound,
            more={} if baseline_mean is None else {"baseline_mean": baseline_mean},
            sentence=f"candidate: {self.rule.rule} {decimal(mean)} from {state.candidate.count(now)} raters;"
            f" baseline: {decimal(baseline_mean)} from {state.baseline.count(now)}"
            f" (limit {100 * self.rule.limit:g} % of the baseline)",
        )
