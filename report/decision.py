"""Turns the rows' states into a verdict with reasons."""

from collections.abc import Sequence
from dataclasses import dataclass

from records.facts.metric import JUDGED, JUDGED_MARK
from report.arm_sums import GATE
from report.details import SinceFirst
from report.document import CategoryLine, MetricLine, PlanLine, ReportWindow, SegmentLine, Srm, Verdict
from report.judged_canary import JudgedCanary
from report.misses import Part, better_higher, miss_of, misses
from report.parts import Part as MeasuredPart
from report.parts import Parts
from report.plan_outlook import outlook, taken_risk
from report.reasons import (
    AnotherRubric,
    DaysMissing,
    FewDaysRequired,
    FewerUsers,
    NoRubric,
    NotBorneOut,
    NotComputed,
    OneUser,
    Outweighed,
    PartTooFew,
    PartUnseen,
    PartWorse,
    Reason,
    RowMissed,
    RowOpen,
    RowsAcceptable,
    RowsIdeal,
    SplitNotChecked,
    SplitOff,
    TooFewUsers,
    Unreached,
    WorseInParts,
)
from report.row import Row

HONEST_DAYS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The basis of a verdict. `days_elapsed` counts from the candidate's first exposure. `unreached`: the
    candidate's exchanges that did not reach it though it is not to blame (None: hardly any). `caveats` and
    `notes` are on the data; notes do not affect the verdict."""

    canary: JudgedCanary
    rows: tuple[Row, ...]
    lines: tuple[MetricLine, ...]
    parts: Parts
    srm: Srm
    window: ReportWindow
    days_elapsed: float
    rubric_sha256: str
    plan: PlanLine | None = None
    unreached: Unreached | None = None
    too_many_unreached: bool = False
    caveats: tuple[Reason, ...] = ()
    notes: tuple[Reason, ...] = ()
    since_first: tuple[SinceFirst, ...] = ()


def decide(findings: Findings) -> tuple[Verdict, tuple[Reason, ...]]:
    """The verdict and its reasons, the deciding reasons first.

    A mismatched split, a rolled-back run, a miss or a blocked category: don't ship. A person may outweigh
    misses and categories, each by name and as it stood then; nothing outweighs a split or a rollback.
    Otherwise, anything still open: extend. Otherwise ship, with caveats if there are any.
    """
    blockers, missing, caveats = _blockers(findings), _missing(findings), _caveats(findings)
    found, outweighed = _misses(findings)
    if blockers or found:
        return "dont_ship", (*blockers, *found, *outweighed, *missing, *caveats)
    if missing:
        return "extend", (*missing, *outweighed, *_passing(findings), *caveats)
    if outweighed:
        return "ship_with_caveats", (*outweighed, *caveats, *_passing(findings))
    if caveats:
        return "ship_with_caveats", (*caveats, *_passing(findings))
    now = all(row.state == "IDEAL" for row in findings.rows)
    return ("ship_now" if now else "ship"), tuple(_passing(findings))


def _blockers(findings: Findings) -> list[Reason]:
    found: list[Reason] = []
    if findings.srm.blocked:
        found.append(SplitOff(p_value=findings.srm.p_value))
    if findings.canary.rolled_back is not None:
        found.append(findings.canary.rolled_back)
    return found


def _misses(findings: Findings) -> tuple[list[Reason], list[Reason]]:
    """The misses that nobody outweighed, or that are worse than then; and those that a person outweighed."""
    open_: list[Reason] = []
    covered: dict[str, list[Reason]] = {}
    decided, higher = findings.canary.outweighed, better_higher(findings.lines)
    parts: list[Part] = [*findings.parts.categories, *findings.parts.segments]
    for miss, place in misses(findings.lines, parts):
        covers = decided.covers(miss, higher_is_better=higher[miss.metric])
        worse_than = decided.who if not covers and decided.had(miss) else ""
        if isinstance(place, MetricLine):
            found: Reason = RowMissed(
                metric=place.metric, acceptable=place.acceptable, now_worse_than=worse_than
            )
        else:
            found = _worse(place, findings.parts, now_worse_than=worse_than)
        if covers:
            covered.setdefault(miss.name, []).append(found)
        else:
            open_.append(found)
    for line in findings.lines:
        if _is_excused(line, findings):
            covered.setdefault(line.metric, [])
    if not covered:
        return open_, []
    head = Outweighed(who=decided.who, why=decided.reason, names=tuple(covered))
    return open_, [head, *(found for each in covered.values() for found in each)]


def _is_excused(line: MetricLine, findings: Findings) -> bool:
    """True for an undecided row that a person outweighed when it was a miss, while it is no worse."""
    higher = better_higher([line])[line.metric]
    outweighed = findings.canary.outweighed.covers(miss_of(line), higher_is_better=higher)
    return line.state == "INCONCLUSIVE" and outweighed


def _worse(part: Part, parts: Parts, *, now_worse_than: str = "") -> PartWorse:
    by = part.by if isinstance(part, SegmentLine) else None
    place, difference = (by, part.value, part.metric), part.difference
    return PartWorse(
        by=by,
        value=part.value,
        metric=part.metric,
        estimate=difference.estimate,
        low=difference.low,
        high=difference.high,
        interval=difference.p_value is not None,
        exact_users=parts.exact.get(place),
        below_floor=place in parts.below_floor,
        now_worse_than=now_worse_than,
    )


def _missing(findings: Findings) -> list[Reason]:
    found: list[Reason] = []
    if not findings.rows:
        found.append(NoRubric())
    if findings.too_many_unreached and findings.unreached is not None:
        found.append(findings.unreached)
    for row, line in zip(findings.rows, findings.lines, strict=True):
        found += _open(row, excused=_is_excused(line, findings))
    found += _too_few(findings.parts)
    found += outlook(findings.plan, findings.lines)
    done, required = findings.window.whole_days, findings.window.days_required
    if done < required:
        more = max(0.0, required - findings.days_elapsed)
        found.append(DaysMissing(done=done, required=required, more=more))
    return found


def _open(row: Row, *, excused: bool) -> Sequence[Reason]:
    """Why the row is open; nothing if it is not, or is `excused` while no users are missing."""
    short = row.state == "NODATA"
    if row.held is not None:
        # Of marks, no number of users would do.
        judged = short and isinstance(row.held, NotBorneOut) and row.metric != JUDGED_MARK
        return [*([_without_data(row)] if judged else []), row.held]
    if short:
        return [_without_data(row)]
    if row.state != "INCONCLUSIVE" or excused:
        return []
    if row.one_unit is not None:
        return [OneUser(metric=row.metric, acceptable=row.criterion.acceptable.text, found=row.one_unit)]
    return [RowOpen(metric=row.metric, acceptable=row.criterion.acceptable.text, heavy=row.heavy)]


def _without_data(row: Row) -> TooFewUsers:
    reading, (ours, theirs) = row.reading, row.reading.carrying
    lacks = ours >= GATE
    return TooFewUsers(
        metric=row.metric,
        acceptable=row.criterion.acceptable.text,
        arm="baseline" if lacks else "candidate",
        users=reading.baseline_units if lacks else reading.candidate_units,
        carrying=theirs if lacks else ours,
    )


def _too_few(parts: Parts) -> list[Reason]:
    """One reason for each critical part that cannot be judged, with the users that every metric has."""
    found: list[Reason] = []
    waiting: dict[tuple[str | None, str], list[MeasuredPart]] = {}
    for part in parts.too_few:
        waiting.setdefault((part.by, part.value), []).append(part)
    for (by, value), metrics in waiting.items():
        if not any(part.seen for part in metrics):
            found.append(PartUnseen(by=by, value=value))
            continue
        found += [
            NotComputed(metric=part.metric, why=part.uncomputed, by=by, value=value)
            for part in metrics
            if part.uncomputed
        ]
        users = tuple(_fewer(part) for part in metrics if not part.uncomputed)
        found += [PartTooFew(by=by, value=value, users=users)] if users else []
    return found


def _fewer(part: MeasuredPart) -> FewerUsers:
    """The metric, the arm that has fewer users of the part, and how many."""
    ours, theirs = part.carrying
    return (part.metric, "candidate", ours) if ours <= theirs else (part.metric, "baseline", theirs)


def _caveats(findings: Findings) -> list[Reason]:
    found: list[Reason] = []
    found += _another_rubric(findings)
    found += taken_risk(findings.canary, findings.rows)
    if findings.unreached is not None and not findings.too_many_unreached:
        found.append(findings.unreached)
    if findings.srm.off or (findings.srm.p_value is None and findings.rows):
        found.append(SplitNotChecked(assigned_outside=findings.srm.off))
    found += findings.caveats
    parts: tuple[SegmentLine | CategoryLine, ...] = (*findings.parts.segments, *findings.parts.categories)
    worse: dict[str, list[PartWorse]] = {}
    for part in parts:
        if part.state == "WORSE" and not part.blocks:
            worse.setdefault(part.metric, []).append(_worse(part, findings.parts))
    found += [WorseInParts(metric=metric, parts=tuple(where)) for metric, where in worse.items()]
    return found


def _another_rubric(findings: Findings) -> list[Reason]:
    fixed, used, retro = findings.canary.rubric_sha256, findings.rubric_sha256, findings.canary.retro
    if fixed == used or (fixed is None and not retro):
        return []
    judged = any(row.metric in JUDGED for row in findings.canary.criteria)
    return [AnotherRubric(fixed=fixed, used=used, retro=retro, judged=judged)]


def _passing(findings: Findings) -> list[Reason]:
    def metrics(state: str) -> tuple[str, ...]:
        return tuple(each.metric for each in findings.rows if each.state == state)

    near = tuple(each.metric for each in findings.rows if each.may_be_ideal)
    ideal, passed, days = metrics("IDEAL"), metrics("PASS"), findings.canary.minimum_days
    return [
        *([RowsIdeal(metrics=ideal)] if ideal else []),
        *([RowsAcceptable(metrics=passed, may_be_ideal=near)] if passed else []),
        *([FewDaysRequired(days=days, needed=HONEST_DAYS)] if days < HONEST_DAYS else []),
    ]
