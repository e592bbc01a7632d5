"""All canaries as a table that sorts and filters by links: its lines, and the links' addresses. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from common.numbers import UNKNOWN, count
from pages.status.rules import RuleView, Tone
from pages.status.standing import LOUDEST, CanaryStanding
from pages.status.verdict_so_far import TOO_FEW, VerdictSoFar
from pages.words import status

DAY_S = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LastChange:
    """The newest entry of a canary's audit log, `at` UTC seconds."""

    at: float
    action: str
    who: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryLine:
    """One canary. `guardrail` is the worst one and what is wrong with it, or how many are fine; `chance` that
    to ship, and by when. `wants` is what waits for a person, "" for nothing. `share`,
    `users` and `saved` sort; `users` is None if unknown."""

    canary: Mapping[str, Any]
    standing: CanaryStanding
    verdict: VerdictSoFar | None
    day: str
    part: float
    share: float
    users: int | None
    guardrail: str
    guardrail_tone: Tone
    chance: str
    wants: str
    owner: str
    changed: LastChange | None

    @property
    def saving(self) -> str:
        """What a month of full rollout saves."""
        return self.verdict.saving if self.verdict is not None else UNKNOWN

    @property
    def saved(self) -> float | None:
        """The same as a number."""
        return self.verdict.saving_usd if self.verdict is not None else None


def line(
    canary: Mapping[str, Any],
    standing: CanaryStanding,
    verdict: VerdictSoFar | None,
    changed: LastChange | None,
    now: float,
) -> CanaryLine:
    """The line of one canary of the status document, at `now` in UTC seconds."""
    day, part = _day(canary, standing, verdict, now)
    worst, tone = _worst(standing)
    return CanaryLine(
        canary=canary,
        standing=standing,
        verdict=verdict,
        day=day,
        part=part,
        share=canary["share"],
        users=verdict.users if verdict is not None else None,
        guardrail=worst,
        guardrail_tone=tone,
        chance=_chance(verdict),
        wants=_wants(canary, verdict),
        owner=canary.get("owner") or "",
        changed=changed,
    )


def _day(
    canary: Mapping[str, Any], standing: CanaryStanding, verdict: VerdictSoFar | None, now: float
) -> tuple[str, float]:
    """6 of 14, and the part of the plan that is over; how long the canary has run where no plan is known."""
    if verdict is not None and verdict.days is not None:
        return verdict.day, verdict.days[0] / verdict.days[1]
    began: float | None = canary.get("started_at")
    if began is None or not standing.watched:
        return UNKNOWN, 0.0
    return f"{max(1, int((now - began) / DAY_S) + 1)}", 0.0


def _worst(standing: CanaryStanding) -> tuple[str, Tone]:
    """The worst guardrail with its state in words. Where all are fine, how many, and that nobody reads the
    answers."""
    if not standing.watched:
        return UNKNOWN, "calm"
    for wanted in (_is("bad"), _is("warn"), lambda rule: rule.near):
        found = [rule for rule in standing.rules if wanted(rule)]
        if found:
            more = f" (+{len(found) - 1})" if len(found) > 1 else ""
            return f"{found[0].name}{_scope(found[0])} {found[0].word}{more}", found[0].tone
    fine = sum(rule.tone == "good" for rule in standing.rules)
    if not fine:
        return ("not enough data" if standing.rules or standing.unseen else "none"), "calm"
    return (f"{fine} fine, text not seen", "calm") if standing.not_seen else (f"{fine} fine", "good")


def _is(tone: Tone) -> Callable[[RuleView], bool]:
    return lambda rule: rule.tone == tone and not rule.near


def _scope(rule: RuleView) -> str:
    return f" ({rule.scope})" if rule.scope else ""


def _chance(verdict: VerdictSoFar | None) -> str:
    """84 % by 10 Dec; decides 10 Dec, where no chance is known."""
    if verdict is None or verdict.decides_at is None:
        return "" if verdict is None else verdict.ships
    by = f"{verdict.decides_at.day} {verdict.decides_at:%b}"
    return f"{verdict.ships} by {by}" if verdict.ships else f"decides {by}"


