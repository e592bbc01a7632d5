"""What is to come, in sentences: the plan's days and looks, a row's chances, and the steps that would change
the verdict."""

from collections.abc import Mapping
from datetime import date, timedelta

from common.groups import grouped
from common.numbers import count, rough_percent
from pages.words import verdict
from pages.words.figures import (
    all_chance,
    amount,
    bound_words,
    chance,
    days,
    due,
    joined,
    label,
    long_date,
    risk,
    sooner,
    title,
    to_come,
    too_long,
    weekday,
)
from verdict.decision.decide import misses, undecided
from verdict.decision.document import LookLine, MetricLine, PlanLine, Report
from verdict.decision.plan_course import HOPELESS, Ends, end_of, look_ends, may_ship
from verdict.details import UsersToCome
from verdict.rows.reasons import (
    CostsUnknown,
    DaysDecide,
    LabelsWanted,
    OneSided,
    PlanUsedUp,
    RowNotComputed,
    SilenceDecides,
    TooFewEvents,
)
from verdict.rows.row import State
from verdict.terms.plan import DAY_S, LEAST_LEFT, REFUSAL_RISK

MIDNIGHT = "00:00 UTC"

COLUMNS = (
    "The verdict rests on what the looks leave possible; the interval “any time” is live and does not decide."
)

_DECIDED: Mapping[State, str] = {"IDEAL": "passed", "PASS": "passed", "FAIL": "missed"}


def look_day(report: Report) -> str:
    """day 8 (11 Nov 2026, 00:00 UTC); the day alone if its date is unknown; "" without a look."""
    plan = report.plan
    if plan is None or not plan.looks:
        return ""
    at = _date_of(report, plan.looks[-1])
    return f"day {plan.looks[-1]}{f' ({long_date(at)}, {MIDNIGHT})' if at else ''}"


def heading(report: Report) -> str:
    """As of the look of day 8 (11 Nov 2026, 00:00 UTC); next look tonight."""
    if report.plan is None:
        return ""
    as_of = f"As of the look of {look_day(report)}" if report.plan.looks else "Before the first look"
    return f"{as_of}; {next_look(report, report.plan)}."


def next_look(report: Report, plan: PlanLine) -> str:
    """next look tonight; next look: day 9, 12 Nov 2026 at the earliest; no further look."""
    if plan.next_look is None:
        return "no further look"
    if not plan.looks:
        return f"first look after {days(plan.next_look)} of traffic"
    at = _due(plan.next_look, report)
    if at is None:
        return f"next look: day {plan.next_look}"
    if report.window.end is not None and at == _utc_day(report.window.end) + timedelta(days=1):
        return "next look tonight"
    return f"next look: day {plan.next_look}, {long_date(at)} at the earliest"


def plan_line(report: Report) -> str:
    """Day 9 of 14; looks each night from day 7 may ship; next look tonight."""
    plan = report.plan
    if plan is None:
        return ""
    last, first = (plan.looks[-1] if plan.looks else 0), plan.first_look
    if last >= 2 * plan.planned_days:
        return (
            f"The plan of {plan.planned_days} days and its extension to day {last} are over; no further look."
        )
    if plan.next_look is None:
        return f"Day {last} of {plan.planned_days}; the run is over, so there is no further look."
    if last >= plan.planned_days:
        what = f"extended to day {2 * plan.planned_days} at most, for what is still open"
    elif last < first:
        what = f"a look each night can stop the candidate, from day {first} on also ship it"
    else:
        what = f"looks each night from day {first} on may ship"
    told = (f"Day {last} of {plan.planned_days}; {what}; {next_look(report, plan)}.", forecast(report))
    return f"{' '.join(filter(None, told))}{_extension(report, plan)}"


def forecast(report: Report) -> str:
    """Decides about Thu 10 Dec, day 14; chance to ship by then: 84 %. "" where nothing is to come."""
    plan = report.plan
    if plan is None or plan.next_look is None or report.verdict != "extend":
        return ""
    end = end_of(plan)
    blocked = report.srm.blocked or any(part.blocks for part in report.parts)
    at, ships = _due(end, report), all_chance(map(_chance, report.metrics), blocked=blocked)
    when = f"Decides about {weekday(at)}, day {end}" if at is not None else f"Decides on day {end}"
    return f"{when}; chance to ship by then: {ships}." if ships else f"{when}."


