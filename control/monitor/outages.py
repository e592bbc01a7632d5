"""Outages that no trial's guardrails can show. Pure but for their memory.

Of a promoted arm, `PromotedOutage`: while its former baseline answers in its place, hardly any request
reaches it, and rules that count its failures have nothing to count.

Of a canary's baseline, standing or not, `BaselineOutages`:

    its requests are               watched by
    a running canary's             that canary's guardrails: both arms
    a promoted canary's            the same
    a waiting, rolled-back one's   this: everybody gets the baseline, and that is no evidence of a trial
    no trial's (`standing`)        this

That rule is the `outage` of the strictest `error_rate` of its terms, at the same limit; without one, of an
arm that fails most requests. Evidence is of one baseline: another one, or a restart, begins anew.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from alerts.evidence.exchanges import GuardrailSample
from alerts.incidents import incident as incidents
from alerts.incidents.incident import NO_RUN, UNTRIED, Incident
from alerts.incidents.notice import Notice
from alerts.rules.failures import OutageRule
from alerts.rules.places import CandidateError, candidate_error
from alerts.rules.rule import GuardrailStatus, Rule
from alerts.wording import Trouble
from common.clock import Utc
from common.numbers import percent
from control.settings import CanarySettings, ControlSettings
from records.outcome import THROTTLED, Outcome
from routing.canary import Arm, arm_names
from routing.states import State

MOSTLY = Rule(rule="error_rate", limit=0.5, window_s=None, minimum=1, action="page")
"""An arm that answers fewer than half is not what its users get, whatever guardrails there are."""


@dataclass(slots=True)
class PromotedOutage:
    """Whether a promoted arm answers those who are to get it. A request that was kept away from it counts as
    one that it did not answer: after a promotion nothing else shows that.

    `asked`, `unanswered` and `covered`, for which the former baseline answered, count since the evidence
    began to grow. `share`: of the users who are to get the arm. A restart begins anew.
    """

    rule: OutageRule = field(default_factory=lambda: OutageRule(MOSTLY, alone=True))
    share: float = 1.0
    asked: int = 0
    unanswered: int = 0
    covered: int = 0
    error: CandidateError | None = None

    def take(self, outcomes: Sequence[Outcome], state: State) -> None:
        """Add those of a promoted canary's outcomes that are of the arm. What its provider throttles has a
        page of its own."""
        for each in outcomes:
            covered = each.outcome == "fallback" and each.error_type != THROTTLED
            mine = each.arm == "candidate" and (each.run, each.phase) == (state.run, state.phase)
            given = each.reason not in ("pinned", "foreign_state") and not each.mirror
            if mine and given and (covered or each.measured):
                self._add(each, covered=covered)

    def _add(self, outcome: Outcome, *, covered: bool) -> None:
        failed = covered or outcome.failed
        self.rule.score(_sample(outcome, failed=failed))
        self.share, self.error = outcome.share, candidate_error(outcome) or self.error
        if self.rule.state.risen_at is None:
            self.asked = self.unanswered = self.covered = 0
            self.error = None
        else:
            self.asked, self.unanswered = self.asked + 1, self.unanswered + failed
            self.covered += covered

    def beside(self, statuses: Sequence[GuardrailStatus], now: float) -> Sequence[GuardrailStatus]:
        """The canary's statuses at monotonic `now`. While the arm hardly answers, its outage stands in place
        of its baseline's, and no other rule knows enough to say that all is well."""
        found = self.rule.status(now)
        if found.state != "firing":
            return statuses
        figures = {"outcomes": self.asked, "bad": self.unanswered, "covered": self.covered}
        own = replace(
            found,
            evidence={**found.evidence, **{name: float(each) for name, each in figures.items()}}
            | {"share": self.share},
            sentence=f"candidate, promoted: {self.unanswered} of {self.asked} requests were not answered by "
            f"it (limit {percent(MOSTLY.limit)}), {self.covered} of them by the former baseline instead",
        )
        return [own, *(_unsure(each) for each in statuses if each.key != own.key)]

    def trouble(self, found: Trouble, now: float, now_utc: Utc) -> Trouble:
        """What people are told of it, from what is told of any status."""
        risen_at = self.rule.state.risen_at
        since = None if risen_at is None else Utc(now_utc - (now - risen_at))
        return replace(found, since=since, said=self.error.words if self.error is not None else "")


def is_unanswered(status: GuardrailStatus) -> bool:
    """True for the status of a promoted arm's outage."""
    return status.rule == "outage" and "covered" in status.evidence


def _unsure(status: GuardrailStatus) -> GuardrailStatus:
    if status.state != "ok":
        return status
    said = f"{status.sentence}; hardly any request reaches the candidate now"
    return replace(status, state="not_enough_data", sentence=said)


def _sample(outcome: Outcome, *, failed: bool) -> GuardrailSample:
    """An exchange with an arm beside which no other is tried."""
    return GuardrailSample(
        completed=outcome.mono + (outcome.latency_s or 0.0),
        serial=0,
        started=outcome.mono,
        unit=outcome.unit or outcome.exchange_id,
        candidate=False,
        share=0.0,
        failed=failed,
        latency_s=outcome.latency_s,
        cost_usd=None,
    )


