"""A session in sentences: what stands out in it, how each exchange ended, and what is not known of it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Literal

import msgspec

from alerts.rules.places import CandidateError
from alerts.wording import capitalized
from common.numbers import UNKNOWN, count, dollars, rough_percent, seconds
from pages.words.figures import joined, label
from pages.words.status import error_details, moment, plain, span
from pages.words.verdict import failed_by
from records.outcome import Finish, ProviderError
from records.store.session_exchanges import (
    SessionExchange,
    SessionFeedback,
    SessionMark,
    SessionToolCall,
    StoredSession,
)

Tone = Literal["", "warn", "bad"]

_FINISHES: Mapping[Finish | None, str] = {
    "stop": "answered",
    "tool_calls": "calls tools",
    "length": "cut off at its length limit",
    "refusal": "the model refused",
    "content_filter": "stopped by a content filter",
    "other": "answered",
    "unknown": "answered",
    None: "answered",
}
_SAID_BY_FINISH = ("cut_off", "refused")
_OFTEN = 3
"""From so many times on, a call with the same arguments is told."""
_SHORT = 8


def headline(found: StoredSession) -> str:
    """14 exchanges in 3 min 12 s for $0.41, 1 failed."""
    totals = found.totals
    if not totals.exchanges:
        return f"No exchange left of {count(found.missing)}"
    cost = "" if totals.cost_usd is None else f" for {dollars(totals.cost_usd)}"
    failed = f", {count(totals.failed)} failed" if totals.failed else ""
    return f"{count(totals.exchanges, 'exchange')} in {length(totals.length_s)}{cost}{failed}"


def length(length_s: float) -> str:
    """A time, in hundredths of a second up to a minute: 2.31 s, 3 min 12 s."""
    return seconds(length_s) if length_s < 60 else span(length_s)


def remarks(found: StoredSession) -> list[str]:
    """What stands out, and then what is not here."""
    whole = [said for each in found.marks if not each.exchange_id and (said := marked(each))]
    return [
        *_arms(found.exchanges),
        *(f"{capitalized(each)}." for each in whole),
        *_repeated(found.exchanges),
        *_lacking(found),
    ]


def _arms(exchanges: Sequence[SessionExchange]) -> Iterator[str]:
    """Each canary's arms, in the order in which the session had them."""
    for name in dict.fromkeys(each.canary for each in exchanges):
        mine = [each for each in exchanges if each.canary == name]
        if not name:
            yield f"{count(len(mine), 'exchange')} {'is' if len(mine) == 1 else 'are'} of no canary."
            continue
        stretches = [(arm, len(list(some))) for arm, some in groupby(mine, key=attrgetter("arm"))]
        if len(stretches) == 1:
            whose = "Every exchange" if len(mine) > 1 else "The exchange"
            yield f"{whose} in {name} was assigned to the {stretches[0][0]}."
        else:
            told = [f"{count(number, 'exchange')} of the {arm}" for arm, number in stretches[:_OFTEN]]
            more = f", and {count(len(stretches) - _OFTEN)} more changes" if len(stretches) > _OFTEN else ""
            yield f"The arm changed within the session in {name}: {', then '.join(told)}{more}."


def _repeated(exchanges: Sequence[SessionExchange]) -> Iterator[str]:
    often = Counter[str]()
    for each in exchanges:
        for call in each.tool_calls:
            often[call.name] = max(often[call.name], call.before + 1)
    for name, times in often.most_common(_OFTEN):
        if times >= _OFTEN:
            yield f"{name} was called {times} times with the same arguments."


def _lacking(found: StoredSession) -> Iterator[str]:
    shown = len(found.exchanges)
    if found.more:
        more = f": the canaries counted {count(found.missing)} more" if found.missing else ""
        yield f"Only the newest {count(shown, 'exchange')} are shown{more}."
    elif found.missing:
        yield (
            f"The canaries counted {count(found.missing, 'exchange')} that are not stored: a record is stored"
            " some seconds after its exchange, and deleted after the config's retention."
        )
    if found.searched_since is not None and found.session:
        yield (
            "No canary has counted this session, so only exchanges since "
            f"{moment(found.searched_since)} UTC were looked for."
        )
    if not found.session and shown:
        yield "The request named no session."
    unpriced = shown - found.totals.priced
    if unpriced:
        yield f"The cost of {count(unpriced, 'exchange')} is not known."


def facts(found: StoredSession) -> list[tuple[str, str]]:
    """The session's figures, by their names."""
    totals, of = found.totals, found.exchanges
    runs = [f"{canary}, run {run}" for canary, run in found.runs]
    tools = Counter(call.name for each in of for call in each.tool_calls)
    return [
        ("Canary", "; ".join(runs) or "none"),
        ("User", ", ".join(each[:_SHORT] for each in found.units) or "not named"),
        ("From", f"{moment(of[0].at)} UTC" if of else UNKNOWN),
        ("To", f"{moment(max(each.ended_at for each in of))} UTC" if of else UNKNOWN),
        *_models(of),
        ("Tokens", tokens(totals.input_tokens, totals.cached_input_tokens, totals.output_tokens)),
        ("Tool calls", named([(name, number) for name, number in tools.most_common()]) or "none"),
        ("Failed", f"{count(totals.failed)} of {count(totals.exchanges)}"),
        ("With a fault", f"{count(totals.faulty)} of {count(totals.exchanges)}"),
        ("Feedback", "; ".join(map(value, found.feedback)) or "none"),
    ]


