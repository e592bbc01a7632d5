"""What one watch keeps beside its rules: both arms' figures, the candidate's failures, and their places."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from alerts.candidate_error import CandidateError, candidate_error
from alerts.rollback_evidence import FAILURES, ArmTally, FailureSample, Path, sample_of
from alerts.running import EndedExchange, RunningExchanges
from alerts.selection import GuardrailSample
from alerts.where import FailingTally, kinds_of, parts_of
from records.outcome import Outcome
from routing.canary import ArmName

PHASES = 64


@dataclass(slots=True)
class WatchState:
    """The watch's own state, JSON-able.

    `shift` is added to every incoming time, and `utc_minus_mono` converts to UTC. `shares` holds each ramp
    phase's share, `tallies` both arms' figures, `failures` the candidate's last failures and faulty answers,
    `failing` where they lie, `provider_error` its provider's newest error, and `paths` each rule's evidence
    over time. `step_units` are candidate users in the newest phase, at most as many as a step needs.
    `running` are the exchanges in flight.
    """

    run: int
    serial: int = 0
    shift: float = 0.0
    utc_minus_mono: float = 0.0
    shares: dict[int, float] = field(default_factory=dict)
    tallies: dict[ArmName, ArmTally] = field(
        default_factory=lambda: {"baseline": ArmTally(), "candidate": ArmTally()}
    )
    failures: list[FailureSample] = field(default_factory=list)
    failing: FailingTally = field(default_factory=FailingTally)
    provider_error: CandidateError | None = None
    paths: dict[str, Path] = field(default_factory=dict)
    step_phase: int = -1
    step_units: list[str] = field(default_factory=list)
    running: RunningExchanges = field(default_factory=RunningExchanges)

    def add(self, ended: Sequence[EndedExchange]) -> None:
        """Add exchanges of this run, those that are evidence."""
        evidence = [(each.outcome, each.sample) for each in ended if each.sample is not None]
        for arm, tally in self.tallies.items():
            tally.add([pair for pair in evidence if pair[0].arm == arm])
        for outcome, sample in evidence:
            if outcome.phase not in self.shares:
                self._add_phase(outcome)
            if sample.candidate and (sample.failed or outcome.faults):
                self._add_failure(outcome, sample)
        if evidence:
            outcome, sample = evidence[-1]
            self.utc_minus_mono = outcome.at - sample.started

    def _add_phase(self, outcome: Outcome) -> None:
        self.shares[outcome.phase] = outcome.share
        if len(self.shares) > PHASES:
            del self.shares[next(iter(self.shares))]

    def _add_failure(self, outcome: Outcome, sample: GuardrailSample) -> None:
        self.failures.append(sample_of(outcome))
        del self.failures[:-FAILURES]
        if sample.failed:
            self.provider_error = candidate_error(outcome) or self.provider_error

    def locate(self, outcome: Outcome, *, tags: Iterable[str], limits_s: Iterable[float]) -> None:
        """Count an exchange that its caller left, and any of the candidate by its parts."""
        self.tallies[outcome.arm].left += _left(outcome)
        if outcome.arm == "candidate" and (outcome.evidence or _left(outcome)):
            kinds = kinds_of(outcome, limits_s)
            self.failing.add(outcome.mono + self.shift, parts_of(outcome, tags), kinds)

    def count_step_unit(self, phase: int, unit: str, *, least: int) -> None:
        """Count a candidate user of this ramp phase, up to `least` of the newest phase."""
        if phase > self.step_phase:
            self.step_phase, self.step_units = phase, []
        few = phase == self.step_phase and len(self.step_units) < least
        if few and unit not in self.step_units:
            self.step_units.append(unit)


def left_by_cohort(outcome: Outcome) -> bool:
    """True when the caller left an exchange of an assigned unit: rules may use it, too."""
    return outcome.outcome == "aborted" and outcome.reason == "cohort"


def _left(outcome: Outcome) -> bool:
    return outcome.abandoned and outcome.reason == "cohort"
