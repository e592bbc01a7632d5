"""One canary's guardrails: outcomes and feedback in, statuses out. Judges; `control` acts.

    watch.observe(outcome)      once per record
    watch.judge(now, …)         scores settled outcomes and returns every rule's status
    watch.snapshot()            the whole state, JSON-able, for the checkpoint

Times are CLOCK_MONOTONIC seconds of one boot; `restore` converts them after a reboot.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from alerts.rollback_evidence import Path, Point, RollbackEvidence, rule_then
from alerts.rule import DEFAULT_RULES, Rule
from alerts.scope import Guardrail, Scope, build_scopes, state_key
from alerts.selection import FirstStarted, GuardrailSample
from alerts.status import GuardrailStatus, StatusState, located, rule_key
from alerts.telemetry import Telemetry
from alerts.watch_state import WatchState
from alerts.where import ANY, CATEGORY, Concentration, kind_of
from records.metric import BUILT_IN, Metric
from records.outcome import Feedback, Outcome

LONGEST_SETTLE_S = 10.0
_WORST: Sequence[StatusState] = ("latched", "firing", "warn", "ok", "not_enough_data", "not_applicable")


def counts_units(rule: Rule) -> bool:
    """True for error rules over the whole canary: their minimum counts users."""
    about_errors = rule.rule in ("error_rate", "error_rate_vs_baseline")
    return about_errors and rule.category is None and not rule.segment


def _tags(rules: Sequence[Rule], segments: Sequence[str]) -> tuple[str, ...]:
    """The tags by which failing exchanges are counted: the canary's segments and those of its rules."""
    return tuple(dict.fromkeys([*segments, *(tag for rule in rules for tag in rule.segment or ())]))


