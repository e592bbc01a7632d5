"""Gemini's Interactions API: named events, and a document with a list of steps.

The shapes are those that google-genai 3.6.1 declares. Its legacy form (`outputs`, `content.delta`) has been
switched off.
"""

from typing import Any

import msgspec

from proxy.answer import AnswerFacts
from proxy.dialects.operation import UNREADABLE, Count, JsonReading, Texts, given, is_json_object, named
from records.outcome import Finish, Usage


class _Usage(msgspec.Struct, gc=False):
    """Input tokens include cached tokens but no tool results. Output tokens exclude thoughts."""

    total_input_tokens: Count | None = None
    total_tool_use_tokens: Count | None = None
    total_cached_tokens: Count | None = None
    total_output_tokens: Count | None = None
    total_thought_tokens: Count | None = None


class _Part(msgspec.Struct, gc=False):
    """A content: text, or an image, audio, a video or a document."""

    type: str = ""
    text: str | None = None


class _Step(msgspec.Struct, gc=False):
    """A step: the model's output, a thought, a call of some tool, or its result."""

    type: str = ""
    content: list[_Part] | None = None
    error: Any = None


class _Interaction(msgspec.Struct, gc=False):
    status: str | None = None
    steps: list[_Step] | None = None
    errors: Any = None
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None
    model: Any = None


class _Counted(msgspec.Struct, gc=False):
    """An interaction of which only the counts can be read, and its model."""

    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None
    model: Any = None


class _Delta(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    content: Any = None


class _Event(msgspec.Struct, gc=False):
    """An event. `usage` stands in `step.stop` and in `interaction.status_update`."""

    event_type: str = ""
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

    __slots__ = ("answer", "done", "failed", "finished", "model", "token", "usage")

    def __init__(self) -> None:
        self.token = self.done = self.failed = self.finished = False
        self.usage: Usage | None = None
        self.model = ""
        self.answer = AnswerFacts()

    def take(self, name: bytes, data: bytes) -> bool:
        if name == b"error":
            self.failed = True
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
            self.done = True
            self._end(event.interaction)
        self.failed = self.failed or kind == "error" or bool(event.error)
        self.usage = _usage(event.usage) or self.usage
        return False

    def _look_at(self, delta: _Delta) -> None:
        choice = self.answer.choice(0)
        if delta.type in _MEDIA:
            choice.content = True
        elif delta.text or (delta.type == "thought_summary" and delta.content):
            self.token = True
            choice.content = choice.content or (delta.type == "text" and bool(str(delta.text).strip()))

    def _begin(self, step: _Step) -> None:
        _note_step(self.answer, step)
        self.token = self.token or any(part.text for part in step.content or ())

    def _end(self, raw: msgspec.Raw) -> None:
        interaction = _interaction(raw)
        if isinstance(interaction, _Interaction):
            self.failed = _note_end(self.answer, interaction) or self.failed
        if interaction is not None:
            self.usage = _usage(interaction.usage) or self.usage
            self.model = named(interaction.model) or self.model


_MEDIA = frozenset({"image", "audio", "video", "document"})


def _note_end(answer: AnswerFacts, interaction: _Interaction) -> bool:
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


def _note_step(answer: AnswerFacts, step: _Step) -> None:
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


def _usage(raw: msgspec.Raw) -> Usage | None:
    """The usage; None when missing or of another shape, which is not an error of the answer."""
    try:
        counts = _decode_usage(raw) if given(raw) else None
    except UNREADABLE:
        return None
    if counts is None:
        return None
    return Usage(
        input_tokens=_sum(counts.total_input_tokens, counts.total_tool_use_tokens),
        cached_input_tokens=counts.total_cached_tokens,
        output_tokens=_sum(counts.total_output_tokens, counts.total_thought_tokens),
        reasoning_tokens=counts.total_thought_tokens,
    )


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None and second is None else (first or 0) + (second or 0)


def _interaction(raw: bytes) -> _Interaction | _Counted | None:
    """The interaction, or its counts where it has another shape; None when it is no JSON object."""
    for decode in (_decode, _decode_counted):
        try:
            return decode(raw)
        except UNREADABLE:
            continue
    return None


_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode = msgspec.json.Decoder(_Interaction).decode
_decode_counted = msgspec.json.Decoder(_Counted).decode


def read_json(body: bytes) -> JsonReading:
    """Read a whole interaction: valid if a JSON object, failed if its status or an error says so."""
    interaction = _interaction(body)
    if interaction is None:
        return JsonReading(valid=is_json_object(body))
    usage = _usage(interaction.usage)
    if isinstance(interaction, _Counted):
        return JsonReading(
            valid=True, failed=bool(interaction.error), usage=usage, model=named(interaction.model)
        )
    answer = AnswerFacts()
    failed = _note_end(answer, interaction)
    in_background = interaction.status in _NOT_ENDED
    return JsonReading(
        valid=True,
        failed=failed,
        usage=usage,
        answer=None if in_background else answer,
        model=named(interaction.model),
    )
