"""Every release as the store has it: its runs, its layers, its clock. Nothing is from the present config."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import msgspec

from common.concentration import FailingPart
from common.groups import grouped
from judge.figures import JudgeFigures
from records.store import Act, AuditEntry, Store
from records.store.benchmarks import BenchFailures, Benchmarks, FailureRow
from records.store.decisions import Decision, Decisions
from records.store.releases import Release, ReleaseNote, Releases, Run
from records.store.reports import DailyReport, DailyReports, Evaluations
from records.store.store import FINAL, became
from routing.states import StateName
from verdict.archive.evaluations import Evaluation, from_document
from verdict.archive.trends import promises_of, runs_of
from verdict.archive.week_after import PromisesHeld, WeekAfter
from verdict.decision.decide import misses, points, undecided
from verdict.decision.document import MetricLine, Report, Verdict, from_json
from verdict.decision.reports import GATHERING, report_of
from verdict.rows.reasons import attempt
from verdict.rows.row import State, worst
from verdict.terms.judged_canary import ReportSettings
from verdict.terms.rubric import Bound, parse_bound

_PRECISION_S = 0.001
"""Of an evaluation's time, which is that of its act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStanding:
    """One run of a canary as it stands or ended: the entries of the audit log, oldest first, its present or
    newest stored report (of an evaluation, else of the report job) unless a rollback has overtaken it, the
    last decision, and what came of its promises. `places`: where the failing exchanges lay when a guardrail
    rolled it back."""

    of: Run
    acts: Sequence[AuditEntry]
    report: Report | None = field(repr=False)
    decided: Decision | None
    places: Sequence[str] = ()
    week_after: WeekAfter | None = None

    @property
    def canary(self) -> str:
        return self.of.canary

    @property
    def run(self) -> int:
        return self.of.run

    @property
    def started_at(self) -> float:
        """UTC seconds."""
        return self.of.at

    @property
    def fingerprint(self) -> str:
        """The candidate's, "" if unknown."""
        return self.of.fingerprint

    @property
    def state(self) -> StateName:
        """The run's state, whatever its canary's end has made of it."""
        return became(self.acts)[0]

    @property
    def closing(self) -> Act | None:
        """The act that rolled back, promoted or ended the run; None while it goes on."""
        state, brought = became(self.acts)
        return None if brought is None or state not in (*FINAL, "ended") else brought.act

    @property
    def ended_at(self) -> float | None:
        """UTC seconds; None while it goes on."""
        return None if self.closing is None else self.closing.at

    @property
    def who(self) -> str:
        """Who ended it, or what."""
        return "" if self.closing is None else self.closing.who

    @property
    def reason(self) -> str:
        """Why it was ended."""
        return "" if self.closing is None else self.closing.reason

    @property
    def against(self) -> str:
        """The verdict against which it was promoted, "" for none."""
        return "" if self.closing is None else self.closing.against

    @property
    def tried(self) -> bool:
        """True if its report has users of the candidate."""
        return self.report is not None and self.report.units.candidate > 0

    @property
    def verdict(self) -> Verdict | None:
        """None if no report was made of it."""
        if self.report is not None:
            return self.report.verdict
        return "dont_ship" if self.state == "rolled_back" else None

    @property
    def decision(self) -> str | None:
        """What a person decided."""
        return None if self.decided is None else self.decided.decision

    @property
    def despite(self) -> tuple[str, ...]:
        """The misses that the decision outweighs, by name."""
        return () if self.decided is None else self.decided.names

    @property
    def shipped(self) -> bool:
        """True if it was promoted, whatever came then."""
        return any(act.after.state == "promoted" for act in self.acts)


