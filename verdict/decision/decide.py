"""Turns the rows' states into a verdict with its reasons and a score. Pure.

A miss, or what stays undecided, is named by its row's metric, by a critical category `category:VALUE`, or by
a critical segment `segment:TAG=VALUE`: a person may outweigh it, as it stands.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from common.groups import grouped
from records.facts.metric import JUDGED, JUDGED_MARK, JUDGED_PREFERENCE
from records.outcome import THROTTLED
from verdict.decision.document import (
    MetricLine,
    PartLine,
    PlanLine,
    ReportWindow,
    SampleRatioCheck,
    Score,
    Verdict,
)
from verdict.decision.parts import Part, Parts
from verdict.decision.plan_course import outlook, taken_risk
from verdict.details import CacheHits, SinceFirst, Throttled, UsersToCome, unreached_worth_telling
from verdict.rows.comparison import GATE
from verdict.rows.reading import enough_events
from verdict.rows.reasons import (
    AnotherRubric,
    BoundMissedInParts,
    DaysMissing,
    FewDaysRequired,
    FewerUsers,
    LabelsWanted,
    MissesOutweighed,
    NoRubric,
    OneUser,
    OverQuota,
    PartTooFew,
    PartTooWide,
    PartUnseen,
    PartWorse,
    Reason,
    RowMissed,
    RowNotComputed,
    RowOpen,
    RowsAcceptable,
    RowsIdeal,
    SplitNotChecked,
    SplitOff,
    TooFewUsers,
    Unreached,
    WorseInParts,
)
from verdict.rows.row import Row, few_events
from verdict.terms.judged_canary import JudgedCanary, Miss, part_name
from verdict.terms.rubric import parse_bound


def misses(
    lines: Sequence[MetricLine], parts: Sequence[PartLine]
) -> Iterator[tuple[Miss, MetricLine | PartLine]]:
    """The rows that miss their bound, then the critical parts that block."""
    yield from ((miss_of(line), line) for line in lines if line.state == "FAIL")
    yield from ((_of_part(part), part) for part in parts if part.blocks)


def undecided(lines: Sequence[MetricLine], too_few: Sequence[UsersToCome]) -> Iterator[Miss]:
    """The rows that are open, then the critical parts that cannot be judged yet."""
    yield from (miss_of(line) for line in lines if line.state in _OPEN)
    yield from map(_open_part, dict.fromkeys(part_name(part.by, part.value) for part in too_few))


def miss_of(line: MetricLine) -> Miss:
    """The row as a miss, or as an open one."""
    low, high = line.candidate_interval
    estimate, found = line.candidate, line.difference
    if parse_bound(line.acceptable).relative:
        low, estimate, high = found.low, found.estimate, found.high
    open_ = line.state in _OPEN
    return Miss(name=line.metric, metric=line.metric, low=low, estimate=estimate, high=high, open=open_)


def better_higher(lines: Sequence[MetricLine]) -> Mapping[str, bool]:
    """Whether a higher value is better, by metric."""
    return {line.metric: parse_bound(line.acceptable).higher_is_better for line in lines}


def _of_part(part: PartLine) -> Miss:
    name, found = part_name(part.by, part.value), part.difference
    return Miss(name=name, metric=part.metric, low=found.low, estimate=found.estimate, high=found.high)


def _open_part(name: str) -> Miss:
    return Miss(name=name, metric="", low=None, estimate=None, high=None, open=True)


_OPEN = ("INCONCLUSIVE", "NODATA")
WEEK_DAYS = 7
_SITTING_DAYS = 2
"""What a decision by people's preference alone takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The basis of a verdict. `days_elapsed` counts from the candidate's first exposure. `unreached`: the
    candidate's exchanges that did not reach it though it is not to blame (None: hardly any). `throttled`: the
    requests of both arms over their provider's quota (None: not one). `caveats` and
    `notes` are on the data; notes do not affect the verdict."""

    canary: JudgedCanary
    rows: tuple[Row, ...]
    lines: tuple[MetricLine, ...]
    parts: Parts
    srm: SampleRatioCheck
    window: ReportWindow
    days_elapsed: float
    rubric_sha256: str
    plan: PlanLine | None = None
    unreached: Unreached | None = None
    too_many_unreached: bool = False
    throttled: Throttled | None = None
    caveats: tuple[Reason, ...] = ()
    notes: tuple[Reason, ...] = ()
    since_first: tuple[SinceFirst, ...] = ()
    cache_hits: CacheHits | None = None


def decide(findings: Findings) -> tuple[Verdict, tuple[Reason, ...]]:
    """The verdict and its reasons, the deciding reasons first.

    A mismatched split, a rolled-back run, a miss or a blocked category: don't ship. Otherwise, anything still
    open: extend. Otherwise ship, with caveats if there are any. A person may outweigh misses, open rows and
    critical parts, each by name and as it stood then; nothing outweighs a split, a rollback or missing days.
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
    parts = findings.parts
    for miss, place in misses(findings.lines, [*parts.categories, *parts.segments]):
        covers = decided.covers(miss, higher_is_better=higher[miss.metric])
        then = None if covers else decided.had(miss)
        worse_than = decided.who if then is not None and not then.open else ""
        if isinstance(place, MetricLine):
            found: Reason = RowMissed(
                metric=place.metric,
                acceptable=place.acceptable,
                now_worse_than=worse_than,
                undecided_for=decided.who if then is not None and then.open else "",
            )
        else:
            found = _worse(place, parts, now_worse_than=worse_than)
        if covers:
            covered.setdefault(miss.name, []).append(found)
        else:
            open_.append(found)
    for row, line in zip(findings.rows, findings.lines, strict=True):
        if _is_excused(line, findings):
            covered.setdefault(line.metric, []).extend(_open(row))
    for name, why in _too_few(findings).items():
        if _is_excused_part(name, findings):
            covered.setdefault(name, []).extend(why)
    if not covered:
        return open_, []
    head = MissesOutweighed(who=decided.who, why=decided.reason, names=tuple(covered))
    return open_, [head, *(found for each in covered.values() for found in each)]


