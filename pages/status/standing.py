"""A canary's state in sentences, from its status document; also of one that left the config. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from alerts.wording import capitalized, ended
from common.interval import wilson
from common.numbers import UNKNOWN, count, decimal, dollars, percent, rough_percent, seconds, set_percent
from pages.status.rules import RuleView, Tone, rule_name, rule_view
from pages.words import status
from pages.words.figures import models, signed, title, unreached
from records.store.releases import Ending, PastCanary

FEW = 5
"""Fewer failures of the last minutes are not worth a word."""
_STATE_TONES: Mapping[str, Tone] = {
    "running": "good",
    "promoted": "good",
    "paused": "warn",
    "rolled_back": "bad",
}
LOUDEST: tuple[Tone, ...] = ("bad", "warn", "good", "calm")
_WORSE = LOUDEST[:2]


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryStanding:
    """One canary at a glance. `sentence` sums up its state. `where` says where the failing exchanges lie, ""
    if the sentence does. `said` is what the candidate's provider said last, None for nothing. `traffic` says
    what is wrong with most of its requests, `not_seen` what nobody reads ("" if somebody does), `few` what
    its users are too few for ("" for nothing). `unseen` are the rules without data. `needs` says how many
    users the rules need, where that is many. `watched` is False before the start and after the end. `key`
    changes with the state.
    """

    name: str
    models: str
    state: str
    word: str
    tone: Tone
    sentence: str
    where: str
    said: Mapping[str, Any] | None
    traffic: Sequence[str]
    not_seen: str
    few: str
    ramp: str
    rules: Sequence[RuleView]
    unseen: Sequence[str]
    needs: str
    watched: bool
    key: str

    @property
    def loud(self) -> list[RuleView]:
        """The rules that are not fine, the worst first; those that wait for data come last."""
        order = ("bad", "warn", "calm")
        return sorted(
            (rule for rule in self.rules if rule.tone != "good"), key=lambda rule: order.index(rule.tone)
        )

    @property
    def fine(self) -> list[RuleView]:
        """The rules that are far from their limits."""
        return [rule for rule in self.rules if rule.tone == "good"]

    @property
    def fine_names(self) -> str:
        """Those by name."""
        return ", ".join(f"{rule.name} ({rule.scope})" if rule.scope else rule.name for rule in self.fine)

    @property
    def icon(self) -> str:
        """The state's icon, or the icon of the tone if a guardrail or the verdict is worse."""
        return self.state if self.tone == _STATE_TONES.get(self.state, "calm") else self.tone


def standing(canary: Mapping[str, Any], verdict: Tone = "calm") -> CanaryStanding:
    """The view of one canary of the status document. While users may get the candidate, its tone is no better
    than that of its `verdict`."""
    rules = [rule_view(each) for each in canary["guardrails"]]
    watched = canary["state"] not in ("waiting", "ended")
    sentence = _sentence(canary, rules)
    return CanaryStanding(
        name=canary["name"],
        models=status.models(canary),
        state=canary["state"],
        word="refused" if _hides(canary) else status.plain(canary["state"]),
        tone="bad"
        if _refused(canary)
        else _with_verdict(_tone(canary, rules), verdict if watched else "calm"),
        sentence=sentence,
        where=_where(canary, sentence) if watched else "",
        said=canary.get("provider_error") if watched else None,
        traffic=[status.astray(each) for each in canary.get("traffic", ())],
        not_seen=_not_seen(canary) if watched else "",
        few=(canary.get("few_users") or {}).get("sentence", ""),
        ramp=_ramp(canary),
        rules=[rule for rule in rules if watched and not rule.empty],
        unseen=_unseen(rules) if watched else [],
        needs=_needs(canary) if watched else "",
        watched=watched,
        key=key_of(canary),
    )