def histories(store: Store, releases: Sequence[Release] | None = None) -> "list[Dossier]":
    """These releases, or all, newest first, in a few queries, each by the last kept report of its runs. May
    raise StoreDown."""
    known, every = Releases(store), Releases(store).all()
    wanted = every if releases is None else releases
    if not wanted:
        return []
    names = [each.id for each in wanted]
    runs = grouped(known.runs(*names), lambda run: run.release)
    notes = grouped(known.notes(*names), lambda note: note.release)
    kept = _Kept.of(store, [run for each in runs.values() for run in each])
    measured = Benchmarks(store).newest_of_each({each.candidate for each in wanted})
    found = [
        Dossier(
            release=release,
            runs=tuple(_run_of(store, run, kept) for run in runs.get(release.id, ())),
            notes=tuple(notes.get(release.id, ())),
            benchmark=document,
            benchmarked_at=first_at,
            promises=kept.promises,
        )
        for release in wanted
        for document, first_at in [measured.get((release.candidate, release.baseline), (None, None))]
    ]
    return [
        each if each.runs else replace(each, superseded_by=_successor(each.release, every)) for each in found
    ]


_RunKey = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What is stored of runs: the audit log by canary, the rest by run."""

    acts: Mapping[str, Sequence[AuditEntry]]
    decisions: Mapping[_RunKey, Decision]
    evaluations: Mapping[_RunKey, Evaluation]
    weeks_after: Mapping[_RunKey, WeekAfter]
    reports: Mapping[_RunKey, DailyReport]
    promises: PromisesHeld

    @classmethod
    def of(cls, store: Store, runs: Sequence[Run]) -> "_Kept":
        canaries = {run.canary for run in runs}
        stored = [from_document(each) for each in Evaluations(store).all()]
        evaluations = {(each.canary, each.run): each for each in stored}
        unjudged = {run.canary for run in runs if (run.canary, run.run) not in evaluations}
        return cls(
            acts=grouped(Releases(store).acts(*canaries), lambda act: act.canary),
            decisions=Decisions(store).latest_of_runs(canaries),
            evaluations=evaluations,
            weeks_after={(each.canary, each.run): each.week_after for each in stored if each.week_after},
            reports=DailyReports(store).newest_of_runs(unjudged),
            promises=promises_of(runs_of(stored)),
        )


def _successor(release: Release, every: Sequence[Release]) -> Release | None:
    later = [each for each in every if each.candidate == release.candidate and each.made_at > release.made_at]
    return min(later, key=lambda each: each.made_at, default=None)


def _run_of(store: Store, run: Run, kept: _Kept) -> RunStanding:
    key = run.canary, run.run
    evaluation, daily = kept.evaluations.get(key), kept.reports.get(key)
    last = from_json(daily.document) if daily is not None else None
    found = RunStanding(
        of=run,
        acts=[act for act in kept.acts.get(run.canary, ()) if act.after.run == run.run],
        report=evaluation.report if evaluation is not None else last,
        decided=kept.decisions.get(key),
        week_after=kept.weeks_after.get(key),
    )
    if found.state == "rolled_back":
        found = replace(found, places=_places(store, run))
    return replace(found, report=None) if _overtaken(found, evaluation) else found


def _places(store: Store, run: Run) -> list[str]:
    stored = store.rollbacks(run.canary, run=run.run, limit=1)
    where = stored[0].why.get("where", {}) if stored else {}
    parts = (msgspec.convert(part, FailingPart) for part in where.get("parts", ()))
    return [part.place for part in parts if part.value]


def _overtaken(run: RunStanding, evaluation: Evaluation | None) -> bool:
    """True while the report of a rollback is not stored yet: an earlier one must not speak for the run."""
    if run.ended_at is None or run.state != "rolled_back":
        return False
    return evaluation is None or evaluation.at < run.ended_at - _PRECISION_S


# The four layers of a release, each against the current model.


LayerName = Literal["synthetic", "real", "users", "business"]
LAYERS: tuple[LayerName, ...] = get_args(LayerName)

_OF_VERDICT: dict[str | None, State] = {"ship": "PASS", "dont_ship": "FAIL", "extend": "INCONCLUSIVE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerStanding:
    """One layer. `score` is from 0 to 100: the examples that the candidate got right, or the weighted score
    of the rubric's rows; None without data.

    `examples` is a benchmark's part on this layer, `rows` are those of the reports, and `judged` what judges
    say of the users' answers, which moves neither state nor score. `too_few`: there are values, of too few
    users for a state.
    """

    state: State
    score: float | None
    examples: Mapping[str, Any] | None = None
    rows: Sequence[MetricLine] = ()
    judged: Sequence[JudgeFigures] = ()
    too_few: bool = False


_NOTHING = LayerStanding(state="NODATA", score=None)


def layers_of(
    benchmark: Mapping[str, Any] | None, reports: Sequence[Report]
) -> Mapping[LayerName, LayerStanding]:
    """The layers of a benchmark's document, and of the reports of one or more canaries."""
    measured = {layer["layer"]: _benchmarked(layer) for layer in (benchmark or {}).get("layers", ())}
    lines = [line for report in reports for line in report.metrics]
    return {
        "synthetic": measured.get("synthetic", _NOTHING),
        "real": measured.get("real", _NOTHING),
        "users": replace(
            _rows([line for line in lines if not line.of_business]),
            judged=[report.judge for report in reports if report.judge is not None],
        ),
        "business": _rows([line for line in lines if line.of_business]),
    }


