"""Scores `similar` answers by embeddings: vectors of a text's meaning, from a provider."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial

import httpx2
import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.answers.results import ExampleResult
from bench.answers.scorers import is_right
from bench.dataset.example import Example
from bench.errors import BenchError
from bench.models.asker import Asker, ParsedAnswer, Target, as_it_is, client_for, direct, total_cost
from bench.models.wires import Asked, RequestExtras
from bench.settings import BenchSettings
from proxy.dialects.operation import Api
from records.captures.capture import CapturedMessage
from records.facts.prices import Prices
from records.outcome import Usage

THRESHOLD = 0.75
"""The cosine from which an answer is right, unless its example sets one: promptfoo's default for the same
score. Words are held to 0.8, but equal words and equal meanings are not on one scale."""

_AT_A_TIME = 64
"""Texts in one request. Gemini takes 100; OpenAI 2,048, of 300,000 tokens together."""

_LONGEST = 8_000
"""Characters of a text that are embedded: OpenAI's models take 8,192 tokens."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _EmbeddingApi:
    asks: Callable[[str, Sequence[str]], Asked]
    vectors: Callable[[bytes], tuple[list[list[float]], int | None]]
    """The vectors in the texts' order, and the tokens of all texts."""


class Embedder:
    """One embedding model. Each text is sent once; `cost_usd` is what all so far cost, None if unknown."""

    def __init__(self, client: httpx2.AsyncClient, target: Target, api: Api) -> None:
        self.name = target.name
        self._asker = Asker(client, target)
        self._api = _APIS[api]
        self._known: dict[str, Vector] = {}
        self.cost_usd: float | None = None

    async def learn(self, texts: Iterable[str]) -> None:
        """Fetch the vectors of new texts. Raises BenchError."""
        new = list(dict.fromkeys(text for text in map(_cut, texts) if text and text not in self._known))
        for start in range(0, len(new), _AT_A_TIME):
            part = new[start : start + _AT_A_TIME]
            answer = await self._asker.ask([CapturedMessage("user", text) for text in part])
            if answer.text is None:
                raise BenchError(f"{self.name} gave no embeddings: {answer.failure} {answer.said}".rstrip())
            vectors = self._api.vectors(answer.text.encode())[0]
            if len(vectors) != len(part):
                raise BenchError(f"{self.name} gave {len(vectors)} embeddings for {len(part)} texts")
            self._known |= {text: _unit(vector) for text, vector in zip(part, vectors, strict=True)}
            self.cost_usd = total_cost([self.cost_usd, answer.cost_usd])

    def similarity(self, one: str, other: str) -> float:
        """The cosine of two known texts, from 0 to 1; 0 if one is empty."""
        texts = _cut(one), _cut(other)
        if not all(texts):
            return 0.0
        a, b = (self._known[text] for text in texts)
        return min(1.0, max(0.0, float(a @ b)))


async def embedder_for(
    settings: BenchSettings,
    examples: Sequence[Example],
    prices: Prices,
    environment: Mapping[str, str],
    clients: AsyncExitStack,
) -> Embedder | None:
    """The configured embedding model, once it knows the expected texts; None if no example needs one.

    So a wrong key or name is found before the first question. Raises NoKey, BenchError.
    """
    source, texts = settings.embeddings, list(expected_texts(examples))
    if source is None or not texts:
        return None
    provider = settings.providers[source.provider]
    target = embedding_target(direct(provider, source.model, prices, environment), provider.api)
    client = await clients.enter_async_context(client_for(provider, at_once=1))
    found = Embedder(client, target, provider.api)
    await found.learn(texts)
    return found


def embedding_target(target: Target, api: Api) -> Target:
    """The same model, which is asked for the embeddings of messages."""

    def asks(model: str, messages: Sequence[CapturedMessage], _: RequestExtras) -> Asked:
        return _APIS[api].asks(model, [message.content for message in messages])

    return replace(
        target, wire=replace(target.wire, asks=asks), read=partial(_read, _APIS[api]), address=as_it_is
    )


