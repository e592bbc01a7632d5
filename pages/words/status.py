"""Formats figures for people. An unknown figure is a dash, never a zero."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from alerts.wording import capitalized
from common.numbers import UNKNOWN, count, dollars, percent, seconds, set_percent, times
from pages.words import figures
from pages.words.arms import in_file
from records.facts.prices import UnpricedArm, said_once
from routing.assignment import Reason


def rate(value: float | None) -> str:
    """A number per second: 43.2, 1,200."""
    return UNKNOWN if value is None else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def users_so_far(waits: Mapping[str, Any]) -> str:
    """What a step of a ramp has of the users that it waits for: 212 of 300 users."""
    have, need = waits["have"], count(waits["need"], "user")
    return f"{UNKNOWN if have is None else count(have)} of {need}"


def span(value: float | None) -> str:
    """A duration in its two largest units: 2 d 4 h, 3 min 20 s."""
    if value is None:
        return UNKNOWN
    left = round(value)
    parts = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        whole, left = divmod(left, size)
        if whole:
            parts.append(f"{whole} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def span_short(value: float) -> str:
    """A duration in its largest unit: 2 d, 3 min."""
    return " ".join(span(value).split(" ")[:2])


def moment(at: float) -> str:
    """UTC seconds as 2026-11-24 23:05:00."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def minute(at: float) -> str:
    """UTC seconds as 2026-11-24 23:05."""
    return moment(at)[:-3]


def text_moment(at: str) -> str:
    """A moment as the API writes it (ISO 8601), as 2026-11-24 23:05:00."""
    return moment(datetime.fromisoformat(at).timestamp())


def clock(at: float) -> Markup:
    """UTC seconds as a `<time>`, which the page's script shows in the reader's own zone."""
    found = datetime.fromtimestamp(at, UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(
        found.strftime("%Y-%m-%dT%H:%M:%SZ"), found.strftime("%Y-%m-%d %H:%M:%S")
    )


def text_clock(at: str) -> Markup:
    """A moment as the API writes it (ISO 8601), as a `<time>`."""
    return clock(datetime.fromisoformat(at).timestamp())


_MOMENT = r"(\d{4}-\d\d-\d\d) (\d\d:\d\d)(:\d\d)?"
_CLOCK = re.compile(rf"{_MOMENT}(?: UTC|(?= to {_MOMENT} UTC))")


def clocked(text: str) -> Markup:
    """Text for an HTML element's content (`verbatim`), with each moment in it as a `<time>`."""
    return Markup(_CLOCK.sub(_as_time, str(verbatim(text))))  # noqa: S704


def _as_time(found: re.Match[str]) -> str:
    day, hour, second = found[1], found[2], found[3] or ":00"
    return f'<time datetime="{day}T{hour}{second}Z">{found[0]}</time>'


def shares(before: float | None, after: float) -> str:
    """The shares before and after a change: 5 % → 10 %; 5 % where it stays."""
    return set_percent(after) if before in (None, after) else f"{set_percent(before)} → {set_percent(after)}"


def day(at: float) -> str:
    """UTC seconds as 2026-11-24."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def plain(name: str) -> str:
    """A name with spaces for underscores: rolled back."""
    return name.replace("_", " ")


def confirmations(confirmed: int, workers: int) -> str:
    """How many workers follow an order, of those that are heard of."""
    return (
        f"confirmed by {confirmed} of {workers} workers"
        if workers
        else "confirmed by nobody: no worker is heard of"
    )


def act(name: str) -> str:
    """An entry's action in the audit log: promotion asked, rollback."""
    return {"promote_asked": "promotion asked", "holdback_end": "hold-back ended"}.get(name, plain(name))


def error_details(error: Mapping[str, Any]) -> str:
    """The parts of a provider's error beside its message: `status 400, code invalid_value, param n`."""
    names = ("status", "code", "type", "param")
    return ", ".join(f"{name} {error[name]}" for name in names if error[name])


def asked(request: Mapping[str, Any], now: float) -> str:
    """An open request to promote: asked by ann 5 min ago (it won), against the verdict extend; somebody else
    may promote until …"""
    ago, until = span(max(0.0, now - request["at"])), moment(request["until"])
    first = f"asked by {request['who']} {ago} ago ({request['reason']})"
    if against := request["against"]:
        first += f", against the verdict {in_words(against)}"
    return f"{first}; somebody else may promote until {until} UTC"


def decided(decision: Mapping[str, Any]) -> str:
    """What somebody decided: ship despite csat and category:refund, by ann on …: the board agrees"""
    word = in_words(decision["decision"])
    despite = f" despite {', '.join(decision['despite'])}" if decision["despite"] else ""
    return f"{word}{despite}, by {decision['who']} on {moment(decision['at'])} UTC: {decision['reason']}"


def verbatim(text: str) -> Markup:
    """Text for an HTML element's content. Quotes stay as they are, which only an attribute must not have."""
    return Markup(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))  # noqa: S704


