"""One release for its readers: the four layers against the current model, one verdict, the clock. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from records.store.benchmarks import FailureRow
from records.store.releases import Release, ReleaseNote
from report.document import Report, Verdict
from report.release.history import ReleaseHistory, RunHistory
from report.release.layers import LayerName, LayerStanding, layers_of
from report.wording import joined
from routing.plan import StateName

ReleaseState = StateName | Literal["noticed", "benchmarked", "superseded"]
"""A release is superseded if its candidate was measured against a newer baseline before any user tried it."""

_WORST_FIRST: tuple[Verdict, ...] = ("dont_ship", "extend", "ship_with_caveats", "ship", "ship_now")
_POINTS = 2
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
class Dossier:
    """A release. `verdict` is the worst of its benchmark's and its newest runs' (None: there is none yet, or
    a run is under way without a report); `reasons` are sentences, the deciding ones first. `wrong` are the
    benchmark's wrong answers as stored, redacted; only the report that `canary bench` writes has them."""

    release: Release
    state: ReleaseState
    verdict: Verdict | None
    reasons: tuple[str, ...]
    decision: str | None
    layers: Mapping[LayerName, LayerStanding]
    clock: ReleaseClock
    runs: tuple[RunStanding, ...]
    benchmark: Mapping[str, Any] | None
    notes: tuple[ReleaseNote, ...]
    wrong: tuple[FailureRow, ...] = ()

    @property
    def report(self) -> Report | None:
        """The report of the newest run that has one."""
        return next((run.report for run in reversed(self.runs) if run.report is not None), None)


def dossier(
    history: ReleaseHistory,
    live: Mapping[tuple[str, int], Report] | None = None,
    notes: Sequence[str] = (),
) -> Dossier:
    """The release. `live` holds the reports of runs that are under way, by canary and run; `notes` say which
    of them are missing."""
    runs = tuple(_run(each, live or {}) for each in history.runs)
    newest = [run for run in runs if (run.canary, run.run) in _newest(history)]
    verdict, reasons = _verdict(history.benchmark, newest)
    rolled_back, promoted = (
        [run for run in newest if run.state == state] for state in ("rolled_back", "promoted")
    )
    decisions = [each.decision for each in history.runs if each.decision is not None]
    return Dossier(
        release=history.release,
        state=_state(history, newest),
        verdict=verdict,
        reasons=(
            *_superseded(history),
            *map(_pulled_back, rolled_back),
            *map(_promoted, promoted),
            *notes,
            *map(_begun, (run for run in newest if run.verdict is None and run not in promoted)),
            *reasons,
            *_open_points(history.benchmark, newest),
            *_missing(history.benchmark, newest),
        ),
        decision=max(decisions, key=lambda each: each.at).decision if decisions else None,
        layers=layers_of(history.benchmark, [run.report for run in newest if run.report is not None]),
        clock=_clock(history),
        runs=runs,
        benchmark=history.benchmark,
        notes=tuple(history.notes),
    )


def _superseded(history: ReleaseHistory) -> tuple[str, ...]:
    """Where the candidate's story goes on."""
    after = history.successor
    return () if after is None else (f"Superseded by release {after.id}, against {after.baseline}.",)


def _pulled_back(run: RunStanding) -> str:
    return f"Canary {run.canary} was rolled back by {run.who}{f': {run.reason}' if run.reason else ''}."


def _begun(run: RunStanding) -> str:
    return f"Canary {run.canary} has begun, and has no report yet."


def _promoted(run: RunStanding) -> str:
    """Who decided, and what the report said of it then."""
    against = "without a report" if run.verdict is None else f"when the verdict was {words(run.verdict)}"
    reason = f": {run.reason.rstrip('.')}" if run.reason else ""
    return f"Canary {run.canary} was promoted by {run.who} {against}{reason}."


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


def _verdict(
    benchmark: Mapping[str, Any] | None, runs: Sequence[RunStanding]
) -> tuple[Verdict | None, tuple[str, ...]]:
    found: list[tuple[str, Verdict | None]] = [(f"canary {run.canary}", run.verdict) for run in runs]
    if benchmark is not None and benchmark["verdict"] is not None:
        found.insert(0, ("the benchmark", benchmark["verdict"]))
    known = [verdict for _, verdict in found if verdict is not None]
    worst: Verdict | None = next((verdict for verdict in _WORST_FIRST if verdict in known), None)
    open_ = len(known) < len(found) and worst != "dont_ship"
    return None if open_ else worst, _agreement(found, worst)


def _agreement(found: Sequence[tuple[str, Verdict | None]], worst: Verdict | None) -> tuple[str, ...]:
    """Who decides, where the layers disagree."""
    told = {"ship" if verdict == "ship_now" else verdict for _, verdict in found if verdict is not None}
    if worst is None or len(told) < 2:
        return ()
    parts = [f"{who} says {words(verdict)}" for who, verdict in found if verdict is not None]
    return (f"They disagree: {joined(parts)}. The worst of them decides.",)


def _open_points(benchmark: Mapping[str, Any] | None, runs: Sequence[RunStanding]) -> list[str]:
    """What keeps each part from a ship, of a canary its first two reasons; and what a benchmark says beside
    its verdict."""
    document = benchmark or {}
    kept = [f"{run.canary}: {text}" for run in runs if _keeps(run) for text in _first(run.report)]
    examples = document.get("reasons", ()) if document.get("verdict") != "ship" else ()
    return [*kept, *(f"Examples: {text}." for text in (*examples, *document.get("caveats", ())))]


def _keeps(run: RunStanding) -> bool:
    return run.verdict in ("dont_ship", "extend") and run.state != "rolled_back"


def _first(report: Report | None) -> Sequence[str]:
    return report.reasons[:_POINTS] if report is not None else ()


def _missing(benchmark: Mapping[str, Any] | None, runs: Sequence[RunStanding]) -> tuple[str, ...]:
    users = (
        ()
        if any(run.report for run in runs)
        else ("No user has tried it yet: the verdict rests on examples only.",)
    )
    examples = (
        () if benchmark is not None else ("No benchmark has compared these two models on all datasets.",)
    )
    return (*users, *examples)


def words(verdict: str) -> str:
    """ship now, ship, ship with caveats, don’t ship, extend."""
    return {"dont_ship": "don’t ship"}.get(verdict, verdict.replace("_", " "))


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
