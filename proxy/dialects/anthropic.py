"""Anthropic's wire API: messages and count_tokens."""

from typing import Any

import msgspec

from common.text import UNREADABLE, readable
from proxy.dialects.operation import (
    PASS_THROUGH,
    AnswerChoice,
    AnswerChoices,
    AnswerSummary,
    CollectedOutput,
    Count,
    ExpectedOutput,
    Operation,
    OutputForm,
    OutputRequest,
    Texts,
    finish_word,
    given,
    is_given,
    named,
    read_counted,
    schema_of,
    text_members,
    total,
    usage_in,
)
from records.outcome import Finish, Usage


class _Written(msgspec.Struct, gc=False):
    """Cache writes by duration; tokens cached for an hour cost more."""

    ephemeral_1h_input_tokens: Count | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: Count | None = None


class _Iteration(msgspec.Struct, gc=False):
    """One sampling step of a request. Only compactions are not included in the message's totals."""

    type: str = ""
    input_tokens: Count = 0
    output_tokens: Count = 0
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_creation: _Written | None = None


class _Usage(msgspec.Struct, gc=False):
    """`input_tokens` excludes tokens read from and written to the cache."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_creation: _Written | None = None
    output_tokens_details: _OutputDetails | None = None
    iterations: list[_Iteration] | None = None

    def updated_by(self, later: "_Usage") -> "_Usage":
        """Merge the counts of message_delta, which repeats some, over those of message_start."""
        known = {name: count for name, count in msgspec.structs.asdict(later).items() if count is not None}
        return msgspec.structs.replace(self, **known)

    def usage(self) -> Usage:
        compactions = [iteration for iteration in self.iterations or () if iteration.type == "compaction"]
        parts: list[_Usage | _Iteration] = [self, *compactions]
        read = total(*[part.cache_read_input_tokens for part in parts])
        written = total(*[part.cache_creation_input_tokens for part in parts])
        hour = [part.cache_creation.ephemeral_1h_input_tokens for part in parts if part.cache_creation]
        plain = _plus(self.input_tokens, [part.input_tokens for part in compactions])
        details = self.output_tokens_details
        return Usage(
            input_tokens=None if plain is None else plain + (read or 0) + (written or 0),
            cached_input_tokens=read,
            cache_write_tokens=written,
            cache_write_1h_tokens=total(*hour),
            output_tokens=_plus(self.output_tokens, [part.output_tokens for part in compactions]),
            reasoning_tokens=details.thinking_tokens if details else None,
        )


def _plus(total: int | None, more: list[int]) -> int | None:
    """The total with `more` added; None when the total is unknown."""
    return None if total is None else total + sum(more)


class _Message(msgspec.Struct, gc=False):
    usage: msgspec.Raw = msgspec.Raw()
    model: Any = None


class _Delta(msgspec.Struct, gc=False):
    """The delta of a text, thinking or calling block, or of the message."""

    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Block(msgspec.Struct, gc=False):
    """A content block. Calls that Anthropic runs (`server_tool_use`, `mcp_tool_use`) are other types."""

    type: str = ""
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None


class MessageEvents:
    """Reads message_start, content_block_delta, message_delta, message_stop and `error`."""

    __slots__ = ("_choice", "_usage", "seen")

    def __init__(self, seen: AnswerSummary | None = None) -> None:
        self.seen = seen or AnswerSummary()
        self.seen.answer = answer = AnswerChoices()
        self._choice = answer.choice(0)
        self._usage = _Usage()

    @property
    def texts(self) -> Texts:
        """Before there is content, its first event must be seen."""
        return _AFTER_CONTENT if self._choice.content else _BEFORE_CONTENT

    def take(self, name: bytes, data: bytes) -> bool:
        only_text = self.seen.token
        if name == b"error":
            self.seen.failed = True
        try:
            event = _decode_event(data)
        except UNREADABLE:
            return False
        kind = event.type or name.decode("latin-1")
        if kind != "content_block_delta":
            only_text = False
            self.seen.done = self.seen.done or kind == "message_stop"
            self._note(event)
        elif event.delta is not None and not (self.seen.token and self._choice.content):
            only_text = self._look_at(event.delta) and only_text
        if event.error or kind == "error":
            self.seen.failed = True
        counts = _counts(event.usage if event.message is None else event.message.usage)
        if counts is None:
            return only_text
        self._usage = self._usage.updated_by(counts)
        self.seen.usage = self._usage.usage()
        return False

    def _look_at(self, delta: _Delta) -> bool:
        """Note what a delta's text changes; True when that is nothing."""
        self.seen.token = self.seen.token or bool(delta.text or delta.thinking)
        if self._choice.content or not (delta.text and delta.text.strip()):
            return True
        self._choice.content = True
        return False

    def _note(self, event: _Event) -> None:
        """Note the model of a message that begins, a block that does, or why the message ends."""
        if event.content_block is not None:
            _note_block(self._choice, event.content_block)
        if event.message is not None:
            self.seen.model = named(event.message.model)
        if event.delta is not None and event.delta.stop_reason:
            self._choice.reason = finish_word(_REASONS, event.delta.stop_reason)


