"""The one sentence of a guardrail that people on call get.

Every receiver, the terminal, the page, MCP and `why` say the same sentence, made here of a `Trouble`:

    Refund answers of assistant-2 fail: 4 of 17 requests, 4 users, since 16:58 UTC. Users got assistant-1's
    answers instead. Rolled back at 17:30 UTC. The provider says: "tool schema mismatch".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from common.clock import Utc
from common.numbers import UNKNOWN, count, decimal, dollars, percent, set_percent, times


@dataclass(frozen=True, slots=True, kw_only=True)
class FailuresSeen:
    """What users saw of the candidate's newest failures, and whether the baseline answers for it.

    `fault`: the rule about faults that counts all their faulty answers, "" without one. `covered`: the
    baseline answered instead, after `waited_s` on average. `errors`: the user got an error.
    `broken`: an answer broke off. `silent`: those of all that ended because no answer came, the first of them
    after `silent_s`.
    """

    fall_back: bool = True
    fault: str = ""
    covered: int = 0
    errors: int = 0
    broken: int = 0
    silent: int = 0
    waited_s: float = 0.0
    silent_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmNames:
    """What both arms are called, and whether the baseline answers where the candidate fails."""

    baseline: str = "the baseline"
    candidate: str = "the candidate"
    fall_back: bool = True


UNNAMED = ArmNames()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmMeans:
    """What an arm's requests and sessions take on average: `requests` and `tool_calls` of a session in the
    run; of a request in the last hour its tokens, those of its input that were not cached, and what 1,000
    tokens cost. None is unknown."""

    requests: float | None = None
    tool_calls: float | None = None
    input_tokens: float | None = None
    uncached_tokens: float | None = None
    output_tokens: float | None = None
    price_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What an incident or a rollback is about, as values. `on_call` and `title` make the sentence of it.

    `rule`, `category`, `segment`, `value`, `threshold`: of the guardrail's status, and `numbers` its
    evidence; `own` is its sentence, for rules without words here. `where`: the one place in which the failing
    exchanges lie. `since`: UTC seconds. `said`: what the candidate's provider said, "" for nothing. `means`
    and `baseline_means`: what may have grown where answers or sessions have.

    Of `numbers` are read: `bad` of `outcomes` requests, of `adverse_units` users; `cut`: the value is a lower
    bound; `no_answer` requests had none within `no_answer_s`; `stalled` ones were silent for `stalled_s` in
    mid-stream.
    """

    rule: str
    own: str
    baseline: str = "the baseline"
    candidate: str = "the candidate"
    category: str | None = None
    segment: Mapping[str, str] | None = None
    value: float | None = None
    threshold: float | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    where: str = ""
    since: Utc | None = None
    seen: FailuresSeen = FailuresSeen()
    said: str = ""
    means: ArmMeans = ArmMeans()
    baseline_means: ArmMeans = ArmMeans()


ERRORS = ("error_rate", "error_rate_vs_baseline")
"""The rules about the candidate's failures."""
SAYS = (*ERRORS, "outage")
"""The rules about failures: a provider's last error explains no other."""
TITLE = 120
"""The most characters of a title."""
UNDONE = "Rolled back"
"""How what canary did begins once the candidate is rolled back: nobody needs to get up for it."""
_SILENT_SHARE = 0.5
"""From this share of the failures on, a candidate that gives no answer in time hangs rather than fails."""
_WORTH_SAYING_S = 2.0
_LONGEST_NAME = 40


def on_call(trouble: Trouble, done: str, now: Utc, *, quoting: bool = True) -> str:
    """The whole sentence at UTC second `now`: what fails, where, since when, what users saw, what canary did
    (`done`), and, if `quoting`, the provider's words."""
    said = f'The provider says: "{quoted(trouble.said)}".' if quoting and trouble.said else ""
    what = f"{_fails(trouble, quoting=quoting)}{_since(trouble, now)}"
    parts = [ended(what), grown(trouble), _saw(trouble), ended(capitalized(done)), said]
    return " ".join(each for each in parts if each)


