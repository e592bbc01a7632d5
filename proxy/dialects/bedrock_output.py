"""Texts, tool calls, tools and formats of Bedrock's Converse, and of InvokeModel in a form that is known."""

import msgspec

from proxy.dialects import anthropic_output, openai_output
from proxy.dialects.bedrock_invoke import converse_event, is_anthropic, payload_of, shape_of
from proxy.dialects.openai_output import is_given, schema_of
from proxy.dialects.operation import UNREADABLE, given
from proxy.output import CollectedOutput, ExpectedOutput, OutputRequest, Schema


class _Call(msgspec.Struct, rename="camel", gc=False):
    """A call, its beginning, or a piece of its input, which is text in streams alone."""

    tool_use_id: str = ""
    name: str = ""
    type: str = ""
    input: msgspec.Raw = msgspec.Raw()

    @property
    def is_callers(self) -> bool:
        return self.type != "server_tool_use"


class _Block(msgspec.Struct, rename="camel", gc=False):
    text: str | None = None
    tool_use: _Call | None = None


class _Event(msgspec.Struct, rename="camel", gc=False):
    content_block_index: int = 0
    start: _Block | None = None
    delta: _Block | None = None


class _Message(msgspec.Struct, gc=False):
    content: list[_Block] | None = None


class _Output(msgspec.Struct, gc=False):
    message: _Message | None = None


class _Answer(msgspec.Struct, gc=False):
    output: _Output | None = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_piece = msgspec.json.Decoder(str).decode


def take(output: CollectedOutput, data: bytes) -> None:
    """Collect what one event of ConverseStream adds to a block."""
    try:
        event = _decode_event(data)
        place = event.content_block_index
        if event.start is not None:
            _begin(output, place, event.start)
        elif event.delta is not None:
            _go_on(output, place, event.delta)
    except UNREADABLE:
        output.lose()


def _begin(output: CollectedOutput, place: int, block: _Block) -> None:
    call = block.tool_use
    if call is not None and call.is_callers:
        output.add_call(0, place, id=call.tool_use_id, name=call.name)


def _go_on(output: CollectedOutput, place: int, block: _Block) -> None:
    call = block.tool_use
    if call is None:
        output.add_text(0, block.text or "")
    elif given(call.input) and output.choices and place in output.choices[0].open:
        output.add_call(0, place, arguments=_decode_piece(call.input))


def read(output: CollectedOutput, body: bytes) -> None:
    """Collect the blocks of a whole answer of Converse."""
    try:
        answer = _decode_answer(body)
    except UNREADABLE:
        output.lose()
        return
    message = answer.output.message if answer.output is not None else None
    for place, block in enumerate((message.content if message is not None else None) or ()):
        call = block.tool_use
        if call is None:
            output.add_text(0, block.text or "")
        elif call.is_callers:
            arguments = bytes(call.input).decode()
            added = output.add_call(0, place, id=call.tool_use_id, name=call.name, arguments=arguments)
            added.broken = not arguments.startswith("{")


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
_decode_list = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


def expected(request: OutputRequest) -> ExpectedOutput:
    """What a request to Converse lets its answer hold. Raises one of UNREADABLE."""
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


def take_invoked(output: CollectedOutput, data: bytes) -> None:
    """Collect what one chunk of InvokeModelWithResponseStream adds."""
    try:
        payload = payload_of(data)
    except UNREADABLE:
        output.lose()
        return
    shape = shape_of(payload)
    if is_anthropic(shape):
        anthropic_output.take(output, payload)
    elif given(shape.choices):
        openai_output.take(output, payload)
    elif (event := converse_event(shape)) is not None:
        take(output, bytes(event[1]))
    else:
        output.lose()


def read_invoked(output: CollectedOutput, body: bytes) -> None:
    """Collect a whole answer of InvokeModel."""
    shape = shape_of(body)
    if is_anthropic(shape):
        anthropic_output.read(output, body)
    elif given(shape.choices):
        openai_output.take(output, body)
    elif given(shape.output):
        read(output, body)
    else:
        output.lose()


def expected_invoked(request: OutputRequest) -> ExpectedOutput:
    """What a request to InvokeModel lets its answer hold. Raises one of UNREADABLE."""
    if bytes(request.tools).startswith(b"{") or b'"textFormat"' in bytes(request.form):
        return expected(request)
    tools = _decode_list(request.tools) if is_given(request.tools) else []
    if any("function" in tool for tool in tools) or b'"json_object"' in bytes(request.form):
        return openai_output.expected(request)
    return anthropic_output.expected(request)
