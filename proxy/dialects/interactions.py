"""Gemini's Interactions API: named events, and a document with a list of steps.

The shapes are those that google-genai 3.6.1 declares. Its legacy form (`outputs`, `content.delta`) has been
switched off.
"""

from typing import Any

import msgspec

from common.text import UNREADABLE, readable
from proxy.dialects.operation import (
    AnswerChoices,
    AnswerSummary,
    CollectedOutput,
    Count,
    CountedAnswer,
    ExpectedOutput,
    OutputRequest,
    Texts,
    decode_counted,
    given,
    is_given,
    is_json_object,
    named,
    read_counted,
    schema_of,
    total,
    usage_in,
)
from records.outcome import Finish, Usage


class _Usage(msgspec.Struct, gc=False):
    """Input tokens include cached tokens but no tool results. Output tokens exclude thoughts."""

    total_input_tokens: Count | None = None
    total_tool_use_tokens: Count | None = None
    total_cached_tokens: Count | None = None
    total_output_tokens: Count | None = None
    total_thought_tokens: Count | None = None

    def usage(self) -> Usage:
        return Usage(
            input_tokens=total(self.total_input_tokens, self.total_tool_use_tokens),
            cached_input_tokens=self.total_cached_tokens,
            output_tokens=total(self.total_output_tokens, self.total_thought_tokens),
            reasoning_tokens=self.total_thought_tokens,
        )


class _Part(msgspec.Struct, gc=False):
    """A content: text, or an image, audio, a video or a document."""

    type: str = ""
    text: str | None = None


class _Step(msgspec.Struct, gc=False):
    """A step: the model's output, a thought, a call of some tool, or its result."""

    type: str = ""
    id: str | None = None
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()
    content: list[_Part] | None = None
    error: Any = None


class _Interaction(msgspec.Struct, gc=False):
    id: Any = None
    status: str | None = None
    steps: list[_Step] | None = None
    errors: Any = None
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None
    model: Any = None


class _Delta(msgspec.Struct, gc=False):
    """What an event adds to a step. Arguments for a tool that Google runs are objects."""

    type: str = ""
    text: str | None = None
    arguments: Any = None
    content: Any = None


class _Event(msgspec.Struct, gc=False):
    """An event. `usage` stands in `step.stop` and in `interaction.status_update`."""

    event_type: str = ""
    index: int = 0
    delta: _Delta | None = None
    step: _Step | None = None
    interaction: msgspec.Raw = msgspec.Raw()
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None


_ENDS = frozenset({"interaction.completed", "interaction.requires_action"})
_NOT_ENDED = ("queued", "in_progress")
"""Statuses of an interaction that is made in the background: its answer is fetched later."""
_STATUSES: dict[str, Finish] = {
    "completed": "stop",
    "requires_action": "tool_calls",
    "incomplete": "length",
}
_NO_CONTENT = frozenset({"", "thought", "user_input", "function_result"})
_BLOCKS = ("safety", "blocklist", "prohibited_content", "recitation", "spii")
"""The reasons for which Google blocks an answer, as they stand in an error's code or message."""


class InteractionEvents:
    """Reads the named events of an interaction; the last one has its status and usage."""

    texts: Texts = None  # each event has its own place

    __slots__ = ("_answer", "seen")

    def __init__(self) -> None:
        self._answer = AnswerChoices()
        self.seen = AnswerSummary(answer=self._answer)

    def take(self, name: bytes, data: bytes) -> bool:
        if name == b"error":
            self.seen.failed = True
        try:
            event = _decode_event(data)
        except UNREADABLE:
            return False
        kind = event.event_type or name.decode("latin-1")
        if event.delta is not None:
            self._look_at(event.delta)
        elif event.step is not None:
            self._begin(event.step)
        elif kind in _ENDS:
            self.seen.done = True
            self._end(event.interaction)
        self.seen.failed = self.seen.failed or kind == "error" or bool(event.error)
        self.seen.usage = usage_in(_decode_usage, event.usage) or self.seen.usage
        return False

    def _look_at(self, delta: _Delta) -> None:
        choice = self._answer.choice(0)
        if delta.type in _MEDIA:
            choice.content = True
        elif delta.text or (delta.type == "thought_summary" and delta.content):
            self.seen.token = True
            choice.content = choice.content or (delta.type == "text" and bool(str(delta.text).strip()))

    def _begin(self, step: _Step) -> None:
        _note_step(self._answer, step)
        self.seen.token = self.seen.token or any(part.text for part in step.content or ())

    def _end(self, raw: msgspec.Raw) -> None:
        interaction = _interaction(raw)
        if isinstance(interaction, _Interaction):
            self.seen.failed = _note_end(self._answer, interaction) or self.seen.failed
        if interaction is not None:
            self.seen.usage = usage_in(_decode_usage, interaction.usage) or self.seen.usage
            self.seen.model = named(interaction.model) or self.seen.model


