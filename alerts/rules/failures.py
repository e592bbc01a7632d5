"""Rules about failures: `error_rate`, `outage` of the baseline itself, and `telemetry` without outcomes.

`error_rate` shares with the latency rules that too large a share of outcomes is bad. The limit follows the
baseline, max(limit, 1.5 × the baseline's share), so a provider's bad minutes do not count against the
candidate. Candidate outcomes wait for 20 baseline outcomes of the past ten minutes; after ten minutes they
are scored at the plain limit. Without the wait, a baseline that recovers first would cause a rollback.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from alerts.evidence.counts import CountStart, HarmedUsers, RuleCounts, figures_since
from alerts.evidence.exchanges import FEWEST, REACH_S, GuardrailSample, RecentShare
from alerts.evidence.statistics import MINIMUM_UNITS, PAGE_CUSUM, Evidence, Window, absolute_steps
from alerts.rules.rule import GuardrailStatus, Rule, decided
from common.numbers import percent

TOO_HIGH = 0.5
WAITING = 5_000
CLOSE_SHARE = 0.1
"""Above this share of the candidate, an outage of both arms could convict it before the baseline shows it."""
LATER, LATER_EARLY = 3, 2
"""Of the baseline's outcomes, so many are awaited after one of the candidate."""
QUIET_S = 3.0
EARLY, FEWEST_EARLY = 8.0, 4
"""The baseline's outcomes that usually come with so many of the candidate are enough, if they are four."""


@dataclass(slots=True)
class AwaitedOutcomes:
    """The baseline's recent outcomes, and the candidate's that wait for them, JSON-able.

    `heard_at` is the monotonic time of the first look, with outcomes waiting, after the baseline's newest
    one; `fresh`: that look is still to come.
    """

    recent: RecentShare = field(default_factory=RecentShare)
    waiting: list[GuardrailSample] = field(default_factory=list)
    heard_at: float = 0.0
    fresh: bool = True

    def add(self, sample: GuardrailSample) -> None:
        """Add one counted exchange. Call in order of completion."""
        if sample.candidate:
            self.waiting.append(sample)
        else:
            self.recent.add(sample.completed, sample.failed)
            self.fresh = True

    def look(self, now: float) -> None:
        """Note that monotonic `now` is the present, while outcomes may be added late."""
        if self.fresh and self.waiting:
            self.heard_at, self.fresh = now, False

    def settled(
        self, now: float, limit: float, adapted: Callable[[float], float], *, early: bool = False
    ) -> list[tuple[GuardrailSample, float]]:
        """Remove the candidate's outcomes whose wait is over, oldest first, each with the limit for it:
        `limit`, or what `adapted` makes of the baseline's share. `early`: where the candidate has a large
        share, fewer than 20 of the baseline's outcomes are enough."""
        found: list[tuple[GuardrailSample, float]] = []
        for sample in self.waiting:
            share = self._baseline_share(sample, now, early=early)
            alone = sample.share >= 1.0  # all users are on the candidate: there is no baseline
            crowded = len(self.waiting) - len(found) > WAITING
            if share is None and not (alone or crowded or now - sample.completed >= REACH_S):
                break
            found.append((sample, limit if share is None else adapted(share)))
        del self.waiting[: len(found)]
        return found

    def _baseline_share(self, sample: GuardrailSample, now: float, *, early: bool) -> float | None:
        """The baseline's bad share to judge this outcome by; None while it is unknown.

        Where the candidate has a large share, an outage of both arms reaches it before the baseline's last
        50 outcomes show it, so an outcome waits for some of the baseline's after it, while any come."""
        if sample.share <= CLOSE_SHARE:
            return self.recent.share(now)
        later = LATER_EARLY if early else LATER
        if not self.recent.later_than(sample.completed, later) and not self._quiet(now, later):
            return None
        usual = math.ceil(EARLY * (1.0 - sample.share) / sample.share)
        fewest = min(FEWEST, max(FEWEST_EARLY, usual)) if early else FEWEST
        return self.recent.cautious_share(now, fewest=fewest)

    def _quiet(self, now: float, later: int) -> bool:
        """True when the baseline has had no outcome for much longer than so many usually take."""
        last = self.recent.last
        gap_s = (last[-1][0] - last[0][0]) / (len(last) - 1) if len(last) > 1 else REACH_S
        return not self.fresh and now - self.heard_at >= max(QUIET_S, 4.0 * later * gap_s)


