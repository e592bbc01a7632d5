"""Events of a metric per exchange, session or user: whose they are, and how much they are worth.

With the candidate's share w, the arms' means c and b, the rule's limit f on c / b, and an event of worth x in
(0, 1]:

    lower is better    bets on    x · ((1 − w) of the candidate's, −w·f of the baseline's)
    higher is better   bets on    x · (w·f of the baseline's, −(1 − w) of the candidate's)

Both have a mean of at most 0 while the candidate is within its limit, so a bet on them gains nothing. Nobody
sends "no event", and the units without one need not be counted: the hash gives each arm its share of them.
"""

import math
from dataclasses import dataclass, field
from heapq import nlargest

from alerts.evidence.exchanges import FEWEST_VALUES, RecentMean
from alerts.evidence.statistics import MINIMUM_UNITS, PAGE_CUSUM, Evidence, Steps, Window
from alerts.rules.relative import DAY_S, KEPT
from alerts.rules.rule import GuardrailStatus, Rule, Waits, decided
from common.numbers import times
from records.facts.metric import Metric

CAUTIOUS, BOLD = (0.1, 0.3, 0.6), (0.2, 0.5, 0.9)
"""Parts of the stake, where the candidate may have too many events, and where it may have too few."""


@dataclass(slots=True)
class WorthState:
    """The events' worth, each over its arm's share of the units; the baseline's, which say what an event is
    worth at most; and when each unit last counted. JSON-able."""

    candidate: Window
    baseline: Window
    evidence: Evidence = field(default_factory=Evidence)
    recent: RecentMean = field(default_factory=RecentMean)
    counted_at: dict[str, float] = field(default_factory=dict)
    convicted: bool = False


def worth_steps(*, worth: float, candidate: bool, share: float, limit: float, higher: bool) -> Steps:
    """Steps of an event of `worth` in [0, 1] against the null "c is within `limit` of b" (above)."""
    if higher:
        gain = -1.0 if candidate else share * limit / (1.0 - share)
        bets = BOLD
    else:
        gain = (1.0 - share) / (share * limit) if candidate else -1.0
        bets = CAUTIOUS
    one, two, three = (math.log1p(bet * gain * worth) for bet in bets)
    return one, two, three


class EventWorthRule:
    """The candidate's units have the event less often or more often than `limit` times the baseline's, or for
    less or more in sum, whichever is worse. A unit's first event in 24 hours counts.

    `minimum` counts units with the event, in both arms. Amounts count from the baseline's 30th on, each up to
    the largest of the baseline.
    """

    def __init__(self, rule: Rule, metric: Metric) -> None:
        self.rule = rule
        self.higher = metric.higher_is_better
        self.is_share = metric.kind == "bool"
        self.state = WorthState(candidate=Window(rule.window_s), baseline=Window(rule.window_s))

    def observe_feedback(self, *, unit: str, candidate: bool, share: float, value: float, at: float) -> None:
        """Add one value. One of 0 says that nothing happened, and nothing counts below it."""
        state, last = self.state, self.state.counted_at.get(unit)
        if not (value > 0.0 and 0.0 < share < 1.0) or (last is not None and at - last < DAY_S):
            return
        self._note(unit, at)
        arm, of_units = (state.candidate, share) if candidate else (state.baseline, 1.0 - share)
        arm.add(at, value / of_units)
        worth = self._worth(value)
        if not candidate:
            state.recent.add(value)
        if worth is None:
            return
        steps = worth_steps(
            worth=worth, candidate=candidate, share=share, limit=self.rule.limit, higher=self.higher
        )
        state.evidence.add(unit, steps, mixture=last is None)
        if steps[0] > 0.0 and not state.convicted:
            state.convicted = state.evidence.convicts(MINIMUM_UNITS)

    def _note(self, unit: str, at: float) -> None:
        state = self.state
        state.counted_at[unit] = at
        if len(state.counted_at) > 2 * KEPT:
            state.counted_at = dict(nlargest(KEPT, state.counted_at.items(), key=lambda item: item[1]))

    def _worth(self, value: float) -> float | None:
        """The value as a part of the most that one may be worth; None while that is not known."""
        if self.is_share:
            return 1.0
        recent = self.state.recent
        return min(1.0, value / recent.largest) if recent.is_known else None

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        state, evidence = self.state, self.state.evidence
        mine, theirs = state.candidate.count(now), state.baseline.count(now)
        ratio = _ratio(state.candidate, state.baseline, now)
        beyond = ratio is None or (ratio < self.rule.limit if self.higher else ratio > self.rule.limit)
        return decided(
            self.rule,
            enough=mine + theirs >= self.rule.minimum and self._knows,
            over=(beyond and evidence.mixture > 0.0) or evidence.cusum >= PAGE_CUSUM,
            convincing=evidence.pages(MINIMUM_UNITS),
            convicted=state.convicted,
            value=ratio,
            threshold=self.rule.limit,
            evidence=evidence.numbers() | self._counted(mine, theirs),
            sentence=self._sentence(mine, theirs, ratio),
            waits=self._waits_for(mine + theirs),
        )

    @property
    def _knows(self) -> bool:
        return self.is_share or self.state.recent.is_known

    def _counted(self, mine: int, theirs: int) -> dict[str, float]:
        return {
            "events": float(mine),
            "baseline_events": float(theirs),
            "higher_is_better": float(self.higher),
        } | ({} if self.is_share else self.state.recent.numbers())

    def _sentence(self, mine: int, theirs: int, ratio: float | None) -> str:
        what = "as often" if self.is_share else "as much in sum"
        shown = "" if ratio is None else f", {times(ratio)} {what}"
        least = "at least" if self.higher else "limit"
        return (
            f"users with {self.rule.rule}: {mine} of the candidate, {theirs} of the baseline{shown}"
            f" ({least} {times(self.rule.limit)})"
        )

    def _waits_for(self, events: int) -> Waits | None:
        if not self._knows:
            return Waits(len(self.state.recent.values), FEWEST_VALUES, "baseline values")
        if events < self.rule.minimum:
            return Waits(events, self.rule.minimum, f"users with {self.rule.rule}")
        return None


def _ratio(candidate: Window, baseline: Window, now: float) -> float | None:
    """The candidate's worth for each of its units over the baseline's; None without any of the baseline."""
    theirs = (baseline.mean(now) or 0.0) * baseline.count(now)
    return (candidate.mean(now) or 0.0) * candidate.count(now) / theirs if theirs else None
