"""The steps that would change the verdict, in words."""

from pages.words import verdict
from pages.words.figures import (
    bound_words,
    chance,
    count,
    days,
    joined,
    label,
    sooner,
    title,
    to_come,
    too_long,
)
from verdict.decision.decide import misses
from verdict.decision.document import MetricLine, PlanLine, Report, SegmentLine
from verdict.decision.plan_course import HOPELESS, end_of
from verdict.details import UsersToCome


def next_steps(report: Report) -> list[str]:
    """One sentence per obstacle to a better verdict."""
    blocked: dict[str, list[str]] = {}
    places: list[verdict.Part] = [*report.categories, *report.segments]
    for part in places:
        if part.blocks:
            where = f"{part.by} {part.value}" if isinstance(part, SegmentLine) else f"category {part.value}"
            blocked.setdefault(where, []).append(label(part.metric))
    missed_first = sorted(report.metrics, key=lambda line: line.state != "FAIL")
    found = [
        *(
            ["Split: find out where users are lost or misrouted, fix it, and run again."]
            if report.srm.blocked
            else []
        ),
        *(sentence for line in missed_first if (sentence := _next_step(line, report)) is not None),
        *(
            f"{where[0].upper()}{where[1:]}: a candidate that is not worse there in {joined(metrics)}."
            for where, metrics in blocked.items()
        ),
        *_users_to_come(report),
        *_time(report),
        *_places(report),
    ]
    return found + _by_a_person(report, found)


def _users_to_come(report: Report) -> list[str]:
    """What each critical part needs until it can be judged: as many users as its scarcest metric."""
    if report.verdict != "extend":
        return []
    waiting: dict[tuple[str | None, str], list[UsersToCome]] = {}
    for part in report.details.too_few:
        waiting.setdefault((part.by, part.value), []).append(part)
    return [_users_of(by, value, parts) for (by, value), parts in waiting.items()]


def _users_of(by: str | None, value: str, parts: list[UsersToCome]) -> str:
    arms = {
        "more candidate user": max(part.candidate for part in parts),
        "more baseline user": max(part.baseline for part in parts),
    }
    needed = joined([count(users, arm) for arm, users in arms.items() if users]) or "more users"
    where = f"Critical category {value}" if by is None else f"Critical segment {by} {value}"
    return f"{where}: about {needed} there, with a value of {joined([label(part.metric) for part in parts])}."


def _by_a_person(report: Report, found: list[str]) -> list[str]:
    """What a person can do when more traffic would not help. Nothing outweighs a broken split or a
    rollback."""
    if report.verdict != "dont_ship" or report.srm.blocked:
        return []
    missed = dict.fromkeys(
        miss.name for miss, _ in misses(report.metrics, [*report.categories, *report.segments])
    )
    if not missed:
        return [] if found else ["The run was rolled back: resume it, or try another candidate."]
    return [
        "Or, unless the run was rolled back, a person outweighs each miss by its name: "
        f"`canary decide {report.canary} ship --despite {','.join(missed)} --reason …`."
    ]


def _next_step(line: MetricLine, report: Report) -> str | None:
    name = title(line.metric)
    if report.verdict == "dont_ship" and line.state != "FAIL":
        # More evidence about it would not change the verdict.
        return None
    if verdict.unripe(line, report):
        return f"{name}: values are complete {days(line.matures_days)} after a user’s first request."
    if line.metric in report.details.unpriced:
        return f"{name}: the missing prices (`prices:` or `price_as:`); more traffic will not change this."
    if line.metric in report.details.unlabelled:
        return f"{name}: {verdict.held_needed(line, report)}."
    if line.state in ("INCONCLUSIVE", "NODATA"):
        return f"{name}: {_needed(line, report.plan)}."
    if line.state == "FAIL":
        return (
            f"{name}: a candidate that is {bound_words(line.acceptable)}; more traffic will not change this."
        )
    if line.state == "PASS" and report.verdict == "ship":
        return _ideal_once(line, report.plan)
    return None


def _ideal_once(line: MetricLine, plan: PlanLine | None) -> str | None:
    """What a passing row needs to be ideal; None if no look is to come."""
    name, ideal = title(line.metric), bound_words(line.ideal)
    if plan is None:
        return f"{name}: ideal once the whole interval is {ideal}."
    if plan.next_look is None:
        return None
    return f"{name}: ideal once all that the looks leave possible is {ideal}."


def _needed(line: MetricLine, plan: PlanLine | None) -> str:
    if plan is not None and plan.next_look is None:
        return f"no look is to come; start a new canary, under a new name, with {sooner([line.metric])}"
    if plan is None or line.state == "NODATA":
        return _evidence_needed(line)
    return _chance_needed(line, plan)


def _chance_needed(line: MetricLine, plan: PlanLine) -> str:
    """What an undecided row of a plan needs: days, or another candidate or plan."""
    if line.days_needed:
        return f"likely to pass within {days(line.days_needed, more=True)}"
    found = None if line.look is None else line.look.chance
    cure = f"a candidate further within the bound, or {sooner([line.metric])}"
    if found is None:
        return cure
    seldom = "not likely: " if found < HOPELESS else ""
    return f"{seldom}chance to pass by day {end_of(plan)}: {chance(found)}; higher for {cure}"


def _evidence_needed(line: MetricLine) -> str:
    if line.units_needed is None:
        return (
            "the evidence still needed cannot be estimated: the value is at the bound or from too few users"
        )
    found = to_come(line.metric, line.units_needed, line.days_needed)
    if too_long(line.days_needed):
        return (
            f"{found}, too long to wait; {sooner([line.metric])}, or a candidate further from the bound, "
            "decides sooner"
        )
    return found


def _time(report: Report) -> list[str]:
    """The days still required, if waiting helps at all: it does not help against a miss."""
    done, required = report.window.whole_days, report.window.days_required
    if report.verdict != "extend" or done >= required:
        return []
    return [f"Time: {days(required - done, more=True)} of candidate traffic ({done} of {required:g} so far)."]


def _places(report: Report) -> list[str]:
    """What would remove the caveats."""
    if report.verdict != "ship_with_caveats":
        return []
    parts: list[verdict.Part] = [*report.segments, *report.categories]
    where = list(dict.fromkeys(_place(part) for part in parts if part.state == "WORSE"))
    return [f"Without caveats: a candidate that is not worse in {joined(where)}."] if where else []


def _place(part: verdict.Part) -> str:
    return verdict.part_name(part).replace(": ", " ")
