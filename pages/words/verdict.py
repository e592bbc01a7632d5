"""A report in sentences: its verdict, score and split, a row of its rubric, its parts, its failure modes."""

from collections.abc import Sequence
from datetime import UTC, datetime

from common.concentration import Concentration
from common.numbers import count, rough_percent, set_percent
from judge.figures import NEEDED_LABELS
from pages.words.figures import (
    amount,
    between,
    days,
    distance,
    joined,
    label,
    long_date,
    signed,
    throttled,
    users_of,
)
from pages.words.figures import models as model_names
from pages.words.reasons import PAIRS_INSTEAD, miss_words
from pages.words.status import in_words
from records.facts.metric import JUDGED_MARK, JUDGED_PREFERENCE, PREDICTED_BY
from verdict.decision.decide import misses
from verdict.decision.document import MetricLine, PartLine, PartState, Report, Verdict
from verdict.decision.plan_course import end_of, look_ends
from verdict.details import Details, FailureMode, Failures
from verdict.rows.comparison import GATE
from verdict.rows.row import State
from verdict.terms.measures import Unit
from verdict.terms.rubric import parse_bound


def held_state(line: MetricLine) -> str:
    """What holds the row, in two or three words."""
    if line.metric == JUDGED_MARK:
        return "Decides nothing"
    return "Ratings missing" if line.metric in PREDICTED_BY else "Labels missing"


def held_evidence(users: str, line: MetricLine) -> str:
    """The row's users with what holds it: 38 users with a judged pair, of 100 required; ..."""
    if line.metric == JUDGED_MARK:
        return f"{users}; marks decide nothing"
    required = f", of {GATE} required" if line.units < GATE else ""
    lacks = "ratings of what the judge marked" if line.metric in PREDICTED_BY else "people’s labels"
    return f"{users}{required}; {lacks} are missing"


def held_outlook(line: MetricLine) -> str:
    """What its looks can do."""
    if line.metric == JUDGED_MARK:
        return "Open whatever the looks see: marks decide nothing."
    if line.metric in PREDICTED_BY:
        return f"Open until {NEEDED_LABELS} marked answers of each arm are rated; no look passes it before."
    return f"Open until {NEEDED_LABELS} labels of randomly drawn pairs count; no look passes it before."


def held_needed(line: MetricLine, report: Report) -> str:
    """What would decide the row. Traffic alone would not do, once its users are there."""
    if line.metric == JUDGED_MARK:
        return PAIRS_INSTEAD
    if line.metric in PREDICTED_BY:
        return f"ratings of what the judge marked, {NEEDED_LABELS} in each arm"
    drawn = report.judge.drawn if report.judge is not None else 0
    people = f"people’s labels of randomly drawn pairs ({drawn} of {NEEDED_LABELS} so far)"
    if line.state != "NODATA":
        return f"{people}; traffic alone will not do"
    if line.units < GATE:
        return f"users with a judged pair ({line.units} of {GATE} so far), and {people}"
    return f"more users with a judged pair, above all in the categories with the most traffic, and {people}"


# The whole report: headlines, the split, changes.

HEADLINES: dict[Verdict, tuple[str, str]] = {
    "ship_now": ("Ship now", "The candidate meets the ideal bound of every criterion."),
    "ship": ("Ship", "The candidate meets the acceptable bound of every criterion."),
    "ship_with_caveats": ("Ship with caveats", "The candidate may ship if you accept the points below."),
    "dont_ship": ("Don’t ship", "The candidate fails on at least one deciding point."),
    "extend": ("Extend the canary", "No criterion has failed, but there is not enough evidence to ship yet."),
}


def meaning(report: Report) -> str:
    """What the verdict means, in a sentence. A rollback or a broken split decides without any criterion."""
    if report.verdict == "extend" and report.details.judged_worse:
        return _JUDGED_WORSE
    if report.verdict != "dont_ship" or any(misses(report.metrics, [*report.categories, *report.segments])):
        return HEADLINES[report.verdict][1]
    if not report.units.candidate:
        return "No user has had the candidate, so no criterion can be judged: what follows decides."
    return "No criterion has failed: what follows decides."


