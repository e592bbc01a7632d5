"""Texts, function calls, tools and formats of Gemini's generateContent."""

from typing import Any

import msgspec

from proxy.dialects.openai_output import is_given, schema_of
from proxy.dialects.operation import UNREADABLE
from proxy.output import CollectedOutput, ExpectedOutput, OutputRequest, Schema


class _Call(msgspec.Struct, rename="camel", gc=False):
    """A call. Pieces of arguments (`partialArgs`) come where a request asks for them."""

    name: str = ""
    args: msgspec.Raw = msgspec.Raw()
    partial_args: Any = None
    will_continue: bool | None = None


class _Part(msgspec.Struct, rename="camel", gc=False):
    text: str | None = None
    thought: bool | None = None
    function_call: _Call | None = None


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, gc=False):
    index: int | None = None
    content: _Content | None = None


class _Answer(msgspec.Struct, gc=False):
    candidates: list[_Candidate] | None = None


_decode = msgspec.json.Decoder(_Answer).decode
_decode_list = msgspec.json.Decoder(list[_Answer]).decode


def take(output: CollectedOutput, data: bytes) -> None:
    """Collect the parts of one event, of a whole answer, or of an array of answers."""
    try:
        answers = _decode_list(data) if data.lstrip()[:1] == b"[" else [_decode(data)]
    except UNREADABLE:
        output.lose()
        return
    for answer in answers:
        for candidate in answer.candidates or ():
            parts = candidate.content.parts if candidate.content is not None else None
            for part in parts or ():
                _take_part(output, candidate.index or 0, part)


def _take_part(output: CollectedOutput, index: int, part: _Part) -> None:
    call = part.function_call
    if call is None:
        output.add_text(index, part.text or "" if not part.thought else "")
    elif call.partial_args is not None or call.will_continue:
        output.lose()
    else:
        choice = output.choices.get(index)
        arguments = bytes(call.args).decode() or "{}"
        added = output.add_call(
            index, len(choice.calls) if choice is not None else 0, name=call.name, arguments=arguments
        )
        added.broken = not arguments.startswith("{")


class _Declared(msgspec.Struct, gc=False):
    """A declared function. Protobuf's JSON mapping accepts both spellings."""

    name: str = ""
    parameters: msgspec.Raw = msgspec.Raw()
    parametersJsonSchema: msgspec.Raw = msgspec.Raw()  # noqa: N815
    parameters_json_schema: msgspec.Raw = msgspec.Raw()


class _Config(msgspec.Struct, gc=False):
    responseMimeType: str = ""  # noqa: N815
    response_mime_type: str = ""
    responseSchema: msgspec.Raw = msgspec.Raw()  # noqa: N815
    response_schema: msgspec.Raw = msgspec.Raw()
    responseJsonSchema: msgspec.Raw = msgspec.Raw()  # noqa: N815
    response_json_schema: msgspec.Raw = msgspec.Raw()


_decode_tools = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_decode_functions = msgspec.json.Decoder(list[_Declared]).decode
_decode_config = msgspec.json.Decoder(_Config).decode
_FUNCTIONS = ("functionDeclarations", "function_declarations")
_OWN_PARTS = frozenset(
    {
        "googleSearch", "google_search", "googleSearchRetrieval", "google_search_retrieval", "codeExecution",
        "code_execution", "urlContext", "url_context", "fileSearch", "file_search", "googleMaps",
        "google_maps", "retrieval", "enterpriseWebSearch", "enterprise_web_search",
    }
)  # fmt: skip
"""Tools that Google runs and that are never a function call. Others may bring functions of their own."""


def expected(request: OutputRequest) -> ExpectedOutput:
    """What the request lets its answer hold. Raises one of UNREADABLE."""
    groups = _decode_tools(request.tools) if is_given(request.tools) else []
    declared = [
        function
        for group in groups
        for name in _FUNCTIONS
        for function in _decode_functions(group.get(name) or b"[]")
    ]
    config = _decode_config(request.form) if is_given(request.form) else _Config()
    schema = config.responseSchema or config.response_schema
    json_schema = config.responseJsonSchema or config.response_json_schema
    return ExpectedOutput(
        tools={each.name: _arguments(each) for each in declared},
        others=any(name not in _OWN_PARTS and name not in _FUNCTIONS for group in groups for name in group),
        wants_json="application/json" in (config.responseMimeType, config.response_mime_type),
        schema=schema_of(json_schema) or schema_of(schema, openapi=True),
    )


def _arguments(declared: _Declared) -> Schema | None:
    json_schema = declared.parametersJsonSchema or declared.parameters_json_schema
    return schema_of(json_schema) or schema_of(declared.parameters, openapi=True)
