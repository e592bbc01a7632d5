"""The judging model: what it is asked, at which bound and highest price, and how its answer is read."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx2

from bench.answers.saved import AnswerStore, NoSavedAnswers, ask_once
from bench.errors import Unpriced
from bench.models.asker import Answer, Asker
from bench.models.targets import EntryAuth, direct
from bench.models.wires import Extras
from bench.settings import BenchSettings, JudgeSource
from judge.judgements import Kind
from judge.model.questions import Question, answer_question, better, pair_questions
from judge.terms import dollars, without_price
from records.facts.prices import Prices
from records.outcome import Usage

MOST_TOKENS = 2048
"""The most output tokens of an answer, a reasoning model's thoughts included."""

ANSWER_WITHIN_S = 120.0

_MOST: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "openai": lambda tokens: {"max_completion_tokens": tokens},
    "anthropic": lambda tokens: {"max_tokens": tokens},
    "gemini": lambda tokens: {"generationConfig": {"maxOutputTokens": tokens}},
}
"""How each dialect bounds an answer."""

_NOTHING_SAVED = NoSavedAnswers()


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
        prices = Prices(settings.prices, settings.price_as)
        if not prices.knows(provider, source.model):
            raise Unpriced(without_price(source.name))
        self.source = source
        self._most_tokens = most_tokens
        self._bound = Extras(parameters=_MOST[provider.api](most_tokens))
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

    async def ask(self, question: Question, saved: AnswerStore = _NOTHING_SAVED) -> Answer:
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
    provider, prices = settings.providers[source.provider], Prices(settings.prices, settings.price_as)
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
        f"judge: daily_budget: {dollars(source.daily_budget_usd)} is too small for one call: {answers}, of "
        f"at most {MOST_TOKENS:,} tokens, {cost} up to {dollars(least)} with the shortest question; write a "
        f"daily_budget of at least {math.ceil(100 * least) / 100:.2f}, and more for long conversations"
    )


def _shortest(kind: Kind) -> Sequence[Question]:
    if kind == "pair":
        return list(pair_questions((), "", "", "").values())
    return (answer_question((), "", ""),)