def quoted(words: str) -> str:
    """A provider's words as they stand between quotation marks, without a full stop of their own."""
    return words.rstrip(" .")


def title(trouble: Trouble, done: str, now: Utc) -> str:
    """The same in at most 120 characters: what fails, then as much of the rest as fits, and no quotation.

    Users and the time since when give way to what users saw and to a rollback."""
    short = replace(
        trouble,
        candidate=_short(trouble.candidate),
        baseline=_short(trouble.baseline),
        category=trouble.category and _short(trouble.category),
        where="",
    )
    saw, did = _saw(short).replace(" instead", ""), ended(capitalized(done))
    fails = [_fails(each, quoting=False) for each in (short, _without_details(short))]
    whats = [ended(f"{each}{since}") for each in fails for since in (_since(short, now), "")]
    undone = [did] if done.startswith(UNDONE) else []
    rests = [[saw, *undone], undone, [saw], []]
    ways = (" ".join([what, *filter(None, rest)]) for rest in rests for what in whats)
    shown = next((each for each in ways if len(each) <= TITLE), cut(whats[-1]))
    return shown if undone or len(shown) + 1 + len(did) > TITLE else f"{shown} {did}".strip()


def _without_details(trouble: Trouble) -> Trouble:
    """The trouble without its users and its percentile, if requests are counted."""
    if "bad" not in trouble.numbers:
        return trouble
    numbers = {name: value for name, value in trouble.numbers.items() if name != "adverse_units"}
    return replace(trouble, numbers=numbers, value=None)


def cause(trouble: Trouble) -> str:
    """What fails, where and how often, without a time and a provider's words: the reason of a rollback."""
    return _fails(trouble, quoting=False)


def was(trouble: Trouble) -> str:
    """What a trouble that is over was about, without a provider's words."""
    return f"It was: {ended(cause(trouble))}"


def clock(at: Utc, now: Utc) -> str:
    """UTC seconds as `16:58 UTC`; on another day than `now` as `28 November 16:58 UTC`."""
    then = datetime.fromtimestamp(at, UTC)
    same = then.date() == datetime.fromtimestamp(now, UTC).date()
    return f"{then:%H:%M} UTC" if same else f"{then.day} {then:%B %H:%M} UTC"