def _is_excused(line: MetricLine, findings: Findings) -> bool:
    """True for an open row that a person outweighed, as it was open or a miss, while it is no worse."""
    higher, now = better_higher([line])[line.metric], miss_of(line)
    return now.open and findings.canary.outweighed.covers(now, higher_is_better=higher)


def _is_excused_part(name: str, findings: Findings) -> bool:
    """True for a critical part that a person outweighed when it could not be judged either."""
    return findings.canary.outweighed.covers(_open_part(name), higher_is_better=True)


def _worse(part: PartLine, parts: Parts, *, now_worse_than: str = "") -> PartWorse:
    place, difference = (part.by, part.value, part.metric), part.difference
    return PartWorse(
        by=part.by,
        value=part.value,
        metric=part.metric,
        estimate=difference.estimate,
        low=difference.low,
        high=difference.high,
        interval=difference.p_value is not None,
        exact_users=parts.exact.get(place),
        shown_on=parts.shown_on.get(place),
        below_floor=place in parts.below_floor,
        now_worse_than=now_worse_than,
    )


def _missing(findings: Findings) -> list[Reason]:
    found: list[Reason] = []
    if not findings.rows:
        found.append(NoRubric())
    if findings.too_many_unreached:
        found += _not_reached(findings)
    lines = [line for line in findings.lines if not _is_excused(line, findings)]
    for row, line in zip(findings.rows, findings.lines, strict=True):
        found += _open(row) if line in lines else []
    for name, why in _too_few(findings).items():
        found += why if not _is_excused_part(name, findings) else []
    found += outlook(findings.plan, lines)
    done, required = findings.window.whole_days, findings.window.days_required
    if done < required:
        more = max(0.0, required - findings.days_elapsed)
        found.append(DaysMissing(done=done, required=required, more=more))
    return found


def _not_reached(findings: Findings) -> list[Reason]:
    """The candidate's exchanges that say nothing of it: those that did not reach it, and throttled ones."""
    found, throttled = findings.unreached, findings.throttled
    many = throttled is not None and unreached_worth_telling(
        {THROTTLED: throttled.candidate}, throttled.candidate_of
    )
    return [
        *([found] if found is not None else []),
        *([OverQuota(found=throttled)] if throttled is not None and many else []),
    ]


def _open(row: Row) -> Sequence[Reason]:
    """Why the row is open; nothing if it is not."""
    short = row.state == "NODATA"
    if row.held is not None:
        # Of marks, no number of users would do.
        judged = short and isinstance(row.held, LabelsWanted) and row.metric != JUDGED_MARK
        return [*([_without_data(row)] if judged else []), row.held]
    if short:
        return [_without_data(row)]
    if row.state != "INCONCLUSIVE":
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


