"""The verdict so far at a glance, from a report's document: its day, rows' chances and saving. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Literal, Self

from alerts.wording import capitalized
from common.numbers import UNKNOWN, dollars
from pages.words import status
from pages.words.figures import all_chance, chance, due, label, span, title, weekday
from records.facts.metric import PREDICTED_BY

VerdictTone = Literal["good", "warn", "bad", "calm"]

_TONES: Mapping[str, VerdictTone] = {
    "ship_now": "good",
    "ship": "good",
    "ship_with_caveats": "warn",
    "dont_ship": "bad",
}
_DECIDED: Mapping[str, tuple[str, VerdictTone]] = {
    "IDEAL": ("passed", "good"),
    "PASS": ("passed", "good"),
    "FAIL": ("missed", "bad"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChance:
    """A row of the rubric, whether it has passed, or its chance to by the end of the plan in words."""

    name: str
    words: str
    tone: VerdictTone
    chance: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MissView:
    """What a decision to ship must outweigh, by its `name` in the order (`verdict.decision.decide`)."""

    name: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictSoFar:
    """A report in a line. `score` is "" without one.

    `day` is 9 of 14, `as_of` the look that it rests on, `next_look` what comes; "" without a plan. While it
    is undecided it `decides` on day 14, about Thu 10 Dec, and by then `ships` with a chance of 84 %, "" where
    none is known. `saving` is that of a month of full rollout, a dash where it is unknown. `undecided` is
    what a decision to ship may outweigh beside its `misses`. `critical` names the critical parts that stand
    in the way. `ends` is when its data end, to tell which of two reports is newer.
    """

    verdict: str
    word: str
    tone: VerdictTone
    score: str
    reasons: Sequence[str]
    day: str
    days: tuple[int, int] | None
    as_of: str
    next_look: str
    decides: str
    decides_at: date | None
    ships: str
    rows: Sequence[RowChance]
    users: int
    saving: str
    saving_between: str
    saving_usd: float | None
    misses: Sequence[MissView]
    undecided: Sequence[MissView]
    critical: str
    ends: str

    def over(self, *, rolled_back: bool) -> Self:
        """The same of a run that is over: no row has a chance any more, and no look comes. What was rolled
        back since the report ships no more."""
        rows = [row for row in self.rows if row.chance is None]
        ended = replace(self, rows=rows, next_look="", decides="", decides_at=None, ships="")
        if not rolled_back:
            return ended
        return replace(ended, verdict="dont_ship", word=status.verdict("dont_ship"), tone=_TONES["dont_ship"])


def verdict_so_far(report: Mapping[str, Any]) -> VerdictSoFar:
    """The view of a document of `canary report -o json`."""
    plan: Mapping[str, Any] | None = report.get("plan")
    last = plan["looks"][-1] if plan is not None and plan["looks"] else 0
    waits = plan is not None and plan["next_look"] is not None and report["verdict"] == "extend"
    end = (
        plan["planned_days"] * (1 if last < plan["planned_days"] else 2) if plan is not None and waits else 0
    )
    rows = [_row(each, report) for each in report["metrics"]]
    blocked = report["srm"]["blocked"] or bool(_blocking(report))
    saved = report["details"].get("savings")
    monthly: Mapping[str, Any] = saved["monthly"] if saved is not None else {}
    return VerdictSoFar(
        verdict=report["verdict"],
        word=status.verdict(report["verdict"]),
        tone=_TONES.get(report["verdict"], "warn" if report["details"].get("judged_worse") else "calm"),
        score=_score(report["score"]),
        reasons=report["reasons"],
        day=f"{max(1, last)} of {plan['planned_days']}" if plan is not None else "",
        days=(last, plan["planned_days"]) if plan is not None else None,
        as_of=_as_of(report, last),
        next_look=_next_look(report, last),
        decides=_dated(end, report, last) if end else "",
        decides_at=_due(end, report, last) if end else None,
        ships=all_chance(map(_of_all, rows), blocked=blocked) if end else "",
        rows=rows,
        users=report["units"]["candidate"],
        saving=_saving(monthly) if monthly else UNKNOWN,
        saving_between=span(monthly["low"], monthly["high"], "usd") if monthly else "",
        saving_usd=monthly["estimate"] if monthly else None,
        misses=_misses(report),
        undecided=_undecided(report),
        critical=_critical(report),
        ends=report["window"]["end"] or "",
    )


def newer(one: VerdictSoFar | None, other: VerdictSoFar | None) -> VerdictSoFar | None:
    """The one whose data end later."""
    return max((each for each in (one, other) if each is not None), key=lambda each: each.ends, default=None)


def _score(score: Mapping[str, Any]) -> str:
    """83 of 100 (71 to 94); nothing while any score is possible."""
    if score["estimate"] is None or (score["low"] <= 0 and score["high"] >= 100):
        return ""
    return f"{score['estimate']:.0f} of 100 ({score['low']:.0f} to {score['high']:.0f})"


def _saving(monthly: Mapping[str, float | None]) -> str:
    """$1,240, −$310 for what costs more; none seen, where the interval has both."""
    low, high = monthly["low"], monthly["high"]
    if (low is None or low < 0) and (high is None or high > 0):
        return "none seen"
    return dollars(monthly["estimate"])


def _critical(report: Mapping[str, Any]) -> str:
    """category refund is worse (satisfaction), plan pro has too few users (errors)."""
    return ", ".join(_blocked(part) for part in _blocking(report))


def _blocking(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    parts = (*report.get("categories", ()), *report.get("segments", ()))
    return [part for part in parts if part["blocks"]]


def _blocked(part: Mapping[str, Any]) -> str:
    words = {"TOO_FEW": "has too few users", "WORSE": "is worse"}
    said = words.get(part["state"], "blocks")
    return f"{part.get('by') or 'category'} {part['value']} {said} ({label(part['metric'])})"


def _misses(report: Mapping[str, Any]) -> list[MissView]:
    """The rows that missed, and the critical parts that block."""
    rows = [each["metric"] for each in report["metrics"] if each["state"] == "FAIL"]
    parts = {_part_name(part): part for part in _blocking(report)}
    found = [MissView(name=name, words=f"{title(name)} missed") for name in rows]
    return found + [MissView(name=name, words=capitalized(_blocked(part))) for name, part in parts.items()]


def _part_name(part: Mapping[str, Any]) -> str:
    by, value = part.get("by"), part["value"]
    return f"segment:{by}={value}" if by else f"category:{value}"


def _undecided(report: Mapping[str, Any]) -> list[MissView]:
    """The rows that are open, and the critical parts that cannot be judged yet."""
    says = {"INCONCLUSIVE": "undecided", "NODATA": "without data"}
    rows = {each["metric"]: says[each["state"]] for each in report["metrics"] if each["state"] in says}
    parts = {
        _part_name(part): f"{part['by'] or 'category'} {part['value']}"
        for part in report["details"].get("too_few", ())
    }
    found = [MissView(name=name, words=f"{title(name)} {said}") for name, said in rows.items()]
    return found + [
        MissView(name=name, words=f"{capitalized(where)} not judged yet") for name, where in parts.items()
    ]


def _as_of(report: Mapping[str, Any], last: int) -> str:
    """as of last night's look, day 9 (2026-11-11); before the first look; "" without a plan."""
    if report.get("plan") is None:
        return ""
    if not last:
        return "before the first look"
    made = _date_of(report, last)
    return f"as of the look of day {last}{f' ({made}, 00:00 UTC)' if made else ''}"