def _where(canary: Mapping[str, Any], sentence: str) -> str:
    """Where the failing exchanges lie; "" if nowhere in particular, or if `sentence` names each of them."""
    places = [f"{part['by']} {part['value']} (" for part in canary.get("where", ())]
    named = all(place in sentence for place in places)
    return "" if named else ended(capitalized(canary["where_sentence"]))


def _unseen(rules: Sequence[RuleView]) -> list[str]:
    """The rules without data by name, each with the parts of the traffic that it has none of."""
    scopes: dict[str, list[str]] = {}
    for rule in rules:
        if rule.empty:
            scopes.setdefault(rule.name, []).append(rule.scope)
    whole = [name for name, parts in scopes.items() if "" in parts]
    return whole + [f"{name} ({'; '.join(parts)})" for name, parts in scopes.items() if name not in whole]


def _needs(canary: Mapping[str, Any]) -> str:
    """How many users the rules over all traffic need to roll back, where one needs many; "" where too few
    get the candidate."""
    if canary.get("few_users"):
        return ""
    needs = {
        each["rule"]: each["users_needed"]
        for each in canary["guardrails"]
        if each.get("users_needed") and each.get("action") == "rollback" and "[" not in each["rule"]
    }
    return status.users_needed_sentence(needs, canary["share"], many=True)


def _tone(canary: Mapping[str, Any], rules: Sequence[RuleView]) -> Tone:
    """The tone of the state, or of its worst rule while the candidate has users; at least `warn` while
    exchanges do not reach the candidate. `good` only while it answers and a rule has seen so: a lack of
    evidence is `calm`."""
    state: str = canary["state"]
    if state not in ("running", "paused", "promoted"):
        return _STATE_TONES.get(state, "calm")
    for tone in _WORSE:
        if any(rule.tone == tone and not rule.near for rule in rules):
            return tone
    if _kept_away(canary) or not_evidence(canary["arms"]) or canary.get("traffic"):
        return "warn"
    seen = _answers(canary) and any(rule.tone == "good" or rule.near for rule in rules)
    return _STATE_TONES[state] if seen or state == "paused" else "calm"


def _with_verdict(tone: Tone, verdict: Tone) -> Tone:
    """The worse of both. A verdict that ships makes nothing better."""
    worse = verdict in _WORSE and LOUDEST.index(verdict) < LOUDEST.index(tone)
    return verdict if worse else tone


def _answers(canary: Mapping[str, Any]) -> bool:
    """True if users get the candidate, and it answered in the last ten minutes."""
    recent = canary["arms"]["candidate"]["last_ten_minutes"]
    return bool(canary["share"]) and bool(recent["counted"] > recent["errors"])


def _quota(canary: Mapping[str, Any]) -> str:
    """What of the candidate's requests its provider throttles, as far as that holds something."""
    said = (canary.get("quota") or {}).get("sentence", "")
    return f"{capitalized(said)}." if said else ""


def _kept_away(canary: Mapping[str, Any]) -> str:
    """Why others answer most of the candidate's users, in a sentence; "" if they do not."""
    if canary["breakers_open"]:
        return (
            "The candidate failed five requests in a row, or half of twenty, so the baseline answers its "
            "users for now."
        )
    recent = canary["arms"]["candidate"]["last_ten_minutes"]
    if recent["errors"] >= FEW and 2 * recent["errors"] > recent["counted"]:
        return "The candidate failed most requests of the last ten minutes."
    return ""


def key_of(canary: Mapping[str, Any]) -> str:
    """Identifies the canary's state. An order carries the key, so one from an outdated page is refused."""
    refused = "-refused" if _refused(canary) else ""
    asked = "-asked" if canary.get("promote_asked") else ""
    return f"{canary['run']}-{canary['state']}-{canary['share']:g}{refused}{asked}"


def _refused(canary: Mapping[str, Any]) -> str:
    """Why no worker serves the candidate, whatever the state says; "" if they do. An ended canary says so
    itself."""
    return "" if canary["state"] == "ended" else canary.get("refused") or ""


