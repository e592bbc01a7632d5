"""Bedrock's Converse and ConverseStream, which Amazon Nova's own answers resemble."""

from collections.abc import Sequence

import msgspec

from common.text import UNREADABLE, readable
from proxy.dialects.operation import (
    AnswerChoice,
    AnswerChoices,
    AnswerSummary,
    CollectedOutput,
    Count,
    ExpectedOutput,
    OutputRequest,
    Schema,
    Texts,
    finish_word,
    given,
    is_given,
    read_counted,
    schema_of,
    usage_in,
)
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


class _Call(msgspec.Struct, rename="camel", gc=False):
    """A call, its beginning, or a piece of its input, which is text in streams alone."""

    tool_use_id: str | None = None
    name: str | None = None
    type: str = ""
    input: msgspec.Raw = msgspec.Raw()

    @property
    def is_callers(self) -> bool:
        """False for a call that Amazon runs itself."""
        return self.type != "server_tool_use"


class _Block(msgspec.Struct, rename="camel", gc=False):
    """A content block, or what begins or continues one."""

    text: str | None = None
    reasoning_content: _Reasoning | None = None
    tool_use: _Call | None = None
    image: msgspec.Raw = msgspec.Raw()
    citations_content: msgspec.Raw = msgspec.Raw()


class _Event(msgspec.Struct, rename="camel", gc=False):
    """Any event of a stream; its name stands in the frame."""

    content_block_index: int = 0
    start: _Block | None = None
    delta: _Block | None = None
    stop_reason: str | None = None
    usage: msgspec.Raw = msgspec.Raw()
    trace: msgspec.Raw = msgspec.Raw()


class _Router(msgspec.Struct, rename="camel", gc=False):
    invoked_model_id: str = ""


class _Trace(msgspec.Struct, rename="camel", gc=False):
    """What a prompt router did, which is all that names a model."""

    prompt_router: _Router | None = None


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

    __slots__ = ("_choice", "seen")

    def __init__(self, seen: AnswerSummary | None = None) -> None:
        self.seen = seen or AnswerSummary()
        self.seen.answer = answer = AnswerChoices()
        self._choice = answer.choice(0)

    def take(self, name: bytes, data: bytes) -> bool:
        if name == b"contentBlockDelta" and self.seen.token and self._choice.content:
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
            self.seen.done = True
            _note_end(self._choice, event.stop_reason)
        elif name == b"metadata":
            self.seen.done = True
            self.seen.usage = usage_in(_decode_usage, event.usage) or self.seen.usage
            self.seen.model = _invoked(event.trace)
        return False

    def _look_at(self, block: _Block) -> None:
        reasoning = block.reasoning_content
        self.seen.token = self.seen.token or bool(block.text or (reasoning is not None and reasoning.text))
        self._choice.content = self._choice.content or _has_content(block)


def _note_block(choice: AnswerChoice, block: _Block) -> None:
    """Note a block, or the beginning of one."""
    call = block.tool_use
    choice.called = choice.called or (call is not None and call.is_callers)
    choice.content = choice.content or _has_content(block)


def _has_content(block: _Block) -> bool:
    """Reasoning is no content, and neither is a text of white space."""
    if block.tool_use is not None or given(block.image) or given(block.citations_content):
        return True
    return bool(block.text and block.text.strip())


def _note_end(choice: AnswerChoice, reason: str | None) -> None:
    choice.reason = finish_word(_REASONS, reason)
    choice.named = _NAMED.get(reason or "", ())


class _Message(msgspec.Struct, gc=False):
    content: list[_Block] | None = None


class _Output(msgspec.Struct, gc=False):
    message: _Message | None = None


class _Answer(msgspec.Struct, rename="camel", gc=False):
    output: _Output | None = None
    stop_reason: str | None = None
    usage: msgspec.Raw = msgspec.Raw()
    trace: msgspec.Raw = msgspec.Raw()


_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_trace = msgspec.json.Decoder(_Trace).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