@dataclass(slots=True)
class AbsoluteState:
    """The state of an absolute rule, JSON-able. `risen_at`: when the exchange ended with which the evidence
    began to grow, monotonic; None without evidence."""

    candidate: Window
    baseline: Window
    evidence: Evidence = field(default_factory=Evidence)
    awaited: AwaitedOutcomes = field(default_factory=AwaitedOutcomes)
    units: list[str] = field(default_factory=list)
    convicted: bool = False
    risen_at: float | None = None
    harmed: HarmedUsers = field(default_factory=HarmedUsers)


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
        self.start: CountStart | None = None

    def show(self, samples: Sequence[GuardrailSample]) -> None:
        """Add exchanges to the windows."""
        state = self.state
        candidates = [each for each in samples if each.candidate]
        _show(state.candidate, candidates)
        _show(state.baseline, [each for each in samples if not each.candidate])
        for each in candidates:
            if each.failed:
                state.harmed.add(each.unit)
            if len(state.units) < self.rule.minimum and each.unit not in state.units:
                state.units.append(each.unit)

    def counts(self) -> RuleCounts:
        """What it has counted in the run."""
        candidate, baseline = self.state.candidate, self.state.baseline
        return RuleCounts(candidate.ever, candidate.ever_over, baseline.ever, baseline.ever_over)

    def count_from(self, start: CountStart | None) -> None:
        """Say from now on what was counted since this start; None: in the rule's window."""
        self.start = start

    def score(self, sample: GuardrailSample) -> None:
        """Add one counted exchange to the evidence. Call in order of completion."""
        self.state.awaited.add(sample)
        self.settle(sample.completed)

    def look(self, now: float) -> None:
        """Score the candidate outcomes whose wait is over at the present, monotonic `now`."""
        self.state.awaited.look(now)
        self.settle(now)

    def settle(self, now: float) -> None:
        """Score the candidate outcomes whose wait is over, oldest first."""
        if self.state.awaited.waiting:
            for sample, limit in self.state.awaited.settled(now, self.limit, self.adapted):
                self._observe(sample, limit)

    def adapted(self, baseline_share: float) -> float:
        """The limit, given the baseline's own bad share."""
        return max(self.limit, 1.5 * baseline_share)

    def _observe(self, sample: GuardrailSample, limit: float) -> None:
        if limit >= TOO_HIGH:
            return
        failure, success = absolute_steps(limit)
        state, evidence = self.state, self.state.evidence
        evidence.add(sample.unit, failure if sample.failed else success)
        if evidence.cusum <= 0.0:
            state.risen_at = None
        elif state.risen_at is None:
            state.risen_at = sample.completed
        if sample.failed and not state.convicted:
            state.convicted = evidence.convicts(self.least_units)

    def numbers(self, now: float) -> dict[str, float]:
        """The figures behind the status."""
        state = self.state
        shown = {
            "outcomes": float(state.candidate.count(now)),
            "bad": float(state.candidate.over(now)),
            "baseline_outcomes": float(state.baseline.count(now)),
            "baseline_bad": float(state.baseline.over(now)),
            "waiting": float(len(state.awaited.waiting)),
        }
        share = state.awaited.recent.share(now)
        if share is not None:
            shown["baseline_recent_share"] = share
            shown["limit_now"] = self.adapted(share)
        counted = state.evidence.numbers()
        new = {each.unit for each in state.awaited.waiting if each.failed} - state.evidence.units.keys()
        users = {each: counted[each] + len(new) for each in ("adverse_units", "adverse_units_since")}
        since = figures_since(self.start, self.counts(), state.harmed) if self.start is not None else {}
        return counted | shown | users | since

    @property
    def since(self) -> str:
        """` since 16:58 UTC` where an incident is counted from then; "" for the rule's window."""
        return f" {self.start.words}" if self.start is not None else ""