def capitalized(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def _fails(trouble: Trouble, *, quoting: bool) -> str:
    """What fails, where, and how often."""
    own = trouble.own if quoting or trouble.rule != "preflight_failed" else ""
    if trouble.rule == "preflight_failed":
        asked = f"{trouble.candidate} refuses what canary asked of it before the start"
        return _begun(trouble, f"{asked}: {own}" if own else asked)
    kind = trouble.seen.fault if trouble.rule == "answer_faults" else ""
    words = _WORDS.get(kind or trouble.rule) or _words_of_metric(trouble)
    if words is None:
        return capitalized(own)
    where = f", {trouble.where}" if trouble.where else ""
    return f"{_begun(trouble, _hang(trouble) or words(trouble))}{where}"


def _begun(trouble: Trouble, text: str) -> str:
    """The text as a sentence's beginning. A model's name keeps its letters."""
    named = text.startswith((trouble.candidate, trouble.baseline)) and not text.startswith("the ")
    return text if named else capitalized(text)


def _hang(trouble: Trouble) -> str:
    """That the candidate gives no answer, or stops in the middle of one; "" if that is not what fails."""
    numbers, seen = trouble.numbers, trouble.seen
    failures = seen.covered + seen.errors + seen.broken
    if numbers.get("stalled"):
        silent = f"silent for {_whole_s(numbers.get('stalled_s'))} in mid-stream"
        return f"{_answers(trouble)} stall: {silent} ({count(numbers['stalled'])}{_of(trouble)})"
    if _is_silent(trouble):
        verb = "is slow to answer" if _answers_some(trouble) else "does not answer"
        within = f"no answer within {_whole_s(numbers.get('no_answer_s'))}"
        return f"{_who(trouble)} {verb}: {within} ({count(numbers['no_answer'])}{_of(trouble)})"
    if trouble.rule in ERRORS and failures and seen.silent > _SILENT_SHARE * failures:
        within = f"no answer within {_whole_s(seen.silent_s)}"
        return f"{_who(trouble)} does not answer: {within}, {_how_many(trouble)}"
    return ""


def _is_silent(trouble: Trouble) -> bool:
    """True if nothing came of most slow requests."""
    return trouble.numbers.get("no_answer", 0.0) > _SILENT_SHARE * trouble.numbers.get("bad", 0.0)


def _answers_some(trouble: Trouble) -> bool:
    """True if it answered half of all requests in time."""
    return trouble.numbers.get("no_answer", 0.0) <= _SILENT_SHARE * trouble.numbers.get("outcomes", 0.0)


def _answers(trouble: Trouble) -> str:
    """`refund answers of assistant-2`, `answers of assistant-2 for plan pro`."""
    kind = f"{trouble.category} answers" if trouble.category else "answers"
    return f"{kind} of {trouble.candidate}{_segment(trouble)}"


def _who(trouble: Trouble) -> str:
    """`assistant-2, asked about refund,`: the candidate, where it is asked."""
    place = " in category " + trouble.category if trouble.category else ""
    return f"{trouble.candidate}{place}{_segment(trouble)}"


def _segment(trouble: Trouble) -> str:
    parts = [f"{name} {value}" for name, value in sorted((trouble.segment or {}).items())]
    return f" for {' and '.join(parts)}" if parts else ""


def _how_many(trouble: Trouble) -> str:
    """`4 of 17 requests, 4 users`, as far as that is known."""
    numbers = trouble.numbers
    bad, users = numbers.get("bad"), numbers.get("adverse_units")
    if bad is None:
        return count(users, "user") if users else "an unknown number of requests"
    known = f"{count(bad)}{_of(trouble)} {'request' if numbers.get('outcomes') == 1 else 'requests'}"
    return f"{known}, {count(min(users, bad), 'user')}" if users else known


def _of(trouble: Trouble) -> str:
    outcomes = trouble.numbers.get("outcomes")
    return "" if outcomes is None else f" of {count(outcomes)}"


def _whole_s(value: float | None) -> str:
    """A time as measured: `12 s`, `3.6 s`, `3 s`."""
    return UNKNOWN if value is None else f"{round(value, 1 if value < 5 else None):g} s"


def _limit_s(value: float | None) -> str:
    """A limit as written: `3 s`, `7.5 s`."""
    return UNKNOWN if value is None else f"{value:g} s"


def _took_longer(trouble: Trouble, than: str) -> str:
    """`4 of 17 requests took longer than 3 s, 4 users`."""
    found, _, users = _how_many(trouble).partition(", ")
    return f"{_answers(trouble)} are slow: {found} took longer than {than}{users and f', {users}'}"


def _failing(verb: str) -> Callable[[Trouble], str]:
    return lambda trouble: f"{_answers(trouble)} {verb}: {_how_many(trouble)}"


def _slow(trouble: Trouble) -> str:
    over = "over " if trouble.numbers.get("cut") else ""
    p95 = f", p95 {over}{_whole_s(trouble.value)}" if trouble.value is not None else ""
    return f"{_took_longer(trouble, _limit_s(trouble.threshold))}{p95}"


def _slower(trouble: Trouble) -> str:
    return _took_longer(trouble, f"{times(trouble.threshold)} the p95 of {trouble.baseline}")


def _dear(trouble: Trouble) -> str:
    requests = trouble.numbers.get("outcomes")
    over = f", over {count(requests)} requests" if requests else ""
    return f"{_answers(trouble)} cost {times(trouble.value)} those of {trouble.baseline}{over}"


def _larger(verb: str, what: str) -> Callable[[Trouble], str]:
    """`sessions of assistant-2 cost 3.1× those of assistant-1, over 24 sessions`."""

    def said(trouble: Trouble) -> str:
        sessions = trouble.numbers.get("sessions")
        over = f", over {count(sessions, 'session')}" if sessions else ""
        return (
            f"sessions of {trouble.candidate} {verb} {times(trouble.value)} {what} {trouble.baseline}{over}"
        )

    return said


def _stuck(trouble: Trouble) -> str:
    again = "make the same tool call three times in a row"
    return f"sessions of {trouble.candidate} {again}: {_sessions(trouble)}"


def _sessions(trouble: Trouble) -> str:
    """`21 of 109 sessions, 16 users`, as far as that is known."""
    numbers = trouble.numbers
    bad, of, users = numbers.get("bad"), numbers.get("outcomes"), numbers.get("adverse_units")
    known = [] if bad is None or of is None else [f"{count(bad)} of {count(of, 'session')}"]
    return ", ".join([*known, *([count(users, "user")] if users else [])]) or "an unknown number of sessions"


def _rated(trouble: Trouble) -> str:
    return f"users rate {_answers(trouble)} lower: {_mean(trouble)}"


def _mean(trouble: Trouble) -> str:
    """`csat 2.13 from 31 users, at least 4.05 wanted`."""
    raters, limit = trouble.numbers.get("outcomes"), trouble.threshold
    by = f" from {count(raters, 'user')}" if raters else ""
    bound = "at least" if trouble.numbers.get("higher_is_better", 1.0) else "at most"
    wanted = f", {bound} {decimal(limit)} wanted" if limit is not None else ""
    return f"{trouble.rule} {decimal(trouble.value)}{by}{wanted}"


def _words_of_metric(trouble: Trouble) -> Callable[[Trouble], str] | None:
    """The words of a rule about a metric of the config; None for any other."""
    return _own_metric if trouble.rule not in _SAW and "adverse_units" in trouble.numbers else None


def _own_metric(trouble: Trouble) -> str:
    """What fails by a metric of the config."""
    if "baseline_mean" in trouble.numbers:
        return f"{_answers(trouble)} do worse: {_mean(trouble)}"
    much = "in sum as much" if "baseline_values" in trouble.numbers else "as often"
    return _compared(trouble, f"have {trouble.rule}", much)


def _compared(trouble: Trouble, words: str, much: str = "as often") -> str:
    """`users of assistant-2 ask for a human 4.1× as often as those of assistant-1: 4 users so far`."""
    mine, theirs = trouble.numbers.get("events"), trouble.numbers.get("baseline_events")
    users = f"{count(trouble.numbers.get('adverse_units', 0.0), 'user')} so far"
    if mine is not None and theirs is not None:
        users = f"{count(mine, 'user')} against {count(theirs)}"
    who = f"users of {trouble.candidate}{_segment(trouble)} {words}"
    if trouble.value is None:
        return f"{who} more often: {users}, and none of {trouble.baseline}"
    return f"{who} {times(trouble.value)} {much} as those of {trouble.baseline}: {users}"


def _colder(trouble: Trouble) -> str:
    users = trouble.numbers.get("outcomes")
    over = f", over {count(users, 'user')}" if users else ""
    least = f", at least {percent(trouble.threshold)} wanted" if trouble.threshold is not None else ""
    return f"sessions of {trouble.candidate} have {percent(trouble.value)} of their input cached{over}{least}"


def _sessions_that(words: str) -> Callable[[Trouble], str]:
    return lambda trouble: f"sessions of {trouble.candidate}{_segment(trouble)} {words}: {_sessions(trouble)}"


def _fails_itself(trouble: Trouble) -> str:
    """`assistant-1, the baseline, fails itself: …`; of a promoted arm who answered in its place."""
    numbers = trouble.numbers
    if "covered" not in numbers:
        return f"{trouble.baseline}, the baseline, fails itself: {_how_many(trouble)}"
    share = numbers["share"]
    whom = "everybody is" if share >= 1.0 else f"{set_percent(share)} of the users are"
    how = f"were answered by {trouble.baseline} instead" if _all_covered(trouble) else "failed"
    asked = f"{count(numbers['bad'])}{_of(trouble)} requests"
    return f"{trouble.candidate}, which {whom} to get, is not answering: {asked} {how}"


def _all_covered(trouble: Trouble) -> bool:
    return trouble.numbers["covered"] >= trouble.numbers["bad"]


_WORDS: Mapping[str, Callable[[Trouble], str]] = {
    **dict.fromkeys(ERRORS, _failing("fail")),
    "latency_p95": _slow,
    "latency_vs_baseline": _slower,
    "abandoned": lambda each: f"users leave before {_who(each)} answers: {_how_many(each)}",
    "answer_faults": _failing("are faulty"),
    "refused": _failing("are refusals"),
    "cut_off": _failing("are cut off"),
    "empty": _failing("are empty"),
    "invalid_output": _failing("have tool calls or JSON that an app cannot use"),
    "stalled": _failing("stall in mid-stream"),
    "cost_per_request": _dear,
    "session_cost": _larger("cost", "those of"),
    "session_exchanges": _larger("take", "the requests of"),
    "session_tokens": _larger("take", "the tokens of those of"),
    "session_tool_calls": _larger("make", "the tool calls of those of"),
    "session_length_s": _larger("last", "as long as those of"),
    "stuck": _stuck,
    "session_faults": _sessions_that("have a faulty answer"),
    "session_abandoned": _sessions_that("end without an answer, or at an error"),
    "session_cache_hits": _colder,
    **dict.fromkeys(("csat", "thumbs", "helped", "nps"), _rated),
    "escalated": lambda each: _compared(each, "ask for a human"),
    "repeat_question": lambda each: _compared(each, "have to ask again"),
    "telemetry": lambda each: (
        f"no record of a request has arrived for {_whole_s(each.value)}, though requests are served"
    ),
    "throttled": lambda each: (
        f"{_who(each)} is over its provider's rate or quota: {_how_many(each)} throttled"
    ),
    "outage": _fails_itself,
}


GREW = 1.2
"""So many times the baseline's mean has grown."""


def grown(trouble: Trouble) -> str:
    """What grew where answers cost more or sessions are larger, by the measures at hand, both arms' figures;
    that it is not known where none of them did; "" for other rules."""
    if trouble.rule not in _SIZES:
        return ""
    mine, theirs = trouble.means, trouble.baseline_means
    found = [
        f"{words} {show(ours)} against {show(others)}"
        for words, show, ours, others in (
            ("requests per session", decimal, mine.requests, theirs.requests),
            ("tool calls per session", decimal, mine.tool_calls, theirs.tool_calls),
            ("output tokens per request", count, mine.output_tokens, theirs.output_tokens),
            ("input tokens per request", count, mine.input_tokens, theirs.input_tokens),
        )
        if _grew(ours, others)
    ]
    if not found and _grew(mine.uncached_tokens, theirs.uncached_tokens):
        both = f"{count(mine.uncached_tokens)} against {count(theirs.uncached_tokens)}"
        found = [f"input tokens per request that were not cached {both}"]
    if not found and _grew(mine.price_usd, theirs.price_usd):
        found = [f"the price of 1,000 tokens {dollars(mine.price_usd)} against {dollars(theirs.price_usd)}"]
    if not found:
        return "Why is not known: requests, tokens and their price have not grown, or are not known."
    return f"What grew: {', '.join(found)}."


def _grew(mine: float | None, theirs: float | None) -> bool:
    return mine is not None and theirs is not None and mine > GREW * theirs


_SIZES = (
    *("cost_per_request", "session_cost", "session_exchanges", "session_tokens", "session_tool_calls"),
    "session_length_s",
)


def _saw(trouble: Trouble) -> str:
    """What users saw."""
    rule, seen = trouble.rule, trouble.seen
    if rule in ERRORS:
        return _saw_of_errors(trouble)
    if rule == "throttled":
        return _saw_of_throttled(trouble)
    if rule == "outage" and trouble.numbers.get("covered"):
        some = f"{trouble.baseline} answered {count(trouble.numbers['covered'])} of them instead"
        return "" if _all_covered(trouble) else f"{some}; the others ended in an error."
    if rule in ("latency_p95", "latency_vs_baseline"):
        covered = _is_silent(trouble) and not _answers_some(trouble) and seen.covered
        return _covered(trouble) if covered else "Users waited that long."
    known = _SAW.get(seen.fault if rule == "answer_faults" and seen.fault else rule, "")
    return "Users got its answers." if _words_of_metric(trouble) else known


_SAW: Mapping[str, str] = {
    "abandoned": "They saw no answer.",
    **dict.fromkeys(
        ("answer_faults", "refused", "cut_off", "empty", "invalid_output"), "Users got these answers."
    ),
    "stalled": "Users saw answers stop for so long.",
    **dict.fromkeys((*_SIZES, "session_cache_hits", "stuck"), "Users got its answers."),
    "session_faults": "Users got these answers.",
    "session_abandoned": "Users left, or got an error.",
    **dict.fromkeys(
        ("csat", "thumbs", "helped", "nps", "escalated", "repeat_question"), "Users got its answers."
    ),
    "telemetry": "What users saw is not recorded.",
    "outage": "Users got its errors.",
    "preflight_failed": "No user has met it.",
    "prompt_missed": "Their requests went as they came.",
    **dict.fromkeys(("records_dropped", "shipping_lags", "config_refused"), "Users notice nothing."),
}


def _saw_of_errors(trouble: Trouble) -> str:
    seen = trouble.seen
    if not (seen.errors or seen.broken or seen.covered):
        return "What users saw is not recorded." if seen.fall_back else "Users got an error."
    if not (seen.errors or seen.broken):
        return _covered(trouble)
    if not seen.covered:
        both = "an error, or saw an answer break off" if seen.broken else "an error"
        return f"Users got {both}." if seen.errors else "Users saw answers break off."
    kinds = ((seen.errors, "ended in an error"), (seen.broken, "broke off in mid-answer"))
    bad = " and ".join(f"{count} {how}" for count, how in kinds if count)
    newest = seen.covered + seen.errors + seen.broken
    return f"Of the last {newest}, {trouble.baseline} answered {seen.covered} instead; {bad}."


def _saw_of_throttled(trouble: Trouble) -> str:
    covered = trouble.numbers.get("covered", 0.0)
    failed = trouble.numbers.get("bad", 0.0) - covered
    if not covered:
        return "Users got an error."
    instead = f"Users got {trouble.baseline}'s answers instead"
    return f"{instead}; {count(failed)} got an error." if failed else f"{instead}."


def _covered(trouble: Trouble) -> str:
    waited_s = trouble.seen.waited_s
    after = f", after {_whole_s(waited_s)}" if waited_s >= _WORTH_SAYING_S else ""
    return f"Users got {trouble.baseline}'s answers instead{after}."


def _since(trouble: Trouble, now: Utc) -> str:
    return "" if trouble.since is None else f", since {clock(trouble.since, now)}"


def ended(text: str) -> str:
    """The text as a whole sentence, with a full stop if it has no end; "" for none."""
    text = text.strip()
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."


def _short(name: str) -> str:
    """A model's name without the path before it, and at most 40 characters."""
    return cut(name.rpartition("/")[2] or name, _LONGEST_NAME)


def cut(text: str, most: int = TITLE) -> str:
    """The text in at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