def _hides(canary: Mapping[str, Any]) -> bool:
    """True when the state would say that users get the candidate, and none does."""
    return bool(_refused(canary)) and canary["state"] != "rolled_back"


def _sentence(canary: Mapping[str, Any], rules: Sequence[RuleView]) -> str:
    refused = ended(f"Refused: {_refused(canary)}") if _refused(canary) else ""
    if _hides(canary):
        return refused
    match canary["state"]:
        case "waiting":
            return ended(f"Not started yet. Everybody gets the baseline. {capitalized(canary['reason'])}")
        case "ended":
            return "Ended. Everybody gets the baseline."
        case "rolled_back":
            why = ended(f"Rolled back. Everybody gets the baseline. {capitalized(canary['reason'])}")
            return f"{why} {refused}".strip()
        case "promoted":
            whom = "everybody" if canary.get("lane") is None else "everybody in its lane"
            given = _getting(canary) if status.holdback(canary) else f"{whom} gets the candidate"
            if (answers := canary.get("answers", "candidate")) != "candidate":
                due = given.replace(" get the", " are to get the").replace(" gets the", " is to get the")
                given = f"{due}, but {'the baseline' if answers == 'baseline' else answers} answers"
            opening = f"Promoted: {given}."
        case "paused":
            opening = f"Paused: {_getting(canary)}, and the ramp waits."
        case _:
            opening = f"Running: {_getting(canary)}."
    arms = canary["arms"]
    said = (
        opening,
        status.holdback(canary),
        status.held_units(canary),
        _errors(canary),
        not_evidence(arms),
        _prompt(canary),
        _quota(canary),
        _kept_away(canary),
        _worst(rules, _not_seen(canary)),
    )
    return " ".join(part for part in said if part)


def _prompt(canary: Mapping[str, Any]) -> str:
    said = status.prompt(canary)
    return ended(f"Prompt: {said}") if said else ""


def _getting(canary: Mapping[str, Any]) -> str:
    """5 % of the users get the candidate."""
    if not canary["share"]:
        return "nobody gets the candidate, its share is 0"
    whose = "the users in its lane" if canary.get("lane") is not None else "the users"
    return f"{set_percent(canary['share'])} of {whose} get the candidate"


def not_evidence(arms: Mapping[str, Mapping[str, Any]]) -> str:
    """How many of the candidate's exchanges did not reach it though it is not to blame; "": hardly any."""
    candidate = arms["candidate"]
    return unreached(candidate.get("unreached", {}), candidate["requests"])


def _errors(canary: Mapping[str, Any]) -> str:
    """Both arms' error rates in this run, and that the candidate answers nobody at the moment."""
    arms = canary["arms"]
    candidate, baseline = (error_rate(arms[arm]) for arm in ("candidate", "baseline"))
    if candidate is None:
        return "The candidate has not answered any request yet."
    against = f", the baseline {percent(baseline)}" if baseline is not None else ""
    silent = arms["candidate"]["last_ten_minutes"]["counted"] == 0
    lately = " It answered no request in the last ten minutes." if silent else ""
    return f"In this run the candidate failed {percent(candidate)} of its requests{against}.{lately}"


def error_rate(arm: Mapping[str, Any]) -> float | None:
    """The arm's error rate in [0, 1]; None if unknown."""
    counted: int = arm["counted"]
    errors: int = arm["errors"]
    return errors / counted if counted and errors <= counted else None


def _not_seen(canary: Mapping[str, Any]) -> str:
    """What no guardrail sees of the answers while users get them, and what would show it."""
    given = canary["state"] in ("running", "paused", "promoted")
    return canary.get("not_seen") or "" if given else ""


