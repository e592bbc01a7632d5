"""Answers of Bedrock's Converse and ConverseStream, which Amazon Nova's own answers resemble."""

import msgspec

from proxy.answer import AnswerChoice, AnswerFacts, finish_word
from proxy.dialects.operation import UNREADABLE, Count, JsonReading, Texts, given, is_json_object
from records.outcome import Fault, Finish, Usage


class _Cached(msgspec.Struct, gc=False):
    """Cache writes by duration; tokens cached for an hour cost more."""

    ttl: str = ""
    inputTokens: Count = 0  # noqa: N815 - these are Amazon's names


class _Usage(msgspec.Struct, rename="camel", gc=False):
    """`input_tokens` excludes tokens read from and written to the cache."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_write_input_tokens: Count | None = None
    cache_details: list[_Cached] | None = None

    def usage(self) -> Usage:
        hour = [each.inputTokens for each in self.cache_details or () if each.ttl == "1h"]
        return usage_with_cache(
            self.input_tokens,
            self.output_tokens,
            read=self.cache_read_input_tokens,
            written=self.cache_write_input_tokens,
            hour=sum(hour) if hour else None,
        )


def usage_with_cache(
    uncached: int | None,
    output: int | None,
    *,
    read: int | None,
    written: int | None,
    hour: int | None = None,
) -> Usage:
    """The usage from counts as Bedrock gives them: the input without what the cache read or wrote."""
    return Usage(
        input_tokens=None if uncached is None else uncached + (read or 0) + (written or 0),
        cached_input_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=hour,
        output_tokens=output,
    )


class _Reasoning(msgspec.Struct, gc=False):
    text: str | None = None


class _Call(msgspec.Struct, gc=False):
    """A call. Those that Amazon runs itself have `type: server_tool_use`."""

    type: str = ""


class _Block(msgspec.Struct, rename="camel", gc=False):
    """A content block, or what begins or continues one."""

    text: str | None = None
    reasoning_content: _Reasoning | None = None
    tool_use: _Call | None = None
    image: msgspec.Raw = msgspec.Raw()
    citations_content: msgspec.Raw = msgspec.Raw()


class _Event(msgspec.Struct, rename="camel", gc=False):
    """Any event of a stream; its name stands in the frame."""

    start: _Block | None = None
    delta: _Block | None = None
    stop_reason: str | None = None
    usage: msgspec.Raw = msgspec.Raw()


_REASONS: dict[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
_NAMED: dict[str, tuple[Fault, ...]] = {"malformed_tool_use": ("tool_args_invalid",)}


class ConverseEvents:
    """Reads contentBlockStart, contentBlockDelta, messageStop and metadata, which has the usage."""

    texts: Texts = None
    model = ""  # Converse names none

    __slots__ = ("_choice", "answer", "done", "failed", "finished", "token", "usage")

    def __init__(self) -> None:
        self.token = self.done = self.failed = self.finished = False
        self.usage: Usage | None = None
        self.answer = AnswerFacts()
        self._choice = self.answer.choice(0)

    def take(self, name: bytes, data: bytes) -> bool:
        if name == b"contentBlockDelta" and self.token and self._choice.content:
            return False  # nothing of it could change anything
        try:
            event = _decode_event(data)
        except UNREADABLE:
            return False
        if event.start is not None:
            _note_block(self._choice, event.start)
        elif event.delta is not None:
            self._look_at(event.delta)
        if name == b"messageStop":
            self.done = True
            _note_end(self._choice, event.stop_reason)
        elif name == b"metadata":
            self.done = True
            self.usage = _counts(event.usage) or self.usage
        return False

    def _look_at(self, block: _Block) -> None:
        reasoning = block.reasoning_content
        self.token = self.token or bool(block.text or (reasoning is not None and reasoning.text))
        self._choice.content = self._choice.content or _has_content(block)


def _note_block(choice: AnswerChoice, block: _Block) -> None:
    """Note a block, or the beginning of one."""
    call = block.tool_use
    choice.called = choice.called or (call is not None and call.type != "server_tool_use")
    choice.content = choice.content or _has_content(block)


def _has_content(block: _Block) -> bool:
    """Reasoning is no content, and neither is a text of white space."""
    if block.tool_use is not None or given(block.image) or given(block.citations_content):
        return True
    return bool(block.text and block.text.strip())


def _note_end(choice: AnswerChoice, reason: str | None) -> None:
    choice.reason = finish_word(_REASONS, reason)
    choice.named = _NAMED.get(reason or "", ())


def _counts(raw: msgspec.Raw) -> Usage | None:
    """The usage; None when missing or of another shape, which is not an error of the answer."""
    try:
        return _decode_usage(raw).usage() if given(raw) else None
    except UNREADABLE:
        return None


class _Message(msgspec.Struct, gc=False):
    content: list[_Block] | None = None


class _Output(msgspec.Struct, gc=False):
    message: _Message | None = None


class _Answer(msgspec.Struct, rename="camel", gc=False):
    output: _Output | None = None
    stop_reason: str | None = None
    usage: msgspec.Raw = msgspec.Raw()


class _Counted(msgspec.Struct, gc=False):
    usage: msgspec.Raw = msgspec.Raw()


_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_counted = msgspec.json.Decoder(_Counted).decode


def read_json(body: bytes) -> JsonReading:
    """Read a whole answer of Converse."""
    try:
        message = _decode_answer(body)
    except UNREADABLE:
        return _read_counted(body)
    answer = AnswerFacts()
    choice = answer.choice(0)
    output = message.output.message if message.output is not None else None
    for block in (output.content if output is not None else None) or ():
        _note_block(choice, block)
    _note_end(choice, message.stop_reason)
    return JsonReading(valid=True, usage=_counts(message.usage), answer=answer)


def _read_counted(body: bytes) -> JsonReading:
    """Read an answer of another shape: its counts."""
    try:
        return JsonReading(valid=True, usage=_counts(_decode_counted(body).usage))
    except UNREADABLE:
        return JsonReading(valid=is_json_object(body))
