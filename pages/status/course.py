"""What stands beside a canary's charts: the choice of the time, the marks, and a table. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from alerts.course import ChartSpan
from alerts.wording import capitalized
from common.numbers import count, dollars, percent, seconds
from control.operator.operator import Happenings
from pages.status.rules import Tone
from pages.words.drift import change_words
from pages.words.figures import look_words
from pages.words.status import act, shares
from records.store import AuditEntry

MarkKind = Literal["share", "rollback", "page", "look", "model"]
SPANS: Mapping[ChartSpan, str] = {"10min": "10 min", "24h": "24 h", "run": "Run"}
KINDS = (
    ("requests", "Requests a minute"),
    ("errors", "Errors, %"),
    ("faults", "Faulty answers, %"),
    ("p95_s", "p95 latency, s"),
    ("cost_usd", "Cost per request, $"),
    ("users", "Users"),
)
"""The charts, by the name of the figures that they draw."""
ROWS = 12
_TONES: Mapping[MarkKind, Tone] = {"rollback": "bad", "page": "bad", "model": "warn"}
_STEPS = {1: "Each point is a second.", 60: "Each point is a minute.", 3_600: "Each point is an hour."}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something that happened at a UTC second, which the charts mark."""

    at: float
    kind: MarkKind
    words: str

    @property
    def tone(self) -> Tone:
        """How loud it is."""
        return _TONES.get(self.kind, "calm")


def marks(found: Happenings, since: float = 0.0) -> list[Mark]:
    """The marks since a UTC second, oldest first; the looks of a day are one. A drift is marked at the day
    from which answers differ, unless that was before."""
    looks: dict[tuple[float, int], dict[str, float | None]] = {}
    for each in found.looks:
        looks.setdefault((each.at, each.day), {})[each.metric] = each.distance
    known = [
        *map(_of_act, found.acts),
        *(Mark(at=each.at, kind="page", words=each.title) for each in found.pages if each.event == "page"),
        *(
            Mark(at=at, kind="look", words=capitalized(look_words(day, seen, found.rubric)))
            for (at, day), seen in looks.items()
        ),
        *(
            Mark(
                at=each.since if each.since >= since else each.at,
                kind="model",
                words=f"{each.model} {change_words(each)}",
            )
            for each in found.models
        ),
    ]
    return sorted((each for each in known if each.at >= since), key=lambda each: each.at)


def _of_act(entry: AuditEntry) -> Mark:
    before = entry.before.effective_share if entry.before is not None else 0.0
    share = shares(before, entry.after.effective_share)
    words = f"{act(entry.act.action).capitalize()} by {entry.act.who}"
    words += f": share {share}" if entry.act.action != "end" else ""
    return Mark(at=entry.act.at, kind="rollback" if entry.act.action == "rollback" else "share", words=words)


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseRow:
    """One arm in one part of the charted time, which begins at a UTC second. A dash is unknown."""

    at: float
    arm: str
    requests: str
    errors: str
    faults: str
    p95: str
    cost: str
    users: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartsView:
    """What the page shows beside the drawings."""

    span: ChartSpan
    step: str
    marks: Sequence[Mark]
    rows: Sequence[CourseRow]
    spans: Sequence[tuple[str, str]] = tuple(SPANS.items())
    kinds: Sequence[tuple[str, str]] = KINDS


def charts_view(course: Mapping[str, Any], found: Happenings, *, past: bool = False) -> ChartsView:
    """The view of a course (`alerts.course`); of a past canary only its run."""
    return ChartsView(
        spans=(("run", SPANS["run"]),) if past else tuple(SPANS.items()),
        span=course["span"],
        step=_STEPS[course["slice_s"]],
        marks=marks(found, course["start"]),
        rows=_rows(course),
    )


def span_of(asked: str | None) -> ChartSpan:
    """The time that an address asks for; ten minutes for none."""
    known: tuple[ChartSpan, ...] = get_args(ChartSpan)
    return known[known.index(asked)] if asked in known else "10min"


def _rows(course: Mapping[str, Any]) -> list[CourseRow]:
    """At most ROWS parts of the time, the newest first."""
    width: int = course["slice_s"]
    slots = len(course["arms"]["baseline"]["requests"])
    step = max(1, math.ceil(slots / ROWS))
    return [
        _row(course["start"] + begin * width, arm, figures, slice(begin, begin + step))
        for begin in reversed(range(0, slots, step))
        for arm, figures in course["arms"].items()
    ]


def _row(at: float, arm: str, figures: Mapping[str, Sequence[Any]], part: slice) -> CourseRow:
    requests = sum(figures["requests"][part])
    slow = [each for each in figures["p95_s"][part] if each is not None]
    both = zip(figures["cost_usd"][part], figures["requests"][part], strict=True)
    priced = [(cost, of) for cost, of in both if cost is not None]
    cost = sum(cost * of for cost, of in priced) / sum(of for _, of in priced) if priced else None
    return CourseRow(
        at=at,
        arm=arm,
        requests=count(requests),
        errors=percent(sum(figures["errors"][part]) / requests if requests else None),
        faults=percent(sum(figures["faults"][part]) / requests if requests else None),
        p95=seconds(max(slow, default=None)),
        cost=dollars(cost),
        users=count(max(figures["users"][part], default=0)),
    )