def _date_of(report: Mapping[str, Any], day: int) -> date | None:
    points = (point for course in report["details"].get("looks", ()) for point in course["points"])
    return next((date.fromisoformat(point["date"]) for point in points if point["day"] == day), None)


def _next_look(report: Mapping[str, Any], last: int) -> str:
    """Tue 1 Dec, day 5; may ship from Thu 3 Dec, day 7."""
    plan = report.get("plan")
    if plan is None:
        return ""
    following, first = plan["next_look"], plan["first_look"]
    if following is None:
        return "none any more"
    ships = "" if following >= first else f"; may ship from {_dated(first, report, last)}"
    return f"{_dated(following, report, last)}{ships}"


def _dated(day: int, report: Mapping[str, Any], last: int) -> str:
    """Thu 10 Dec, day 14."""
    at = _due(day, report, last)
    return f"{weekday(at)}, day {day}" if at is not None else f"day {day}"


def _due(day: int, report: Mapping[str, Any], last: int) -> date | None:
    """When the look of this day is at the earliest."""
    made, start = _date_of(report, last), report["window"]["start"]
    began = None if last or not start else datetime.fromisoformat(start).date()
    return due(day, None if made is None else (last, made), began)


def _of_all(row: RowChance) -> float | None:
    """A row's chance to pass, 1 of one that has."""
    return row.chance if row.tone == "calm" else float(row.tone == "good")


def _row(line: Mapping[str, Any], report: Mapping[str, Any]) -> RowChance:
    name, look = title(line["metric"]), line.get("look")
    if line["state"] in _DECIDED:
        words, tone = _DECIDED[line["state"]]
        return RowChance(name=name, words=words, tone=tone, chance=None)
    found: float | None = look["chance"] if look is not None else None
    waits = line["metric"] in (
        *report["details"].get("unpriced", ()),
        *report["details"].get("unlabelled", ()),
    )
    if line["state"] != "INCONCLUSIVE" or found is None or waits:
        return RowChance(name=name, words=_open(line, report), tone="calm", chance=None)
    return RowChance(name=name, words=chance(found), tone="calm", chance=found)


def _open(line: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """Why no chance is told of a row that is open."""
    if line["metric"] in report["details"].get("unpriced", ()):
        return "costs missing"
    if line["metric"] in report["details"].get("unlabelled", ()):
        return "ratings missing" if line["metric"] in PREDICTED_BY else "labels missing"
    if line["state"] != "NODATA":
        return "open"
    return TOO_FEW if _stays_too_few(line, report.get("plan")) else "no data"


TOO_FEW = "too few users"
"""What is said of a row that will have no data by the end of the plan either."""


def _stays_too_few(line: Mapping[str, Any], plan: Mapping[str, Any] | None) -> bool:
    """True from the middle of the plan on, if at this pace it ends before enough users have a value."""
    last = plan["looks"][-1] if plan is not None and plan["looks"] else 0
    if plan is None or 2 * last < plan["planned_days"]:
        return False
    have, more = line["units"], line["units_needed"]
    return bool(more and have * plan["planned_days"] < (have + more) * last)