def _benchmarked(layer: Mapping[str, Any]) -> LayerStanding:
    side = layer["candidate"]
    if side is None or side["completion"] is None:
        return _NOTHING
    return LayerStanding(
        state=_OF_VERDICT.get(layer["verdict"], "NODATA"), score=100 * side["completion"], examples=layer
    )


def _rows(lines: Sequence[MetricLine]) -> LayerStanding:
    if not lines:
        return _NOTHING
    state = worst(line.state for line in lines)
    known = all(line.candidate is not None for line in lines if line.state == "NODATA")
    return LayerStanding(
        state=state,
        score=_score(lines),
        rows=lines,
        too_few=state == "NODATA" and known,
    )


def _score(lines: Sequence[MetricLine]) -> float | None:
    known = [(line.weight, found) for line in lines if (found := _points(line)) is not None]
    whole = sum(weight for weight, _ in known)
    return sum(weight * found for weight, found in known) / whole if whole else None


def _points(line: MetricLine) -> float | None:
    """The row's points by its estimates, as in `verdict.decision.decide`."""
    candidate, baseline = line.candidate, line.baseline
    if candidate is None or baseline is None or line.state == "NODATA":
        return None
    bounds = (parse_bound(text) for text in (line.acceptable, line.ideal))
    acceptable, ideal = (_margin(bound, candidate, baseline) for bound in bounds)
    distance = acceptable - ideal
    if distance <= 0:
        return points(1.0 if acceptable >= 0 else -1.0)
    return points(acceptable / distance)


def _margin(bound: Bound, candidate: float, baseline: float) -> float:
    over = candidate - bound.at(baseline)
    return over if bound.higher_is_better else -over


# One release for its readers: the four layers against the current model, one verdict, the clock. Pure.


ReleaseState = StateName | Literal["noticed", "benchmarked", "superseded"]
"""A release is superseded if its candidate was measured against a newer baseline before any user tried it."""

