"""The judging model: its questions, its highest price, and one judgement from question to result.

`JudgeAsker` keeps no budget; `Judge` notes each call with its highest price before it is made.
"""

import asyncio
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import httpx2

from bench.answers.results import Saved, ask_once
from bench.answers.scorers import BETTER, MATERIAL, Messages, conversation, mark, reason
from bench.dataset.example import fingerprint
from bench.errors import BenchError, Unpriced
from bench.models.asker import Answer, Asker, EntryAuth, client_for, direct
from bench.models.wires import RequestExtras
from bench.settings import BenchSettings, JudgeSource
from common.numbers import set_dollars
from judge.judgements import DONE, FIRST, NOT_DONE, SECOND, JudgedExchange, Judgements
from judge.terms import Kind, without_price
from records.captures.capture import Capture, CapturedMessage
from records.captures.redaction import redacted
from records.outcome import Usage
from routing.canary import ArmName

Better = Literal["A", "B", "SAME"]
Question = tuple[CapturedMessage, ...]


_TOOLS = (
    "Of an answer that calls a tool it counts whether that is the right tool with the right arguments; "
    "the result comes later."
)

_PAIR = f"""\
You compare two answers of an assistant to the same conversation. Between the lines of equal signs stand the
conversation and both answers. {MATERIAL}

=== CONVERSATION ===
{{asked}}
=== ANSWER A ===
{{first}}
=== ANSWER B ===
{{second}}
=== END ===

What counts: {{criteria}}
{_TOOLS} The length, the style and the order of the answers do not count.
Write one short sentence of why, then on a line of its own: BETTER: A, BETTER: B or BETTER: SAME"""

_ANSWER = f"""\
You grade an assistant's answer. Between the lines of equal signs stand the conversation and the answer.
{MATERIAL}

=== CONVERSATION ===
{{asked}}
=== THE ANSWER ===
{{answer}}
=== END ===

What counts: {{criteria}}
{_TOOLS}
Marks: 5 nothing to improve; 4 good, a detail is missing; 3 useful in part; 2 hardly useful, or with a serious
mistake; 1 useless or harmful. Length and style do not count.
Write one short sentence of why, then on a line of its own: MARK: n"""


_SESSION = f"""\
You grade an assistant's work in one session. Between the lines of equal signs stands the session: what the
user asked, which tools the assistant called, what they returned, and what it answered. {MATERIAL}

=== SESSION ===
{{asked}}
=== END ===

What counts: did the assistant finish the task that the user gave it, with the right tools? {{criteria}}
Marks: 5 done, nothing to improve; 4 done, with a detour or a missing detail; 3 done in part; 2 hardly, or
with a serious mistake; 1 not at all, or harmful. Length and style do not count.
Write one short sentence of why, then on a line of its own: MARK: n, DONE: YES or MARK: n, DONE: NO"""

_WORDS: Mapping[Kind, str] = {"pair": _PAIR, "answer": _ANSWER, "session": _SESSION}


def pair_question(asked: Messages, first: str, second: str, criteria: str) -> Question:
    """Which of two answers is better. It names no model."""
    text = _PAIR.format(asked=conversation(asked), first=first, second=second, criteria=criteria)
    return (CapturedMessage("user", text),)


def answer_question(asked: Messages, answer: str, criteria: str) -> Question:
    """How good one answer is. It names no model."""
    text = _ANSWER.format(asked=conversation(asked), answer=answer, criteria=criteria)
    return (CapturedMessage("user", text),)


def session_question(session: str, criteria: str) -> Question:
    """How good the work of a session is, and whether its task is done. It names no model."""
    return (CapturedMessage("user", _SESSION.format(asked=session, criteria=criteria)),)


def words_sha256(kind: Kind, criteria: str = "") -> str:
    """The hash of the words that a judge is asked with."""
    return fingerprint([_WORDS[kind], criteria])


def better(said: str) -> Better | None:
    """The last choice in the judge's answer; None without one."""
    found = BETTER.findall(said)
    choices: dict[str, Better] = {"A": "A", "B": "B", "SAME": "SAME"}
    return choices[found[-1].upper()] if found else None


def pair_questions(asked: Messages, baseline: str, candidate: str, criteria: str) -> Mapping[int, Question]:
    """Which of both answers is better, asked in both orders, by turn: the baseline's stands first, then the
    candidate's."""
    orders = {FIRST: (baseline, candidate), SECOND: (candidate, baseline)}
    return {turn: pair_question(asked, first, second, criteria) for turn, (first, second) in orders.items()}


