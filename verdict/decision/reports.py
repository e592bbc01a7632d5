"""Reports of canaries, from the server's records or an external log: of one, or several side by side."""

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path

import msgspec

from judge.judgements import Judgements, RunJudgements
from records.errors import StoreDown
from records.facts.arm_texts import TextChange, changes_between
from records.store import AuditEntry, Store
from records.store.arm_texts import ArmTextsInStore
from records.store.benchmarks import Benchmarks
from records.store.captures import Labels
from records.store.decisions import Decision, Decisions
from records.store.drift import DriftStore
from records.store.reports import Evaluations, LookScope, StoredLook, VerdictLooks
from routing.canary import Arm
from routing.states import State
from verdict.decision.document import SHIPS, Decided, Report, Verdict
from verdict.decision.offline import benchmarks_between, benchmarks_of, offline_rows, spent_on
from verdict.decision.plan_course import PlanCourse, cuts, look_left_out, new_looks
from verdict.decision.verdict import build, build_with_looks
from verdict.details import EvaluationCost, Mirror
from verdict.rows.looks import NO_LOOKS, Look, from_store, to_store
from verdict.rows.reasons import EarlierRun, Reason, left_out
from verdict.sample.cohort import from_store as of_run
from verdict.sample.cohort import mirrored, to_judge
from verdict.sample.csv_log import from_csv
from verdict.sample.judged import ratings_of
from verdict.sample.unit_totals import RunPart, session_units
from verdict.terms.fixed_terms import judged_by, share_changes
from verdict.terms.judged_canary import NOTHING, JudgedCanary, Miss, Outweighed, ReportSettings, RunRolledBack
from verdict.terms.plan import ARRIVAL_S, LEAST_LEFT, log_end
from verdict.terms.rubric import Criterion

GATHERING = ("waiting", "running", "paused")
"""The states of a canary whose run is not over."""


class NoSuchCanary(LookupError):
    """A name that is neither in the config nor in the records; the message lists the known names."""


def report_from_store(
    settings: ReportSettings,
    name: str | None,
    store: Store,
    *,
    now: float,
    retro: Sequence[Criterion] | None = None,
) -> Report:
    """Judge the current run of a canary (None: the only one), even if it has left the config.

    The server may be down. `retro` is another rubric, to judge by after the run.
    """
    return report_of(settings, name or _only(settings), store, now=now, retro=retro)


def report_of(
    settings: ReportSettings,
    name: str,
    store: Store,
    *,
    now: float,
    run: int | None = None,
    retro: Sequence[Criterion] | None = None,
    after: AuditEntry | None = None,
    decision: Decision | None = None,
) -> Report:
    """Judge one run of a canary (None: the current run) by an open store: as it stands, or as it stood
    `after` this act. `decision` is one to judge by in place of the newest that is stored."""
    judged = judged_canary(settings, name, store)
    known = store.states().get(name)
    state = after.after if after is not None else known.state if known is not None else None
    current = state.run if state is not None else None
    asked = current if run is None else run
    if decision is None:
        decision = Decisions(store).latest(name, asked, until=after.act.at if after is not None else None)
    fixed = store.rubric(name)
    rolled_back = state is not None and (asked != current or store.was_rolled_back(name, state))
    judged = replace(
        judged if retro is None else _under(judged, retro, settings),
        share_changes=share_changes(store, name, asked or 0),
        model_changes=DriftStore(store).changes(),
        over=state is not None and (asked != current or state.state not in GATHERING),
        rolled_back=_rollback(store, name, asked) if rolled_back else None,
        rubric_sha256=fixed.sha256 if fixed is not None else None,
        outweighed=_outweighed(decision) if retro is None else NOTHING,
    )
    judged = _after(judged, VerdictLooks(store), name, asked or 0)
    scope = LookScope(canary=name, run=asked or 0, rubric_sha256=judged.sha256)
    kept = NO_LOOKS if retro is not None or asked is None else from_store(VerdictLooks(store).of(scope))
    said = judging_of(store, name, asked)
    part = _tried(state) if asked == current else None
    with store.reading() as connection:
        sample = to_judge(connection, judged, asked, cuts=cuts(judged, kept, now=now), judged=said, part=part)
        mirror = mirrored(connection, name, asked)
        if asked is not None:
            behind = session_units(connection, name, asked, len(sample.units))
            sample = replace(sample, behind=behind)
    report, taken = build_with_looks(sample, judged, kept, now=now)
    if retro is None and asked is not None:
        _keep(VerdictLooks(store), scope, taken, now=now)
    notes: list[Reason] = []
    made = benchmarks_between(Benchmarks(store), judged.candidate, judged.baseline)
    document, evaluation = made[-1] if made else None, _with_mirror(report.details.evaluation, mirror)
    benchmarks, offline, evaluation = left_out(
        "benchmark",
        lambda: (
            benchmarks_of(document),
            offline_rows(judged.offline, document),
            _with_benchmarks(evaluation, *spent_on(made)),
        ),
        ((), report.details.offline, evaluation),
        notes,
    )
    return replace(
        report,
        reasons=_with_earlier(report, _earlier(store, name, asked, report), notes),
        mirror=mirror,
        decision=_decided(decision),
        lane=state.lane.part if state is not None and state.lane is not None else None,
        texts=_texts(store, judged),
        details=replace(report.details, benchmarks=benchmarks, offline=offline, evaluation=evaluation),
    )


