"""Records the text and the tool calls of an answer for capture, within bounds, while a reader follows it.

Only answers selected for capture are recorded. The recorder never changes an answer, even when it fails.
"""

from contextlib import suppress

import msgspec

from common.text import UNREADABLE
from proxy.answers.aws_event_stream import EventFrameCutter, StreamForm
from proxy.dialects.operation import ChoiceOutput, CollectedCall, CollectedOutput, OutputForm, collect
from records.captures.capture import CapturedToolCall

MOST_BYTES = 256 << 10
"""Bound on the recorded text and arguments of tool calls together, and on the body of an answer that is not
streamed."""


class AnswerRecorder:
    """Gets a copy of an answer. `truncated`: not all of it is recorded, as `recorded` finally knows. `lost`:
    recording failed."""

    def __init__(self) -> None:
        self.truncated = self.lost = False
        self._streamed = False
        self._form: OutputForm | None = None
        self._output = CollectedOutput(4 * MOST_BYTES)  # what is beyond the bound is cut off at the end
        self._frames: EventFrameCutter | None = None
        self._rest = b""  # a line that has begun, or the body of an answer that is not streamed

    def begin(self, form: StreamForm | None, output: OutputForm | None = None) -> None:
        """Note the form of the answer, None for a whole one, and of a model's output in it."""
        self._streamed = form is not None
        self._form = output
        self._frames = EventFrameCutter() if form == "frames" else None

    def recorded(self) -> tuple[str, tuple[CapturedToolCall, ...]]:
        """The text of the first choice, and its calls; only the text's beginning of a stream that was too
        long, or whose calls cannot be read. Nothing when recording failed."""
        if self.lost or self._form is None or (not self._streamed and len(self._rest) > MOST_BYTES):
            return "", ()
        if not self._streamed and not self._output.choices:
            collect(self._form.read, self._output, self._rest)
        first = self._output.choices.get(0) or ChoiceOutput()
        text = first.text.encode("utf-8", "replace")
        size = len(text) + sum(len(call.arguments.encode("utf-8", "replace")) for call in first.calls)
        self.truncated = self.truncated or self._output.lost or size > MOST_BYTES
        kept = text[:MOST_BYTES].decode("utf-8", "ignore")
        return kept, () if self.truncated else tuple(map(captured_call, first.calls))

    def record(self, data: bytes) -> None:
        """Take the next bytes. Never raises."""
        if self.truncated or self.lost:
            return
        try:
            self._record(data)
        except Exception:
            self.lost = True

    def _record(self, data: bytes) -> None:
        if self._frames is not None:
            for frame in self._frames.take(data):
                self._collect(frame.payload)
        elif self._streamed:
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                if line.startswith(b"data:"):
                    self._collect(line[5:].strip())
        else:
            self._rest += data
        self.truncated = self._output.lost or max(len(self._rest), self._output.size) > MOST_BYTES

    def _collect(self, event: bytes) -> None:
        if self._form is not None and not self._output.lost:
            with suppress(*UNREADABLE):
                self._form.take(self._output, event)


def captured_call(call: CollectedCall) -> CapturedToolCall:
    """The call as captures have it."""
    arguments = msgspec.json.encode(call.arguments).decode() if call.free else call.arguments
    return CapturedToolCall(id=call.id, name=call.name, arguments=arguments or "{}")