_WORST_FIRST: tuple[Verdict, ...] = ("dont_ship", "extend", "ship_with_caveats", "ship", "ship_now")
_DECIDES = ("decide", "promote", "rollback")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseClock:
    """When each stage was first reached, UTC seconds; None if not yet, or unknown. `decided` is that of the
    newest runs. `minutes` is the time that people gave, None if nobody gave any; `minutes_by_stage` says on
    what, the most first."""

    noticed: float | None
    benchmarked: float | None
    started: float | None
    decided: float | None
    minutes: float | None
    minutes_by_stage: Mapping[str, float] = field(default_factory=dict)

    @property
    def days(self) -> float | None:
        """The days from the first stage to the decision; None before it."""
        known = [at for at in (self.noticed, self.benchmarked, self.started) if at is not None]
        return None if self.decided is None or not known else (self.decided - min(known)) / 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingReport:
    """A run that is under way and whose present report could not be made. `kept`: an earlier one is shown."""

    canary: str
    kept: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """A release: its runs in the order of their start, people's notes, and its newest benchmark, with the
    time of the first one (UTC seconds). `superseded_by` is the candidate's next release, against another
    baseline, if no user has tried this one. `missing` says of which open runs no present report could be
    made. `wrong` are the benchmark's wrong answers as stored, redacted, for who may read texts. `promises`:
    how often those of all releases held."""

    release: Release
    runs: tuple[RunStanding, ...]
    notes: tuple[ReleaseNote, ...]
    benchmark: Mapping[str, Any] | None
    benchmarked_at: float | None
    superseded_by: Release | None = None
    missing: tuple[MissingReport, ...] = ()
    wrong: tuple[FailureRow, ...] = ()
    promises: PromisesHeld | None = None

    @property
    def newest(self) -> tuple[RunStanding, ...]:
        """The newest run of each canary: these decide."""
        last = {run.canary: run for run in self.runs}
        return tuple(run for run in self.runs if last[run.canary] is run)

    @property
    def telling(self) -> tuple[RunStanding, ...]:
        """The run of each canary by which its users speak: the newest that they tried, else the newest."""
        last = {run.canary: run for run in self.runs} | {run.canary: run for run in self.runs if run.tried}
        return tuple(run for run in self.runs if last[run.canary] is run)

    @property
    def deciding(self) -> tuple[RunStanding, ...]:
        """The newest run of each canary; while nobody has tried that one, and unless it was rolled back, the
        telling one, whose rollback the newest has taken back."""
        telling = {run.canary: run for run in self.telling}
        return tuple(
            run if run.tried or run.state == "rolled_back" else _resumed(telling[run.canary], by=run)
            for run in self.newest
        )

    @property
    def state(self) -> ReleaseState:
        """The state of the run that started last, else the last stage."""
        if self.newest:
            return max(self.newest, key=lambda run: run.started_at).state
        if self.superseded_by is not None:
            return "superseded"
        return "benchmarked" if self.benchmarked_at is not None else "noticed"

    @property
    def verdict(self) -> Verdict | None:
        """The worst of its benchmark's and its deciding runs'; None while there is none, or one that could be
        worse is not there."""
        found = verdicts(self.benchmark, self.deciding)
        known = [verdict for _, verdict in found if verdict is not None]
        least: Verdict | None = next((verdict for verdict in _WORST_FIRST if verdict in known), None)
        return None if len(known) < len(found) and least != "dont_ship" else least

    @property
    def decision(self) -> str | None:
        """What a person decided last."""
        made = [run.decided for run in self.runs if run.decided is not None]
        return max(made, key=lambda each: each.at).decision if made else None

    @property
    def layers(self) -> Mapping[LayerName, LayerStanding]:
        return layers_of(self.benchmark, [run.report for run in self.telling if run.report is not None])

    @property
    def report(self) -> Report | None:
        """The report of the newest run that users tried, else of the newest that has one; without a rollback
        that was taken back."""
        runs = (*self.telling, *self.deciding)
        made = [
            (run.tried, run.started_at, place) for place, run in enumerate(runs) if run.report is not None
        ]
        return runs[max(made)[-1]].report if made else None

    @property
    def clock(self) -> ReleaseClock:
        """When each stage was reached, and the minutes that people gave."""
        acts = [act.act for run in self.runs for act in run.acts]
        newest = [act.act for run in self.newest for act in run.acts]
        decided = [act.at for act in newest if act.action in _DECIDES]
        given = dict[str, float]()
        people: list[Act | ReleaseNote] = [*acts, *self.notes]
        for spent in people:
            if spent.minutes:
                given[stage_of(spent)] = given.get(stage_of(spent), 0.0) + spent.minutes
        return ReleaseClock(
            noticed=self.release.noticed_at,
            benchmarked=self.benchmarked_at,
            started=min((run.started_at for run in self.runs), default=None),
            decided=min(decided, default=None),
            minutes=sum(given.values()) if given else None,
            minutes_by_stage=dict(sorted(given.items(), key=lambda each: -each[1])),
        )


def _resumed(run: RunStanding, *, by: RunStanding) -> RunStanding:
    """The run as its values speak without its rollback, which the other run took back: what passes ships with
    a caveat at best."""
    report = run.report
    if run is by or report is None:
        return run
    found: Verdict = "ship_with_caveats"
    if report.srm.blocked or any(misses(report.metrics, report.parts)):
        found = "dont_ship"
    elif (
        not report.metrics
        or report.window.whole_days < report.window.days_required
        or any(undecided(report.metrics, report.details.too_few))
    ):
        found = "extend"
    return replace(run, report=replace(report, verdict=found))


