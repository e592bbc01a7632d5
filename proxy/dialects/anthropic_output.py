"""Texts, tool calls, tools and formats of Anthropic's messages."""

import msgspec

from proxy.dialects.openai_output import is_given, schema_of
from proxy.dialects.operation import UNREADABLE
from proxy.output import CollectedOutput, ExpectedOutput, OutputRequest


class _Block(msgspec.Struct, gc=False):
    """A content block. Calls that Anthropic runs (`server_tool_use`, `mcp_tool_use`) are other types."""

    type: str = ""
    id: str = ""
    name: str = ""
    text: str | None = None
    input: msgspec.Raw = msgspec.Raw()


class _Delta(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    partial_json: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int = 0
    content_block: _Block | None = None
    delta: _Delta | None = None


class _Message(msgspec.Struct, gc=False):
    content: list[_Block] | None = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode = msgspec.json.Decoder(_Message).decode


def take(output: CollectedOutput, data: bytes) -> None:
    """Collect what one event adds to a block."""
    try:
        event = _decode_event(data)
    except UNREADABLE:
        output.lose()
        return
    block, delta = event.content_block, event.delta
    if block is not None:
        output.add_text(0, block.text or "" if block.type == "text" else "")
        if block.type == "tool_use":
            output.add_call(0, event.index, id=block.id, name=block.name)
    elif delta is not None and delta.type == "text_delta":
        output.add_text(0, delta.text or "")
    elif delta is not None and delta.partial_json and _is_open(output, event.index):
        output.add_call(0, event.index, arguments=delta.partial_json)


def _is_open(output: CollectedOutput, place: int) -> bool:
    """True for a call that the caller runs; Anthropic's own calls have pieces of input, too."""
    return bool(output.choices) and place in output.choices[0].open


def read(output: CollectedOutput, body: bytes) -> None:
    """Collect the blocks of a whole message."""
    try:
        message = _decode(body)
    except UNREADABLE:
        output.lose()
        return
    for place, block in enumerate(message.content or ()):
        if block.type == "text":
            output.add_text(0, block.text or "")
        elif block.type == "tool_use":
            arguments = bytes(block.input).decode()
            call = output.add_call(0, place, id=block.id, name=block.name, arguments=arguments)
            call.broken = not arguments.startswith("{")


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


def expected(request: OutputRequest) -> ExpectedOutput:
    """What the request lets its answer hold. Raises one of UNREADABLE."""
    tools = _decode_tools(request.tools) if is_given(request.tools) else []
    form = _decode_format(request.form) if is_given(request.form) else _Format()
    wanted = form.format or form
    is_schema = wanted.type == "json_schema"
    return ExpectedOutput(
        tools={tool.name: schema_of(tool.input_schema) for tool in tools if tool.name},
        wants_json=is_schema,
        schema=schema_of(wanted.schema) if is_schema else None,
    )
