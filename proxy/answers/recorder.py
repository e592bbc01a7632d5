"""Records the text and the tool calls of an answer for capture, within bounds, while a reader follows it.

Only answers selected for capture are recorded. The recorder never changes an answer, even when it fails.
"""

from contextlib import suppress
from typing import Any

import msgspec

from common.text import UNREADABLE
from proxy.answers.aws_event_stream import EventFrameCutter, StreamForm
from proxy.dialects.bedrock import payload_of
from proxy.dialects.operation import CollectedCall, CollectedOutput, OutputForm, collect
from records.captures.capture import CapturedToolCall

MOST_BYTES = 256 << 10
"""Bound on the recorded text, or on the recorded body of an answer that is not streamed; and on text and
arguments of tool calls together."""


class AnswerRecorder:
    """Gets a copy of an answer. `truncated`: the answer was longer than the bound."""

    def __init__(self) -> None:
        self.streamed = self.truncated = self.lost = False
        self._form: OutputForm | None = None
        self._output = CollectedOutput(MOST_BYTES)
        self._line = b""
        self._frames: EventFrameCutter | None = None
        self._parts: list[bytes] = []
        self._size = 0

    def begin(self, form: StreamForm | None, output: OutputForm | None = None) -> None:
        """Note the form of the answer, None for a whole one, and of a model's output in it."""
        self.streamed = form is not None
        self._form = output
        self._frames = EventFrameCutter() if form == "frames" else None

    @property
    def recorded(self) -> bytes:
        """The answer's text as UTF-8 when `streamed`, else the whole body.

        Empty when recording failed or a JSON body was too long.
        """
        if self.lost or (self.truncated and not self.streamed):
            return b""
        return b"".join(self._parts)

    @property
    def calls(self) -> tuple[CapturedToolCall, ...]:
        """The calls of the first choice; none when recording failed or the answer was too long."""
        if self.lost or self.truncated or self._form is None:
            return ()
        if not self.streamed:
            self._output.restart()
            collect(self._form.read, self._output, b"".join(self._parts))
        first = self._output.choices.get(0)
        return tuple(map(captured_call, first.calls)) if first is not None else ()

    def record(self, data: bytes) -> None:
        """Take the next bytes. Never raises."""
        if self.truncated or self.lost:
            return
        try:
            self._record(data)
        except Exception:
            self.lost = True
            self._parts.clear()

    def _record(self, data: bytes) -> None:
        if not self.streamed:
            self._append(data)
        elif self._frames is not None:
            for frame in self._frames.take(data):
                self._append(text_in(_unwrapped(frame.payload)).encode("utf-8", "replace"))
                self._collect(frame.payload)
        else:
            *lines, self._line = (self._line + data).split(b"\n")
            for line in lines:
                if line.startswith(b"data:"):
                    event = line[5:].strip()
                    self._append(text_in(event).encode("utf-8", "replace"))
                    self._collect(event)
            self.truncated = self.truncated or len(self._line) > MOST_BYTES

    def _collect(self, event: bytes) -> None:
        """Collect the calls of one event. An answer is truncated when its calls are too long, or in pieces
        that are not read."""
        if self._form is not None:
            with suppress(*UNREADABLE):
                self._form.take(self._output, event)
            self.truncated = self.truncated or self._output.lost

    def _append(self, text: bytes) -> None:
        room = MOST_BYTES - self._size
        self._parts.append(text[:room])
        self._size += len(text)
        self.truncated = self._size > MOST_BYTES


def captured_call(call: CollectedCall) -> CapturedToolCall:
    """The call as captures have it."""
    arguments = msgspec.json.encode(call.arguments).decode() if call.free else call.arguments
    return CapturedToolCall(id=call.id, name=call.name, arguments=arguments or "{}")


def _unwrapped(payload: bytes) -> bytes:
    """The model's own JSON in a frame of InvokeModel's; a frame of Converse's as it is."""
    try:
        return payload_of(payload) or payload
    except UNREADABLE:
        return payload


class _Message(msgspec.Struct, gc=False):
    content: Any = None
    text: Any = None
    parts: Any = None


class _Choice(msgspec.Struct, gc=False):
    """Chat completions have `message` or `delta`, completions `text`, Gemini `content`."""

    index: int | None = None
    message: _Message | None = None
    delta: _Message | None = None
    content: _Message | None = None
    text: Any = None


class _Answer(msgspec.Struct, gc=False):
    """An answer, or one event of a stream, of any API; absent members stay None.

    Gemini's interactions have `event_type`, `step` and `steps`.
    """

    event_type: str | None = None
    step: Any = None
    steps: Any = None
    type: str | None = None
    choices: list[_Choice] | None = None
    candidates: list[_Choice] | None = None
    content: Any = None
    output: Any = None
    delta: Any = None
    contentBlockDelta: "_Answer | None" = None  # noqa: N815 - Amazon Nova's name


_decode = msgspec.json.Decoder(_Answer).decode
_decode_list = msgspec.json.Decoder(list[_Answer]).decode


def text_in(payload: bytes) -> str:
    """Extract the model's text for the user from a JSON answer or an event's data.

    Reasoning, tool calls and all choices but the first are left out. Empty without text or JSON.
    """
    try:
        answers = _decode_list(payload) if payload.lstrip()[:1] == b"[" else [_decode(payload)]
    except UNREADABLE:
        return ""
    return "".join(map(_text, answers))


def _text(answer: _Answer) -> str:
    for choice in (*(answer.choices or ()), *(answer.candidates or ())):
        if not choice.index:
            message = choice.message or choice.delta or choice.content
            if message is None:
                return _plain(choice.text)
            return _plain(message.parts if message.parts else message.content)
    if answer.contentBlockDelta is not None:
        return _text(answer.contentBlockDelta)
    if answer.type in ("response.output_text.delta", "content_block_delta", None) and answer.delta:
        return _plain(answer.delta)
    if answer.event_type == "step.delta":
        return _plain(answer.delta)
    if answer.step is not None or isinstance(answer.steps, list):
        return "".join(map(_step_text, answer.steps or [answer.step]))
    if isinstance(answer.output, list):
        items = (item.get("content") for item in answer.output if isinstance(item, dict))
        return "".join(map(_plain, items))
    if isinstance(answer.output, dict):
        message = answer.output.get("message")
        return _plain(message.get("content")) if isinstance(message, dict) else ""
    return _plain(answer.content)


def _step_text(step: Any) -> str:
    """The text of an interaction's step; that of the model's output alone."""
    is_output = isinstance(step, dict) and step.get("type") == "model_output"
    return _plain(step.get("content")) if is_output else ""


def _plain(content: Any) -> str:
    """The text of a string, a part or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(map(_plain, content))
    if not isinstance(content, dict) or content.get("thought"):
        return ""
    text = content.get("text")
    return text if isinstance(text, str) else ""
