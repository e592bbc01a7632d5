"""Metrics' names and numbers in words, in every form of a page."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, timedelta

from common.numbers import count, decimal, dollars, percent, rough_percent, seconds, seconds_between
from records.facts.metric import JUDGED, JUDGED_PREFERENCE, Per
from verdict.details import Throttled, unreached_worth_telling
from verdict.terms.measures import Unit, unit_of
from verdict.terms.rubric import parse_bound

_WAITED_DAYS, _YEAR_DAYS = 180.0, 365.0

NAMES = {
    "error_rate": "error rate",
    "refused": "refused answers",
    "cut_off": "answers cut off",
    "empty": "empty answers",
    "stalled": "stalled streams",
    "abandoned": "abandoned requests",
    "cost_per_request": "cost per request",
    "cost_total": "cost per user",
    "tokens": "tokens per request",
    "session_cost": "cost per session",
    "session_exchanges": "requests per session",
    "session_length_s": "session length",
    "session_tokens": "tokens per session",
    "session_tool_calls": "tool calls per session",
    "session_faults": "sessions with a faulty answer",
    "session_abandoned": "abandoned sessions",
    "session_cache_hits": "cached input tokens",
    "session_repeats": "repeated questions",
    "csat": "satisfaction",
    "nps": "NPS",
    "helped": "“did this help?”",
    "judged_preference": "people’s preference",
    "judged_mark": "mark by the judge",
}


def label(metric: str) -> str:
    """The metric's name in words."""
    stem, _, level = metric.rpartition("_")
    if stem in ("latency", "ttft"):
        return f"{'latency' if stem == 'latency' else 'time to first token'} {level}"
    return NAMES.get(metric, metric.replace("_", " "))


def defined(metric: str, per: Per | None, cost_per: str = "") -> str:
    """The label with what one observation is: escalated per session, revenue per user; of an opinion, and of
    what is measured, the label alone."""
    if cost_per:
        return f"{label(metric)} (cost per {label(cost_per)})"
    return label(metric) if per in (None, "value") else f"{label(metric)} per {per}"


def title(metric: str) -> str:
    """The label, capitalized."""
    text = label(metric)
    return text[0].upper() + text[1:]


def bound_words(text: str) -> str:
    """A bound in words: at least 85%, under 2s."""
    words = {">=": "at least", "<=": "at most", "<": "under", ">": "over"}
    comparison = parse_bound(text).comparison
    return f"{words[comparison]} {text.strip().removeprefix(comparison).strip()}"


_FORMS: Mapping[Unit, Callable[[float | None], str]] = {
    "share": percent,
    "s": seconds,
    "usd": dollars,
    "number": decimal,
}


def amount(value: float | None, unit: Unit) -> str:
    """A value in its unit."""
    return _FORMS[unit](value)


def chance(value: float) -> str:
    """A chance: 87 %, under 1 %, over 99 %."""
    if value < 0.01:
        return "under 1 %"
    return "over 99 %" if value > 0.99 else rough_percent(value)


def all_chance(rows: Iterable[float | None], *, blocked: bool = False) -> str:
    """The chance that all rows pass, as if they were independent: 84 %; at most 79 % where that of a row is
    not known, or something else has `blocked` the verdict so far; "" where that leaves it open."""
    chances = list(rows)
    known = [each for each in chances if each is not None]
    of_known = math.prod(known)
    if len(known) == len(chances) and not blocked:
        return chance(of_known) if known else ""
    return f"at most {chance(of_known)}" if of_known < 0.99 else ""


def due(day: int, last: tuple[int, date] | None, start: date | None) -> date | None:
    """When the look of this day is at the earliest: as many days after the `last` one, or after the `start`
    of the data."""
    if last is not None:
        return last[1] + timedelta(days=day - last[0])
    return None if start is None else start + timedelta(days=day + 1)


def long_date(at: date) -> str:
    """11 Nov 2026."""
    return f"{at.day} {at:%b %Y}"


def weekday(at: date) -> str:
    """Thu 10 Dec."""
    return f"{at:%a} {at.day} {at:%b}"


def risk(value: float) -> str:
    """A risk: 5 %, 3.8 %, under 0.01 %, over 50 %."""
    if value < 1e-4:
        return "under 0.01 %"
    return "over 50 %" if value > 0.5 else f"{100 * value:.2g} %"


def signed(value: float | None, unit: Unit) -> str:
    """A difference with its sign; shares differ in points."""
    if value is None:
        return "–"
    return f"{'−' if value < 0 else '+'}{distance(value, unit)}"


def distance(value: float | None, unit: Unit) -> str:
    """A difference without its sign; shares differ in points, small amounts of money have two digits."""
    if value is None or not math.isfinite(value):
        return "–"
    if unit == "usd" and 0 < abs(value) < 0.1:
        return f"${abs(value):.{1 - math.floor(math.log10(abs(value)))}f}"
    text = amount(abs(value), unit)
    return text.replace(" %", " points") if unit == "share" else text


def between(low: float | None, high: float | None, unit: Unit) -> str:
    """A difference's interval: −3.4 to +4.3 points, −24 to +77 ms, or with "no lower limit"."""
    if low is None or high is None:
        bottom = "no lower limit" if low is None else signed(low, unit)
        return f"{bottom} to {'no upper limit' if high is None else signed(high, unit)}"
    if unit == "s":
        return seconds_between(low, high)
    return f"{signed(low, unit).removesuffix(' points')} to {signed(high, unit)}"


