"""The judging model: what it is asked, at which bound and highest price, and how its answer is read."""

from collections.abc import Mapping
from dataclasses import replace

import httpx2

from bench import judge_words
from bench.answers.saved import AnswerStore, NoSavedAnswers, ask_once
from bench.errors import Unpriced
from bench.judge_settings import JudgeSource, without_price
from bench.models.asker import Answer, Asker
from bench.models.targets import EntryAuth, direct
from bench.models.wires import Extras
from bench.settings import BenchSettings
from proxy.dialects.operation import Api
from records.capture import CapturedMessage
from records.judgements import FIRST, SECOND
from records.outcome import Usage
from records.prices import Prices

MOST_TOKENS = 2048
"""The most output tokens of an answer, a reasoning model's thoughts included."""

ANSWER_WITHIN_S = 120.0

_NOTHING_SAVED = NoSavedAnswers()

Question = tuple[CapturedMessage, ...]


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
        self._bound = _bound(provider.api, most_tokens)
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
    return judge_words.better(text) is not None


def _bound(api: Api, tokens: int) -> Extras:
    match api:
        case "openai":
            return Extras(parameters={"max_completion_tokens": tokens})
        case "anthropic":
            return Extras(parameters={"max_tokens": tokens})
        case "gemini":
            return Extras(parameters={"generationConfig": {"maxOutputTokens": tokens}})


def pair_questions(
    asked: judge_words.Messages, baseline: str, candidate: str, criteria: str
) -> Mapping[int, Question]:
    """Which of both answers is better, asked in both orders, by turn: the baseline's stands first, then the
    candidate's."""
    orders = {FIRST: (baseline, candidate), SECOND: (candidate, baseline)}
    return {
        turn: judge_words.pair_question(asked, first, second, criteria)
        for turn, (first, second) in orders.items()
    }


def said(kind: judge_words.Kind, text: str) -> str:
    """What an answer says, as it is stored: A, B, SAME, a mark, or "" if that is unreadable."""
    found = judge_words.better(text) if kind == "pair" else judge_words.mark(text)
    return "" if found is None else str(found)
