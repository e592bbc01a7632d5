"""`error_rate` and `latency_p95`: is too large a share of the candidate's outcomes bad (failed, or too slow)?

The limit on the share follows the baseline: max(limit, 1.5 × the baseline's own share), so that a provider's
bad minutes are not the candidate's. Candidate outcomes wait for 20 baseline outcomes of the past ten minutes,
and after ten minutes of waiting are scored at the plain limit. A look at the baseline's last minutes alone
would not do: it rolls back when the baseline recovers first.
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
"""A p95 is over its limit exactly when more than 5 % are slower than it."""
TOO_HIGH = 0.5
WAITING = 5_000


@dataclass(slots=True)
class AbsoluteState:
    """Everything that an absolute rule remembers, JSON-able."""

    candidate: Window
    baseline: Window
    evidence: Evidence = field(default_factory=Evidence)
    recent: RecentShare = field(default_factory=RecentShare)
    waiting: list[GuardrailSample] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    convicted: bool = False


class AbsoluteRule:
    """The machinery both rules share.

    `bad` reads a sample (None: it says nothing), `limit` is a share in (0, 1), `least_units` how many
    distinct units must have been bad before anything is said aloud.
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
        """What speaks against the candidate."""
        return self.state.evidence

    @property
    def convicted(self) -> bool:
        """True once that was enough to roll back."""
        return self.state.convicted

    def seen(self, sample: GuardrailSample) -> None:
        """Show one exchange in the windows."""
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
        """Let one counted exchange speak, in order of completion."""
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
        """Score the candidate outcomes that wait no longer, oldest first."""
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
        alone = sample.share >= 1.0  # everybody is on the candidate: no baseline will come
        return self.limit if alone or crowded or now - sample.completed >= REACH_S else None

    def adapted(self, baseline_share: float) -> float:
        """The limit beside a baseline that fails this much itself."""
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
        """The figures behind the judgement."""
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
    """More than `limit` of the candidate's outcomes fail. Its minimum counts units."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule, limit=rule.limit, bad=lambda s: s.failed, least_units=rule.minimum)

    def status(self, now: float) -> GuardrailStatus:
        """The rule's judgement at monotonic `now`."""
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

    Its minimum counts exchanges. While the baseline is too slow itself, the rule does not apply and nothing
    is scored.
    """

    def __init__(self, rule: Rule) -> None:
        def slow(sample: GuardrailSample) -> bool | None:
            return None if sample.latency_s is None else sample.latency_s > rule.limit

        super().__init__(rule, limit=SLOW_SHARE, bad=slow, least_units=MINIMUM_UNITS, binned=True)

    def adapted(self, baseline_share: float) -> float:
        """The same, but out of reach while the baseline's own p95 is over the limit."""
        return 1.0 if baseline_share >= SLOW_SHARE else super().adapted(baseline_share)

    def status(self, now: float) -> GuardrailStatus:
        """The rule's judgement at monotonic `now`."""
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