_DONE = re.compile(r"DONE\W{0,5}(YES|NO)\b", re.IGNORECASE)


def said(kind: Kind, text: str) -> str:
    """What an answer says, as it is stored: A, B, SAME, a mark, of a session a mark and `yes` or `no`, or ""
    if that is unreadable."""
    found = better(text) if kind == "pair" else mark(text)
    if found is None or kind != "session":
        return "" if found is None else str(found)
    tasks = _DONE.findall(text)
    return f"{found} {DONE if tasks[-1].upper() == 'YES' else NOT_DONE}" if tasks else ""


# The judging model: what it is asked, at which bound and highest price, and how its answer is read.


MOST_TOKENS = 2048
"""The most output tokens of an answer, a reasoning model's thoughts included."""

ANSWER_WITHIN_S = 120.0

_MOST: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "openai": lambda tokens: {"max_completion_tokens": tokens},
    "anthropic": lambda tokens: {"max_tokens": tokens},
    "gemini": lambda tokens: {"generationConfig": {"maxOutputTokens": tokens}},
}
"""How each dialect bounds an answer."""


class JudgeAsker:
    """Asks the judge of a config. It keeps no budget; `highest_price` is for who keeps one."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        source: JudgeSource,
        settings: BenchSettings,
        environment: Mapping[str, str],
        *,
        most_tokens: int = MOST_TOKENS,
    ) -> None:
        """Raises NoKey, and Unpriced for a model without a known price, whose cost could not be bounded."""
        provider = settings.providers[source.provider]
        prices = settings.known_prices()
        if not prices.knows(provider, source.model):
            raise Unpriced(without_price(source.name))
        self.source = source
        self._most_tokens = most_tokens
        self._bound = RequestExtras(parameters=_MOST[provider.api](most_tokens))
        target = direct(provider, source.model, prices, environment)
        self._target = replace(target, timeout_s=min(target.timeout_s, ANSWER_WITHIN_S))
        self._asker = Asker(client, self._target)

    async def close(self) -> None:
        """Close its connections, and end the renewal of its credential."""
        await self._asker.client.aclose()
        if isinstance(self._target.auth, EntryAuth):
            self._target.auth.close()

    def highest_price(self, question: Question) -> float:
        """The dollars of a question at most: no token is shorter than a byte."""
        _, body = self._target.asks(question, self._bound)
        cost = self._target.cost(Usage(input_tokens=len(body), output_tokens=self._most_tokens))
        if cost is None:
            raise Unpriced(without_price(self.source.name))
        return cost

    async def ask(self, question: Question, saved: Saved = None) -> Answer:
        """The judge's answer which of two is better, or the one that is saved."""
        key = self._target.key(question, self._bound)
        return await ask_once(self._asker, key, question, saved, self._bound, keeps=_has_choice)


def _has_choice(text: str) -> bool:
    return better(text) is not None


def least_price(settings: BenchSettings, kind: Kind) -> float | None:
    """The dollars that the shortest judgement sets aside: no text but the judge's fixed words. None without a
    judge, or a known price of it."""
    source = settings.judge
    if source is None:
        return None
    provider, prices = settings.providers[source.provider], settings.known_prices()
    asked = (len(question[0].content.encode()) for question in _shortest(kind))
    costs = [
        prices.cost(provider, source.model, Usage(input_tokens=tokens, output_tokens=MOST_TOKENS))
        for tokens in asked
    ]
    return sum(cost for cost in costs if cost is not None) or None


def too_small(settings: BenchSettings, kind: Kind) -> str:
    """That no call of this kind ever fits into the day's budget, and which budget would do; "" if one may."""
    source, least = settings.judge, least_price(settings, kind)
    if source is None or least is None or least <= source.daily_budget_usd:
        return ""
    answers = "two answers of the judge" if kind == "pair" else "one answer of the judge"
    cost = "cost" if kind == "pair" else "costs"
    return (
        f"judge: daily_budget: {set_dollars(source.daily_budget_usd)} is too small for one call: {answers}, "
        f"of at most {MOST_TOKENS:,} tokens, {cost} up to {set_dollars(least)} with the shortest question; "
        f"write a daily_budget of at least {math.ceil(100 * least) / 100:.2f}, and more for long "
        "conversations"
    )


