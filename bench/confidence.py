"""How sure a model was of its answer, from the log probabilities of the tokens it chose."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from bench.answer import Answer
from proxy.provider import Api

Form = TypeVar("Form")

_REFUSING = (400, 403, 422)
"""How providers refuse log probabilities: OpenAI with 403 for a model that gives them to nobody."""


def refuses_logprobs(answer: Answer) -> bool:
    """True if the provider refused the request because of the log probabilities that it asks for."""
    return answer.status in _REFUSING and "logprobs" in answer.said.lower()


def confidence_in(api: Api, body: bytes) -> float | None:
    """The geometric mean of the probabilities of an answer's tokens, from 0 to 1; None without them.

    A mean, so that a long answer is not less sure than a short one (Malinin and Gales, ICLR 2021).
    """
    read = _LOGPROBS.get(api)
    found = [] if read is None else list(read(body))
    return math.exp(math.fsum(found) / len(found)) if found else None


class _OpenAIToken(msgspec.Struct):
    logprob: float


class _OpenAILogprobs(msgspec.Struct):
    content: list[_OpenAIToken] | None = None


class _OpenAIChoice(msgspec.Struct):
    logprobs: _OpenAILogprobs | None = None


class _OpenAIAnswer(msgspec.Struct):
    choices: list[_OpenAIChoice] = []


class _GeminiToken(msgspec.Struct, rename="camel"):
    log_probability: float


class _GeminiLogprobs(msgspec.Struct, rename="camel"):
    chosen_candidates: list[_GeminiToken] = []


class _GeminiCandidate(msgspec.Struct, rename="camel"):
    logprobs_result: _GeminiLogprobs | None = None


class _GeminiAnswer(msgspec.Struct):
    candidates: list[_GeminiCandidate] = []


def _openai(body: bytes) -> Iterable[float]:
    answer = _decoded(body, _OpenAIAnswer)
    found = answer.choices[0].logprobs if answer is not None and answer.choices else None
    return [] if found is None else [token.logprob for token in found.content or ()]


def _gemini(body: bytes) -> Iterable[float]:
    answer = _decoded(body, _GeminiAnswer)
    found = answer.candidates[0].logprobs_result if answer is not None and answer.candidates else None
    return [] if found is None else [token.log_probability for token in found.chosen_candidates]


def _decoded(body: bytes, form: type[Form]) -> Form | None:
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.DecodeError:
        return None


_LOGPROBS: Mapping[Api, Callable[[bytes], Iterable[float]]] = {"openai": _openai, "gemini": _gemini}
