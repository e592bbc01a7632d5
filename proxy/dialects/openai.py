"""OpenAI's wire API: chat completions, completions, embeddings, responses."""

from typing import Any

import msgspec

from proxy.dialects.operation import PASS_THROUGH, UNREADABLE, JsonReading, Operation, is_json_object
from records.outcome import Usage


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    """Chat completions' and responses' names for the same counts; `prompt_tokens` includes cached ones."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


def _usage(raw: msgspec.Raw) -> Usage | None:
    """None where there are no counts, or some of another shape: unknown, and no fault of the answer."""
    try:
        counts = _decode_usage(raw) if raw else None
    except UNREADABLE:
        return None
    if counts is None:
        return None
    into = counts.prompt_tokens_details or counts.input_tokens_details
    out = counts.completion_tokens_details or counts.output_tokens_details
    return Usage(
        input_tokens=counts.prompt_tokens if counts.prompt_tokens is not None else counts.input_tokens,
        cached_input_tokens=into.cached_tokens if into else None,
        output_tokens=(
            counts.completion_tokens if counts.completion_tokens is not None else counts.output_tokens
        ),
        reasoning_tokens=out.reasoning_tokens if out else None,
    )


class _Delta(msgspec.Struct):
    """Each a text; with some providers of this API a list of parts."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None


class ChatEvents:
    """Chat completions' and completions' chunks: each choice has its finish_reason, `data: [DONE]` ends all.

    Not every provider of this API sends [DONE]; the answer is whole when each choice that began has finished.
    """

    __slots__ = ("_begun", "_ended", "done", "failed", "finished", "token", "usage")

    def __init__(self) -> None:
        self.token = self.done = self.failed = self.finished = False
        self.usage: Usage | None = None
        self._begun: set[int] = set()
        self._ended: set[int] = set()

    def take(self, name: bytes, data: bytes) -> None:
        self.failed = self.failed or name == b"error"
        if data == b"[DONE]":
            self.done = True
            return
        try:
            chunk = _decode_chunk(data)
        except UNREADABLE:
            return
        self.failed = self.failed or bool(chunk.error)
        self.usage = _usage(chunk.usage) or self.usage
        for choice in chunk.choices or ():
            self._choose(choice)

    def _choose(self, choice: _Choice) -> None:
        self.token = self.token or _has_token(choice)
        self._begun.add(choice.index)
        if choice.finish_reason is not None:
            self._ended.add(choice.index)
            self.finished = True
        self.done = self._begun == self._ended


def _has_token(choice: _Choice) -> bool:
    delta = choice.delta
    if delta is None:
        return bool(choice.text)
    return bool(delta.content or delta.reasoning_content or delta.reasoning or delta.refusal)


class _Response(msgspec.Struct):
    usage: msgspec.Raw = msgspec.Raw()


class _ResponseEvent(msgspec.Struct):
    type: str = ""
    response: _Response | None = None
    error: Any = None


_RESPONSE_TOKENS = frozenset(
    {
        "response.output_text.delta",
        "response.refusal.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary_text.delta",
    }
)


class ResponsesEvents:
    """The responses API's named events; `response.completed` carries the usage."""

    __slots__ = ("done", "failed", "finished", "token", "usage")

    def __init__(self) -> None:
        self.token = self.done = self.failed = self.finished = False
        self.usage: Usage | None = None

    def take(self, name: bytes, data: bytes) -> None:
        self.failed = self.failed or name == b"error"
        try:
            event = _decode_response_event(data)
        except UNREADABLE:
            return
        kind = event.type or name.decode("latin-1")
        if kind in _RESPONSE_TOKENS:
            self.token = True
        elif kind in ("response.completed", "response.incomplete"):
            self.done = True
        elif kind in ("response.failed", "error") or event.error:
            self.failed = True
        if event.response is not None:
            self.usage = _usage(event.response.usage) or self.usage


class _Answer(msgspec.Struct):
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None


_decode_usage = msgspec.json.Decoder(_Usage | None).decode
_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_response_event = msgspec.json.Decoder(_ResponseEvent).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


def read_json(body: bytes) -> JsonReading:
    """A whole answer: valid when it is a JSON object, failed when it carries an error despite its status."""
    try:
        answer = _decode_answer(body)
    except UNREADABLE:
        return JsonReading(valid=is_json_object(body))
    return JsonReading(valid=True, failed=bool(answer.error), usage=_usage(answer.usage))


_OPERATIONS = {
    "/chat/completions": Operation(name="chat", events=ChatEvents, read_json=read_json, injects_usage=True),
    "/completions": Operation(
        name="text_completion", events=ChatEvents, read_json=read_json, injects_usage=True
    ),
    "/responses": Operation(name="chat", events=ResponsesEvents, read_json=read_json, creates_state=True),
    "/embeddings": Operation(name="embeddings", streams=False, read_json=read_json),
}


def operation(path: str) -> Operation:
    """The operation at a path below the base URL's root (`/chat/completions`, …)."""
    return _OPERATIONS.get(path, PASS_THROUGH)