def expected_texts(examples: Iterable[Example]) -> Iterator[str]:
    """The texts that `similar` answers are compared with."""
    for example in examples:
        if example.task == "similar":
            yield from _accepted(example)


async def scored(results: Sequence[Sequence[ExampleResult]], by: Embedder) -> list[list[ExampleResult]]:
    """The results with `similar` answers scored by their meaning. Raises BenchError."""
    found = [result for of_model in results for result in of_model if _is_scored(result)]
    answers = [result.answer.text or "" for result in found]
    await by.learn([*answers, *expected_texts(result.example for result in found)])
    return [[_scored(result, by) for result in of_model] for of_model in results]


def _is_scored(result: ExampleResult) -> bool:
    return result.example.task == "similar" and result.answer.text is not None


def _scored(result: ExampleResult, by: Embedder) -> ExampleResult:
    if not _is_scored(result):
        return result
    example, text = result.example, result.answer.text or ""
    score = max(by.similarity(text, each) for each in _accepted(example))
    return replace(result, score=score, right=is_right(example, score, THRESHOLD))


def _accepted(example: Example) -> list[str]:
    return [example.expected] if isinstance(example.expected, str) else list(example.expected)


def _cut(text: str) -> str:
    return text.strip()[:_LONGEST]


def _unit(vector: Sequence[float]) -> Vector:
    found = np.asarray(vector, dtype=np.float64)
    length = float(np.linalg.norm(found))
    return found / length if length else found


def _read(api: _EmbeddingApi, body: bytes) -> ParsedAnswer:
    """The body itself as the text of the answer, once it can be read."""
    try:
        tokens = api.vectors(body)[1]
    except msgspec.DecodeError:
        return ParsedAnswer("", None, "provider_malformed")
    return ParsedAnswer(body.decode(), Usage(input_tokens=tokens, output_tokens=0), None)


class _OpenAIVector(msgspec.Struct):
    index: int
    embedding: list[float]


class _OpenAIUsage(msgspec.Struct):
    prompt_tokens: int | None = None


class _OpenAIVectors(msgspec.Struct):
    data: list[_OpenAIVector]
    usage: _OpenAIUsage | None = None


class _GeminiVector(msgspec.Struct):
    values: list[float]


class _GeminiUsage(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None


class _GeminiVectors(msgspec.Struct, rename="camel"):
    embeddings: list[_GeminiVector]
    usage_metadata: _GeminiUsage | None = None


def _openai_asks(model: str, texts: Sequence[str]) -> Asked:
    return "/embeddings", {"model": model, "input": list(texts), "encoding_format": "float"}


def _openai_vectors(body: bytes) -> tuple[list[list[float]], int | None]:
    found = msgspec.json.decode(body, type=_OpenAIVectors)
    rows = sorted(found.data, key=lambda row: row.index)
    return [row.embedding for row in rows], None if found.usage is None else found.usage.prompt_tokens


def _gemini_asks(model: str, texts: Sequence[str]) -> Asked:
    named = f"models/{model}"
    asked = [{"model": named, "content": {"parts": [{"text": text}]}} for text in texts]
    return f"/v1beta/{named}:batchEmbedContents", {"requests": asked}


def _gemini_vectors(body: bytes) -> tuple[list[list[float]], int | None]:
    found = msgspec.json.decode(body, type=_GeminiVectors)
    usage = found.usage_metadata
    return [row.values for row in found.embeddings], None if usage is None else usage.prompt_token_count


_APIS: Mapping[Api, _EmbeddingApi] = {
    "openai": _EmbeddingApi(asks=_openai_asks, vectors=_openai_vectors),
    "gemini": _EmbeddingApi(asks=_gemini_asks, vectors=_gemini_vectors),
}