@dataclass(slots=True)
class _Watched:
    """One baseline: of a standing canary the one in force, with the trials that are there; of any other
    canary, which is its own only trial. `error` is what the provider said last."""

    baseline: Arm
    trials: frozenset[str]
    standing: bool
    owner: str
    rule: OutageRule
    incident: Incident | None = None
    error: CandidateError | None = None

    def is_its(self, outcome: Outcome) -> bool:
        """True for a request that got the baseline as no evidence of a trial."""
        if outcome.canary:
            return outcome.reason == "stopped" and outcome.canary in self.trials
        served = (outcome.provider, outcome.model)
        mine = (self.baseline.provider, self.baseline.model)
        return self.standing and outcome.reason == "standing" and served == mine

    def take(self, outcome: Outcome) -> None:
        """Add one of its requests that the baseline answered or failed."""
        sample = _sample(outcome, failed=outcome.failed)
        self.rule.show([sample])
        self.rule.score(sample)
        self.error = candidate_error(outcome) or self.error

    def trouble(self, status: GuardrailStatus) -> Trouble:
        """What people are told of its status."""
        said = self.error.words if self.error is not None else ""
        found = incidents.trouble_of(status)
        return replace(found, baseline=arm_names(self.baseline, self.baseline)[0], said=said)


class BaselineOutages:
    """The baselines of all canaries of the config, standing or not, while they are no trial's."""

    def __init__(self, settings: ControlSettings) -> None:
        self._watched: dict[str, _Watched] = {}
        self._left: list[Incident | None] = []
        self.configure(settings)

    def configure(self, settings: ControlSettings) -> None:
        """Watch the baselines of a changed config. Evidence of the same baseline stays."""
        known, standing = self._watched, settings.standing
        terms = {name: (each.terms, frozenset(each.begun.open)) for name, each in standing.items()}
        begun = {trial for each in standing.values() for trial in each.begun.trials}
        terms |= {
            name: (each, frozenset({name})) for name, each in settings.canaries.items() if name not in begun
        }
        self._watched = {
            name: _watched(each, trials, known.get(name), standing=name in standing)
            for name, (each, trials) in terms.items()
        }
        self._left += [each.incident for name, each in known.items() if name not in self._watched]

    def take(self, outcomes: Sequence[Outcome]) -> None:
        """Add those of these outcomes that are no trial's evidence."""
        for outcome in outcomes:
            if outcome.reason in ("standing", "stopped") and outcome.measured and not outcome.mirror:
                for each in self._watched.values():
                    if each.is_its(outcome):
                        each.take(outcome)

    def decide(self, now_utc: Utc, now_mono: float, *, tried: Collection[str] = ()) -> list[Notice]:
        """Judge each, and return what people are to be told. Canaries that are `tried` are left to their own
        guardrails, which watch both arms."""
        told = [notice for incident in self._left for notice in incidents.over(incident, now_utc)]
        self._left.clear()
        for name, each in self._watched.items():
            if name in tried:
                end = f"{name} tries its candidate, and its guardrails watch the baseline now"
                told += incidents.over(each.incident, now_utc, end)
                each.incident, each.rule = None, OutageRule(each.rule.rule, alone=True)
                continue
            each.incident, notices = incidents.step(
                each.incident,
                [each.rule.status(now_mono)],
                canary=name,
                run=NO_RUN if each.standing else UNTRIED,
                now=now_utc,
                rolled_back=False,
                provider_error=each.error,
                trouble=each.trouble,
                owner=each.owner,
            )
            told += notices
        return told

    def incident(self, name: str) -> Incident | None:
        """The incident of a canary's baseline; None for none, or one that is resolved."""
        watched = self._watched.get(name)
        incident = watched.incident if watched is not None else None
        return None if incident is None or incident.state == "resolved" else incident

    def snapshot(self) -> Mapping[str, Any]:
        """The incidents, JSON-able."""
        return {name: incidents.to_document(each.incident) for name, each in self._watched.items()}

    def restore(self, document: Mapping[str, Any]) -> None:
        """Go on with these incidents. Those of canaries that left the config end."""
        for name, kept in document.items():
            incident = incidents.from_document(kept)
            if name in self._watched:
                self._watched[name].incident = incident
            else:
                self._left.append(incident)


def _watched(
    terms: CanarySettings, trials: frozenset[str], known: _Watched | None, *, standing: bool
) -> _Watched:
    rules = [each for each in terms.guardrails if each.rule == "error_rate" and each.category is None]
    strictest = min((each for each in rules if not each.segment), key=lambda each: each.limit, default=MOSTLY)
    rule = OutageRule(strictest, alone=True)
    found = _Watched(terms.canary.baseline, trials, standing, terms.owner, rule)
    if known is None:
        return found
    if (known.baseline, known.rule.rule) == (found.baseline, strictest):
        found.rule, found.error = known.rule, known.error
    found.incident = known.incident
    return found
