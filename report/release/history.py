"""Reads what the store holds of every release. Nothing of it comes from the config's present state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from records.store import Audited, Store
from records.store.benchmarks import Benchmarks
from records.store.decisions import Decision, Decisions
from records.store.releases import Release, ReleaseNote, Releases, Run
from records.store.reports import DailyReports, Evaluations
from report.archive import Evaluation, from_document
from report.document import Report, from_json
from routing.states import StateName

_FINAL: tuple[StateName, ...] = ("rolled_back", "promoted")
"""States that the end of a canary does not replace."""

_PRECISION_S = 0.001
"""Of an evaluation's time, which is that of its act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHistory:
    """One run: the entries of the audit log, oldest first, the newest stored report (of an evaluation, else
    of the report job) unless a rollback has overtaken it, and the last decision."""

    run: Run
    acts: Sequence[Audited]
    report: Report | None
    decision: Decision | None

    @property
    def closing(self) -> Audited | None:
        """The act that rolled back, promoted or ended the run; None while it goes on."""
        state = self.state
        if state not in (*_FINAL, "ended"):
            return None
        brought = (act for act in self.acts if act.before is None or act.before.state != state)
        return next((act for act in brought if act.after.state == state), None)

    @property
    def state(self) -> StateName:
        """The run's state. What was rolled back or promoted stays so when the canary ends."""
        found: StateName = "running"
        for act in self.acts:
            if act.after.state != "ended" or found not in _FINAL:
                found = act.after.state
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseHistory:
    """One release: its runs in the order of their start, people's notes, and its newest benchmark, with the
    time of the first one (UTC seconds). `successor`: the candidate's next release, against another baseline,
    if no user has tried this one."""

    release: Release
    runs: Sequence[RunHistory]
    notes: Sequence[ReleaseNote]
    benchmark: Mapping[str, Any] | None
    benchmarked_at: float | None
    successor: Release | None = None

    @property
    def newest_runs(self) -> Sequence[RunHistory]:
        """The newest run of each canary."""
        return list({history.run.canary: history for history in self.runs}.values())


def histories(store: Store, releases: Sequence[Release] | None = None) -> list[ReleaseHistory]:
    """The history of these releases, or of all, newest first. May raise StoreDown."""
    known, every = Releases(store), Releases(store).all()
    evaluations = {(each.canary, each.run): each for each in map(from_document, Evaluations(store).all())}
    found = [
        ReleaseHistory(
            release=release,
            runs=[_run(store, run, evaluations.get((run.canary, run.run))) for run in known.runs(release.id)],
            notes=known.notes(release.id),
            benchmark=Benchmarks(store).latest(release.candidate, release.baseline),
            benchmarked_at=Benchmarks(store).first_at(release.candidate, release.baseline),
        )
        for release in (every if releases is None else releases)
    ]
    return [replace(each, successor=None if each.runs else _successor(each.release, every)) for each in found]


def _successor(release: Release, every: Sequence[Release]) -> Release | None:
    later = [each for each in every if each.candidate == release.candidate and each.made_at > release.made_at]
    return min(later, key=lambda each: each.made_at, default=None)


def _daily(store: Store, run: Run) -> Report | None:
    found = DailyReports(store).newest(run.canary, run=run.run)
    return from_json(dict(found.document)) if found is not None else None


def _run(store: Store, run: Run, evaluation: Evaluation | None) -> RunHistory:
    found = RunHistory(
        run=run,
        acts=[act for act in Releases(store).acts(run.canary) if act.after.run == run.run],
        report=evaluation.report if evaluation is not None else _daily(store, run),
        decision=Decisions(store).latest(run.canary, run.run),
    )
    return replace(found, report=None) if _overtaken(found, evaluation) else found


def _overtaken(history: RunHistory, evaluation: Evaluation | None) -> bool:
    """True while the report of a rollback is not stored yet: an earlier one must not speak for the run."""
    closing = history.closing
    if closing is None or history.state != "rolled_back":
        return False
    return evaluation is None or evaluation.at < closing.act.at - _PRECISION_S