def _worst(rules: Sequence[RuleView], not_seen: str) -> str:
    """The worst guardrail in a sentence. Where nobody reads the answers, none says that all is well."""
    if not rules:
        return "No guardrail watches this canary."
    for tone in _WORSE:
        found = [rule for rule in rules if rule.tone == tone and not rule.near]
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            return f"{rule_name(found[0].key)}: {found[0].word}{found[0].restraint}{more}."
    near: dict[str, list[str]] = {}
    for rule in rules:
        if rule.near:
            near.setdefault(rule.word, []).append(rule_name(rule.key))
    if near:
        return " ".join(f"{capitalized(word)}: {', '.join(names)}." for word, names in near.items())
    if all(rule.tone == "calm" for rule in rules):
        return "Not enough traffic to judge yet."
    return "" if not_seen else "No guardrail is near its limit."


def _ramp(canary: Mapping[str, Any]) -> str:
    """The ramp's step, the time left, and why its clock is stopped."""
    ramp, state = canary["ramp"], canary["state"]
    steps, step = ramp["steps"], ramp["step"]
    if state not in ("running", "paused") or len(steps) < 2 or _refused(canary):
        return ""
    if step is None:
        return "Off the ramp: the share was set by hand and stays."
    if step + 1 == len(steps):
        return f"Last step of {len(steps)}: {set_percent(steps[step]['share'])} until a person decides."
    left = f", {status.span(ramp['left_s'])} left" if ramp["left_s"] is not None else ""
    waits = ramp.get("users")
    if waits is not None:
        left += f", {status.users_so_far(waits)}"
    held = " The clock is stopped: a guardrail is over its limit." if ramp["held"] else ""
    if quota := (canary.get("quota") or {}).get("sentence", ""):
        held = f" The clock is stopped: {quota}."
    if ramp.get("too_few_users") and ramp["left_s"] == 0 and not held and waits is None:
        held = " The step continues until the candidate has had enough users."
    if state == "paused":
        held = " The clock is stopped: paused."
    return f"Step {step + 1} of {len(steps)}{left}, then {set_percent(steps[step + 1]['share'])}.{held}"


# A canary that has left the config, in sentences. Pure.