def failures(found: StoredSession) -> list[str]:
    """Each failed exchange: whose model failed, what its provider said, and what the caller got instead."""
    return [
        f"Exchange {number}, {_whose(each)}: {_error(each)}. {_got(each)}."
        for number, each in enumerate(found.exchanges, 1)
        if each.failed
    ]


def _whose(exchange: SessionExchange) -> str:
    """Candidate openai/gpt-5: the assigned arm with its model, as far as it was asked."""
    arm = exchange.arm if exchange.canary else ""
    own = exchange.own
    if own is None and exchange.served_by not in (None, exchange.arm):
        return f"{arm}, which was not asked"
    asked = exchange if own is None else own
    return f"{arm} {asked.provider}/{asked.model}".strip()


def _error(exchange: SessionExchange) -> str:
    """What went wrong with the assigned arm's request, in its provider's words."""
    said = exchange.provider_error or ProviderError()
    status = exchange.status if exchange.own is None else exchange.own.status
    status = None if exchange.own is None and exchange.outcome == "fallback" else status
    error = CandidateError(
        status=status, error_type=exchange.error_type, at=exchange.at, **msgspec.structs.asdict(said)
    )
    details = error_details(msgspec.structs.asdict(said) | {"status": status})
    return f"{error.sentence.rstrip('.')}{f' ({details})' if details else ''}"


def _got(exchange: SessionExchange) -> str:
    if exchange.outcome == "fallback":
        return f"The caller got the baseline’s answer, from {exchange.provider}/{exchange.model}"
    return f"The caller got {'an answer that broke off' if exchange.status == 200 else 'an error'}"


def provider_ids(found: StoredSession) -> list[str]:
    """The ids to ask the assigned arm's provider about: of what failed or has a fault, and of an exchange
    that is alone."""
    alone = len(found.exchanges) == 1
    return [
        f"Exchange {number}, {_whose(each)}: {each.provider_request_id}"
        for number, each in enumerate(found.exchanges, 1)
        if each.provider_request_id and (alone or each.failed or each.faults)
    ]


def _models(exchanges: Sequence[SessionExchange]) -> Iterator[tuple[str, str]]:
    whose = [
        (arm if each.canary else "no canary", model)
        for each in exchanges
        for arm, model in [
            *((tried.arm, tried.model) for tried in each.attempts),
            (each.served_by or each.arm, each.model),
        ]
    ]
    for arm in ("baseline", "candidate", "no canary"):
        models = ", ".join(dict.fromkeys(model for of, model in whose if of == arm))
        if models:
            yield arm.capitalize(), models


def named(numbers: Sequence[tuple[str, int]]) -> str:
    """Read ×2, Bash."""
    return ", ".join(name if number == 1 else f"{name} ×{number}" for name, number in numbers)


def tokens(read: int | None, cached: int | None, written: int | None) -> str:
    """12,300 in (98 % cached), 210 out; a dash if nothing is known."""
    of_cache = f" ({rough_percent(cached / read)} cached)" if read and cached is not None else ""
    parts = [f"{count(read)} in{of_cache}"] if read is not None else []
    parts += [f"{count(written)} out"] if written is not None else []
    return ", ".join(parts) or UNKNOWN


def value(feedback: SessionFeedback) -> str:
    """Satisfaction 4."""
    return f"{label(feedback.metric)} {feedback.value:g}"


def marked(mark: SessionMark) -> str:
    """The judge gives it 4 of 5, and the task was done; "" without a readable judgement."""
    if mark.mark is not None:
        done = {True: ", and the task was done", False: ", and the task was not done", None: ""}[mark.done]
        return f"the judge gives it {mark.mark:g} of 5{done}"
    if mark.better == "tie":
        return "the judge prefers neither answer"
    return f"the judge prefers the {mark.better}’s answer" if mark.better else ""


def clock(at: float, *, finely: bool = False) -> str:
    """UTC seconds as the time of the day: 23:05:00; `finely` 23:05:00.25."""
    return moment(at)[-8:] + (f".{int(at % 1 * 100):02}" if finely else "")


def ended(exchange: SessionExchange) -> tuple[str, Tone]:
    """How the exchange ended, and for which eyes."""
    faults = joined([failed_by(each) for each in exchange.faults if each not in _SAID_BY_FINISH])
    if exchange.outcome == "ok":
        told = _FINISHES[exchange.finish]
        return f"{told}: {faults}" if faults else told, "warn" if exchange.faults else ""
    why = failed_by(exchange.error_type) if exchange.error_type else ""
    if exchange.outcome == "fallback":
        return f"the baseline answered: {plain(why)}", "bad"
    if exchange.outcome == "aborted":
        return f"the caller left{f': {faults}' if faults else ''}", "warn"
    if exchange.outcome == "caller_error":
        return f"refused: status {exchange.status or UNKNOWN}", "warn"
    return plain(why) or plain(exchange.outcome), "bad"


def tools(calls: Sequence[SessionToolCall]) -> str:
    """Read ×2, Bash (the 3rd time with the same arguments)."""
    fresh = Counter(call.name for call in calls if not call.before)
    again = [
        f"{call.name} ({_nth(call.before + 1)} with the same arguments)" for call in calls if call.before
    ]
    return ", ".join(filter(None, [named(list(fresh.items())), *again]))


def _nth(number: int) -> str:
    if number == 2:
        return "again"
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number // 10 % 10 != 1 else 0, "th")
    return f"the {number}{ending} time"