_ASTRAY: Mapping[str, str] = {
    "no_unit": "requests name no user",
    "stateful": "requests bound to a provider",
    "prompt_missed": "requests without the prompt",
    "unmatched": "no request reaches it",
    "one_sided": "feedback has one value only",
    "provider_throttled": "over its quota",
    **dict.fromkeys(("caller_not_found", "caller_unauthorized", "caller_rejected"), "requests refused"),
}
"""What is wrong with most of its traffic, by kind (`control.monitor.traffic.AstrayTraffic`)."""


def _wants(canary: Mapping[str, Any], verdict: VerdictSoFar | None) -> str:
    """What waits for a person: an order or a decision that is due, or what a verdict lacks."""
    if canary.get("promote_asked"):
        return "promotion asked"
    if canary["state"] == "waiting":
        asked = canary["preflight"]["state"] if canary.get("preflight") else ""
        return {"failed": "refused by its provider", "asking": ""}.get(asked, "start it")
    if canary["state"] == "rolled_back":
        return "" if canary.get("decision") else "decide or resume"
    if canary["state"] == "paused":
        return "resume it or roll it back"
    if canary.get("traffic"):
        return _ASTRAY[canary["traffic"][0]["kind"]]
    if canary["state"] != "running" or verdict is None:
        return ""
    if verdict.verdict != "extend":
        decided = canary["decision"]["decision"] if canary.get("decision") else verdict.verdict
        return {"dont_ship": "roll it back", "extend": ""}.get(decided, "promote it")
    lacks = (row for row in verdict.rows if row.words.endswith("missing") or row.words == TOO_FEW)
    missing = [f"{row.name}: {row.words}" for row in lacks]
    late = verdict.days is not None and verdict.days[0] >= verdict.days[1] - 1
    return missing[0] if missing else "the plan ends undecided" if late else ""


# Sorting and filtering.


Key = Callable[[CanaryLine], Any]


def _trouble(line: CanaryLine) -> tuple[int, int]:
    """The worst first; of equals those that wait for a person."""
    return LOUDEST.index(line.standing.tone), 0 if _needs_you(line) else 1


def _known(value: float | None) -> tuple[bool, float]:
    """The largest first, what is unknown last."""
    return value is None, -(value or 0.0)


COLUMNS: Mapping[str, tuple[str, Key]] = {
    "canary": ("Canary", lambda line: line.standing.name),
    "state": ("State", _trouble),
    "day": ("Day", lambda line: -line.part),
    "share": ("Share", lambda line: -line.share),
    "users": ("Users", lambda line: _known(line.users)),
    "guardrail": (
        "Worst guardrail",
        lambda line: (LOUDEST.index(line.guardrail_tone), line.guardrail),
    ),
    "verdict": (
        "Verdict, chance to ship",
        lambda line: LOUDEST.index(line.verdict.tone) if line.verdict is not None else len(LOUDEST),
    ),
    "saving": ("Saves a month", lambda line: _known(line.saved)),
    "owner": ("Owner", lambda line: (not line.owner, line.owner)),
    "changed": ("Last change", lambda line: _known(line.changed.at if line.changed is not None else None)),
}
TROUBLE = "state"
NEEDS_YOU = "trouble"
"""The filter that keeps what is red or yellow, may be shipped, or waits for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinesWanted:
    """How the table is sorted and what it shows. `sort` is one of COLUMNS, `show` a state or NEEDS_YOU; ""
    shows all. `open` are the canaries whose cards are unfolded."""

    sort: str = TROUBLE
    turned: bool = False
    show: str = ""
    owner: str = ""
    open: frozenset[str] = frozenset()

    @property
    def address(self) -> str:
        """The overview's address with this."""
        sort = f"{'-' if self.turned else ''}{self.sort}"
        given = {"sort": "" if sort == TROUBLE else sort, "show": self.show, "owner": self.owner}
        given["open"] = ",".join(sorted(self.open))
        query = urlencode({name: value for name, value in given.items() if value}, safe=",")
        return f"/?{query}" if query else "/"