def _too_few(findings: Findings) -> Mapping[str, list[Reason]]:
    """By the name of each critical part that cannot be judged one reason, with the users that every metric
    has; one for each cost without enough events there."""
    named: dict[str, list[Reason]] = {}
    too_few, declared = findings.parts.too_few, findings.canary.metrics
    for (by, value), metrics in grouped(too_few, lambda part: (part.by, part.value)).items():
        found = named.setdefault(part_name(by, value), [])
        if not any(part.seen for part in metrics):
            found.append(PartUnseen(by=by, value=value))
            continue
        found += [
            RowNotComputed(metric=part.metric, why=part.uncomputed, by=by, value=value)
            for part in metrics
            if part.uncomputed
        ]
        found += [
            few_events(declared[part.metric], part.events, by=by, value=value)
            for part in metrics
            if part.events is not None and not enough_events(part.events)
        ]
        users = tuple(_fewer(part) for part in metrics if not part.uncomputed and min(part.carrying) < GATE)
        found += [PartTooFew(by=by, value=value, users=users)] if users else []
        users = tuple(_fewer(part) for part in metrics if part.compared)
        found += [PartTooWide(by=by, value=value, users=users)] if users else []
    return named


def _fewer(part: Part) -> FewerUsers:
    """The metric, the arm that has fewer users of the part, and how many."""
    ours, theirs = part.carrying
    return (part.metric, "candidate", ours) if ours <= theirs else (part.metric, "baseline", theirs)


def _caveats(findings: Findings) -> list[Reason]:
    found: list[Reason] = []
    found += _another_rubric(findings)
    found += taken_risk(findings.canary, findings.rows)
    if not findings.too_many_unreached:
        found += _not_reached(findings)
    if findings.srm.off or (findings.srm.p_value is None and findings.rows):
        found.append(SplitNotChecked(assigned_outside=findings.srm.off))
    found += findings.caveats
    parts = (*findings.parts.segments, *findings.parts.categories)
    seen = grouped([part for part in parts if not part.blocks], lambda part: part.metric)
    for metric, where in seen.items():
        bound = next(line.acceptable for line in findings.lines if line.metric == metric)
        missing = tuple(_worse(part, findings.parts) for part in where if part.misses_bound)
        worse = [part for part in where if part.state == "WORSE" and not part.misses_bound]
        others = tuple(_worse(part, findings.parts) for part in worse)
        found += [BoundMissedInParts(metric=metric, acceptable=bound, parts=missing)] if missing else []
        found += [WorseInParts(metric=metric, parts=others)] if others else []
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
    alone = {row.metric for row in findings.canary.criteria} == {JUDGED_PREFERENCE}
    needed = _SITTING_DAYS if alone else WEEK_DAYS
    return [
        *([RowsIdeal(metrics=ideal)] if ideal else []),
        *([RowsAcceptable(metrics=passed, may_be_ideal=near)] if passed else []),
        *([FewDaysRequired(days=days, needed=needed)] if days < WEEK_DAYS else []),
    ]


# The score, from 0 to 100: a summary for ranking. It does not decide.


def points(progress: float) -> float:
    """s = 0 below acceptable, else 60 + 40·min(1, progress), with progress = (v−A)/(I−A)."""
    return 0.0 if progress < 0 else 60 + 40 * min(1.0, progress)


def score(rows: Sequence[Row]) -> Score:
    """The weighted score at the low ends, the estimates and the high ends of the intervals.

    A metric without data, or held open, counts 0 in `low`, 100 in `high`, and is left out of `estimate`,
    which is clamped between the two.
    """
    if not rows:
        return Score(low=0.0, estimate=None, high=100.0)
    ends = [_ends(row) for row in rows]
    weights = [row.criterion.weight for row in rows]
    whole = sum(weights)
    low = sum(w * end[0] for w, end in zip(weights, ends, strict=True)) / whole
    high = sum(w * end[2] for w, end in zip(weights, ends, strict=True)) / whole
    known = [(w, end[1]) for w, end in zip(weights, ends, strict=True) if end[1] is not None]
    if not known:
        return Score(low=low, estimate=None, high=high)
    estimate = sum(w * middle for w, middle in known) / sum(w for w, _ in known)
    return Score(low=low, estimate=min(max(estimate, low), high), high=high)


def _ends(row: Row) -> tuple[float, float | None, float]:
    acceptable, ideal = row.acceptable, row.ideal
    if acceptable is None or ideal is None or row.held is not None:
        return 0.0, None, 100.0
    # Both margins are v − bound in one unit, so their difference is the distance from acceptable to ideal.
    distance = acceptable.estimate - ideal.estimate

    def at(margin: float) -> float:
        if distance <= 0:
            return points(1.0 if margin >= 0 else -1.0)
        return points(margin / distance)

    return at(acceptable.low), at(acceptable.estimate), at(acceptable.high)