def _after(judged: JudgedCanary, looks: VerdictLooks, name: str, run: int) -> JudgedCanary:
    """The terms of this run: what looks of earlier ones spent of the risk is spent, whoever tries again.
    Looks under other terms have spent what a whole plan does."""
    plan, spent = judged.plan, 0.0
    if plan is None:
        return judged
    for earlier in range(1, run):
        scope = LookScope(canary=name, run=earlier, rubric_sha256=judged.sha256)
        stored = [each for each in looks.of(scope) if not each.of_part]
        ours, every = _ship_days(stored), _ship_days(looks.of_run(name, earlier))
        last = plan.days if len(every) > len(ours) else max(ours, default=0)
        spent += max(1 - spent, LEAST_LEFT) * (plan.spent("ship", last, 1.0) if last else 0.0)
    return replace(judged, spent_before=min(spent, 1.0))


def _ship_days(stored: Sequence[StoredLook]) -> list[int]:
    """The days of the looks that might have shipped."""
    told = (look for look in from_store(stored).values() if look.seen is not None)
    return [look.day for look in told if look.seen is not None and look.seen.boundary is not None]


def _texts(store: Store, judged: JudgedCanary) -> tuple[TextChange, ...]:
    """The texts that differ between the arms, as they were at the start."""
    arms = (judged.baseline, judged.candidate)
    if arms[0] is None or arms[1] is None or not any(arm is not None and arm.text_parts for arm in arms):
        return ()
    return changes_between(arms[0], arms[1], ArmTextsInStore(store).started().by_digest)


def _with_mirror(cost: EvaluationCost, mirror: Mirror | None) -> EvaluationCost:
    if mirror is None:
        return cost
    if mirror.cost_usd is None:
        return replace(cost, unknown=(*cost.unknown, "mirror"))
    return replace(cost, mirror_usd=mirror.cost_usd)


def _with_benchmarks(cost: EvaluationCost, usd: float, whole: bool) -> EvaluationCost:
    return replace(cost, benchmark_usd=usd, unknown=cost.unknown if whole else (*cost.unknown, "benchmark"))


def _tried(state: State | None) -> RunPart | None:
    """The part of a run in which it was tried; None for all of it. What comes after a promotion, while users
    are held back, is a matter of its own (`verdict.archive.week_after`)."""
    held = state.holdback if state is not None else None
    return None if held is None else RunPart(before=held.phase)


def judging_of(store: Store, name: str, run: int | None) -> RunJudgements:
    """What a judge said of one run, nothing of an unknown one, with people's labels of the canary's pairs and
    users' ratings of what else it marked."""
    found = tuple(Judgements(store).of(name, run)) if run is not None else ()
    with store.reading() as connection:
        ratings = ratings_of(connection, name, run or 0, found)
    return RunJudgements(exchanges=found, labels=tuple(Labels(store).given(name)), ratings=ratings)