def _chance(line: MetricLine) -> float | None:
    """A row's chance to pass by the end of the plan; None where it is not known."""
    if line.state in _DECIDED:
        return float(line.state != "FAIL")
    return line.look.chance if line.state == "INCONCLUSIVE" and line.look is not None else None


def _due(day: int, report: Report) -> date | None:
    """When the look of this day is at the earliest."""
    looks, start = report.plan.looks if report.plan is not None else (), report.window.start
    if not looks:
        return due(day, None, None if start is None else _utc_day(start))
    last = _date_of(report, looks[-1])
    return due(day, None if last is None else (looks[-1], last), None)


def _extension(report: Report, plan: PlanLine) -> str:
    """That an open verdict goes on after the planned day."""
    if report.verdict != "extend" or (plan.looks and plan.looks[-1] >= plan.planned_days):
        return ""
    end = 2 * plan.planned_days
    return f" What is still open on day {plan.planned_days}, the planned day, is extended to day {end}."


def rests_on(report: Report) -> str:
    """What the verdict's risk means: of 100 candidates exactly at a bound, at most 5 would ship on it."""
    plan = report.plan
    if plan is None or not report.metrics:
        return ""
    if any(line.state == "FAIL" for line in report.metrics):
        return f"Of 100 candidates exactly at all bounds, at most {100 * REFUSAL_RISK:.0f} would be refused."
    among, ships = _among(plan.risk)
    own: dict[float, list[str]] = {}
    for line in report.metrics:
        if line.look is not None and line.look.risk != plan.risk:
            own.setdefault(line.look.risk, []).append(label(line.metric))
    others = [f"{among * each:.3g} on {joined(rows)}" for each, rows in own.items()]
    but = f" ({joined(others)})" if others else ""
    return (
        f"Of {among:,} candidates exactly at a bound, at most {ships} would ship on it{but}; of worse ones, "
        f"fewer.{_runs_before(plan)}"
    )


def _runs_before(plan: PlanLine) -> str:
    """That another try takes no fresh risk; "" for a first one."""
    if plan.spent_before == 0:
        return ""
    left = max(1 - plan.spent_before, LEAST_LEFT)
    return (
        f" Looks of earlier runs spent {rough_percent(plan.spent_before)} of that risk, so this run has "
        f"{rough_percent(left)} of it."
    )


def row_outlook(line: MetricLine, report: Report) -> str:
    """What a row needs to pass and how likely that is; "" without a plan, or without enough users."""
    plan, look = report.plan, line.look
    if plan is None or look is None or line.state == "NODATA":
        return ""
    if line.metric in report.details.unpriced:
        return "Open until its missing costs are known; no look passes it before."
    if line.metric in report.details.unlabelled:
        return verdict.held_outlook(line)
    if _waits(line, report):
        return "Open for a reason of its own, which the report gives."
    if line.state == "FAIL":
        return "Ruled out: every value that is still possible misses the bound."
    if line.state in ("PASS", "IDEAL"):
        return f"Passes at a risk of {risk_of(look)}."
    needs = f"Passing now would take a risk of {risk_of(look)}. " if may_ship(plan) else ""
    return f"{needs}{_to_come(line, look, plan)}"


def _waits(line: MetricLine, report: Report) -> bool:
    """True if only its days, or who gave no opinion, keep the row from passing."""
    row = line.metric, line.acceptable
    held = [each for each in report.reasons if isinstance(each, DaysDecide | SilenceDecides)]
    return row in [(each.metric, each.acceptable) for each in held]


def risk_of(look: LookLine) -> str:
    """3.8 %; 5 % is allowed."""
    p = 1.0 if look.p is None else look.p
    just = "just over " if p > look.risk and risk(p) == risk(look.risk) else ""
    return f"{just}{risk(p)}; {risk(look.risk)} is allowed"


def chance_by(report: Report) -> str:
    """chance by day 14, the head of a column."""
    return "" if report.plan is None else f"chance by day {end_of(report.plan)}"


