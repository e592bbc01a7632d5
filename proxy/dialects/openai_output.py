"""Texts, tool calls, tools and formats of OpenAI's chat completions and completions."""

from typing import Any

import msgspec

from proxy.dialects.operation import UNREADABLE
from proxy.output import CollectedOutput, ExpectedOutput, OutputRequest, Schema


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None
    input: str | None = None


class _Call(msgspec.Struct, gc=False):
    """A call, or a piece of it. `custom` tools take text."""

    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    custom: _Function | None = None


class _Message(msgspec.Struct, gc=False):
    content: Any = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: _Message | None = None
    message: _Message | None = None
    text: str | None = None


class _Answer(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None


_decode = msgspec.json.Decoder(_Answer).decode


def take(output: CollectedOutput, data: bytes) -> None:
    """Collect the pieces of one chunk, or of a whole answer."""
    if data.startswith(b"[DONE]"):
        return
    try:
        answer = _decode(data)
    except UNREADABLE:
        output.lose()
        return
    for choice in answer.choices or ():
        index = choice.index or 0
        if choice.text:
            output.add_text(index, choice.text)
        message = choice.delta or choice.message
        if message is not None:
            _take_message(output, index, message)


def _take_message(output: CollectedOutput, index: int, message: _Message) -> None:
    output.add_text(index, _text(message.content))
    for place, call in enumerate(message.tool_calls or ()):
        function = call.function or call.custom or _Function()
        added = output.add_call(
            index,
            place if call.index is None else call.index,
            id=call.id or "",
            name=function.name or "",
            arguments=function.arguments or function.input or "",
        )
        added.free = added.free or call.custom is not None
    function_call = message.function_call
    if function_call is not None:
        output.add_call(index, 0, name=function_call.name or "", arguments=function_call.arguments or "")


def _text(content: Any) -> str:
    """A content's text; a list of parts is joined, without the thoughts that some providers put there."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "".join([_text(part.get("text")) for part in parts if isinstance(part, dict)])


class _Declared(msgspec.Struct, gc=False):
    """A declared function: `parameters` is its schema."""

    name: str = ""
    parameters: msgspec.Raw = msgspec.Raw()


class _Tool(msgspec.Struct, gc=False):
    type: str = ""
    function: _Declared | None = None
    custom: _Declared | None = None


class _Schema(msgspec.Struct, gc=False):
    schema: msgspec.Raw = msgspec.Raw()


class _Format(msgspec.Struct, gc=False):
    type: str = ""
    json_schema: _Schema | None = None


_decode_tools = msgspec.json.Decoder(list[_Tool]).decode
_decode_functions = msgspec.json.Decoder(list[_Declared]).decode
_decode_format = msgspec.json.Decoder(_Format).decode


def expected(request: OutputRequest) -> ExpectedOutput:
    """What the request lets its answer hold. Raises one of UNREADABLE."""
    tools = _decode_tools(request.tools) if is_given(request.tools) else []
    functions = _decode_functions(request.functions) if is_given(request.functions) else []
    declared = [*functions, *[tool.function or tool.custom for tool in tools]]
    wanted = _decode_format(request.form) if is_given(request.form) else _Format()
    schema = wanted.json_schema.schema if wanted.json_schema is not None else msgspec.Raw()
    return ExpectedOutput(
        tools={each.name: schema_of(each.parameters) for each in declared if each is not None},
        others=None in declared,  # a tool of the provider's own
        wants_json=wanted.type in ("json_object", "json_schema"),
        schema=schema_of(schema) if wanted.type == "json_schema" else None,
    )


def is_given(raw: msgspec.Raw) -> bool:
    """True for a member that is present and not null."""
    return bytes(raw) not in (b"", b"null")


def schema_of(raw: msgspec.Raw, *, openapi: bool = False) -> Schema | None:
    """The schema in a raw member; None without one, and for {} and true, which everything fits."""
    text = bytes(raw)
    return None if text in (b"", b"null", b"{}", b"true") else Schema(text, openapi)