def _keep(looks: VerdictLooks, scope: LookScope, taken: Sequence[Look], *, now: float) -> None:
    """Store the looks whose records had time to come. A report needs no right to write: without it, the next
    report takes them again."""
    with suppress(StoreDown):
        looks.keep(scope, to_store([look for look in taken if look.at + ARRIVAL_S <= now]))


def take_looks(settings: ReportSettings, name: str, store: Store, *, now: float) -> int:
    """Take and store the looks of the current run that are due and not stored; return their number.

    A look is due ARRIVAL_S after its midnight. Raises NoSuchCanary, UnknownMetric, BadSample and StoreDown.
    """
    judged, known = judged_canary(settings, name, store), store.states().get(name)
    if known is None or known.state.state not in GATHERING:
        return 0
    judged = _after(judged, VerdictLooks(store), name, known.state.run)
    if judged.plan is None:
        return 0
    scope = LookScope(canary=name, run=known.state.run, rubric_sha256=judged.sha256)
    kept, until = from_store(VerdictLooks(store).of(scope)), now - ARRIVAL_S
    said = judging_of(store, name, scope.run)
    with store.reading() as connection:
        sample = of_run(
            connection,
            name,
            scope.run,
            metrics=[row.metric for row in judged.criteria],
            declared=judged.metrics,
            cuts=cuts(judged, kept, now=until),
            judged=said,
            assigned_outside=judged.assigned_outside,
        )
    course = PlanCourse(sample=sample, canary=judged, plan=judged.plan, kept=kept, now=until)
    taken = [each for row in judged.criteria for looks in course.all_looks(row).values() for each in looks]
    new = new_looks(taken, kept)
    VerdictLooks(store).keep(scope, to_store(new))
    return len(new)


def report_from_csv(
    settings: ReportSettings,
    name: str | None,
    path: Path,
    *,
    now: float,
    retro: Sequence[Criterion] | None = None,
) -> Report:
    """Judge an external log by this config's rubric, or by `retro`."""
    judged = settings.canaries.get(name or _only(settings))
    if judged is None:
        raise _unknown(settings.canaries, name)
    sample = from_csv(path, settings.metrics, now=now, assigned_outside=judged.assigned_outside)
    judged = judged if retro is None else _under(judged, retro, settings)
    if judged.plan is None:
        return build(sample, judged, now=now)
    last_at = float(sample.last_at.max(initial=0.0))
    report = build(sample, judged, now=min(now, log_end(last_at)))
    left_out = look_left_out(report.plan, report.window.whole_days, last_at)
    return replace(report, reasons=(*report.reasons, *left_out))


def judged_canary(settings: ReportSettings, name: str, store: Store) -> JudgedCanary:
    """A canary with its terms from the config, else with the stored ones. Raises NoSuchCanary."""
    if name in settings.canaries:
        return replace(settings.canaries[name], shares={})
    fixed = store.rubric(name)
    if fixed is not None:
        return judged_by(name, fixed)
    states = store.states()
    if name in states:
        return JudgedCanary(name=name, criteria=(), metrics=settings.metrics)
    raise _unknown({**settings.canaries, **states}, name)


def _only(settings: ReportSettings) -> str:
    if len(settings.canaries) != 1:
        raise _unknown(settings.canaries)
    return next(iter(settings.canaries))


def _unknown(names: Iterable[str], name: str | None = None) -> NoSuchCanary:
    near = get_close_matches(name or "", names := list(names), n=1)
    wrong = "name a canary" if name is None else f"no canary {name!r}"
    wrong += f" (did you mean {near[0]!r}?)" if near else ""
    return NoSuchCanary(f"{wrong}; there are: {', '.join(names) or 'none'}")


def _under(judged: JudgedCanary, retro: Sequence[Criterion], settings: ReportSettings) -> JudgedCanary:
    return replace(judged, criteria=retro, retro=True, metrics={**judged.metrics, **settings.metrics})


def _with_earlier(report: Report, earlier: Sequence[Reason], notes: Sequence[Reason]) -> tuple[Reason, ...]:
    """The report's reasons; before them that an earlier run had users, where that is what is missing."""
    if report.verdict == "extend":
        return (*earlier, *report.reasons, *notes)
    return (*report.reasons, *earlier, *notes)