class Watch:
    """The guardrails of one canary in one run. `segments` are tags by which failing exchanges are located."""

    def __init__(
        self,
        canary: str,
        rules: Sequence[Rule] = DEFAULT_RULES,
        *,
        run: int = 1,
        metrics: Mapping[str, Metric] = BUILT_IN,
        segments: Sequence[str] = (),
    ) -> None:
        self.canary = canary
        self.rules = tuple(rules)
        self.metrics = metrics
        self.segments = _tags(rules, segments)
        self._slow_limits_s = tuple({rule.limit for rule in rules if rule.rule == "latency_p95"})
        self._begin(run)

    def _begin(self, run: int) -> None:
        self.state = WatchState(run=run)
        self.scopes: list[Scope] = build_scopes(self.rules, self.metrics)
        self.guardrails: list[Guardrail] = [g for scope in self.scopes for g in scope.guardrails]
        self.telemetries = [g for g in self.guardrails if isinstance(g, Telemetry)]
        self._settle_s = 0.0
        self._settle_from = float("-inf")
        self._swept_at = float("-inf")

    def watches(self, rules: Sequence[Rule], segments: Sequence[str]) -> bool:
        """True if the watch has these rules and tags."""
        return (self.rules, self.segments) == (tuple(rules), _tags(rules, segments))

    @property
    def run(self) -> int:
        """The run whose evidence this is."""
        return self.state.run

    def rearm(self, run: int) -> None:
        """Start a new run with fresh evidence for every rule."""
        self._begin(run)

    def observe(self, outcome: Outcome) -> None:
        """Add one outcome. Outcomes of other canaries and other runs are ignored."""
        if outcome.canary != self.canary or outcome.mirror:
            return
        for telemetry in self.telemetries:
            telemetry.outcome_arrived()
        if outcome.run != self.state.run:
            return
        self.state.locate(outcome, tags=self.segments, limits_s=self._slow_limits_s)
        if not outcome.evidence:
            return
        sample = self._sample(outcome)
        self.state.add(outcome, sample)
        if sample.candidate:
            self.state.count_step_unit(outcome.phase, sample.unit, least=self._least_units)
        for scope in self.scopes:
            if scope.takes(outcome):
                scope.observe(sample)

    def _sample(self, outcome: Outcome) -> GuardrailSample:
        state = self.state
        state.serial += 1
        started = outcome.mono + state.shift
        latency_s = outcome.latency_s
        return GuardrailSample(
            started if latency_s is None else started + latency_s,
            state.serial,
            started,
            outcome.unit,
            outcome.arm == "candidate",
            outcome.share,
            outcome.failed,
            latency_s,
            None if outcome.usage.estimated else outcome.cost_usd,
        )

    @property
    def _least_units(self) -> int:
        return max((rule.minimum for rule in self.rules if counts_units(rule)), default=0)

    def enough_in(self, phase: int) -> bool:
        """True when the candidate has had as many users in this phase as its error rules need. Always True
        without error rules."""
        least = self._least_units
        return not least or (self.state.step_phase == phase and len(self.state.step_units) >= least)

    def observe_feedback(self, feedback: Feedback) -> None:
        """Add one rating or report. It is ignored if its arm is unknown, or its phase has no outcome yet."""
        share = self.state.shares.get(feedback.phase)
        mine = feedback.canary == self.canary and feedback.run == self.state.run
        if not mine or feedback.arm is None or share is None:
            return
        for scope in self.scopes:
            scope.observe_feedback(feedback, share=share, at=feedback.mono + self.state.shift)

    def judge(self, now_mono: float, *, routed: bool, outcome_arrived: bool = False) -> list[GuardrailStatus]:
        """Every rule's status at `now_mono`. `routed`: requests came in since the last call.
        `outcome_arrived`: an outcome arrived since then, of this canary or other traffic.

        Scores the outcomes that have settled, so call it often: each second, and after each batch.
        """
        now = now_mono + self.state.shift
        for telemetry in self.telemetries:
            if outcome_arrived:
                telemetry.other_outcome_arrived()
            if routed:
                telemetry.routed(now)
        until = now - self.settle_s(now)
        for scope in self.scopes:
            for sample in scope.score(until):
                if sample.candidate:
                    self._record_growth(scope, sample)
        if now - self._swept_at >= 60.0:
            self._swept_at = now
            for scope in self.scopes:
                scope.first.forget_before(now)
        statuses = self._located([guardrail.status(now) for guardrail in self.guardrails])
        self._extend_paths(statuses, until)
        return statuses

    def _located(self, statuses: Sequence[GuardrailStatus]) -> list[GuardrailStatus]:
        """The statuses with the parts of the traffic in which their failing exchanges lie."""
        kinds = [
            kind_of(status.rule, guardrail.rule.limit)
            for guardrail, status in zip(self.guardrails, statuses, strict=True)
        ]
        found = {kind: self.concentration(kind) for kind in set(kinds) if kind is not None}
        return [
            status if kind is None else located(status, found[kind])
            for kind, status in zip(kinds, statuses, strict=True)
        ]

    def concentration(self, kind: str = ANY) -> Concentration:
        """Where the candidate's exchanges that fail in this way are concentrated; by default in any way."""
        return self.state.failing.concentration(kind, (CATEGORY, *self.segments))

    def where(self, statuses: Sequence[GuardrailStatus], rule: str = "") -> Concentration:
        """Where the candidate fails: as the rule of this key says, or the worst rule that names parts."""
        ordered = sorted(statuses, key=lambda each: (each.key != rule, _WORST.index(each.state)))
        return next((each.where for each in ordered if each.where.parts), self.concentration())

    def settle_s(self, now: float) -> float:
        """How long an exchange waits for its unit's earlier-started ones: the p95 latency, at most 10 s."""
        if now - self._settle_from >= 1.0:
            self._settle_from = now
            tallies = self.state.tallies.values()
            latencies = [tally.latency.quantile(0.95, now) or 0.0 for tally in tallies]
            self._settle_s = min(max(latencies), LONGEST_SETTLE_S)
        return self._settle_s

    def _record_growth(self, scope: Scope, sample: GuardrailSample) -> None:
        """Record the evidence after one candidate outcome while it grows; a judgement may come many outcomes
        later. Recording ends when the rule convicts."""
        for guardrail in scope.proving:
            evidence, rule = guardrail.evidence, guardrail.rule
            if max(evidence.running) > 0.0:
                path = self.state.paths.setdefault(rule_key(rule.rule, rule.category, rule.segment), Path())
                at = sample.completed + self.state.utc_minus_mono
                path.add(Point(at, evidence.mixture, evidence.cusum, float(evidence.observations)))
                path.ended = guardrail.convicted and rule.action == "rollback"

    def _extend_paths(self, statuses: Sequence[GuardrailStatus], now: float) -> None:
        at = now + self.state.utc_minus_mono
        for status in statuses:
            numbers = status.evidence
            if "ln_mixture" in numbers and numbers["observations"]:
                path = self.state.paths.setdefault(status.key, Path())
                path.add(Point(at, numbers["ln_mixture"], numbers["ln_cusum"], numbers["observations"]))

    def why(
        self,
        statuses: Sequence[GuardrailStatus],
        *,
        rule: str = "",
        who: str,
        reason: str,
        at: float,
        share: float,
    ) -> RollbackEvidence:
        """The evidence at UTC second `at`, when the candidate is rolled back from `share`. `rule` is the key
        of the rule that did it, "" for a person."""
        now = at - self.state.utc_minus_mono
        paths = self.state.paths
        return RollbackEvidence(
            canary=self.canary,
            run=self.run,
            rule=rule,
            who=who,
            reason=reason,
            at=at,
            rules=tuple(rule_then(status, paths.get(status.key, Path())) for status in statuses),
            arms={arm: tally.figures(now) for arm, tally in self.state.tallies.items()},
            failures=tuple(self.state.failures),
            where=self.where(statuses, rule),
            provider_error=self.state.provider_error,
            share_before=share,
            share_after=0.0,
        )

    def snapshot(self) -> dict[str, Any]:
        """The whole state, JSON-able. Store it in one transaction with the cursor."""
        document: dict[str, Any] = msgspec.to_builtins(
            {
                "watch": self.state,
                "guardrails": {state_key(g): g.state for g in self.guardrails},
                "first": {scope.name: scope.first for scope in self.scopes},
            },
            str_keys=True,
        )
        return document

    def restore(self, document: Mapping[str, Any], *, new_boot: float | None = None) -> None:
        """Continue from a snapshot. New rules, and rules with another limit or window, start empty.

        `new_boot`: None in the boot of the snapshot; otherwise this boot's UTC minus CLOCK_MONOTONIC, in
        seconds, so that old times age by the gap. Raises msgspec.ValidationError for a document of another
        shape.
        """
        state = msgspec.convert(document["watch"], WatchState, str_keys=True)
        if new_boot is not None:
            state.shift = new_boot - state.utc_minus_mono
        guardrails = document["guardrails"]
        restored = [
            (g, msgspec.convert(guardrails[state_key(g)], type(g.state), str_keys=True))
            for g in self.guardrails
            if state_key(g) in guardrails
        ]
        firsts = [
            (scope, msgspec.convert(document["first"][scope.name], FirstStarted, str_keys=True))
            for scope in self.scopes
            if scope.name in document["first"]
        ]
        self.state = state
        for guardrail, guardrail_state in restored:
            guardrail.state = guardrail_state
        for scope, first in firsts:
            scope.first = first