# No past canary is "good": nobody gets its candidate through canary any more.
_TONES: Mapping[Ending, Tone] = {"rolled_back": "bad", "promoted": "calm", "ended": "calm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PastCanaryView:
    """One past canary at a glance. `at` is when its ending was brought, UTC seconds; None if unknown.

    `models` are the baseline's and the candidate's, `release` is the release's id; "" if unknown. `runs`
    are the runs that were rolled back. `icon` is the ending.
    """

    name: str
    icon: Ending
    word: str
    tone: Tone
    sentence: str
    at: float | None
    who: str
    reason: str
    models: str
    release: str
    runs: Sequence[int]


def past_view(past: PastCanary) -> PastCanaryView:
    """The view of one past canary."""
    by, release = past.by, past.release
    return PastCanaryView(
        name=past.name,
        icon=past.ending,
        word=status.plain(past.ending),
        tone=_TONES[past.ending],
        sentence=f"{_ending(past)} {_leaving(past)}",
        at=by.at if by is not None else past.left_at,
        who=by.who if by is not None else "",
        reason=by.reason if by is not None else "",
        models=models(release.baseline, release.candidate) if release is not None else "",
        release=release.id if release is not None else "",
        runs=past.rolled_back,
    )


def _ending(past: PastCanary) -> str:
    """What happened to its last run."""
    if past.ending == "ended":
        return _was(past)
    word = status.plain(past.ending).capitalize()
    if past.by is None:
        return f"{word}."
    by = f"{word} by {past.by.who} on {status.moment(past.by.at)} UTC"
    return f"{by}: {past.by.reason.rstrip('.')}." if past.by.reason else f"{by}."


def _was(past: PastCanary) -> str:
    if past.was == "waiting":
        return "It never started."
    if past.was == "ended":
        return "Ended."
    return f"Ended without a decision on its run: it was {past.was} at {set_percent(past.share)}."


def _leaving(past: PastCanary) -> str:
    if past.left_at is None:
        return "Its entry is no longer in the config."
    return f"Its entry left the config on {status.moment(past.left_at)} UTC."


# The table that compares both arms, from a status document. Pure.


_ALWAYS: Sequence[tuple[str, str, Callable[[float | None], str]]] = (
    ("p50 latency, last 10 min", "p50_s", seconds),
    ("p95 latency, last 10 min", "p95_s", seconds),
)
_WHERE_KNOWN: Sequence[tuple[str, str, Callable[[float | None], str]]] = (
    ("First token p50, last 10 min", "ttft_p50_s", seconds),
    ("First token p95, last 10 min", "ttft_p95_s", seconds),
    ("Tokens a second, last 10 min", "tokens_per_s", status.rate),
    ("Cost per request", "cost_per_request_usd", dollars),
)


_WHERE_SEEN = ("refused", "cut_off", "empty", "stalled", "invalid_output")
"""The parts of `answer_faults` that have a row only where there are any."""

DENOMINATORS: Mapping[str, str] = {
    **dict.fromkeys(("refused", "cut_off", "empty", "stalled", "answer_faults"), "finished"),
    "invalid_output": "output_judged",
    "abandoned": "ended",
}
"""By metric, the member of an arm's document that says how many requests could have been so."""


@dataclass(frozen=True, slots=True)
class ArmFigure:
    """A figure and a note, for example its interval; "" for no note. `value` is the figure as a number, where
    two arms' figures may be subtracted."""

    figure: str
    note: str = ""
    value: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class FigureRow:
    """One row: a figure of both arms. Shares differ in points, ratings in their own steps, all else in %."""

    name: str
    baseline: ArmFigure
    candidate: ArmFigure
    unit: Literal["share", "number", "size"] = "size"

    @property
    def difference(self) -> str:
        """The candidate minus the baseline: +0.4 points, −12 %; "" where either is unknown."""
        baseline, candidate = self.baseline.value, self.candidate.value
        if baseline is None or candidate is None:
            return ""
        if candidate == baseline:
            return "none"
        if self.unit != "size":
            return signed(candidate - baseline, self.unit)
        change = candidate / baseline - 1 if baseline else math.inf
        return f"{'−' if change < 0 else '+'}{rough_percent(abs(change))}" if change < math.inf else ""


def arm_rows(arms: Mapping[str, Mapping[str, Any]]) -> Sequence[FigureRow]:
    """The rows for the arms of the status document."""
    baseline, candidate = arms["baseline"], arms["candidate"]
    found = [
        FigureRow("Requests", _requests(baseline), _requests(candidate)),
        FigureRow("Errors", _error_figure(baseline), _error_figure(candidate), "share"),
        *_answer_rows(baseline, candidate),
        *(FigureRow(name, *_each(arms, key, unit)) for name, key, unit in _ALWAYS),
    ]
    for name, key, unit in _WHERE_KNOWN:
        if any(arm[key] is not None for arm in (baseline, candidate)):
            found.append(FigureRow(name, *_each(arms, key, unit)))
    metrics = sorted({*baseline["feedback"], *candidate["feedback"]})
    return [*found, *_session_rows(baseline.get("sessions"), candidate.get("sessions"))] + [
        FigureRow(_name(arms, metric), _rating(baseline, metric), _rating(candidate, metric), "number")
        for metric in metrics
    ]


def _name(arms: Mapping[str, Mapping[str, Any]], metric: str) -> str:
    found = [arm["feedback"][metric] for arm in arms.values() if metric in arm["feedback"]]
    return f"{title(metric)}, reported" if any(map(_of_events, found)) else title(metric)


def _of_events(found: Mapping[str, Any]) -> bool:
    """True of what happens or does not: the arm's users who sent nothing count too, but not here."""
    return str(found.get("per", "value")) != "value"


_OF_SESSIONS: Sequence[tuple[str, str, Callable[[float | None], str]]] = (
    ("Cost per session", "cost_usd", dollars),
    ("Exchanges per session", "exchanges", decimal),
    ("Tokens per session", "tokens", count),
    ("Tool calls per session", "tool_calls", decimal),
    ("Sessions with faults", "faults", percent),
    ("Sessions abandoned", "abandoned", percent),
    ("Input from the cache", "cache_hits", percent),
)


def _session_rows(baseline: Mapping[str, Any] | None, candidate: Mapping[str, Any] | None) -> list[FigureRow]:
    """The sessions and what is known of them; none where there are none."""
    if baseline is None or candidate is None or not (baseline["begun"] or candidate["begun"]):
        return []
    theirs, mine = (
        ArmFigure(count(each["begun"]), f"{count(each['open'])} open" if each["open"] else "")
        for each in (baseline, candidate)
    )
    return [
        FigureRow("Sessions", theirs, mine),
        *(
            FigureRow(
                name,
                ArmFigure(unit(baseline[key]), value=baseline[key]),
                ArmFigure(unit(candidate[key]), value=candidate[key]),
                "share" if unit is percent else "size",
            )
            for name, key, unit in _OF_SESSIONS
            if baseline[key] is not None or candidate[key] is not None
        ),
    ]


def _each(
    arms: Mapping[str, Mapping[str, Any]], name: str, unit: Callable[[float | None], str]
) -> tuple[ArmFigure, ArmFigure]:
    baseline, candidate = (
        ArmFigure(unit(arms[arm][name]), _range(arms[arm]["intervals"][name], unit), arms[arm][name])
        for arm in ("baseline", "candidate")
    )
    return baseline, candidate


def _range(ends: Sequence[float | None] | None, unit: Callable[[float | None], str]) -> str:
    """The interval in words; "" if neither end is known."""
    low, high = ends or (None, None)
    if low is None:
        return f"at most {unit(high)}" if high is not None else ""
    if high is None:
        return f"at least {unit(low)}"
    return unit(low) if unit(low) == unit(high) else f"{unit(low)} to {unit(high)}"


def _requests(arm: Mapping[str, Any]) -> ArmFigure:
    other = arm["foreign_state"] + sum(arm.get("unreached", {}).values())
    beside = {"aborted": arm["aborted"], "answered by the other arm": other}
    told = ", ".join(f"{count(number)} {what}" for what, number in beside.items() if number)
    return ArmFigure(count(arm["requests"]), told)


def _error_figure(arm: Mapping[str, Any]) -> ArmFigure:
    share = error_rate(arm)
    if share is None:
        return ArmFigure(UNKNOWN)
    low, high = wilson(arm["errors"], arm["counted"])
    return ArmFigure(percent(share), f"{percent(low)} to {percent(high)}", share)


def _answer_rows(baseline: Mapping[str, Any], candidate: Mapping[str, Any]) -> list[FigureRow]:
    """Answer faults, and the kinds of them and abandoned requests as far as there are any."""
    seen = [name for name in (*_WHERE_SEEN, "abandoned") if baseline.get(name) or candidate.get(name)]
    names = ("answer_faults", *seen)
    return [
        FigureRow(title(name), _share(baseline, name), _share(candidate, name), "share") for name in names
    ]


def _share(arm: Mapping[str, Any], name: str) -> ArmFigure:
    found, of = arm.get(name), arm.get(DENOMINATORS[name])
    if found is None or not of:
        return ArmFigure(UNKNOWN)
    low, high = wilson(found, of)
    return ArmFigure(percent(found / of), f"{percent(low)} to {percent(high)}", found / of)


def _rating(arm: Mapping[str, Any], metric: str) -> ArmFigure:
    found = arm["feedback"].get(metric)
    if not found:
        return ArmFigure(UNKNOWN)
    if _of_events(found):
        whole = round(found["mean"] * found["count"], 6)
        return ArmFigure(count(whole) if whole == round(whole) else decimal(whole))
    known = _range(found["interval"], decimal)
    of = f"of {count(found['count'])}"
    return ArmFigure(decimal(found["mean"]), f"{known}, {of}" if known else of, found["mean"])
