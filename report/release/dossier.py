"""One release for its readers: the four layers against the current model, one verdict, the clock. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from records.store.benchmarks import FailureRow
from records.store.releases import Release, ReleaseNote
from report.document import Report, Verdict
from report.release.history import ReleaseHistory, RunHistory
from report.release.layers import LayerName, LayerStanding, layers_of
from routing.states import StateName

ReleaseState = StateName | Literal["noticed", "benchmarked", "superseded"]
"""A release is superseded if its candidate was measured against a newer baseline before any user tried it."""

_WORST_FIRST: tuple[Verdict, ...] = ("dont_ship", "extend", "ship_with_caveats", "ship", "ship_now")
_DECIDES = ("decide", "promote", "rollback")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseClock:
    """When each stage was first reached, UTC seconds; None if not yet, or unknown. `decided` is that of the
    newest runs. `minutes` is the time that people gave, None if nobody gave any."""

    noticed: float | None
    benchmarked: float | None
    started: float | None
    decided: float | None
    minutes: float | None

    @property
    def days(self) -> float | None:
        """The days from the first stage to the decision; None before it."""
        known = [at for at in (self.noticed, self.benchmarked, self.started) if at is not None]
        return None if self.decided is None or not known else (self.decided - min(known)) / 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStanding:
    """One run of a canary as it stands or ended. `verdict` is None if no report was made of it."""

    canary: str
    run: int
    started_at: float
    state: StateName
    ended_at: float | None
    who: str
    reason: str
    decision: str | None
    verdict: Verdict | None
    report: Report | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingReport:
    """A run that is under way and whose present report could not be made. `kept`: an earlier one is shown."""

    canary: str
    kept: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """A release. `verdict` is the worst of its benchmark's and its newest runs' (None: there is none yet, or
    a run is under way without a report). `newest` are the runs that decide. `superseded_by` is the
    candidate's next release, against another baseline. `missing` says of which open runs no present report
    could be made. `wrong` are the benchmark's wrong answers as stored, redacted; only the report that
    `canary bench` writes has them."""

    release: Release
    state: ReleaseState
    verdict: Verdict | None
    decision: str | None
    layers: Mapping[LayerName, LayerStanding]
    clock: ReleaseClock
    runs: tuple[RunStanding, ...]
    newest: tuple[RunStanding, ...]
    benchmark: Mapping[str, Any] | None
    notes: tuple[ReleaseNote, ...]
    superseded_by: Release | None = None
    missing: tuple[MissingReport, ...] = ()
    wrong: tuple[FailureRow, ...] = ()

    @property
    def report(self) -> Report | None:
        """The report of the newest run that has one."""
        return next((run.report for run in reversed(self.runs) if run.report is not None), None)


def dossier(
    history: ReleaseHistory,
    live: Mapping[tuple[str, int], Report] | None = None,
    missing: Sequence[MissingReport] = (),
) -> Dossier:
    """The release. `live` holds the reports of runs that are under way, by canary and run."""
    runs = tuple(_run(each, live or {}) for each in history.runs)
    newest = tuple(run for run in runs if (run.canary, run.run) in _newest(history))
    decisions = [each.decision for each in history.runs if each.decision is not None]
    return Dossier(
        release=history.release,
        state=_state(history, newest),
        verdict=_verdict(history.benchmark, newest),
        decision=max(decisions, key=lambda each: each.at).decision if decisions else None,
        layers=layers_of(history.benchmark, [run.report for run in newest if run.report is not None]),
        clock=_clock(history),
        runs=runs,
        newest=newest,
        benchmark=history.benchmark,
        notes=tuple(history.notes),
        superseded_by=history.successor,
        missing=tuple(missing),
    )


def _newest(history: ReleaseHistory) -> set[tuple[str, int]]:
    return {(each.run.canary, each.run.run) for each in history.newest_runs}


def _run(history: RunHistory, live: Mapping[tuple[str, int], Report]) -> RunStanding:
    run, closing = history.run, history.closing
    report = live.get((run.canary, run.run), history.report)
    verdict = report.verdict if report is not None else None
    return RunStanding(
        canary=run.canary,
        run=run.run,
        started_at=run.at,
        state=history.state,
        ended_at=closing.act.at if closing is not None else None,
        who=closing.act.who if closing is not None else "",
        reason=closing.act.reason if closing is not None else "",
        decision=history.decision.decision if history.decision is not None else None,
        verdict="dont_ship" if verdict is None and history.state == "rolled_back" else verdict,
        report=report,
    )


def verdicts(
    benchmark: Mapping[str, Any] | None, runs: Sequence[RunStanding]
) -> list[tuple[str | None, Verdict | None]]:
    """What the benchmark (None) and each canary says; None: nothing yet."""
    found: list[tuple[str | None, Verdict | None]] = [(run.canary, run.verdict) for run in runs]
    if benchmark is not None and benchmark["verdict"] is not None:
        found.insert(0, (None, benchmark["verdict"]))
    return found


def _verdict(benchmark: Mapping[str, Any] | None, runs: Sequence[RunStanding]) -> Verdict | None:
    """The worst of them; None while one that could be worse is not there."""
    found = verdicts(benchmark, runs)
    known = [verdict for _, verdict in found if verdict is not None]
    worst: Verdict | None = next((verdict for verdict in _WORST_FIRST if verdict in known), None)
    return None if len(known) < len(found) and worst != "dont_ship" else worst


def _state(history: ReleaseHistory, runs: Sequence[RunStanding]) -> ReleaseState:
    """The state of the run that started last, else the last stage."""
    if runs:
        return max(runs, key=lambda run: run.started_at).state
    if history.successor is not None:
        return "superseded"
    return "benchmarked" if history.benchmarked_at is not None else "noticed"


def _clock(history: ReleaseHistory) -> ReleaseClock:
    acts = [act.act for run in history.runs for act in run.acts]
    newest = [act.act for run in history.newest_runs for act in run.acts]
    decided = [act.at for act in newest if act.action in _DECIDES]
    given = [
        minutes for minutes in (*(a.minutes for a in acts), *(n.minutes for n in history.notes)) if minutes
    ]
    return ReleaseClock(
        noticed=history.release.noticed_at,
        benchmarked=history.benchmarked_at,
        started=min((run.run.at for run in history.runs), default=None),
        decided=min(decided, default=None),
        minutes=sum(given) if given else None,
    )