def share_of(numbers: Mapping[str, float], arm: str = "") -> float | None:
    """The bad share of the outcomes among a rule's figures; of the baseline's with `arm` "baseline_"."""
    outcomes = numbers[f"{arm}outcomes"]
    return numbers[f"{arm}bad"] / outcomes if outcomes else None


def bad_of(numbers: Mapping[str, float], arm: str = "") -> str:
    """`12 of 15` among a rule's figures; of the baseline's with `arm` "baseline_"."""
    return f"{numbers[f'{arm}bad']:.0f} of {numbers[f'{arm}outcomes']:.0f}"


def _show(window: Window, samples: Sequence[GuardrailSample]) -> None:
    for bad in (False, True):
        window.add_all(
            [(each.completed, each.latency_s or 0.0) for each in samples if each.failed is bad], over=bad
        )


class ErrorRateRule(AbsoluteRule):
    """More than `limit` of the candidate's outcomes fail. `minimum` counts units."""

    def __init__(self, rule: Rule) -> None:
        state = AbsoluteState(candidate=Window(rule.window_s), baseline=Window(rule.window_s))
        super().__init__(rule, state, limit=rule.limit, least_units=rule.minimum)

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        self.look(now)
        state = self.state
        value, numbers = state.candidate.share_over(now), self.numbers(now)
        return decided(
            self.rule,
            applicable=self.limit < TOO_HIGH,
            enough=value is not None and len(state.units) >= self.rule.minimum,
            over=value is not None and (value > self.limit or state.evidence.cusum >= PAGE_CUSUM),
            convincing=state.evidence.pages(self.least_units),
            convicted=state.convicted,
            value=share_of(numbers),
            threshold=self.limit,
            evidence=numbers,
            sentence=f"candidate: {bad_of(numbers)} outcomes failed{self.since}"
            f" ({percent(share_of(numbers))}, limit {percent(self.limit)});"
            f" baseline: {bad_of(numbers, 'baseline_')} ({percent(share_of(numbers, 'baseline_'))})",
        )


@dataclass(slots=True)
class OutageState:
    """The baseline's recent outcomes and the evidence of an outage, JSON-able; its outcomes in the run, and
    `risen_at` as in `AbsoluteState`."""

    recent: RecentShare = field(default_factory=RecentShare)
    evidence: Evidence = field(default_factory=Evidence)
    outcomes: int = 0
    harmed: HarmedUsers = field(default_factory=HarmedUsers)
    risen_at: float | None = None