def _shortest(kind: Kind) -> Sequence[Question]:
    if kind == "pair":
        return list(pair_questions((), "", "", "").values())
    return (answer_question((), "", "") if kind == "answer" else session_question("", ""),)


# A model that judges real answers: each call is noted with its highest price before it is made.


Ended = Literal["judged", "refused", "provider"]
"""What became of a request to judge: done (also without a mark), refused by the provider for what it says, or
the provider failed."""

_UNPAID = ("provider_connect", "provider_5xx", "provider_429")
_REFUSED = ("caller_rejected", "caller_too_large")

_WORST_FIRST: tuple[Ended, ...] = ("provider", "refused", "judged")

Calls = Mapping[int, int]
"""The ids of noted calls, by turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementSubject:
    """One judgement to be made: its questions by turn, and when its texts expire (UTC seconds)."""

    judgement: JudgedExchange
    questions: Mapping[int, Question]
    expires_at: float
    redact: tuple[str, ...] = ()


class Judge:
    """The judging model with its budget. The judgements' store is used in other threads."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        source: JudgeSource,
        settings: BenchSettings,
        judgements: Judgements,
        environment: Mapping[str, str],
    ) -> None:
        """Raises NoKey and Unpriced."""
        self.source = source
        self._asker = JudgeAsker(client, source, settings, environment)
        self._judgements = judgements
        self.problem = ""
        """What the provider said when it failed last."""

    @classmethod
    def of(cls, settings: BenchSettings, judgements: Judgements, environment: Mapping[str, str]) -> Self:
        """The judge of the config, with a client of its own; `close()` it. May wait for a cloud's token.

        Raises BenchError, NoKey and Unpriced.
        """
        source = settings.judge
        if source is None:
            raise BenchError(
                "the config has no judge; name one, as `judge: {provider: …, model: …, daily_budget: 5.00}`"
            )
        client = client_for(settings.providers[source.provider], at_once=2 * source.at_once)
        return cls(client, source, settings, judgements, environment)

    async def close(self) -> None:
        """Close its connections, and end the renewal of its credential."""
        await self._asker.close()

    async def begin(self, subject: JudgementSubject) -> Calls:
        """Note the calls that are to be made now; empty if there is nothing left to ask.

        Raises BudgetSpent if their highest price does not fit into the day's budget. May raise StoreDown.
        """
        reserves = {turn: self._asker.highest_price(question) for turn, question in subject.questions.items()}
        return await asyncio.to_thread(
            self._judgements.begin,
            subject.judgement,
            reserves,
            budget_usd=self.source.daily_budget_usd,
            expires_at=subject.expires_at,
        )

    async def ask(self, subject: JudgementSubject, calls: Calls) -> Ended:
        """Make the calls that were noted, and store what the judge says. May raise StoreDown."""
        asked = [self._ask(call, subject, turn) for turn, call in calls.items()]
        ended = await asyncio.gather(*asked)
        return min(ended, key=_WORST_FIRST.index)

    async def _ask(self, call: int, subject: JudgementSubject, turn: int) -> Ended:
        answer = await self._asker.ask(subject.questions[turn])
        if answer.text is None:
            unpaid = answer.failure in _UNPAID or str(answer.failure).startswith("caller_")
            end = self._judgements.failed if unpaid else self._judgements.lost
            await asyncio.to_thread(end, call, answer.request_id)
            asked = f" (request {answer.request_id})" if answer.request_id else ""
            self.problem = f"{answer.failure} {answer.said}".strip() + asked
            return "refused" if answer.failure in _REFUSED else "provider"
        await asyncio.to_thread(
            self._judgements.answered,
            call,
            said=said(subject.judgement.kind, answer.text),
            reason=redacted(reason(answer.text).replace("\0", ""), subject.redact),
            cost_usd=answer.cost_usd,
            request_id=answer.request_id,
        )
        return "judged"


def pair_subject(
    real: Capture, copy: Capture, *, judge: str, criteria: str, redact: tuple[str, ...] = ()
) -> JudgementSubject:
    """A mirrored pair: the baseline's answer first, then the candidate's."""
    return JudgementSubject(
        judgement=replace(
            _judgement(real, judge=judge, words_sha256=words_sha256("pair", criteria)),
            candidate=_model(copy),
            candidate_length=len(copy.said),
        ),
        questions=pair_questions(real.messages, real.said, copy.said, criteria),
        expires_at=min(real.about.expires_at, copy.about.expires_at),
        redact=redact,
    )


