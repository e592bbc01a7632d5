"""Turns the criteria's states into a verdict with reasons, in words that need no statistics."""

from dataclasses import dataclass

from records.facts.metric import JUDGED
from report.arm_sums import A_FIFTH, GATE
from report.details import SinceFirst
from report.document import CategoryLine, MetricLine, PlanLine, ReportWindow, SegmentLine, Srm, Verdict
from report.judge import Judged
from report.judged_canary import JudgedCanary
from report.look import OneUnit
from report.misses import Part, better_higher, miss_of, misses, words
from report.missing_users import uncomputed, waiting, without_data
from report.parts import Part as MeasuredPart
from report.parts import Parts
from report.plan_words import bound_and_value, outlook, standing_words, still_open, taken_risk
from report.rubric import parse_bound
from report.unpriced import not_judged
from report.wording import (
    amount,
    between,
    count,
    days,
    distance,
    joined,
    label,
    signed,
    span,
    title,
    to_come,
    unit_of,
)

HONEST_DAYS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The basis of a verdict. `days_elapsed` counts from the candidate's first exposure. `unreached` says how
    many of the candidate's exchanges did not reach it though it is not to blame ("": hardly any). `caveats`
    and `notes` are sentences on the data; notes do not affect the verdict."""

    canary: JudgedCanary
    judged: tuple[Judged, ...]
    lines: tuple[MetricLine, ...]
    parts: Parts
    srm: Srm
    window: ReportWindow
    days_elapsed: float
    rubric_sha256: str
    plan: PlanLine | None = None
    unreached: str = ""
    too_many_unreached: bool = False
    caveats: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    since_first: tuple[SinceFirst, ...] = ()


def decide(findings: Findings) -> tuple[Verdict, tuple[str, ...]]:
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
    now = all(judged.state == "IDEAL" for judged in findings.judged)
    return ("ship_now" if now else "ship"), tuple(_passing(findings))


def _blockers(findings: Findings) -> list[str]:
    found: list[str] = []
    if findings.srm.blocked:
        found.append(
            "The split does not match the configured share (sample-ratio mismatch"
            f"{_p(findings.srm.p_value)}): users were lost or misrouted, so no comparison can be trusted."
        )
    if findings.canary.rolled_back:
        found.append(findings.canary.rollback or "This run was rolled back by a guardrail or a person.")
    return found


def _misses(findings: Findings) -> tuple[list[str], list[str]]:
    """The misses that nobody outweighed, or that are worse than then; and those that a person outweighed."""
    open_: list[str] = []
    covered: dict[str, list[str]] = {}
    decided, higher = findings.canary.outweighed, better_higher(findings.lines)
    parts: list[Part] = [*findings.parts.categories, *findings.parts.segments]
    for miss, place in misses(findings.lines, parts):
        said = _miss(place) if isinstance(place, MetricLine) else _blocks(place, findings)
        if decided.covers(miss, higher_is_better=higher[miss.metric]):
            covered.setdefault(miss.name, []).append(said)
        elif decided.had(miss):
            open_.append(f"{said} It is worse than all that was likely when {decided.who} outweighed it.")
        else:
            open_.append(said)
    for line in findings.lines:
        if _is_excused(line, findings):
            covered.setdefault(line.metric, [])
    if not covered:
        return open_, []
    names = joined([words(name) for name in covered])
    head = f"{decided.who} outweighed {names} ({decided.reason.rstrip('.')})."
    return open_, [head, *(said for each in covered.values() for said in each)]


def _is_excused(line: MetricLine, findings: Findings) -> bool:
    """True for an undecided row that a person outweighed when it was a miss, while it is no worse."""
    higher = better_higher([line])[line.metric]
    outweighed = findings.canary.outweighed.covers(miss_of(line), higher_is_better=higher)
    return line.state == "INCONCLUSIVE" and outweighed


def _blocks(part: Part, findings: Findings) -> str:
    by = part.by if isinstance(part, SegmentLine) else None
    below = (by, part.value, part.metric) in findings.parts.below_floor
    missed = "misses the acceptable bound" if below else "is worse"
    bounds = {line.metric: line.acceptable for line in findings.lines}
    against = f"{_extent(part, bounds[part.metric])} against the baseline"
    how = f" ({against}{_by_exact_test(part, findings.parts)})"
    shown = how if part.difference.estimate is not None else ""
    return f"Critical {_place(by, part.value)}: {label(part.metric)} {missed}{shown}."


def _place(by: str | None, value: str) -> str:
    return f"category {value}" if by is None else f"segment {by} {value}"


def _extent(part: CategoryLine | SegmentLine, acceptable: str) -> str:
    """The difference's interval; of a small part, the estimate."""
    unit, difference = unit_of(part.metric, acceptable), part.difference
    if difference.p_value is None:
        return signed(difference.estimate, unit)
    return between(difference.low, difference.high, unit)


