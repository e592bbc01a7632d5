"""From states to a verdict with its reasons, in words that need no statistics."""

from dataclasses import dataclass

from report.document import CategoryLine, MetricLine, ReportWindow, SegmentLine, Srm, Verdict
from report.judge import Judged
from report.judged_canary import JudgedCanary
from report.parts import Parts
from report.reading import GATE
from report.wording import (
    amount,
    between,
    count,
    days,
    distance,
    joined,
    label,
    span,
    title,
    to_come,
    unit_of,
)

HONEST_DAYS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that a verdict rests on. `days_elapsed` are since the candidate's first exposure."""

    rollout: JudgedCanary
    judged: tuple[Judged, ...]
    lines: tuple[MetricLine, ...]
    parts: Parts
    srm: Srm
    window: ReportWindow
    days_elapsed: float
    rubric_sha256: str


def decide(findings: Findings) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict and its reasons, the deciding ones first.

    A miss, a mismatched split, a blocked category or a rolled-back run: don't ship. A compensating factor
    that a person recorded outweighs all of these but the split, without which no number can be trusted. Then
    whatever is still open: extend. Only then ship, with caveats if there are any.
    """
    blockers, missing, caveats = _blockers(findings), _missing(findings), _caveats(findings)
    factor = findings.rollout.compensating_factor
    if findings.srm.blocked or (blockers and factor is None):
        return "dont_ship", (*blockers, *missing, *caveats)
    if blockers:
        recorded = f"A compensating factor was recorded: {factor}"
        return "ship_with_caveats", (recorded, *blockers, *missing, *caveats)
    if missing:
        return "extend", (*missing, *_passing(findings), *caveats)
    if caveats:
        return "ship_with_caveats", (*caveats, *_passing(findings))
    now = all(one.state == "IDEAL" for one in findings.judged)
    return ("ship_now" if now else "ship"), tuple(_passing(findings))


def _blockers(findings: Findings) -> list[str]:
    found: list[str] = []
    if findings.srm.blocked:
        found.append(
            "The split does not fit the share that was set (sample-ratio mismatch"
            f"{_p(findings.srm.p_value)}): users were lost or misrouted, so no comparison can be trusted."
        )
    if findings.rollout.rolled_back:
        found.append("This run was rolled back by a guardrail or a person.")
    found += [
        _miss(one, line)
        for one, line in zip(findings.judged, findings.lines, strict=True)
        if one.state == "FAIL"
    ]
    below = findings.parts.below_floor
    acceptable = {line.metric: line.acceptable for line in findings.lines}
    places: list[CategoryLine | SegmentLine] = [*findings.parts.categories, *findings.parts.segments]
    for part in places:
        if part.blocks:
            by = part.by if isinstance(part, SegmentLine) else None
            missed = "misses the acceptable bound" if (by, part.value, part.metric) in below else "is worse"
            unit = unit_of(part.metric, acceptable[part.metric])
            ends = between(part.difference.low, part.difference.high, unit)
            against = f" ({ends} against the baseline)" if part.difference.p_value is not None else ""
            where = f"category {part.value}" if by is None else f"segment {by} {part.value}"
            found.append(f"Critical {where}: {label(part.metric)} {missed}{against}.")
    return found


def _missing(findings: Findings) -> list[str]:
    found: list[str] = []
    if not findings.judged:
        found.append("There is no rubric, so there is nothing to judge by.")
    for one, line in zip(findings.judged, findings.lines, strict=True):
        if one.state == "INCONCLUSIVE":
            found.append(_undecided(one, line))
        elif one.state == "NODATA":
            found.append(_without_data(one, line))
    done, required = findings.window.whole_days or 0, findings.window.days_required or 0
    if done < required:
        left = max(0.0, required - findings.days_elapsed)
        more = f"; about {days(left, more=True)}" if left > 0 else ""
        found.append(f"{count(done, 'whole day')} of candidate traffic of the {required:g} required{more}.")
    return found


def _p(value: float | None) -> str:
    return "" if value is None else f", p = {value:.2g}"


def _caveats(findings: Findings) -> list[str]:
    found: list[str] = []
    found += _another_rubric(findings)
    if findings.srm.p_value is None and findings.judged:
        found.append(
            "The split of users could not be checked: too few users came, or the share is not known."
        )
    places: dict[str, list[str]] = {}
    bounds = {line.metric: line.acceptable for line in findings.lines}

    def worse(part: SegmentLine | CategoryLine, where: str) -> None:
        unit = unit_of(part.metric, bounds[part.metric])
        ends = between(part.difference.low, part.difference.high, unit)
        places.setdefault(part.metric, []).append(f"{where} ({ends})")

    for segment in findings.parts.segments:
        if segment.state == "WORSE" and not segment.blocks:
            worse(segment, f"{segment.by} {segment.value}")
    for category in findings.parts.categories:
        if category.state == "WORSE" and not category.blocks:
            worse(category, f"category {category.value}")
    found += [f"{title(m)} is worse than the baseline's in {joined(where)}." for m, where in places.items()]
    return found


def _another_rubric(findings: Findings) -> list[str]:
    fixed, used = findings.rollout.rubric_sha256, findings.rubric_sha256
    if fixed == used or (fixed is None and not findings.rollout.retro):
        return []
    if findings.rollout.retro:
        before = f"{fixed[:12]} was fixed before the run" if fixed is not None else "none was fixed"
        return [
            f"Scored after the fact under another rubric ({used[:12]}; {before}): a look back, not the test."
        ]
    return [
        "The rubric is not the one that was fixed before the run "
        f"({str(fixed)[:12]} then, {used[:12]} now): this is a look back, not the test."
    ]


def _passing(findings: Findings) -> list[str]:
    ideal = [label(one.criterion.metric) for one in findings.judged if one.state == "IDEAL"]
    passed = [label(one.criterion.metric) for one in findings.judged if one.state == "PASS"]
    near = [label(one.criterion.metric) for one in findings.judged if one.may_be_ideal]
    found: list[str] = []
    if ideal:
        found.append(f"Ideal: {joined(ideal)}.")
    if passed:
        may = f" (may be ideal: {joined(near)})" if near else ""
        found.append(f"Acceptable: {joined(passed)}{may}.")
    required = findings.rollout.minimum_days
    if required < HONEST_DAYS:
        found.append(
            f"The run may be as short as {days(required)} (minimum_days: {required:g}); "
            f"a real decision needs {HONEST_DAYS} days or more, for weekdays differ."
        )
    return found


def _miss(judged: Judged, line: MetricLine) -> str:
    standing = _standing(judged, line)
    return f"{title(line.metric)} misses “{line.acceptable}”: {standing}, all of it on the wrong side."


def _undecided(judged: Judged, line: MetricLine) -> str:
    if judged.heavy:
        return (
            f"{title(line.metric)} rests on too few: a single user holds more than a fifth of its variance "
            f"({_standing(judged, line)})."
        )
    unit = unit_of(line.metric, line.acceptable)
    seen = f"; at this traffic a difference of {distance(line.mde, unit)} can be seen" if line.mde else ""
    return (
        f"{title(line.metric)} is undecided against “{line.acceptable}”: {_standing(judged, line)}{seen}; "
        f"{_still_needed(line)}."
    )


def _standing(judged: Judged, line: MetricLine) -> str:
    """The value and what it is compatible with: the interval that the bound is judged on."""
    unit = unit_of(line.metric, line.acceptable)
    if judged.criterion.acceptable.relative:
        low, high = line.difference.low, line.difference.high
        return (
            f"{amount(line.candidate, unit)} against the baseline's {amount(line.baseline, unit)}, "
            f"compatible with {between(low, high, unit)}"
        )
    return f"{amount(line.candidate, unit)}, compatible with {span(*line.candidate_interval, unit)}"


def _still_needed(line: MetricLine) -> str:
    if line.mde is None:
        return "no number of days can be told"
    if line.units_needed is None:
        return "it lies so near the bound that no number of days can be told"
    return to_come(line.units_needed, line.days_needed)


def _without_data(judged: Judged, line: MetricLine) -> str:
    if line.units == 0:
        return f"{title(line.metric)} has no data: no value has been recorded for the candidate yet."
    ours, theirs = judged.reading.carrying
    if ours >= GATE:
        have = _have(theirs, judged.reading.baseline_units, "baseline")
        return f"{title(line.metric)} has too little to compare with: {have}."
    more = f"; about {days(line.days_needed, more=True)}" if line.days_needed else ""
    have = _have(ours, line.units, "candidate")
    return f"{title(line.metric)} has too little data: {have}{more}."


def _have(carrying: int, units: int, arm: str) -> str:
    worth = "as good as " if carrying < units else ""
    return f"{worth}{carrying} of {GATE} {arm} users have a value"