def verdicts(
    benchmark: Mapping[str, Any] | None, runs: Sequence[RunStanding]
) -> list[tuple[str | None, Verdict | None]]:
    """What the benchmark (None) and each canary says; None: nothing yet."""
    found: list[tuple[str | None, Verdict | None]] = [(run.canary, run.verdict) for run in runs]
    if benchmark is not None and benchmark["verdict"] is not None:
        found.insert(0, (None, benchmark["verdict"]))
    return found


def stage_of(spent: Act | ReleaseNote) -> str:
    """The stage to which a person's minutes went: as they said, else by what they did."""
    if spent.stage:
        return spent.stage
    return "decision" if isinstance(spent, Act) and spent.action in _DECIDES else "other"


# Releases from the store: all of them in short, or one with the present report of what is under way.


class NoSuchRelease(LookupError):
    """A model without a release; the message names those that have one."""


def all_releases(store: Store, *, most: int | None = None) -> list[Dossier]:
    """The newest releases, newest first, each by the last kept report of its runs. May raise StoreDown."""
    return histories(store, Releases(store).all()[:most])


def release_of(settings: ReportSettings, store: Store, which: str, *, now: float) -> Dossier:
    """The release of MODEL, PROVIDER/MODEL or a variant's shown name, or the one with this id: of several the
    one that users have tried last, else the newest.

    Runs that are under way are judged as of `now`, UTC seconds. Raises NoSuchRelease and StoreDown.
    """
    return judged(settings, store, history_of(store, which), now=now)


def history_of(store: Store, which: str) -> Dossier:
    """The release that `release_of` takes. Raises NoSuchRelease and StoreDown."""
    known = Releases(store)
    found = known.of_model(which)
    if not found:
        variants = known.variants_of(which)
        others = ", ".join(dict.fromkeys(each.candidate for each in variants or known.all()))
        there_are = "of variants of it there are" if variants else "there are"
        raise NoSuchRelease(f"there is no release of {which!r}; {there_are}: {others or 'none'}")
    return max(histories(store, found), key=_tried_last)


def with_texts(store: Store, found: Dossier, *, now: float) -> Dossier:
    """The release with its wrong answers, as long as they are stored. May raise StoreDown."""
    about = found.release
    wrong = BenchFailures(store).latest(about.candidate, about.baseline, now=now)
    return replace(found, wrong=tuple(wrong or ()))


def _tried_last(found: Dossier) -> tuple[float, float]:
    return max((run.started_at for run in found.runs), default=0.0), found.release.made_at


def measured(settings: ReportSettings, store: Store, document: Mapping[str, Any], *, now: float) -> Dossier:
    """The release of a benchmark that was just made, stored or not. May raise StoreDown."""
    models = document["candidate"], document["baseline"]
    found = [each for each in Releases(store).all() if (each.candidate, each.baseline) == models]
    if not found:
        return of_benchmark(document, now=now)
    (history,) = histories(store, found)
    made_at = history.benchmarked_at or now
    return judged(settings, store, replace(history, benchmark=document, benchmarked_at=made_at), now=now)


def of_benchmark(document: Mapping[str, Any], *, now: float) -> Dossier:
    """A release of which only a benchmark is known, which is not stored."""
    release = Release(
        id="(not stored)", candidate=document["candidate"], baseline=document["baseline"], made_at=now
    )
    return Dossier(release=release, runs=(), notes=(), benchmark=document, benchmarked_at=now)


def judged(settings: ReportSettings, store: Store, found: Dossier, *, now: float) -> Dossier:
    """The release, with the reports as of `now` of its open runs and of those that were decided so lately
    that none is kept yet. Where a report cannot be made, the newest that was kept stands for the run."""
    runs, missed = list(found.runs), list[MissingReport]()
    for each in found.newest:
        if each.state not in GATHERING and each.report is not None:
            continue

        def made(run: RunStanding = each) -> Report | None:
            return report_of(settings, run.canary, store, now=now, run=run.run)

        def missing(why: str, run: RunStanding = each) -> None:
            missed.append(MissingReport(canary=run.canary, kept=run.report is not None, why=why))

        report = attempt(f"the report of {each.canary}", made, missing)
        if report is not None and report.units.candidate:
            runs[runs.index(each)] = replace(each, report=report)
    return replace(found, runs=tuple(runs), missing=tuple(missed))
