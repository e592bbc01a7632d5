"""Texts, function calls, tools and formats of Gemini's Interactions API."""

import msgspec

from proxy.dialects.openai_output import is_given, schema_of
from proxy.dialects.operation import UNREADABLE
from proxy.output import CollectedOutput, ExpectedOutput, OutputRequest


class _Part(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None


class _Step(msgspec.Struct, gc=False):
    type: str = ""
    id: str = ""
    name: str = ""
    arguments: msgspec.Raw = msgspec.Raw()
    content: list[_Part] | None = None


class _Delta(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    arguments: str | None = None


class _Interaction(msgspec.Struct, gc=False):
    steps: list[_Step] | None = None


class _Event(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    step: _Step | None = None
    interaction: _Interaction | None = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode = msgspec.json.Decoder(_Interaction).decode


def take(output: CollectedOutput, data: bytes) -> None:
    """Collect what one event adds to a step, or all steps at the end, which are mostly left out there."""
    if data.startswith(b"[DONE]"):
        return
    try:
        event = _decode_event(data)
    except UNREADABLE:
        output.lose()
        return
    delta = event.delta
    if event.step is not None:
        _take_step(output, event.index, event.step)
    elif delta is not None and delta.type == "text":
        output.add_text(0, delta.text or "")
    elif delta is not None and delta.type == "arguments_delta" and _is_open(output, event.index):
        output.add_call(0, event.index, arguments=delta.arguments or "")
    elif event.interaction is not None and event.interaction.steps:
        output.restart()
        _take_steps(output, event.interaction.steps)


def _is_open(output: CollectedOutput, place: int) -> bool:
    """True for a call that the caller runs; Google's own calls have pieces of arguments, too."""
    return bool(output.choices) and place in output.choices[0].open


def read(output: CollectedOutput, body: bytes) -> None:
    """Collect the steps of a whole interaction."""
    try:
        interaction = _decode(body)
    except UNREADABLE:
        output.lose()
        return
    _take_steps(output, interaction.steps or [])


def _take_steps(output: CollectedOutput, steps: list[_Step]) -> None:
    for place, step in enumerate(steps):
        _take_step(output, place, step)


def _take_step(output: CollectedOutput, place: int, step: _Step) -> None:
    """Collect a step's texts, or a call. A stream begins a call without arguments, or with `{}`."""
    if step.type == "model_output":
        for part in step.content or ():
            output.add_text(0, part.text or "" if part.type == "text" else "")
    elif step.type == "function_call":
        arguments = bytes(step.arguments).decode()
        whole = "" if arguments in ("", "null", "{}") else arguments
        call = output.add_call(0, place, id=step.id, name=step.name, arguments=whole)
        call.broken = bool(whole) and not whole.startswith("{")


class _Tool(msgspec.Struct, gc=False):
    type: str = ""
    name: str = ""
    parameters: msgspec.Raw = msgspec.Raw()


class _Format(msgspec.Struct, gc=False):
    """One wanted kind of output; a request may have several, of which one is text."""

    type: str = ""
    mime_type: str = ""
    schema: msgspec.Raw = msgspec.Raw()


_decode_tools = msgspec.json.Decoder(list[_Tool]).decode
_decode_formats = msgspec.json.Decoder(_Format | list[_Format]).decode
_OWN_STEPS = frozenset(
    {
        "code_execution", "file_search", "google_maps", "google_search", "mcp_server", "retrieval",
        "url_context",
    }
)  # fmt: skip
"""Tools that Google runs, whose calls are steps of other types. Others may bring functions of their own."""


def expected(request: OutputRequest) -> ExpectedOutput:
    """What the request lets its answer hold. Raises one of UNREADABLE."""
    tools = _decode_tools(request.tools) if is_given(request.tools) else []
    formats = _decode_formats(request.form) if is_given(request.form) else []
    wanted = [each for each in (formats if isinstance(formats, list) else [formats]) if _wants_json(each)]
    return ExpectedOutput(
        tools={tool.name: schema_of(tool.parameters) for tool in tools if tool.type == "function"},
        others=any(tool.type != "function" and tool.type not in _OWN_STEPS for tool in tools),
        wants_json=bool(wanted),
        schema=schema_of(wanted[0].schema) if wanted else None,
    )


def _wants_json(wanted: _Format) -> bool:
    return wanted.type == "text" and wanted.mime_type == "application/json"