def _by_exact_test(part: CategoryLine | SegmentLine, parts: Parts) -> str:
    by = part.by if isinstance(part, SegmentLine) else None
    users = parts.exact.get((by, part.value, part.metric))
    return "" if users is None else f", by the exact test with {count(users, 'candidate user')}"


def _missing(findings: Findings) -> list[str]:
    found: list[str] = []
    if not findings.judged:
        found.append("The canary has no rubric, so it cannot be judged.")
    if findings.too_many_unreached:
        found.append(findings.unreached)
    for judged, line in zip(findings.judged, findings.lines, strict=True):
        if judged.uncomputed:
            found.append(uncomputed(line.metric, judged.uncomputed))
        elif judged.unpriced is not None:
            found.append(not_judged(line.metric, judged.unpriced))
        elif judged.waits is not None:
            found += waiting(judged, line, judged.waits)
        elif judged.state == "INCONCLUSIVE" and judged.one_unit and not _is_excused(line, findings):
            found.append(_by_one_user(judged.one_unit, line))
        elif judged.state == "INCONCLUSIVE" and not _is_excused(line, findings):
            found.append(_open(judged, line, findings.plan))
        elif judged.state == "NODATA":
            found.append(without_data(judged, line))
    found += _too_few(findings.parts)
    found += outlook(findings.plan, findings.lines)
    done, required = findings.window.whole_days, findings.window.days_required
    if done < required:
        left = max(0.0, required - findings.days_elapsed)
        more = f"; about {days(left, more=True)}" if left > 0 else ""
        found.append(f"{count(done, 'whole day')} of candidate traffic, {required:g} required{more}.")
    return found


def _too_few(parts: Parts) -> list[str]:
    """One reason for each critical part that cannot be judged, with the users that every metric has."""
    found: list[str] = []
    waiting: dict[tuple[str | None, str], list[MeasuredPart]] = {}
    for part in parts.too_few:
        waiting.setdefault((part.by, part.value), []).append(part)
    for (by, value), metrics in waiting.items():
        if not any(part.seen for part in metrics):
            found.append(f"No exchange of critical {_place(by, value)} was seen, so it cannot be judged.")
            continue
        found += [
            uncomputed(f"{label(part.metric)} in critical {_place(by, value)}", part.uncomputed)
            for part in metrics
            if part.uncomputed
        ]
        metrics = [part for part in metrics if not part.uncomputed]
        if not metrics:
            continue
        have = joined([_users_of(part) for part in metrics])
        found.append(
            f"Critical {_place(by, value)} has too few users to be judged: {have}; "
            f"{GATE} are required in each arm."
        )
    return found


def _users_of(part: MeasuredPart) -> str:
    """task completed 45 candidate users; of the arm that has fewer users."""
    ours, theirs = part.carrying
    users = count(ours, "candidate user") if ours <= theirs else count(theirs, "baseline user")
    return f"{label(part.metric)} {users}"


def _p(value: float | None) -> str:
    return "" if value is None else f", p = {value:.2g}"


def _caveats(findings: Findings) -> list[str]:
    found: list[str] = []
    found += _another_rubric(findings)
    found += taken_risk(findings.canary, findings.judged)
    if findings.unreached and not findings.too_many_unreached:
        found.append(findings.unreached)
    if findings.srm.off:
        found.append(
            "A flag system assigned the users, so their split was not checked: the figures are worth what "
            "that system's own sample-ratio check says."
        )
    elif findings.srm.p_value is None and findings.judged:
        found.append("The split of users could not be checked: too few users, or the share is unknown.")
    found += findings.caveats
    places: dict[str, list[str]] = {}
    bounds = {line.metric: line.acceptable for line in findings.lines}

    def worse(part: SegmentLine | CategoryLine, where: str) -> None:
        extent = _extent(part, bounds[part.metric]) + _by_exact_test(part, findings.parts)
        places.setdefault(part.metric, []).append(f"{where} ({extent})")

    for segment in findings.parts.segments:
        if segment.state == "WORSE" and not segment.blocks:
            worse(segment, f"{segment.by} {segment.value}")
    for category in findings.parts.categories:
        if category.state == "WORSE" and not category.blocks:
            worse(category, f"category {category.value}")
    found += [f"{title(m)} is worse than the baseline's in {joined(where)}." for m, where in places.items()]
    return found


