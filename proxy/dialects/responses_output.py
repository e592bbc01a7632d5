"""Texts, tool calls, tools and formats of OpenAI's responses API."""

import msgspec

from proxy.dialects.openai_output import is_given, schema_of
from proxy.dialects.operation import UNREADABLE
from proxy.output import CollectedOutput, ExpectedOutput, OutputRequest


class _Part(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None


class _Item(msgspec.Struct, gc=False):
    type: str = ""
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    content: list[_Part] | None = None


class _Response(msgspec.Struct, gc=False):
    output: list[_Item] | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    item: _Item | None = None
    response: _Response | None = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode = msgspec.json.Decoder(_Response).decode
_MATTERS = (b"response.output_item.done", b"response.completed", b"response.incomplete")


def take(output: CollectedOutput, data: bytes) -> None:
    """Collect a finished item, or all items at the end, which some providers leave out there."""
    if not any(kind in data for kind in _MATTERS):
        return
    try:
        event = _decode_event(data)
    except UNREADABLE:
        output.lose()
        return
    if event.type == "response.output_item.done" and event.item is not None:
        _take_item(output, event.item)
    elif event.response is not None and event.response.output:
        output.restart()
        for item in event.response.output:
            _take_item(output, item)


def read(output: CollectedOutput, body: bytes) -> None:
    """Collect the items of a whole response."""
    try:
        response = _decode(body)
    except UNREADABLE:
        output.lose()
        return
    for item in response.output or ():
        _take_item(output, item)


def _take_item(output: CollectedOutput, item: _Item) -> None:
    """Collect a message's texts, or a call. Tools that the provider runs have items of other types."""
    if item.type == "message":
        for part in item.content or ():
            if part.type == "output_text":
                output.add_text(0, part.text or "")
    elif item.type in ("function_call", "custom_tool_call"):
        place = len(output.choices[0].calls) if output.choices else 0
        call = output.add_call(0, place, name=item.name or "", arguments=item.arguments or item.input or "")
        call.free = item.type == "custom_tool_call"


class _Tool(msgspec.Struct, gc=False):
    """A tool. A `namespace` has tools of its own."""

    type: str = ""
    name: str = ""
    parameters: msgspec.Raw = msgspec.Raw()
    tools: list["_Tool"] | None = None


class _Format(msgspec.Struct, gc=False):
    type: str = ""
    schema: msgspec.Raw = msgspec.Raw()


class _Text(msgspec.Struct, gc=False):
    format: _Format | None = None


_decode_tools = msgspec.json.Decoder(list[_Tool]).decode
_decode_text = msgspec.json.Decoder(_Text).decode
_OWN_ITEMS = (
    "web_search", "file_search", "code_interpreter", "image_generation", "computer", "local_shell", "shell",
    "apply_patch", "mcp",
)  # fmt: skip
"""How the types of tools begin whose calls are items of their own types, never function calls."""


def expected(request: OutputRequest) -> ExpectedOutput:
    """What the request lets its answer hold. Raises one of UNREADABLE."""
    given = _decode_tools(request.tools) if is_given(request.tools) else []
    tools = [*given, *[nested for tool in given for nested in tool.tools or ()]]
    named = [tool for tool in tools if tool.type in ("function", "custom")]
    wanted = (_decode_text(request.form).format if is_given(request.form) else None) or _Format()
    return ExpectedOutput(
        tools={tool.name: schema_of(tool.parameters) for tool in named},
        others=any(not _is_closed(tool) for tool in tools),
        wants_json=wanted.type in ("json_object", "json_schema"),
        schema=schema_of(wanted.schema) if wanted.type == "json_schema" else None,
    )


def _is_closed(tool: _Tool) -> bool:
    """True for a tool that brings no functions of other names."""
    return tool.type in ("function", "custom", "namespace") or tool.type.startswith(_OWN_ITEMS)
