"""Gemini's wire API: the model and the method stand in the path (`/v1beta/models/MODEL:METHOD`)."""

import re
from typing import Any

import msgspec

from proxy.dialects.operation import PASS_THROUGH, UNREADABLE, JsonReading, Operation, is_json_object
from records.outcome import Usage

MODEL_PATH = re.compile(r"^(?P<before>.*/models/)(?P<model>[^/:]+):(?P<method>[A-Za-z]+)$")


class _Usage(msgspec.Struct, rename="camel"):
    """Cached tokens are part of the prompt's, those of tool results are not; thoughts are not part of the
    candidates'."""

    prompt_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None


def _usage(raw: msgspec.Raw) -> Usage | None:
    """None where there are no counts, or some of another shape: unknown, and no fault of the answer."""
    try:
        counts = _decode_usage(raw) if raw else None
    except UNREADABLE:
        return None
    if counts is None:
        return None
    return Usage(
        input_tokens=_sum(counts.prompt_token_count, counts.tool_use_prompt_token_count),
        cached_input_tokens=counts.cached_content_token_count,
        output_tokens=_sum(counts.candidates_token_count, counts.thoughts_token_count),
        reasoning_tokens=counts.thoughts_token_count,
    )


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None and second is None else (first or 0) + (second or 0)


class _Part(msgspec.Struct):
    text: str | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None


class _Answer(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    usage_metadata: msgspec.Raw = msgspec.Raw()
    prompt_feedback: Any = None
    error: Any = None


_decode_usage = msgspec.json.Decoder(_Usage | None).decode
_decode = msgspec.json.Decoder(_Answer).decode
_decode_list = msgspec.json.Decoder(list[_Answer]).decode


class GenerateEvents:
    """Each event is an answer of its own; the last `usageMetadata` wins, a finishReason ends it."""

    __slots__ = ("done", "failed", "finished", "token", "usage")

    def __init__(self) -> None:
        self.token = self.done = self.failed = self.finished = False
        self.usage: Usage | None = None

    def take(self, name: bytes, data: bytes) -> None:
        self.failed = self.failed or name == b"error"
        try:
            answer = _decode(data)
        except UNREADABLE:
            return
        self.failed = self.failed or bool(answer.error)
        self.usage = _usage(answer.usage_metadata) or self.usage
        if answer.prompt_feedback is not None and not answer.candidates:
            self.done = True  # a blocked prompt is an answer, and has no candidate to finish
        for candidate in answer.candidates or ():
            parts = (candidate.content and candidate.content.parts) or ()
            self.token = self.token or any(part.text for part in parts)
            self.done = self.done or candidate.finish_reason is not None


def read_json(body: bytes) -> JsonReading:
    """A whole answer: an object, or an array of them (a stream that was not asked for as SSE)."""
    try:
        answers = _decode_list(body) if body.lstrip()[:1] == b"[" else [_decode(body)]
    except UNREADABLE:
        return JsonReading(valid=is_json_object(body))
    usages = [usage for answer in answers if (usage := _usage(answer.usage_metadata)) is not None]
    return JsonReading(
        valid=bool(answers),
        failed=any(answer.error for answer in answers),
        usage=usages[-1] if usages else None,
    )


_METHODS = {
    "generateContent": Operation(
        name="generate_content", model_in="path", streams=False, read_json=read_json
    ),
    "streamGenerateContent": Operation(
        name="generate_content", model_in="path", streams=True, events=GenerateEvents, read_json=read_json
    ),
    "countTokens": Operation(
        name="count_tokens", model_in="path", repeats_model=True, streams=False, read_json=read_json
    ),
    "embedContent": Operation(
        name="embeddings", model_in="path", repeats_model=True, streams=False, read_json=read_json
    ),
    "batchEmbedContents": Operation(
        name="embeddings", model_in="path", repeats_model=True, streams=False, read_json=read_json
    ),
}


def operation(path: str) -> Operation:
    """The operation at a path below the base URL (`/v1beta/models/gemini-2.5-pro:generateContent`, …)."""
    place = MODEL_PATH.match(path)
    return _METHODS.get(place["method"], PASS_THROUGH) if place else PASS_THROUGH