def answer_subject(
    capture: Capture, *, judge: str, criteria: str, redact: tuple[str, ...] = ()
) -> JudgementSubject:
    """One arm's answer."""
    made = _judgement(capture, judge=judge, words_sha256=words_sha256("answer", criteria))
    return JudgementSubject(
        judgement=_of_arm(replace(made, kind="answer"), capture.about.arm),
        questions={FIRST: answer_question(capture.messages, capture.said, criteria)},
        expires_at=capture.about.expires_at,
        redact=redact,
    )


def session_subject(
    id: str, captures: Sequence[Capture], *, judge: str, criteria: str, redact: tuple[str, ...] = ()
) -> JudgementSubject:
    """One arm's session with this id. `captures` are its exchanges by time, at least one."""
    text = session_text(captures)
    made = _judgement(captures[0], judge=judge, words_sha256=words_sha256("session", criteria))
    made = replace(made, exchange_id=id, kind="session", category="", baseline_length=len(text))
    return JudgementSubject(
        judgement=_of_arm(made, captures[0].about.arm),
        questions={FIRST: session_question(text, criteria)},
        expires_at=min(each.about.expires_at for each in captures),
        redact=redact,
    )


def _of_arm(made: JudgedExchange, arm: ArmName) -> JudgedExchange:
    """The judgement of what one arm did, whose model and length stand in the baseline's place."""
    if arm == "baseline":
        return replace(made, arm=arm)
    return replace(
        made,
        arm=arm,
        baseline="",
        candidate=made.baseline,
        baseline_length=None,
        candidate_length=made.baseline_length,
    )


def _judgement(real: Capture, *, judge: str, words_sha256: str) -> JudgedExchange:
    about = real.about
    return JudgedExchange(
        exchange_id=about.exchange_id,
        canary=about.canary,
        run=about.run,
        kind="pair",
        unit=about.unit,
        category=about.category,
        at=about.at,
        asked_at=time.time(),
        judge=judge,
        words_sha256=words_sha256,
        baseline=_model(real),
        baseline_length=len(real.said),
    )


def _model(capture: Capture) -> str:
    return f"{capture.about.provider}/{capture.about.model}"


# A session as the judge reads it: its conversations, with the longest texts cut in their middle.


SESSION_BOUND = 80_000
"""Characters of a session that a judge reads."""
_TEXT_BOUNDS = (20_000, 5_000, 2_000, 800, 300)
"""Characters of one message: the first of these with which the session is short enough."""


def session_text(captures: Sequence[Capture]) -> str:
    """The conversations of a session, each as it stood at its end: messages, tool calls and their results,
    and the last answer. At most SESSION_BOUND characters.

    An agent repeats its conversation in each request, which so replaces the one before.
    """
    whole: list[Capture] = []
    for capture in captures:
        place = next((nth for nth, each in enumerate(whole) if _goes_on(each, capture)), None)
        if place is not None:
            del whole[place]
        whole.append(capture)
    texts = (_conversations(whole, bound) for bound in (SESSION_BOUND, *_TEXT_BOUNDS))
    fitting = next((text for text in texts if len(text) <= SESSION_BOUND), None)
    return _cut(_conversations(whole, _TEXT_BOUNDS[-1]), SESSION_BOUND) if fitting is None else fitting


def _goes_on(before: Capture, after: Capture) -> bool:
    """True for a request with the first message of an earlier one and more messages. One that summarises a
    conversation, or that a helper sends, begins otherwise."""
    longer = len(after.messages) > len(before.messages)
    return longer and _first(after.messages) == _first(before.messages)


def _first(messages: Messages) -> CapturedMessage | None:
    return next((each for each in messages if each.role != "system"), None)


def _conversations(captures: Sequence[Capture], bound: int) -> str:
    return "\n\n".join("\n".join(_lines(capture, bound)) for capture in captures)


def _lines(capture: Capture, bound: int) -> Iterator[str]:
    for message in capture.messages:
        yield f"{message.role}: {_cut(message.said, bound)}"
    yield f"assistant: {_cut(capture.said, bound)}"


def _cut(text: str, bound: int) -> str:
    """The text without its middle if it is longer than the bound."""
    if len(text) <= bound:
        return text
    note = f" [… {len(text) - bound:,} characters left out …] "
    kept = max(0, bound - len(note))
    return text[: kept - kept // 2] + note + text[len(text) - kept // 2 :]
