"""`error_rate` and `latency_p95`: too large a share of the candidate's outcomes is bad (failed, or too slow).

The limit follows the baseline, max(limit, 1.5 × the baseline's share), so a provider's bad minutes do not
count against the candidate. Candidate outcomes wait for 20 baseline outcomes of the past ten minutes; after
ten minutes they are scored at the plain limit. Without the wait, a baseline that recovers first would cause
a rollback.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from alerts.baseline import REACH_S, RecentShare
from alerts.evidence import MINIMUM_UNITS, PAGE_CUSUM, Evidence, absolute_steps
from alerts.rule import Rule
from alerts.selection import GuardrailSample
from alerts.status import GuardrailStatus, RuleFinding, weigh
from alerts.windows import Window
from alerts.wording import percent, seconds

SLOW_SHARE = 0.05
"""A p95 is over its limit exactly when more than 5 % of the exchanges are slower than the limit."""
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
    """The common part of both rules.

    `bad` judges a sample (None: unknown). `limit` is a share in (0, 1). `least_units` distinct units must
    have had a bad outcome before the rule pages or rolls back.
    """

    def __init__(
        self,
        rule: Rule,
        *,
        limit: float,
        bad: Callable[[GuardrailSample], bool | None],
        least_units: int,
        binned: bool = False,
    ) -> None:
        self.rule = rule
        self.limit = limit
        self.bad = bad
        self.least_units = least_units
        self.state = AbsoluteState(
            candidate=Window(rule.window_s, binned), baseline=Window(rule.window_s, binned)
        )

    @property
    def evidence(self) -> Evidence:
        """The evidence against the candidate."""
        return self.state.evidence

    @property
    def convicted(self) -> bool:
        """True once the evidence was enough to roll back."""
        return self.state.convicted

    def show(self, sample: GuardrailSample) -> None:
        """Add one exchange to the windows."""
        bad = self.bad(sample)
        if bad is None:
            return
        state = self.state
        if not sample.candidate:
            state.baseline.add(sample.completed, sample.latency_s or 0.0, over=bad)
            return
        state.candidate.add(sample.completed, sample.latency_s or 0.0, over=bad)
        if len(state.units) < self.rule.minimum and sample.unit not in state.units:
            state.units.append(sample.unit)

    def score(self, sample: GuardrailSample) -> None:
        """Add one counted exchange to the evidence. Call in order of completion."""
        bad = self.bad(sample)
        if bad is None:
            return
        if sample.candidate:
            self.state.waiting.append(sample)
        else:
            self.state.recent.add(sample.completed, bad)
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
        if not self.bad(sample):
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


class ErrorRate(AbsoluteRule):
    """More than `limit` of the candidate's outcomes fail. `minimum` counts units."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule, limit=rule.limit, bad=lambda s: s.failed, least_units=rule.minimum)

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


class LatencyP95(AbsoluteRule):
    """The candidate's p95 latency is over `limit` seconds, and the baseline's is not.

    `minimum` counts exchanges. While the baseline itself is too slow, the rule does not apply and scores
    nothing.
    """

    def __init__(self, rule: Rule) -> None:
        def slow(sample: GuardrailSample) -> bool | None:
            return None if sample.latency_s is None else sample.latency_s > rule.limit

        super().__init__(rule, limit=SLOW_SHARE, bad=slow, least_units=MINIMUM_UNITS, binned=True)

    def adapted(self, baseline_share: float) -> float:
        """The limit; 1.0, which nothing exceeds, while the baseline's p95 is over it."""
        return 1.0 if baseline_share >= SLOW_SHARE else super().adapted(baseline_share)

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        self.settle(now)
        state = self.state
        baseline_slow = state.baseline.share_over(now)
        found = RuleFinding(
            applicable=baseline_slow is None or baseline_slow <= SLOW_SHARE,
            enough=state.candidate.count(now) >= self.rule.minimum,
            over=(state.candidate.share_over(now) or 0.0) > SLOW_SHARE,
            convincing=state.evidence.pages(self.least_units),
            convicted=state.convicted,
        )
        verdict, action = weigh(self.rule, found)
        p95_s, baseline_p95_s = state.candidate.quantile(0.95, now), state.baseline.quantile(0.95, now)
        return GuardrailStatus(
            rule=self.rule.rule,
            state=verdict,
            action=action,
            value=p95_s,
            threshold=self.rule.limit,
            evidence=self.numbers(now),
            sentence=f"candidate: p95 latency {seconds(p95_s)} over {state.candidate.count(now)} exchanges"
            f" (limit {seconds(self.rule.limit)}); baseline: {seconds(baseline_p95_s)}",
            category=self.rule.category,
            segment=self.rule.segment,
        )