def in_words(verdict: str) -> str:
    """A verdict, or a decision, within a sentence: ship with caveats, don’t ship."""
    return plain(verdict).replace("dont", "don’t")


def verdict(name: str) -> str:
    """A verdict as words: Don't ship."""
    return "Don't ship" if name == "dont_ship" else plain(name).capitalize()


def mark(state: str) -> str:
    """A row's state as a mark: ✓."""
    return {"IDEAL": "✓✓", "PASS": "✓", "FAIL": "✗", "INCONCLUSIVE": "?"}.get(state, "–")


def models(canary: Mapping[str, Any]) -> str:
    """The models of a canary of the status document: gpt-4o → gpt-5."""
    found = {arm: named(each) for arm, each in canary["models"].items()}
    return figures.models(found["baseline"], found["candidate"])


def named(arm: Mapping[str, Any]) -> str:
    """An arm of the status as it is called everywhere: openai/bot · prompt v8 (1a2b3c)."""
    return f"{arm['provider']}/{arm['model']}{' · ' + arm['request'] if 'request' in arm else ''}"


def standing_said(canary: Mapping[str, Any], now: float) -> str:
    """A standing canary's baseline in force, since when and by whom, whose users keep another one, who took a
    later one back, what it tries and its owner."""
    held, trials = canary["held_back"], canary["trials"]
    text = f"{whom(canary['others'], due=bool(canary['instead']))} {named(canary['baseline'])}"
    text += f", but {canary['instead']} answers" if canary["instead"] else ""
    if canary["since"] is not None:
        ago = span(max(0.0, now - canary["since"]))
        text += f", for {ago}: {canary['by']} promoted {canary['canary']}"
    elif not canary["taken_back"]:
        text += ", by the config"
    text += f"; {held_on(held)}" if held else ""
    for each in canary["kept"]:
        text += f"; but {kept(each)}"
    if back := canary["taken_back"]:
        ago = span(max(0.0, now - back["at"]))
        text += f"; {back['who']} took {back['canary']} back {ago} ago ({back['reason']})"
    text += f"; {canary['incident'].rstrip('.')}" if canary["incident"] else ""
    owner = f"; {canary['owner']} decides" if canary["owner"] else ""
    return f"{text}; it tries {', '.join(trials) or 'nothing'}{owner}"


def whom(others: float, *, due: bool = False) -> str:
    """Who gets the baseline in force, before its name, where this part of the users gets another arm:
    everybody gets; 98 % of the users get. `due`: who is to."""
    if not others:
        return "everybody is to get" if due else "everybody gets"
    return f"{set_percent(1.0 - others)} of the users {'are to get' if due else 'get'}"


def held_on(held: Mapping[str, Any]) -> str:
    """Who does not: 2 % are held back on openai/first until 2026-11-24 23:05:00 UTC."""
    until = moment(held["until"])
    return f"{set_percent(held['share'])} are held back on {held['baseline']} until {until} UTC"


def ended_early(held: Mapping[str, Any]) -> str:
    """That the next trial's begin has ended a hold-back, as a sentence without its full stop."""
    return (
        f"this ends the hold-back of {held['canary']} early: {set_percent(held['share'])} of the users were "
        f"to keep {held['baseline']} until {moment(held['until'])} UTC"
    )


def end_with_it(trials: Sequence[str]) -> str:
    """Which trials end with the baseline that is taken back: a and b end with it; "" for none."""
    return f"{figures.joined([*trials])} {'ends' if len(trials) == 1 else 'end'} with it" if trials else ""


def kept(trial: Mapping[str, Any]) -> str:
    """That a trial's users have another baseline than the one in force."""
    size: float | None = trial["lane"]
    whom = "all users" if size is None else f"{set_percent(size)} of the users"
    return f"{trial['canary']} keeps its own baseline, {in_file(trial)}, for {whom} of these requests"


def retirements(document: Mapping[str, Any], name: str | None = None) -> list[str]:
    """A sentence for each model of the canaries, or of one of them, that retires soon."""
    found = document.get("retirements", ())
    return [
        each["sentence"]
        for each in found
        if name is None or name in [use["canary"] for use in each["canaries"]]
    ]


def lane(canary: Mapping[str, Any]) -> str:
    """A canary's lane, and its candidate's part of all users of these requests; "" without a lane."""
    size: float | None = canary.get("lane")
    if size is None:
        return ""
    of_all = f"{set_percent(size)} of the users of these requests"
    share: float = canary["share"]
    return f"{of_all}, so the candidate has {percent(size * share)} of all" if share else of_all


def held_units(canary: Mapping[str, Any]) -> str:
    """How many users a change of share has not moved yet; "" for none."""
    held: Mapping[str, Any] | None = canary.get("held_units")
    if held is None or not held["units"]:
        return ""
    users = f"{count(held['units'], 'user')} in the middle of something"
    return f"The last change waits for {users}, until {moment(held['until'])} UTC at the latest."


