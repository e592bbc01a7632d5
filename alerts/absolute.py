"""`error_rate`, and what it has in common with the latency rules: too large a share of outcomes is bad.

The limit follows the baseline, max(limit, 1.5 × the baseline's share), so a provider's bad minutes do not
count against the candidate. Candidate outcomes wait for 20 baseline outcomes of the past ten minutes; after
ten minutes they are scored at the plain limit. Without the wait, a baseline that recovers first would cause
a rollback.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from alerts.baseline import REACH_S, RecentShare
from alerts.evidence import PAGE_CUSUM, Evidence, absolute_steps
from alerts.rule import Rule
from alerts.selection import GuardrailSample
from alerts.status import GuardrailStatus, RuleFinding, weigh
from alerts.windows import Window
from alerts.wording import percent

TOO_HIGH = 0.5
WAITING = 5_000


@dataclass(slots=True)
class AbsoluteState:
    """The state of an absolute rule, JSON-able."""

    candidate: Window
    baseline: Window
    evidence: Evidence = field(default_factory=Evidence)
    recent: RecentShare = field(default_factory=RecentShare)
    waiting: list[GuardrailSample] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    convicted: bool = False


class AbsoluteRule:
    """The common part. A sample's `failed` says whether it is bad.

    `limit` is a share in (0, 1). `least_units` distinct units must have had a bad outcome before the rule
    pages or rolls back.
    """

    def __init__(self, rule: Rule, state: AbsoluteState, *, limit: float, least_units: int) -> None:
        self.rule = rule
        self.limit = limit
        self.least_units = least_units
        self.state = state

    @property
    def evidence(self) -> Evidence:
        """The evidence against the candidate."""
        return self.state.evidence

    @property
    def convicted(self) -> bool:
        """True once the evidence was enough to roll back."""
        return self.state.convicted

    def add_shown(self, samples: Sequence[GuardrailSample]) -> None:
        """Add exchanges to the windows."""
        state = self.state
        candidates = [each for each in samples if each.candidate]
        _show(state.candidate, candidates)
        _show(state.baseline, [each for each in samples if not each.candidate])
        for each in candidates:
            if len(state.units) < self.rule.minimum and each.unit not in state.units:
                state.units.append(each.unit)

    def add_counted(self, sample: GuardrailSample) -> None:
        """Add one counted exchange to the evidence. Call in order of completion."""
        if sample.candidate:
            self.state.waiting.append(sample)
        else:
            self.state.recent.add(sample.completed, sample.failed)
        if self.state.waiting:
            self.settle(sample.completed)

    def settle(self, now: float) -> None:
        """Score the candidate outcomes whose wait is over, oldest first."""
        waiting = self.state.waiting
        scored = 0
        for sample in waiting:
            limit = self._limit_for(sample, now, crowded=len(waiting) - scored > WAITING)
            if limit is None:
                break
            scored += 1
            self._observe(sample, limit)
        del waiting[:scored]

    def _limit_for(self, sample: GuardrailSample, now: float, *, crowded: bool) -> float | None:
        share = self.state.recent.share(now)
        if share is not None:
            return self.adapted(share)
        alone = sample.share >= 1.0  # all users are on the candidate: there is no baseline
        return self.limit if alone or crowded or now - sample.completed >= REACH_S else None

    def adapted(self, baseline_share: float) -> float:
        """The limit, given the baseline's own bad share."""
        return max(self.limit, 1.5 * baseline_share)

    def _observe(self, sample: GuardrailSample, limit: float) -> None:
        if limit >= TOO_HIGH:
            return
        failure, success = absolute_steps(limit)
        evidence = self.state.evidence
        if not sample.failed:
            evidence.add(sample.unit, success)
            return
        evidence.add(sample.unit, failure)
        if not self.state.convicted:
            self.state.convicted = evidence.convicts(self.least_units)

    def numbers(self, now: float) -> dict[str, float]:
        """The figures behind the status."""
        state = self.state
        shown = {
            "outcomes": float(state.candidate.count(now)),
            "bad": float(state.candidate.over(now)),
            "baseline_outcomes": float(state.baseline.count(now)),
            "baseline_bad": float(state.baseline.over(now)),
            "waiting": float(len(state.waiting)),
        }
        share = state.recent.share(now)
        if share is not None:
            shown["baseline_recent_share"] = share
            shown["limit_now"] = self.adapted(share)
        return state.evidence.numbers() | shown


def _show(window: Window, samples: Sequence[GuardrailSample]) -> None:
    for bad in (False, True):
        window.add_all(
            [(each.completed, each.latency_s or 0.0) for each in samples if each.failed is bad], over=bad
        )


class ErrorRate(AbsoluteRule):
    """More than `limit` of the candidate's outcomes fail. `minimum` counts units."""

    def __init__(self, rule: Rule) -> None:
        state = AbsoluteState(candidate=Window(rule.window_s), baseline=Window(rule.window_s))
        super().__init__(rule, state, limit=rule.limit, least_units=rule.minimum)

    def show(self, samples: Sequence[GuardrailSample]) -> None:
        """Add exchanges to the windows."""
        self.add_shown(samples)

    def score(self, sample: GuardrailSample) -> None:
        """Add one counted exchange to the evidence. Call in order of completion."""
        self.add_counted(sample)

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        self.settle(now)
        state = self.state
        value = state.candidate.share_over(now)
        found = RuleFinding(
            applicable=self.limit < TOO_HIGH,
            enough=value is not None and len(state.units) >= self.rule.minimum,
            over=value is not None and (value > self.limit or state.evidence.cusum >= PAGE_CUSUM),
            convincing=state.evidence.pages(self.least_units),
            convicted=state.convicted,
        )
        verdict, action = weigh(self.rule, found)
        return GuardrailStatus(
            rule=self.rule.rule,
            state=verdict,
            action=action,
            value=value,
            threshold=self.limit,
            evidence=self.numbers(now),
            sentence=self._sentence(now),
            category=self.rule.category,
            segment=self.rule.segment,
        )

    def _sentence(self, now: float) -> str:
        candidate, baseline = self.state.candidate, self.state.baseline
        return (
            f"candidate: {candidate.over(now)} of {candidate.count(now)} outcomes failed"
            f" ({percent(candidate.share_over(now))}, limit {percent(self.limit)});"
            f" baseline: {baseline.over(now)} of {baseline.count(now)} ({percent(baseline.share_over(now))})"
        )
