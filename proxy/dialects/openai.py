"""OpenAI's wire API (chat, completions, embeddings, responses), with additions of compatible providers."""

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
)
from proxy.event_template import text_members
from records.outcome import Usage


class _Details(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    reasoning_tokens: Count | None = None


class _Usage(msgspec.Struct, gc=False):
    """The counts under the names of chat completions and of responses.

    Prompt tokens include tokens read from and written to the cache. Moonshot and Together add
    `cached_tokens`, DeepSeek `prompt_cache_hit_tokens`.
    """

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    total_tokens: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None
    cached_tokens: Count | None = None
    prompt_cache_hit_tokens: Count | None = None

    def usage(self) -> Usage | None:
        read, written = self.prompt_tokens, self.completion_tokens
        read = self.input_tokens if read is None else read
        written = self.output_tokens if written is None else written
        if read is None and written is None:
            return None
        if written is not None and read and self.total_tokens is not None:
            # xAI and Google's compatible endpoint count reasoning only in the total and bill it as output.
            written = max(written, self.total_tokens - read)
        into = self.prompt_tokens_details or self.input_tokens_details or _NO_DETAILS
        out = self.completion_tokens_details or self.output_tokens_details or _NO_DETAILS
        cached = self.prompt_cache_hit_tokens if self.cached_tokens is None else self.cached_tokens
        return Usage(
            input_tokens=read,
            cached_input_tokens=cached if into.cached_tokens is None else into.cached_tokens,
            cache_write_tokens=into.cache_write_tokens,
            output_tokens=written,
            reasoning_tokens=out.reasoning_tokens,
        )


_NO_DETAILS = _Details()


def _usage(counts: Any) -> Usage | None:
    """The usage in decoded JSON; None when missing or of another shape, which is not an answer's error."""
    try:
        return msgspec.convert(counts, _Usage).usage() if counts else None
    except msgspec.ValidationError:
        return None


def _usage_of(raw: msgspec.Raw) -> Usage | None:
    """The usage in raw JSON; None when missing or of another shape."""
    try:
        return _decode_usage(raw).usage() if given(raw) else None
    except UNREADABLE:
        return None


class _Ending(msgspec.Struct, gc=False):
    index: int | None = None
    finish_reason: str | None = None


class _Choice(_Ending, gc=False):
    """A choice with its text: `delta` in chat completions, `text` in completions."""

    delta: Any = None
    text: Any = None


class _Chunk(msgspec.Struct, gc=False):
    """One chunk. `x_groq` is Groq's: usage that is always sent, and the error that stopped a stream."""

    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    x_groq: Any = None


class _Rest(msgspec.Struct, gc=False):
    """A chunk without texts, which do not matter after the first token."""

    choices: list[_Ending] | None = None
    usage: Any = None
    error: Any = None
    x_groq: Any = None


class ChatEvents:
    """Reads the chunks of chat completions and completions.

    `data: [DONE]` ends the stream, but not every provider sends it. The answer is also complete when every
    choice that began has a finish_reason.
    """

    texts: ClassVar[Texts] = text_members(
        "content", "reasoning_content", "reasoning", "text", "arguments", "obfuscation"
    )

    __slots__ = ("_begun", "_closed", "_ended", "done", "failed", "finished", "token", "usage")

    def __init__(self) -> None:
        self.token = self.done = self.failed = self.finished = False
        self.usage: Usage | None = None
        self._begun: set[int] = set()
        self._ended: set[int] = set()
        self._closed = False

    def take(self, name: bytes, data: bytes) -> bool:
        only_text = self.token
        if name == b"error":
            self.failed = True
        try:
            chunk = _decode_rest(data) if only_text else self._find_token(_decode_chunk(data))
        except UNREADABLE:
            if data == b"[DONE]":
                self.done = self._closed = True
            return False
        if chunk.error or chunk.usage is not None or chunk.x_groq is not None:
            self._note(chunk)
            only_text = False
        for choice in chunk.choices or ():
            index = choice.index or 0
            if choice.finish_reason or index not in self._begun:
                self._update_choice(index, choice.finish_reason)
                only_text = False
        return only_text

    def _note(self, chunk: _Chunk | _Rest) -> None:
        self.failed = self.failed or bool(chunk.error)
        self.usage = _usage(chunk.usage) or self.usage
        if isinstance(chunk.x_groq, dict):
            self.failed = self.failed or bool(chunk.x_groq.get("error"))
            self.usage = _usage(chunk.x_groq.get("usage")) or self.usage

    def _find_token(self, chunk: _Chunk) -> _Chunk:
        self.token = any(_has_token(choice) for choice in chunk.choices or ())
        return chunk

    def _update_choice(self, index: int, finish_reason: str | None) -> None:
        """Record that a choice begins or ends. Some providers send "" as the reason instead of null."""
        self._begun.add(index)
        if finish_reason:
            self._ended.add(index)
            self.finished = True
            self.failed = self.failed or finish_reason == "error"
        self.done = self._closed or self._begun == self._ended


_TEXT_MEMBERS = ("content", "reasoning_content", "reasoning", "refusal")
"""Members with text; some providers send a list of parts instead of a string."""


def _has_token(choice: _Choice) -> bool:
    delta = choice.delta
    return bool(choice.text) or (isinstance(delta, dict) and any(delta.get(name) for name in _TEXT_MEMBERS))


class _Response(msgspec.Struct, gc=False):
    usage: msgspec.Raw = msgspec.Raw()


class _ResponseEvent(msgspec.Struct, gc=False):
    type: str = ""
    delta: Any = None
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
    """Reads the named events of the responses API; the last event has the usage."""

    texts: ClassVar[Texts] = None  # each event has its own sequence number

    __slots__ = ("done", "failed", "finished", "token", "usage")

    def __init__(self) -> None:
        self.token = self.done = self.failed = self.finished = False
        self.usage: Usage | None = None

    def take(self, name: bytes, data: bytes) -> bool:
        if name == b"error":
            self.failed = True
        try:
            event = _decode_response_event(data)
        except UNREADABLE:
            return False
        kind = event.type or name.decode("latin-1")
        if kind in _RESPONSE_TOKENS:
            self.token = self.token or bool(event.delta)
        elif kind in ("response.completed", "response.incomplete"):
            self.done = True
        elif kind in ("response.failed", "error"):
            self.failed = True
        if event.error:
            self.failed = True
        if event.response is not None:
            self.usage = _usage_of(event.response.usage) or self.usage
        return False


class _Uncounted(msgspec.Struct, gc=False):
    error: Any = None


class _Answer(_Uncounted, gc=False):
    usage: _Usage | None = None


_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_rest = msgspec.json.Decoder(_Rest).decode
_decode_response_event = msgspec.json.Decoder(_ResponseEvent).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_uncounted = msgspec.json.Decoder(_Uncounted).decode


def read_json(body: bytes) -> JsonReading:
    """Read a whole answer: valid if a JSON object, failed if it carries an error despite its status."""
    try:
        answer = _decode_answer(body)
    except UNREADABLE:
        return _read_uncounted(body)
    usage = answer.usage
    return JsonReading(valid=True, failed=bool(answer.error), usage=usage.usage() if usage else None)


def _read_uncounted(body: bytes) -> JsonReading:
    """Read an answer whose counts have another shape, which is not an error of the answer."""
    try:
        answer = _decode_uncounted(body)
    except UNREADABLE:
        return JsonReading(valid=False)
    return JsonReading(valid=True, failed=bool(answer.error))


_OPERATIONS = {
    "/chat/completions": Operation(name="chat", events=ChatEvents, read_json=read_json, injects_usage=True),
    "/completions": Operation(
        name="text_completion", events=ChatEvents, read_json=read_json, injects_usage=True
    ),
    "/responses": Operation(name="chat", events=ResponsesEvents, read_json=read_json, creates_state=True),
    "/embeddings": Operation(name="embeddings", streams=False, read_json=read_json),
}


def operation(path: str) -> Operation:
    """Return the operation at a path below the base URL's root (`/chat/completions`, …)."""
    return _OPERATIONS.get(path, PASS_THROUGH)