def span(low: float | None, high: float | None, unit: Unit) -> str:
    """An interval in words: 1 s to 2 s, at most 2 s, at least 1 s, any value."""
    if low is None and high is None:
        return "any value"
    if low is None:
        return f"at most {amount(high, unit)}"
    if high is None:
        return f"at least {amount(low, unit)}"
    return f"{amount(low, unit)} to {amount(high, unit)}"


def ends_in_words(ends: tuple[float | None, float | None], unit: Unit) -> str:
    """82.0 % to 87.1 %; up to 87.1 %; 82.0 % or more; anything."""
    low, high = ends
    if low is None:
        return "anything" if high is None else f"up to {amount(high, unit)}"
    return f"{amount(low, unit)} or more" if high is None else f"{amount(low, unit)} to {amount(high, unit)}"


def days(value: float, *, more: bool = False) -> str:
    """A number of days, rounded up; `more` adds that they are still to come."""
    word = " more" if more else ""
    if value < 1:
        return "one more day" if more else "less than a day"
    whole = math.ceil(value)
    return count(whole, f"{word.lstrip()} day".lstrip())


def look_words(day: int | None, seen: Mapping[str, float | None], rubric: Mapping[str, str]) -> str:
    """look of day 5, room to the bounds: error rate +2.8 points, satisfaction −0.2; too few users for NPS.
    `seen` has each row's estimated distance to its acceptable bound, which is kept from 0 on, None with too
    few users; `rubric` the bounds, by metric."""
    told = [
        label(metric) + (f" {signed(distance, unit_of(metric, rubric[metric]))}" if metric in rubric else "")
        for metric, distance in seen.items()
        if distance is not None
    ]
    few = [label(metric) for metric, distance in seen.items() if distance is None]
    start = f"look of day {day}{f', room to the bounds: {joined(told)}' if told else ''}"
    return start + (f"; too few users for {joined(few)}" if few else "")


def users_of(metric: str, users: int, more: str = "") -> str:
    """900 candidate users; of pairs, which come from the baseline's users, 38 users with a judged pair."""
    if metric == JUDGED_PREFERENCE:
        return f"{count(users, f'{more}user')} with a judged pair"
    return count(users, f"{more}candidate user")


def sooner(metrics: Collection[str]) -> str:
    """What brings these metrics' values sooner: a larger share, more judged pairs; "" for marks, which decide
    nothing."""
    pairs, others = JUDGED_PREFERENCE in metrics, any(each not in JUDGED for each in metrics)
    return joined([*(["a larger share"] if others else []), *(["more judged pairs"] if pairs else [])])


def to_come(metric: str, users: int, more_days: float | None) -> str:
    """The users and days still needed: about 900 more candidate users, 12 more days."""
    about = f"about {users_of(metric, users, 'more ')}"
    if not more_days:
        return about
    if more_days <= _WAITED_DAYS:
        return f"{about}, {days(more_days, more=True)}"
    return f"{about}, {_long(more_days)} at this traffic"


def _long(more_days: float) -> str:
    """A long time in words, because a number of days would be falsely precise."""
    years = round(more_days / _YEAR_DAYS)
    return f"about {count(years, 'year')}" if years >= 1 else "over half a year"


def too_long(more_days: float | None) -> bool:
    """True if the wait is too long to be practical."""
    return more_days is not None and more_days > _WAITED_DAYS


def models(*names: str) -> str:
    """The models, each as `provider/model` ("": unknown), the baseline first: gpt-4o → gpt-5, with their
    provider entries only where these differ."""
    known = [name.partition("/") for name in names if name]
    alike = len({provider for provider, _, _ in known}) == 1
    return " → ".join(model if alike else f"{provider}/{model}" for provider, _, model in known)


def joined(parts: list[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join([*([", ".join(parts[:-1])] if len(parts) > 1 else []), *parts[-1:]])


_WHY_UNREACHED = {
    "proxy_no_credential": "no credential for the provider entry",
    "proxy_full": "too many requests were in flight to the candidate",
    "proxy_no_descriptors": "canary had no file descriptor left",
    "provider_throttled": "over the provider’s rate or quota",
}


def throttled(found: Throttled) -> str:
    """How many requests of each arm were over its provider's rate or quota."""
    parts = [
        f"{rough_percent(number / of)} of the {arm}’s requests ({number:,} of {of:,})"
        for arm, number, of in (
            ("candidate", found.candidate, found.candidate_of),
            ("baseline", found.baseline, found.baseline_of),
        )
        if number and of
    ]
    return f"{joined(parts)} were over the provider’s rate or quota (429), and are in no other figure"


def unreached(found: Mapping[str, int], of: int) -> str:
    """How many of the candidate's `of` exchanges did not reach it though it is not to blame, and why. `found`
    counts by error type; "" below 1 %."""
    if not unreached_worth_telling(found, of):
        return ""
    reasons = sorted(found, key=lambda name: -found[name])
    why = "; ".join(_WHY_UNREACHED.get(name, name.replace("_", " ")) for name in reasons)
    return (
        f"{sum(found.values()):,} of {of:,} of the candidate's exchanges were answered by the baseline or "
        f"not at all: {why}. They say nothing about the candidate."
    )