def _earlier(store: Store, name: str, run: int | None, report: Report) -> list[Reason]:
    """The newest earlier run that users tried, if nobody has tried this one."""
    if run is None or report.units.candidate:
        return []
    kept = [each for each in Evaluations(store).all(name) if each["run"] < run]
    users = {each["run"]: each["report"]["units"]["candidate"] for each in kept}
    tried = [known for known, candidates in users.items() if candidates]
    return [EarlierRun(run=max(tried), users=users[max(tried)])] if tried else []


def _outweighed(decision: Decision | None) -> Outweighed:
    """What the newest decision outweighs, if it is to ship."""
    if decision is None or decision.decision != "ship":
        return NOTHING
    misses = msgspec.convert(decision.despite or (), tuple[Miss, ...])
    return Outweighed(who=decision.who, reason=decision.reason, misses=misses)


def _rollback(store: Store, name: str, run: int | None) -> RunRolledBack:
    """Who rolled the run back, and why: by its evidence, else by the audit log."""
    if stored := store.rollbacks(name, run=run, limit=1):
        why = stored[0].why
        return RunRolledBack(who=why.get("who", ""), why=str(why.get("reason", "")))
    for each in store.audit(canary=name):
        if each.after.run == run and each.act.action == "rollback":
            return RunRolledBack(who=each.act.who, why=each.act.reason)
    return RunRolledBack()


def _decided(decision: Decision | None) -> Decided | None:
    if decision is None:
        return None
    return Decided(
        decision=decision.decision,
        by=decision.who,
        reason=decision.reason,
        at=decision.at,
        despite=decision.names,
    )


# Candidates of one release window beside each other, each by its own report against its own baseline.