_MEDIA = frozenset({"image", "audio", "video", "document"})


def _note_end(answer: AnswerChoices, interaction: _Interaction) -> bool:
    """Note why an interaction ended, and what it holds; True when it failed."""
    for step in interaction.steps or ():
        _note_step(answer, step)
    choice = answer.choice(0)
    if interaction.status == "failed":
        wrong = [interaction.errors, *[step.error for step in interaction.steps or ()]]
        if not any(_is_block(error) for error in wrong):
            return True
        choice.reason = "content_filter"
    elif interaction.status is not None:
        choice.reason = _STATUSES.get(interaction.status, "other")
    return bool(interaction.error)


def _note_step(answer: AnswerChoices, step: _Step) -> None:
    """Note one step. Thoughts and what the caller sent are no content; other steps are calls, or output."""
    choice = answer.choice(0)
    if step.type == "model_output":
        if _is_block(step.error):
            choice.reason = "content_filter"
        for part in step.content or ():
            choice.content = choice.content or part.type in _MEDIA or bool((part.text or "").strip())
    elif step.type not in _NO_CONTENT:
        choice.content = True
        choice.called = choice.called or step.type == "function_call"


def _is_block(error: Any) -> bool:
    """True for an error, or a list of them, that names a reason for blocking an answer."""
    said = str(error).lower() if error else ""
    return any(reason in said for reason in _BLOCKS)


def _interaction(raw: bytes) -> _Interaction | CountedAnswer | None:
    """The interaction, or its counts where it has another shape; None when it is no JSON object."""
    return readable(_decode, raw) or readable(decode_counted, raw)


_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode = msgspec.json.Decoder(_Interaction).decode


def read_json(body: bytes) -> AnswerSummary:
    """Read a whole interaction: valid if a JSON object, failed if its status or an error says so."""
    interaction = _interaction(body)
    if interaction is None:
        return AnswerSummary(valid=is_json_object(body))
    if isinstance(interaction, CountedAnswer):
        return read_counted(body, _decode_usage)
    answer = AnswerChoices()
    failed = _note_end(answer, interaction)
    in_background = interaction.status in _NOT_ENDED
    return AnswerSummary(
        failed=failed,
        usage=usage_in(_decode_usage, interaction.usage),
        answer=None if in_background else answer,
        pending=named(interaction.id) if in_background else "",
        model=named(interaction.model),
    )


def take_output(output: CollectedOutput, data: bytes) -> None:
    """Collect what one event adds to a step, or all steps at the end, which are mostly left out there."""
    if data.startswith(b"[DONE]"):
        return
    event = _decode_event(data)
    delta = event.delta
    if event.step is not None:
        _take_step(output, event.index, event.step)
    elif delta is not None and delta.type == "text":
        output.add_text(0, delta.text or "")
    elif delta is not None and delta.type == "arguments_delta" and output.is_open(event.index):
        output.add_call(0, event.index, arguments=delta.arguments or "")
    elif given(event.interaction) and (steps := _decode(event.interaction).steps):
        output.restart()
        _take_steps(output, steps)


def read_output(output: CollectedOutput, body: bytes) -> None:
    _take_steps(output, _decode(body).steps or [])


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


def expected_output(request: OutputRequest) -> ExpectedOutput:
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