def wanted(query: Mapping[str, str]) -> LinesWanted:
    """What `?sort=-share&show=running&owner=ann&open=a,b` asks for; what is unknown asks for nothing."""
    sort = query.get("sort", "")
    known = sort.removeprefix("-") in COLUMNS
    return LinesWanted(
        sort=sort.removeprefix("-") if known else TROUBLE,
        turned=known and sort.startswith("-"),
        show=query.get("show", ""),
        owner=query.get("owner", ""),
        open=frozenset(filter(None, query.get("open", "").split(","))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLink:
    """A filter or a column's head. `current`: "true" for the filter in force; how the column is sorted."""

    name: str
    words: str
    address: str
    current: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewTable:
    """The lines that are wanted, in their order, out of `total`; the heads and filters as links."""

    lines: Sequence[CanaryLine]
    total: int
    heads: Sequence[TableLink]
    filters: Sequence[TableLink]
    owners: Sequence[TableLink]
    asked: LinesWanted

    def shows_card(self, name: str) -> bool:
        """True if the canary's line is unfolded."""
        return name in self.asked.open

    def fold(self, name: str) -> str:
        """The address that unfolds the canary's line, or folds it again."""
        return replace(self.asked, open=self.asked.open ^ {name}).address


def table(lines: Sequence[CanaryLine], asked: LinesWanted) -> OverviewTable:
    """The table as it is wanted. The order of equals is that of trouble, then that of names."""
    shown = [line for line in lines if _shows(line, asked)]
    shown.sort(key=lambda line: (_trouble(line), line.standing.name))
    shown.sort(key=COLUMNS[asked.sort][1])
    return OverviewTable(
        lines=shown[::-1] if asked.turned else shown,
        total=len(lines),
        heads=[_head(name, words, asked) for name, (words, _) in COLUMNS.items()],
        filters=_filters(lines, asked),
        owners=_owners(lines, asked),
        asked=asked,
    )


def _needs_you(line: CanaryLine) -> bool:
    if line.standing.state == "rolled_back":
        return bool(line.wants)
    return line.standing.tone in ("bad", "warn") or bool(line.wants)


def _shows(line: CanaryLine, asked: LinesWanted) -> bool:
    of_state = asked.show in ("", line.standing.state) or (asked.show == NEEDS_YOU and _needs_you(line))
    return of_state and asked.owner in ("", line.owner)


def _head(name: str, words: str, asked: LinesWanted) -> TableLink:
    """The same again turns the order."""
    mine = asked.sort == name
    turned = replace(asked, sort=name, turned=mine and not asked.turned)
    sorted_ = "descending" if asked.turned else "ascending"
    return TableLink(name=name, words=words, address=turned.address, current=sorted_ if mine else "")


def _filters(lines: Sequence[CanaryLine], asked: LinesWanted) -> list[TableLink]:
    states = sorted({line.standing.state for line in lines})
    numbers = {
        name: sum(_shows(line, replace(asked, show=name)) for line in lines)
        for name in ("", NEEDS_YOU, *states)
    }
    words = {"": "All", NEEDS_YOU: "Needs you"}
    return [
        TableLink(
            name=name,
            words=f"{words.get(name) or status.plain(name).capitalize()} {count(number)}",
            address=replace(asked, show=name).address,
            current="true" if asked.show == name else "",
        )
        for name, number in numbers.items()
    ]


def _owners(lines: Sequence[CanaryLine], asked: LinesWanted) -> list[TableLink]:
    """Everybody's, and each owner's; none where all have one owner or none."""
    names = sorted({line.owner for line in lines if line.owner})
    if len(names) < 2 and not asked.owner:
        return []
    return [
        TableLink(
            name=name,
            words=name or "Everybody’s",
            address=replace(asked, owner=name).address,
            current="true" if asked.owner == name else "",
        )
        for name in ("", *names)
    ]