_ORDER: Sequence[Verdict] = ("ship_now", "ship", "ship_with_caveats", "extend", "dont_ship")


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateStanding:
    """One candidate with its report. `lane` is its canary's part of the units, None: all, 0: refused, since
    other canaries have all. `rolled_back` is that of this run; `held_back` the part of the users who keep the
    former baseline after its promotion, 0 for nobody."""

    report: Report
    state: str
    candidate: Arm | None
    baseline: Arm | None
    lane: float | None = None
    rolled_back: bool = False
    held_back: float = 0.0

    @property
    def name(self) -> str:
        """The canary's name."""
        return self.report.canary

    @property
    def rows(self) -> tuple[tuple[tuple[str, ...], str, str, float], ...]:
        """Its rubric's rows: metric with its definition, acceptable and ideal bound, weight."""
        lines = self.report.metrics
        return tuple(sorted((each.definition, each.acceptable, each.ideal, each.weight) for each in lines))

    @property
    def risk(self) -> float | None:
        """How often it ships exactly at its bounds, at most; None without a plan."""
        looks = [line.look for line in self.report.metrics if line.look is not None]
        return max((look.risk for look in looks), default=None)

    @property
    def part_of_risk(self) -> float:
        """The smallest part of its rows' risks at which it would have shipped; infinite for one that does
        not."""
        if self.report.verdict not in SHIPS:
            return math.inf
        parts = [
            math.inf if line.look is None or line.look.p is None else line.look.p / line.look.risk
            for line in self.report.metrics
            if line.state in ("IDEAL", "PASS")  # a person outweighed the others
        ]
        return max(parts, default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """The candidates in their order, and the metrics of the rows that all their rubrics have.

    `alike` are the pairs of names that are not told apart.
    """

    candidates: Sequence[CandidateStanding]
    metrics: Sequence[str]
    alike: Sequence[tuple[str, str]]

    @property
    def one_rubric(self) -> bool:
        """True if all rubrics have the same rows."""
        return len({each.rows for each in self.candidates}) == 1

    @property
    def any_ships(self) -> float | None:
        """The chance that any of them ships if all are exactly at their bounds, at most; None if one has no
        plan."""
        risks = [each.risk for each in self.candidates]
        if any(risk is None for risk in risks):
            return None
        return 1 - math.prod(1 - risk for risk in risks if risk is not None)

    def by_chance(self) -> list[str]:
        """Those that ship by themselves, but not among so many: Holm's procedure shares one candidate's risk
        among all of them."""
        ordered = sorted(self.candidates, key=lambda each: each.part_of_risk)
        passed = 0
        for left, each in zip(range(len(ordered), 0, -1), ordered, strict=True):
            if each.part_of_risk > 1 / left:
                break
            passed += 1
        return [each.name for each in ordered[passed:] if math.isfinite(each.part_of_risk)]

    def alike_to(self, name: str) -> list[str]:
        """The names from which this one is not told apart."""
        return [one if other == name else other for one, other in self.alike if name in (one, other)]


def compare_from_store(
    settings: ReportSettings, names: Sequence[str], store: Store, *, now: float
) -> SideBySide:
    """Report on each canary and set them side by side. Raises ValueError for fewer than two different names,
    and what `report_of` raises."""
    if len(set(names)) < 2:
        raise ValueError("name two canaries or more to compare")
    return side_by_side([_standing(settings, name, store, now=now) for name in dict.fromkeys(names)])


def _standing(settings: ReportSettings, name: str, store: Store, *, now: float) -> CandidateStanding:
    judged, known = judged_canary(settings, name, store), store.states().get(name)
    return CandidateStanding(
        report=report_of(settings, name, store, now=now),
        state=known.state.state if known is not None else "waiting",
        candidate=judged.candidate,
        baseline=judged.baseline,
        lane=_lane(settings, name, known.state if known is not None else None),
        rolled_back=known is not None and store.was_rolled_back(name, known.state),
        held_back=1.0 - known.state.share if known is not None and known.state.holds_back else 0.0,
    )


def _lane(settings: ReportSettings, name: str, state: State | None) -> float | None:
    """The canary's part of the units. One that waits without a lane has all only where none else shares its
    requests."""
    if state is not None and state.lane is not None:
        return state.lane.part
    if state is None or state.state != "waiting":
        return None
    others = [each for other, each in settings.canaries.items() if other != name]
    return 0.0 if any(_meet(settings.canaries[name], each) for each in others) else None


def _meet(one: JudgedCanary, other: JudgedCanary) -> bool:
    """True when one request could be taken by both."""
    if one.baseline is None or one.match is None or other.baseline is None or other.match is None:
        return False
    return one.baseline.provider == other.baseline.provider and one.match.overlaps(other.match)


def side_by_side(found: Sequence[CandidateStanding]) -> SideBySide:
    """Order the candidates, and say what is to be said of each pair. Pure."""
    candidates = sorted(found, key=_rank)
    return SideBySide(
        candidates=candidates,
        metrics=_common(candidates),
        alike=[(one.name, other.name) for one, other in combinations(candidates, 2) if _alike(one, other)],
    )


def _rank(standing: CandidateStanding) -> tuple[int, float, str]:
    score = standing.report.score.estimate
    return _ORDER.index(standing.report.verdict), -1.0 if score is None else -score, standing.name


def _common(candidates: Sequence[CandidateStanding]) -> list[str]:
    """The metrics of one definition that every rubric has a row on, in the first one's order."""
    rubrics = [[line.definition for line in each.report.metrics] for each in candidates]
    return [each[0] for each in rubrics[0] if all(each in rubric for rubric in rubrics)]


def _alike(one: CandidateStanding, other: CandidateStanding) -> bool:
    """True for candidates of one verdict whose scores overlap, or answer different questions."""
    if one.report.verdict != other.report.verdict:
        return False
    mine, theirs = one.report.score, other.report.score
    overlap = mine.low <= theirs.high and theirs.low <= mine.high
    return overlap or one.rows != other.rows


def at_the_same_time(one: Report, other: Report) -> bool:
    """True if the windows overlap by half of the longer one, or one has no traffic yet."""
    mine, theirs = one.window, other.window
    if mine.start is None or mine.end is None or theirs.start is None or theirs.end is None:
        return True
    shared = min(mine.end, theirs.end) - max(mine.start, theirs.start)
    return shared >= max(mine.end - mine.start, theirs.end - theirs.start) / 2