def chance_cell(line: MetricLine, report: Report) -> str:
    """passed; missed; 87 %, 3 days; 13 %; costs missing; a dash."""
    look = line.look
    if line.metric in report.details.unpriced:
        return "costs missing"
    if line.metric in report.details.unlabelled:
        return verdict.held_state(line).lower()
    if line.state != "INCONCLUSIVE" or look is None or look.chance is None:
        return _DECIDED.get(line.state, "–")
    soon = f", {days(line.days_needed)}" if line.days_needed else ""
    return f"{chance(look.chance)}{soon}"


def risk_cell(line: MetricLine) -> str:
    """3.8 % (5 %); a dash before a look that may ship."""
    look = line.look
    if look is None or look.p is None or look.boundary is None:
        return "–"
    just = "> " if look.p > look.risk and risk(look.p) == risk(look.risk) else ""
    return f"{just}{risk(look.p)} ({risk(look.risk)})"


def possible_cell(line: MetricLine) -> str:
    """The values that the looks leave possible, low – high."""
    ends: Ends = look_ends(line)
    if ends == (None, None):
        return "–"
    unit = line.unit
    low, high = ("…" if end is None else amount(end, unit) for end in ends)
    return f"{low} – {high}"


def _to_come(line: MetricLine, look: LookLine, plan: PlanLine) -> str:
    if plan.next_look is None:
        return "There is no further look."
    if look.chance is None:
        return ""
    soon = f"; 80 % likely within {days(line.days_needed, more=True)}" if line.days_needed else ""
    return f"Chance to pass by day {end_of(plan)}: {chance(look.chance)}{soon}."


def _among(of_all: float) -> tuple[int, str]:
    """(100, 5), (1,000, 25): the fewest candidates of which the risk is a whole number."""
    for among in (100, 1000):
        if abs(among * of_all - round(among * of_all)) < 1e-6:
            return among, f"{among * of_all:.0f}"
    return 10_000, f"{10_000 * of_all:.0f}"


def _date_of(report: Report, day: int) -> date | None:
    points = (point for course in report.details.looks for point in course.points if point.day == day)
    found = next(points, None)
    return None if found is None else date.fromisoformat(found.date)


def _utc_day(seconds: float) -> date:
    return date.fromordinal(date(1970, 1, 1).toordinal() + int(seconds // DAY_S))


# The steps that would change the verdict.


def next_steps(report: Report) -> list[str]:
    """One sentence per obstacle to a better verdict."""
    blocked: dict[str, list[str]] = {}
    for part in report.parts:
        if part.blocks:
            where = f"{part.by or 'category'} {part.value}"
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
    lacking = [part for part in report.details.too_few if part.candidate or part.baseline]
    waiting = grouped(lacking, lambda part: (part.by, part.value))
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
    if report.verdict == "extend":
        return _by_a_person_under_extend(report)
    if report.verdict != "dont_ship" or report.srm.blocked:
        return []
    missed = dict.fromkeys(miss.name for miss, _ in misses(report.metrics, report.parts))
    if not missed:
        return [] if found else ["The run was rolled back: resume it, or try another candidate."]
    return [
        "Or, unless the run was rolled back, a person outweighs each miss by its name: "
        f"`canary decide {report.canary} ship --despite {','.join(missed)} --reason …`."
    ]


_NOT_BY_TRAFFIC = (CostsUnknown, LabelsWanted, OneSided, PlanUsedUp, RowNotComputed, TooFewEvents)


def _by_a_person_under_extend(report: Report) -> list[str]:
    """That a person may ship despite what stays open, once that is all that is missing, and no
    judge is against it."""
    days_missing = report.window.whole_days < report.window.days_required
    if (
        days_missing
        or report.details.judged_worse
        or not any(isinstance(each, _NOT_BY_TRAFFIC) for each in report.reasons)
    ):
        return []
    names = dict.fromkeys(each.name for each in undecided(report.metrics, report.details.too_few))
    return [
        "Or a person ships despite what stays open, each by its name: "
        f"`canary decide {report.canary} ship --despite {','.join(names)} --reason …`."
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
    if _waits(line, report) and report.plan is not None and report.plan.next_look is not None:
        return f"{name}: more days, in which the reason given above no longer holds."
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
    every = (*report.segments, *report.categories)
    parts = [part for part in every if part.state == "WORSE" or part.misses_bound]
    where = list(dict.fromkeys(verdict.part_name(part).replace(": ", " ") for part in parts))
    return [f"Without caveats: a candidate that is not worse in {joined(where)}."] if where else []