_BEFORE_CONTENT = text_members("thinking")
_AFTER_CONTENT = text_members("text", "thinking", "partial_json")
_REASONS: dict[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
}
_THOUGHTS = ("thinking", "redacted_thinking")


def _note_block(choice: AnswerChoice, block: _Block) -> None:
    """Note a block. Thoughts are no content; every other block but text is a call or its result."""
    choice.called = choice.called or block.type == "tool_use"
    if block.type == "text":
        choice.content = choice.content or (bool(block.text) and not str(block.text).isspace())
    elif block.type and block.type not in _THOUGHTS:
        choice.content = True


def _counts(raw: msgspec.Raw) -> _Usage | None:
    """The counts; None when missing or of another shape, which is not an error of the answer."""
    return readable(_decode_usage, raw) if given(raw) else None


class _Answer(msgspec.Struct, gc=False):
    type: str = ""
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None
    content: list[_Block] | None = None
    stop_reason: str | None = None
    model: Any = None


_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


def read_json(body: bytes) -> AnswerSummary:
    """Read a whole answer: valid if a JSON object, failed if an error despite its status."""
    message = readable(_decode_answer, body)
    if message is None:
        return read_counted(body, _decode_usage)
    answer = AnswerChoices()
    choice = answer.choice(0)
    choice.reason = finish_word(_REASONS, message.stop_reason)
    for block in message.content or ():
        _note_block(choice, block)
    return AnswerSummary(
        failed=message.type == "error" or bool(message.error),
        usage=usage_in(_decode_usage, message.usage),
        answer=answer,
        model=named(message.model),
    )


def take_output(output: CollectedOutput, data: bytes) -> None:
    event = _decode_event(data)
    block, delta = event.content_block, event.delta
    if block is not None:
        output.add_text(0, block.text or "" if block.type == "text" else "")
        if block.type == "tool_use":
            output.add_call(0, event.index, id=block.id, name=block.name)
    elif delta is not None and delta.text is not None:
        output.add_text(0, delta.text)
    elif delta is not None and delta.partial_json and output.is_open(event.index):
        output.add_call(0, event.index, arguments=delta.partial_json)


def read_output(output: CollectedOutput, body: bytes) -> None:
    message = _decode_answer(body)
    for place, block in enumerate(message.content or ()):
        if block.type == "text":
            output.add_text(0, block.text or "")
        elif block.type == "tool_use":
            arguments = bytes(block.input).decode()
            output.add_whole_call(0, place, id=block.id, name=block.name, arguments=arguments)


class _Tool(msgspec.Struct, gc=False):
    """A tool. Those that Anthropic defines (`bash_20250124`) have a name and no schema."""

    name: str = ""
    type: str = ""
    input_schema: msgspec.Raw = msgspec.Raw()


class _Format(msgspec.Struct, gc=False):
    """`output_config`, or the older `output_format`, which is the format itself."""

    type: str = ""
    schema: msgspec.Raw = msgspec.Raw()
    format: "_Format | None" = None


_decode_tools = msgspec.json.Decoder(list[_Tool]).decode


_decode_format = msgspec.json.Decoder(_Format).decode


def expected_output(request: OutputRequest) -> ExpectedOutput:
    tools = _decode_tools(request.tools) if is_given(request.tools) else []
    form = _decode_format(request.form) if is_given(request.form) else _Format()
    wanted = form.format or form
    is_schema = wanted.type == "json_schema"
    return ExpectedOutput(
        tools={tool.name: schema_of(tool.input_schema) for tool in tools if tool.name},
        wants_json=is_schema,
        schema=schema_of(wanted.schema) if is_schema else None,
    )


_OUTPUT = OutputForm(
    take=take_output, read=read_output, expected=expected_output, results_name=(b"tool_use_id",)
)
_OPERATIONS = {
    "/v1/messages": Operation(name="chat", events=MessageEvents, read_json=read_json, output=_OUTPUT),
    "/v1/messages/count_tokens": Operation(
        name="count_tokens", streams=False, read_json=read_json, free=True
    ),
}


def operation(path: str) -> Operation:
    """Return the operation at a path below the base URL (`/v1/messages`, …)."""
    return _OPERATIONS.get(path, PASS_THROUGH)


VERSION_HEADER = b"anthropic-version"
_FIRST_HEADER = b"2023-06-01"
_FIRST_MEMBER = "vertex-2023-10-16"
"""The first version under its two names; every later one has one name. Vertex has the version in the body."""


class _Named(msgspec.Struct):
    anthropic_version: Any = None


_decode_named = msgspec.json.Decoder(_Named).decode


def version_member(header: bytes | None) -> str:
    """The member's value as JSON text, for the header of a caller."""
    version = _FIRST_MEMBER if header in (None, _FIRST_HEADER) else header.decode("latin-1")
    return msgspec.json.encode(version).decode()


def version_header(body: bytes) -> bytes:
    """The header's value, for the member of a caller's body."""
    try:
        version = _decode_named(body).anthropic_version
    except UNREADABLE:
        version = None
    if not isinstance(version, str) or not version[:4].isdigit() or not version.isascii():
        return _FIRST_HEADER
    return version.encode()