def read_json(body: bytes) -> AnswerSummary:
    message = readable(_decode_answer, body)
    if message is None:
        return read_counted(body, _decode_usage)
    answer = AnswerChoices()
    choice = answer.choice(0)
    for block in _blocks(message):
        _note_block(choice, block)
    _note_end(choice, message.stop_reason)
    usage = usage_in(_decode_usage, message.usage)
    return AnswerSummary(usage=usage, answer=answer, model=_invoked(message.trace))


def _blocks(answer: _Answer) -> Sequence[_Block]:
    message = answer.output.message if answer.output is not None else None
    return (message.content if message is not None else None) or ()


def _invoked(trace: msgspec.Raw) -> str:
    """The model to which a prompt router sent the request; "" without one."""
    found = readable(_decode_trace, trace) if given(trace) else None
    return found.prompt_router.invoked_model_id if found is not None and found.prompt_router else ""


_decode_piece = msgspec.json.Decoder(str).decode


def take_output(output: CollectedOutput, data: bytes) -> None:
    event = _decode_event(data)
    place = event.content_block_index
    if event.start is not None:
        _begin(output, place, event.start)
    elif event.delta is not None:
        _go_on(output, place, event.delta)


def _begin(output: CollectedOutput, place: int, block: _Block) -> None:
    call = block.tool_use
    if call is not None and call.is_callers:
        output.add_call(0, place, id=call.tool_use_id, name=call.name)


def _go_on(output: CollectedOutput, place: int, block: _Block) -> None:
    call = block.tool_use
    if call is None:
        output.add_text(0, block.text or "")
    elif given(call.input) and output.is_open(place):
        output.add_call(0, place, arguments=_decode_piece(call.input))


def read_output(output: CollectedOutput, body: bytes) -> None:
    for place, block in enumerate(_blocks(_decode_answer(body))):
        call = block.tool_use
        if call is None:
            output.add_text(0, block.text or "")
        elif call.is_callers:
            arguments = bytes(call.input).decode()
            output.add_whole_call(0, place, id=call.tool_use_id, name=call.name, arguments=arguments)


class _InputSchema(msgspec.Struct, gc=False):
    json: msgspec.Raw = msgspec.Raw()


class _Specification(msgspec.Struct, gc=False):
    name: str = ""
    inputSchema: _InputSchema | None = None  # noqa: N815 - Amazon's names


class _Tool(msgspec.Struct, gc=False):
    """A tool of the caller, or one that Amazon runs (`systemTool`), or a place to cache."""

    toolSpec: _Specification | None = None  # noqa: N815


class _Tools(msgspec.Struct, gc=False):
    tools: list[_Tool] | None = None


class _JsonSchema(msgspec.Struct, gc=False):
    """A format's schema, which Converse has as text."""

    schema: str = ""


class _Structure(msgspec.Struct, gc=False):
    jsonSchema: _JsonSchema | None = None  # noqa: N815


class _TextFormat(msgspec.Struct, gc=False):
    type: str = ""
    structure: _Structure | None = None


class _Form(msgspec.Struct, gc=False):
    textFormat: _TextFormat | None = None  # noqa: N815


_decode_tools = msgspec.json.Decoder(_Tools).decode


_decode_form = msgspec.json.Decoder(_Form).decode


def expected_output(request: OutputRequest) -> ExpectedOutput:
    config = _decode_tools(request.tools) if is_given(request.tools) else _Tools()
    form = (_decode_form(request.form) if is_given(request.form) else _Form()).textFormat
    tools = [tool.toolSpec for tool in config.tools or () if tool.toolSpec is not None]
    wants_json = form is not None and form.type == "json_schema"
    return ExpectedOutput(
        tools={tool.name: _arguments(tool) for tool in tools},
        wants_json=wants_json,
        schema=_wanted(form) if form is not None and wants_json else None,
    )


def _arguments(tool: _Specification) -> Schema | None:
    return schema_of(tool.inputSchema.json) if tool.inputSchema is not None else None


def _wanted(form: _TextFormat) -> Schema | None:
    schema = form.structure.jsonSchema if form.structure is not None else None
    return Schema(schema.schema.encode()) if schema is not None and schema.schema else None