_JUDGED_WORSE = (
    "The judge prefers the current model’s answers. Without people’s labels its word decides nothing, so "
    "there is not enough evidence."
)

STATES: dict[State, tuple[str, str]] = {
    "IDEAL": ("✓✓", "Ideal"),
    "PASS": ("✓", "Acceptable"),
    "FAIL": ("✗", "Misses"),
    "INCONCLUSIVE": ("?", "Undecided"),
    "NODATA": ("–", "No data"),
}

TOO_FEW = "Too few users"
"""The word of NODATA beside a value."""

PART_STATES: dict[PartState, str] = {
    "WORSE": "worse",
    "BETTER": "better",
    "NO_DIFFERENCE": "no difference seen",
    "TOO_FEW": "too few users",
}

METHOD = (
    "Every interval covers the true value 95 % of the time, even if you look at the report every day.",
    "Users are compared, not requests: many requests of one user count as one piece of evidence.",
    "A request counts for the model it was assigned to, even if the current model answered instead.",
    "A criterion passes only if its whole interval is within the bound. Missing data is never a pass.",
    "No interval is given before 100 candidate users have a value.",
    "The score ranks candidates. The criteria decide: no score outweighs a failed one.",
    "Segments and categories are tested together: at most about 1 in 20 of those marked is a chance finding. "
    "Several that are marked support each other, so the interval of one alone may just include zero.",
    "p95 is the time within which 95 % of the requests were answered (inverted CDF); its interval is "
    "Woodruff’s, over users.",
)

_METHOD_OF_INTERVALS = (METHOD[0], METHOD[3])
METHOD_OF_LOOKS = (
    "The verdict stands as of the latest night’s look. Days, bounds and risk were fixed before the start, so "
    "reading the report more often changes nothing.",
    "What the looks leave possible decides: the thick bar, in tables “may be, by the looks”. A criterion "
    "passes once all of it is within the bound, and misses once all of it is beyond it. That stands while "
    "the candidate’s value itself is on the same side. Missing data is never a pass.",
    "The 95 % interval “any time”, the thin line, is that of all data so far. It covers the true value even "
    "if you read it every hour, and does not decide.",
)


def method(report: Report) -> tuple[str, ...]:
    """How the report is to be read."""
    if report.plan is None:
        return METHOD
    return (*METHOD_OF_LOOKS, *(note for note in METHOD if note not in _METHOD_OF_INTERVALS))


def span_of_days(report: Report) -> str:
    """2 Nov 2026 – 11 Nov 2026 (9 days)."""
    if report.window.start is None or report.window.end is None:
        return "no requests to compare yet"
    start, end = (_date(moment) for moment in (report.window.start, report.window.end))
    if start == end and report.window.days < 1:
        return f"{start} (less than a day)"
    return f"{start} – {end} ({report.window.days:.1f} days)"


def _date(seconds: float) -> str:
    return long_date(datetime.fromtimestamp(seconds, UTC))


def models(report: Report) -> str:
    """gpt-4o → gpt-5; "" if they are not known."""
    found = report.models
    return model_names(str(found.baseline), str(found.candidate)) if found is not None else ""


def users(report: Report) -> str:
    """The number of users in each arm."""
    found = f"{report.units.candidate:,} on the candidate, {report.units.baseline:,} on the current model"
    return (
        found if report.lane is None else f"{found}; the canary's lane has {set_percent(report.lane)} of all"
    )


def split(report: Report) -> str:
    """The sample-ratio check in a sentence."""
    p = report.srm.p_value
    if report.srm.off:
        return "off: a flag system assigns the users, and canary does not know its split"
    if p is None:
        return "not checked: too few users yet, or the share is unknown"
    if report.srm.blocked:
        return f"does not match the configured share (p = {p:.2g}); no comparison can be trusted"
    return f"matches the configured share (p = {p:.2g})"