def _another_rubric(findings: Findings) -> list[str]:
    fixed, used = findings.canary.rubric_sha256, findings.rubric_sha256
    if fixed == used or (fixed is None and not findings.canary.retro):
        return []
    if findings.canary.retro:
        before = f"{fixed[:12]} was fixed before the run" if fixed is not None else "none was fixed"
        return [
            f"Scored after the run under another rubric ({used[:12]}; {before}): "
            "exploratory, not the planned test."
        ]
    judges = any(row.metric in JUDGED for row in findings.canary.criteria)
    return [
        f"The rubric{' or its judge' if judges else ''} has changed since it was fixed before the run "
        f"({str(fixed)[:12]} then, {used[:12]} now): exploratory, not the planned test."
    ]


def _passing(findings: Findings) -> list[str]:
    ideal = [label(judged.criterion.metric) for judged in findings.judged if judged.state == "IDEAL"]
    passed = [label(judged.criterion.metric) for judged in findings.judged if judged.state == "PASS"]
    near = [label(judged.criterion.metric) for judged in findings.judged if judged.may_be_ideal]
    found: list[str] = []
    if ideal:
        found.append(f"Ideal: {joined(ideal)}.")
    if passed:
        may = f" (may be ideal: {joined(near)})" if near else ""
        found.append(f"Acceptable: {joined(passed)}{may}.")
    required = findings.canary.minimum_days
    if required < HONEST_DAYS:
        found.append(
            f"The config asks for {required:g} days of traffic (`minimum_days`); a real decision needs "
            f"at least {HONEST_DAYS}, because weekdays differ."
        )
    return found


def _miss(line: MetricLine) -> str:
    bound = f"“{line.acceptable}”" if line.look is None else bound_and_value(line)
    return f"{title(line.metric)} misses {bound}: {_standing(line)}, entirely on the wrong side."


def _undecided(judged: Judged, line: MetricLine) -> str:
    if judged.heavy:
        return (
            f"{title(line.metric)} depends on too few users: more than a fifth of its variance comes from "
            f"one user ({_standing(line)})."
        )
    unit = unit_of(line.metric, line.acceptable)
    mde = f"; this traffic can show a difference of {distance(line.mde, unit)} or more" if line.mde else ""
    return (
        f"{title(line.metric)} is undecided against “{line.acceptable}”: {_standing(line)}{mde}; "
        f"{_still_needed(line)}."
    )


_WITHOUT = {"pass": "it would pass", "fail": "it would miss it", "open": "it would be undecided"}


def _by_one_user(found: OneUnit, line: MetricLine) -> str:
    """A row that one user alone would decide, or keeps from being decided: no user may."""
    arm = "candidate" if found.candidate else "baseline"
    if found.values > A_FIFTH:
        part = f"{100 * found.values:.0f} % of the {arm}'s values"
    else:
        part = f"{100 * found.variance:.0f} % of its variance"
    verb = {"pass": "would keep", "fail": "would miss", "open": "is undecided against"}[found.would]
    return (
        f"{title(line.metric)} {verb} {bound_and_value(line)} only because of one user of the {arm}, who has "
        f"{part}: without this user {_WITHOUT[found.without]}. One user decides no row, so it stays open."
    )


def _open(judged: Judged, line: MetricLine, plan: PlanLine | None) -> str:
    return _undecided(judged, line) if plan is None else still_open(line, plan)


def _standing(line: MetricLine) -> str:
    """The value and the interval on which the bound is judged."""
    unit = unit_of(line.metric, line.acceptable)
    if line.look is not None:
        return standing_words(line)
    if parse_bound(line.acceptable).relative:
        low, high = line.difference.low, line.difference.high
        return (
            f"{amount(line.candidate, unit)} against the baseline's {amount(line.baseline, unit)}, "
            f"compatible with {between(low, high, unit)}"
        )
    return f"{amount(line.candidate, unit)}, compatible with {span(*line.candidate_interval, unit)}"


def _still_needed(line: MetricLine) -> str:
    if line.mde is None:
        return "the days still needed cannot be estimated"
    if line.units_needed is None:
        return "it is too close to the bound to estimate the days still needed"
    return to_come(line.metric, line.units_needed, line.days_needed)
