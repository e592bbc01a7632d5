"""Gemini's wire API, with model and method in the path (`/v1beta/models/MODEL:METHOD`)."""

import re
from typing import Any, ClassVar

import msgspec

from proxy.dialects.operation import (
    PASS_THROUGH,
    UNREADABLE,
    Count,
    JsonReading,
    Operation,
    Texts,
    given,
    is_json_object,
)
from records.outcome import Usage

MODEL_PATH = re.compile(r"^(?P<before>.*/models/)(?P<model>[^/:]+):(?P<method>[A-Za-z]+)$")


class _Usage(msgspec.Struct, rename="camel", gc=False):
    """Prompt tokens include cached tokens but no tool results. Candidate tokens exclude thoughts."""

    prompt_token_count: Count | None = None
    tool_use_prompt_token_count: Count | None = None
    cached_content_token_count: Count | None = None
    candidates_token_count: Count | None = None
    thoughts_token_count: Count | None = None


def _usage(raw: msgspec.Raw) -> Usage | None:
    """The usage; None when missing or of another shape, which is not an error of the answer."""
    try:
        counts = _decode_usage(raw) if given(raw) else None
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


class _Part(msgspec.Struct, gc=False):
    text: str | None = None


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel", gc=False):
    content: _Content | None = None
    finish_reason: str | None = None


class _Answer(msgspec.Struct, rename="camel", gc=False):
    candidates: list[_Candidate] | None = None
    usage_metadata: msgspec.Raw = msgspec.Raw()
    prompt_feedback: Any = None
    error: Any = None


_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode = msgspec.json.Decoder(_Answer).decode
_decode_list = msgspec.json.Decoder(list[_Answer]).decode


class GenerateEvents:
    """Reads a stream of whole answers. The last `usageMetadata` counts; a finishReason ends the stream."""

    texts: ClassVar[Texts] = None  # each event has its own counts

    __slots__ = ("_counts", "_usage", "done", "failed", "finished", "token")

    def __init__(self) -> None:
        self.token = self.done = self.failed = self.finished = False
        self._usage: Usage | None = None
        self._counts: msgspec.Raw | None = None

    @property
    def usage(self) -> Usage | None:
        """Decoded on demand, since every event has counts and only the last ones matter."""
        if self._counts is not None:
            self._usage, self._counts = _usage(self._counts), None
        return self._usage

    def take(self, name: bytes, data: bytes) -> bool:
        if name == b"error":
            self.failed = True
        try:
            answer = _decode(data)
        except UNREADABLE:
            return False
        if answer.error:
            self.failed = True
        if given(answer.usage_metadata):
            self._counts = answer.usage_metadata
        if answer.candidates:
            self._look_at(answer.candidates)
        elif answer.prompt_feedback is not None:
            self.done = True  # a blocked prompt is a complete answer without a candidate
        return False

    def _look_at(self, candidates: list[_Candidate]) -> None:
        for candidate in candidates:
            if not self.token and candidate.content is not None:
                self.token = any(part.text for part in candidate.content.parts or ())
            if candidate.finish_reason is not None:
                self.done = True


def read_json(body: bytes) -> JsonReading:
    """Read a whole answer: an object, or an array of objects (a stream not requested as SSE)."""
    try:
        answers = _decode_list(body) if body.lstrip()[:1] == b"[" else [_decode(body)]
    except UNREADABLE:
        return JsonReading(valid=is_json_object(body))
    counts = [answer.usage_metadata for answer in answers if given(answer.usage_metadata)]
    return JsonReading(
        valid=bool(answers),
        failed=any(answer.error for answer in answers),
        usage=_usage(counts[-1]) if counts else None,
    )


_USAGE_KEY = b'"usageMetadata"'
_METHODS = {
    "generateContent": Operation(
        name="generate_content", model_in="path", streams=False, read_json=read_json, usage_key=_USAGE_KEY
    ),
    "streamGenerateContent": Operation(
        name="generate_content",
        model_in="path",
        streams=True,
        events=GenerateEvents,
        read_json=read_json,
        usage_key=_USAGE_KEY,
    ),
    "countTokens": Operation(
        name="count_tokens",
        model_in="path",
        repeats_model=True,
        streams=False,
        read_json=read_json,
        usage_key=_USAGE_KEY,
    ),
    "embedContent": Operation(
        name="embeddings",
        model_in="path",
        repeats_model=True,
        streams=False,
        read_json=read_json,
        usage_key=_USAGE_KEY,
    ),
    "batchEmbedContents": Operation(
        name="embeddings",
        model_in="path",
        repeats_model=True,
        streams=False,
        read_json=read_json,
        usage_key=_USAGE_KEY,
    ),
}


def operation(path: str) -> Operation:
    """Return the operation at a path below the base URL (`/v1beta/models/gemini-2.5-pro:generateContent`)."""
    place = MODEL_PATH.match(path)
    return _METHODS.get(place["method"], PASS_THROUGH) if place else PASS_THROUGH