def quota(report: Report) -> str:
    """The requests over a provider's rate or quota; "" without any."""
    found = report.details.throttled
    return throttled(found) if found is not None else ""


def mirror(report: Report) -> str | None:
    """The mirror copies in a sentence; None without any."""
    found = report.mirror
    if found is None:
        return None
    cost = "cost unknown" if found.cost_usd is None else f"{amount(found.cost_usd, 'usd')} in total"
    copies = count(found.copies, "mirrored request")
    return f"{copies}, {found.failed:,} failed, {cost}; not included in other figures"


def decision(report: Report) -> str | None:
    """A person's decision in a sentence; None without one."""
    found = report.decision
    if found is None:
        return None
    despite = f" despite {joined([miss_words(name) for name in found.despite])}" if found.despite else ""
    return f"{in_words(found.decision)}{despite}, by {found.by} on {_date(found.at)}: {found.reason}"


def score_words(report: Report) -> str:
    """83 (71 to 94) of 100."""
    score = report.score
    if score.estimate is None:
        return f"not known yet, from {score.low:.0f} to {score.high:.0f} of 100"
    return f"{score.estimate:.0f} of 100, {score_range(report)}"


def score_range(report: Report) -> str:
    """could be 71 to 94; or that both ends are equal."""
    low, high = f"{report.score.low:.0f}", f"{report.score.high:.0f}"
    return f"could be {low} to {high}" if low != high else "the same at both ends of the intervals"


def against_baseline(line: MetricLine) -> str:
    """The metric's difference from the current model, with its interval."""
    if line.metric == JUDGED_PREFERENCE:
        return "people’s preference of the candidate; 50 % is none"
    unit = line.unit
    found = line.difference
    if found.estimate is None or found.p_value is None:
        return "not compared yet"
    ends = between(found.low, found.high, unit)
    if worse_by_looks(line):
        return f"{change(line)}, worse by the looks ({ends} at any time)"
    if found.p_value >= 0.05:
        return f"no difference seen ({ends})"
    return f"{change(line)} ({ends})"


def worse_by_looks(line: MetricLine) -> bool:
    """True if a bound against the baseline is missed and no value that the looks leave possible is as good as
    the baseline's."""
    bound = parse_bound(line.acceptable)
    if line.state != "FAIL" or not bound.relative or line.baseline is None:
        return False
    low, high = look_ends(line)
    if bound.higher_is_better:
        return high is not None and high < line.baseline
    return low is not None and low > line.baseline


def change(line: MetricLine) -> str:
    """The candidate's change in words. The difference must be known."""
    return _change(line.difference.estimate or 0.0, line.baseline, line.unit)


def _change(difference: float, baseline: float | None, unit: Unit) -> str:
    """41 % lower, 2.0 points higher, or, from a doubling on, 4.1 times the current model's."""
    direction = "higher" if difference > 0 else "lower"
    if unit not in ("s", "usd") or not baseline:
        return f"{distance(difference, unit)} {direction}"
    part = difference / baseline
    if part >= 1:
        return f"{1 + part:.1f} times the current model’s"
    return f"{rough_percent(abs(part))} {direction}"


def mark(line: MetricLine, report: Report) -> tuple[str, str]:
    """The line's mark and word: as in STATES, except if values cannot be complete, costs are missing, a
    judge's word holds it, or too few users have a value."""
    if line.metric in report.details.unpriced:
        return STATES[line.state][0], "Costs missing"
    if line.metric in report.details.unlabelled:
        worse = line.metric in report.details.judged_worse
        return STATES["FAIL" if worse else line.state][0], held_state(line)
    if unripe(line, report):
        return "–", "Not measurable in this window"
    if line.state == "NODATA" and line.candidate is not None:
        return STATES[line.state][0], TOO_FEW
    return STATES[line.state]


