"""Anthropic's wire API: messages and count_tokens."""

from typing import Any

import msgspec

from proxy.dialects.operation import PASS_THROUGH, UNREADABLE, JsonReading, Operation, is_json_object
from records.outcome import Usage


class _Usage(msgspec.Struct):
    """`input_tokens` excludes tokens read from and written to the cache."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None

    def updated_by(self, later: "_Usage") -> "_Usage":
        """message_start's counts with message_delta's laid over them (it repeats some)."""
        known = {name: count for name, count in msgspec.structs.asdict(later).items() if count is not None}
        return msgspec.structs.replace(self, **known)

    def usage(self) -> Usage:
        read, written = self.cache_read_input_tokens, self.cache_creation_input_tokens
        whole = None if self.input_tokens is None else self.input_tokens + (read or 0) + (written or 0)
        return Usage(
            input_tokens=whole,
            cached_input_tokens=read,
            cache_write_tokens=written,
            output_tokens=self.output_tokens,
        )


class _Message(msgspec.Struct):
    usage: msgspec.Raw = msgspec.Raw()


class _Delta(msgspec.Struct):
    """Of a text or a thinking block; those of other blocks bring no token that a user reads."""

    text: str | None = None
    thinking: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    message: _Message | None = None
    delta: _Delta | None = None
    usage: msgspec.Raw = msgspec.Raw()


class MessageEvents:
    """message_start, content_block_delta, message_delta, message_stop; `error` may come at any time."""

    __slots__ = ("_usage", "done", "failed", "finished", "token", "usage")

    def __init__(self) -> None:
        self.token = self.done = self.failed = self.finished = False
        self.usage: Usage | None = None
        self._usage = _Usage()

    def take(self, name: bytes, data: bytes) -> None:
        self.failed = self.failed or name == b"error"
        try:
            event = _decode_event(data)
        except UNREADABLE:
            return
        kind = event.type or name.decode("latin-1")
        if kind == "content_block_delta":
            self.token = self.token or (
                event.delta is not None and bool(event.delta.text or event.delta.thinking)
            )
        elif kind == "message_stop":
            self.done = True
        elif kind == "error":
            self.failed = True
        counts = _counts(event.message.usage if event.message is not None else event.usage)
        if counts is not None:
            self._usage = self._usage.updated_by(counts)
            self.usage = self._usage.usage()


def _counts(raw: msgspec.Raw) -> _Usage | None:
    """None where there are no counts, or some of another shape: unknown, and no fault of the answer."""
    try:
        return _decode_usage(raw) if raw else None
    except UNREADABLE:
        return None


class _Answer(msgspec.Struct):
    type: str = ""
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None


_decode_usage = msgspec.json.Decoder(_Usage | None).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


def read_json(body: bytes) -> JsonReading:
    """A whole answer: valid when it is a JSON object, failed when it is an error despite its status."""
    try:
        answer = _decode_answer(body)
    except UNREADABLE:
        return JsonReading(valid=is_json_object(body))
    counts = _counts(answer.usage)
    return JsonReading(
        valid=True,
        failed=answer.type == "error" or bool(answer.error),
        usage=counts.usage() if counts is not None else None,
    )


_OPERATIONS = {
    "/v1/messages": Operation(name="chat", events=MessageEvents, read_json=read_json),
    "/v1/messages/count_tokens": Operation(name="count_tokens", streams=False, read_json=read_json),
}


def operation(path: str) -> Operation:
    """The operation at a path below the base URL (`/v1/messages`, …)."""
    return _OPERATIONS.get(path, PASS_THROUGH)