def holdback(canary: Mapping[str, Any]) -> str:
    """Who keeps the baseline after the promotion, and what guardrails do in that time; "" for nobody."""
    held: Mapping[str, Any] | None = canary.get("holdback")
    if held is None or held["until"] is None:
        return ""
    does = "rolls the promoted arm back" if held["rollback"] else "pages"
    return (
        f"{set_percent(held['share'])} of the users are held back with the former baseline until "
        f"{moment(held['until'])} UTC; a guardrail that finds the promoted arm worse {does}."
    )


def prompt(canary: Mapping[str, Any]) -> str:
    """How many requests had not the prompt's text, and which files are not in force; "" for nothing."""
    missed = canary.get("prompt_missed", 0)
    changed = canary.get("changed_texts", ())
    said = [
        f"{count(missed, 'request')} did not contain the text to replace: unchanged, counted for neither arm"
        if missed
        else "",
        f"{' and '.join(changed)} changed after the start: the old text stays" if changed else "",
    ]
    return "; ".join(filter(None, said))


def assignment(canary: Mapping[str, Any]) -> str:
    """Who assigns the units, and how many requests had no good arm; "" where canary's hash does."""
    counts: Mapping[str, Any] | None = canary.get("assignment")
    if counts is None:
        return ""
    served = f"; {unsigned}" if (unsigned := unassigned(counts)) else ""
    off = f"; {split}" if (split := split_off(counts)) else ""
    return f"by a flag system, whose split is not checked{served}{off}"


def unassigned(assigned: Mapping[str, Any]) -> str:
    """How many requests of a status's `assignment` had no good arm; "" if all had one."""
    found = ((assigned[name], what) for name, what in _LACKS.items())
    wrong = [f"{count(number, 'request')} had {what}" for number, what in found if number]
    return f"{' and '.join(wrong)}: the baseline served them" if wrong else ""


_LACKS: Mapping[Reason, str] = {"no_assignment": "no arm", "bad_assignment": "a wrong signature"}


def split_off(assigned: Mapping[str, Any]) -> str:
    """How far a flag system's split is from `share`; "" if not far."""
    off: Mapping[str, float] | None = assigned.get("split_off")
    if off is None:
        return ""
    return (
        f"the candidate has {percent(off['actual'])} of the signed requests, and `share` is "
        f"{set_percent(off['share'])}: relative guardrails are wrong until they agree"
    )


def laneless(traffic: Mapping[str, Any]) -> str:
    """A sentence about the status's `unmatched`; "" if every request that matches a canary had a lane."""
    if not traffic.get("no_lane"):
        return ""
    return (
        f"{count(traffic['no_lane'])} of {count(traffic['of'])} LLM requests of the last hour were in no "
        "lane; a baseline served them, outside every canary"
    )


def unmatched(traffic: Mapping[str, Any]) -> str:
    """A sentence about the status's `unmatched`; "" if every request matched a canary, or there was none."""
    if not traffic["requests"]:
        return ""
    seen = [f"{each['model'] or 'none named'} ({count(each['requests'])})" for each in traffic["models"]]
    seen += [f"others ({count(traffic['rest'])})"] if traffic["rest"] else []
    return (
        f"{percent(traffic['share'])} of the last hour's LLM requests matched no canary "
        f"({count(traffic['requests'])} of {count(traffic['of'])}); models seen: {', '.join(seen)}"
    )


def astray(found: Mapping[str, Any]) -> str:
    """A sentence about an entry of the status's `traffic`, with the words of others."""
    sentence, said = f"{capitalized(found['sentence'])}.", found["said"]
    if not said:
        return sentence
    asked = found["kind"] == "unmatched"
    return f"{sentence} They asked for {said}." if asked else f'{sentence} It says: "{said}".'


def unpriced(arms: Iterable[Mapping[str, Any]]) -> list[str]:
    """What would give the arms of the status's `unpriced` their prices, once for all of them."""
    return [each.sentence for each in said_once(UnpricedArm(**each) for each in arms)]


MANY_USERS = 10


def users_needed_sentence(needs: Mapping[str, int], share: float, *, many: bool = False) -> str:
    """After how many users of the candidate each rule acts at this share, in one sentence; "" without rules.
    `needs` has each rule's number. `many`: "" also where no rule needs ten."""
    if not needs or (many and max(needs.values()) < MANY_USERS):
        return ""
    rules: dict[int, list[str]] = {}
    for rule, users in sorted(needs.items(), key=lambda item: item[1]):
        rules.setdefault(users, []).append(rule)
    each = [f"{count(users)} ({', '.join(names)})" for users, names in rules.items()]
    return (
        f"At a share of {set_percent(share)}, a candidate that gets everything wrong is rolled back after"
        f" about so many of its users: {'; '.join(each)}"
    )


FILTERS: Mapping[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (
        percent,
        set_percent,
        seconds,
        dollars,
        count,
        times,
        span,
        span_short,
        shares,
        moment,
        text_moment,
        clock,
        text_clock,
        clocked,
        ended_early,
        end_with_it,
        day,
        plain,
        decided,
        act,
        error_details,
        asked,
        verbatim,
        assignment,
        lane,
        models,
        mark,
        unpriced,
        verdict,
    )
}