def unripe(line: MetricLine, report: Report) -> bool:
    """True if the window is shorter than the time that the metric takes to mature."""
    return line.state == "NODATA" and report.window.days < line.matures_days


def cache_hits(report: Report) -> str:
    """The arms' shares of cached input tokens, with what the candidate would cost at the baseline's; "" where
    no row is on costs, or nothing is known of caches."""
    found = report.details.cache_hits
    if found is None:
        return ""
    ours, theirs = amount(found.candidate, "share"), amount(found.baseline, "share")
    costs = joined([f"{label(metric)} {amount(usd, 'usd')}" for metric, usd in found.costs.items()])
    at = f"; at the baseline’s share the candidate’s {costs}" if costs else ""
    return f"{ours} of the candidate’s input tokens cached, {theirs} of the baseline’s{at}"


def evidence(line: MetricLine, report: Report) -> str:
    """The number of users with a value, and the smallest difference they can show."""
    if unripe(line, report):
        return f"a value is complete {days(line.matures_days)} after a user’s first request"
    everyone = line.metric == JUDGED_PREFERENCE or line.per in ("exchange", "session", "user")
    users = f"{users_of(line.metric, line.units)}{'' if everyone else ' with a value'}"
    if line.metric in report.details.unpriced:
        return f"{users}; prices are missing"
    if line.metric in report.details.unlabelled:
        return held_evidence(users, line)
    if line.units < GATE:
        return f"{users}, of {GATE} needed for an interval"
    if line.mde is None:
        return users
    mde = distance(line.mde, line.unit)
    if report.plan is not None:
        if line.state != "INCONCLUSIVE":
            return users
        end = f"by day {end_of(report.plan)}"
        return f"{users}; a candidate {mde} within the bound would most likely pass {end}"
    return f"{users}; a difference of {mde} or more would show"


_ORDER: dict[PartState, int] = {"WORSE": 0, "NO_DIFFERENCE": 1, "BETTER": 2, "TOO_FEW": 3}


def worst_first(parts: Sequence[PartLine]) -> list[PartLine]:
    """Blocking first, then worse, no difference, better, too few; by p-value within each."""

    def rank(part: PartLine) -> tuple[bool, int, float]:
        p = part.difference.p_value
        return (not part.blocks, 0 if part.misses_bound else _ORDER[part.state], 2.0 if p is None else p)

    return sorted(parts, key=rank)


def part_word(part: PartLine) -> str:
    """Worse; what may be chance, since so many parts are looked at, though its interval has no 0."""
    p = part.difference.p_value
    if part.misses_bound:
        return "misses its bound"
    if part.state == "NO_DIFFERENCE" and p is not None and p < 0.05:
        return "may be chance"
    return PART_STATES[part.state]


def differs(part: PartLine) -> bool:
    """True if the part blocks or differs."""
    return part.blocks or part.misses_bound or part.state in ("WORSE", "BETTER")


def part_name(part: PartLine) -> str:
    """region: eu, or the category's own name."""
    return f"{part.by or 'category'}: {part.value}"


def part_difference(part: PartLine, report: Report) -> str:
    """The part's difference from the baseline with its interval."""
    unit: Unit = next(line.unit for line in report.metrics if line.metric == part.metric)
    if part.difference.estimate is None:
        return "–"
    if part.difference.p_value is None:
        return signed(part.difference.estimate, unit)
    ends = between(part.difference.low, part.difference.high, unit)
    return f"{signed(part.difference.estimate, unit)} ({ends})"


def value(line: MetricLine, number: float | None) -> str:
    """A number in the line's unit."""
    return amount(number, line.unit)