class OutageRule:
    """Watches the baseline of an `error_rate` rule, at that rule's limit. `alone`: without a candidate."""

    def __init__(self, rule: Rule, *, alone: bool = False) -> None:
        self.rule, self._alone = rule, alone
        self.state = OutageState()
        self.start: CountStart | None = None

    def show(self, samples: Sequence[GuardrailSample]) -> None:
        """Count the baseline's exchanges."""
        for each in samples:
            if not each.candidate:
                self.state.outcomes += 1
                if each.failed:
                    self.state.harmed.add(each.unit)

    def counts(self) -> RuleCounts:
        """The baseline's outcomes of the run, which are those that this rule is about."""
        return RuleCounts(self.state.outcomes, self.state.harmed.bad)

    def count_from(self, start: CountStart | None) -> None:
        """Say from now on what was counted since this start; None: the last 50."""
        self.start = start

    def score(self, sample: GuardrailSample) -> None:
        """Add one counted baseline exchange to the evidence."""
        if sample.candidate or self.rule.limit >= 1.0:
            return
        state = self.state
        state.recent.add(sample.completed, sample.failed)
        failure, success = absolute_steps(self.rule.limit)
        state.evidence.add(sample.unit, failure if sample.failed else success, mixture=False)
        if not sample.failed and max(state.evidence.running) > PAGE_CUSUM:
            self._restart_after_outage(sample.completed)
        if state.evidence.cusum <= 0.0:
            state.risen_at = None
        elif state.risen_at is None:
            state.risen_at = sample.completed

    def _restart_after_outage(self, now: float) -> None:
        """Drop the evidence of an outage that has ended, or the next stray failure would look like one."""
        share = self.state.recent.share(now)
        if share is not None and share <= self.rule.limit:
            self.state.evidence = Evidence()

    def _numbers(self) -> dict[str, float]:
        state = self.state
        found = {
            "ln_cusum": state.evidence.cusum,
            "outcomes": float(len(state.recent.last)),
            "bad": float(state.recent.bad),
            "adverse_units": float(state.evidence.adverse_units_since),
        }
        return found if self.start is None else found | figures_since(self.start, self.counts(), state.harmed)

    def _convinces(self, evidence: Evidence) -> bool:
        needed = PAGE_CUSUM + math.log(self.rule.parts)
        return evidence.cusum >= needed and evidence.adverse_units_since >= MINIMUM_UNITS

    def status(self, now: float) -> GuardrailStatus:
        """The status at monotonic `now`."""
        share = self.state.recent.share(now)
        evidence, numbers = self.state.evidence, self._numbers()
        limit = percent(self.rule.limit)
        sentence = f"baseline: {percent(share)} of recent outcomes failed (limit {limit})"
        if self.start is not None:
            known = f"{percent(share_of(numbers))}, limit {limit}"
            sentence = f"baseline: {bad_of(numbers)} outcomes failed {self.start.words} ({known})"
        status = decided(
            self.rule,
            enough=share is not None,
            over=share is not None and share > self.rule.limit,
            convincing=self._convinces(evidence),
            value=share if self.start is None else share_of(numbers),
            threshold=self.rule.limit,
            evidence=numbers,
            sentence=sentence,
        )
        if self._alone:
            return replace(status, rule="outage")
        if status.state == "firing":
            said = f"{status.sentence}; the candidate got none of these requests, and the ramp holds"
            status = replace(status, sentence=said)
        return replace(status, rule="outage", action="hold" if status.action == "page" else status.action)


@dataclass(slots=True)
class TelemetryState:
    """Monotonic seconds: since when routed traffic has had no outcome, and when traffic was last routed.
    `heard`: an outcome of this canary has arrived."""

    silent_since: float | None = None
    routed_at: float | None = None
    heard: bool = False


class TelemetryRule:
    """Fires when requests were routed for `limit` seconds without one outcome."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.state = TelemetryState()

    def outcome_arrived(self) -> None:
        """An outcome of this canary arrived, from either arm."""
        self.state.heard = True
        self.other_outcome_arrived()

    def other_outcome_arrived(self) -> None:
        """An outcome of other traffic arrived, which also shows that outcomes get through."""
        self.state.silent_since = None

    def routed(self, now: float) -> None:
        """Requests of this canary were routed since the last judgement."""
        self.state.routed_at = now
        if self.state.silent_since is None:
            self.state.silent_since = now

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`. Time without traffic does not count as silence."""
        state = self.state
        silent_s = 0.0
        if state.silent_since is not None and state.routed_at is not None:
            recent = now - state.routed_at <= (self.rule.window_s or self.rule.limit)
            silent_s = state.routed_at - state.silent_since if recent else 0.0
        over = silent_s >= self.rule.limit
        return decided(
            self.rule,
            enough=state.heard or over,
            over=over,
            convincing=over,
            value=silent_s,
            threshold=self.rule.limit,
            sentence=f"{silent_s:.0f} s of routed traffic without an outcome (limit {self.rule.limit:.0f} s)",
        )