def by_users(line: MetricLine) -> str:
    """Both arms' value if each user counts once; "" where each does anyway."""
    found = line.by_users
    if found is None or found.candidate is None:
        return ""
    theirs = "" if found.baseline is None else f", the current model {value(line, found.baseline)}"
    return f"If each user counts once: the candidate {value(line, found.candidate)}{theirs}."


def interval(line: MetricLine) -> str:
    """The candidate's interval, low – high."""
    low, high = line.candidate_interval
    if low is None and high is None:
        return "–"
    return f"{'…' if low is None else value(line, low)} – {'…' if high is None else value(line, high)}"


# Failure modes in words.


_ERRORS = {
    "provider_5xx": "the provider returned a server error",
    "provider_429": "the provider rejected too many requests",
    "provider_no_model": "the provider has no such model, or not any more",
    "provider_throttled": "over the provider’s rate or quota",
    "provider_connect": "no connection to the provider",
    "provider_timeout": "the provider took too long",
    "provider_reset": "the provider reset the connection",
    "provider_truncated": "the answer was incomplete",
    "provider_malformed": "the answer could not be parsed",
    "provider_stream_error": "an error within the stream",
    "candidate_rejects": "the candidate rejects a request that the current model accepts",
    "breaker_open": "not sent to the candidate while it was failing",
}


_FAULTS = {
    "cut_off": "the answer was cut off at its length limit",
    "refused": "the model or a content filter refused",
    "empty": "an empty answer",
    "tool_args_invalid": "a tool call’s arguments are not JSON",
    "tool_args_off_schema": "a tool call’s arguments do not fit the tool’s schema",
    "tool_unknown": "a call of a tool that the request does not have",
    "json_invalid": "the answer should be JSON and is not",
    "json_off_schema": "the answer’s JSON does not fit the request’s schema",
    "stalled": "the stream stalled in its middle",
}


def failed_by(name: str) -> str:
    """An error type or an answer fault in words."""
    return _ERRORS.get(name) or _FAULTS.get(name, name)


def failure_name(mode: FailureMode, failures: Failures) -> str:
    """The failure mode in words."""
    if mode.kind in ("error", "fault"):
        return failed_by(mode.name)
    if mode.kind == "abandoned":
        return "the caller left before the answer"
    if mode.kind == "slow":
        return f"slower than {amount(failures.slow_s, 's')}"
    where = f", in {mode.category}" if mode.category else ""
    return f"bad feedback: {label(mode.name)}{where}"


def failure_code(mode: FailureMode) -> str:
    """The error type or answer fault in records and metrics; "" for other failure modes."""
    return mode.name if mode.kind in ("error", "fault") else ""


def failure_rate(found: int, of: int) -> str:
    """12 of 980 (1.2 %)."""
    return f"{found:,} of {of:,} ({amount(found / of, 'share')})" if of else "no data"


def failing_place(details: Details) -> str:
    """Where the candidate's failed exchanges lie; "" if nowhere in particular."""
    sentence = Concentration(parts=details.where).sentence
    return f"{sentence}." if sentence else ""


def failure_examples(mode: FailureMode) -> str:
    """Exchanges to look at."""
    return ", ".join(mode.examples) if mode.examples else "–"


def failure_basis(failures: Failures) -> str:
    """The data behind the counts."""
    return (
        f"{_counted(failures)}Feedback: the newest 5,000 values of each metric in each arm. "
        "Slow: slower than 99 % of the current model’s requests. Errors and answer faults come first, then "
        "the others, the candidate’s worst first. Examples are the candidate’s newest."
    )


def _counted(failures: Failures) -> str:
    requests = (
        f"{count(failures.candidate, 'request')} on the candidate and {failures.baseline:,} on the current "
        f"model, {_short(failures.since)} to {_short(failures.until)} UTC. "
    )
    return (
        f"Errors among all {requests}Answer faults: of the answers that could be read and checked. "
        f"Slow answers: of the newest {count(failures.newest, 'request')}. "
    )


def _short(moment: str) -> str:
    return moment[:16].replace("T", " ")
