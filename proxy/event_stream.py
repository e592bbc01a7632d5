"""Follows a streamed answer in Amazon's event stream frames while it is relayed. Bytes go out unchanged."""

from typing import Any

import msgspec

from proxy.answer import AnswerFacts
from proxy.dialects.operation import UNREADABLE, Events
from proxy.event_frames import EventFrame, EventFrames
from proxy.sse import ERROR_BOUND
from records.outcome import ErrorType, Usage


class EventStreamReader:
    """Splits a copy of the stream into frames and feeds the events to the dialect.

    An exception's frame ends the stream with an error, whatever follows. So do bytes that are no frames.
    """

    __slots__ = ("_events", "_failed", "_frames", "error", "first_token_at", "has_event")

    def __init__(self, events: Events) -> None:
        self.first_token_at: float | None = None
        self.has_event = False
        self.error = b""
        self._events = events
        self._failed = False
        self._frames = EventFrames()

    @property
    def usage(self) -> Usage | None:
        return self._events.usage

    @property
    def model(self) -> str:
        return self._events.model

    @property
    def answer(self) -> AnswerFacts | None:
        return self._events.answer

    @property
    def done(self) -> bool:
        return self._events.done

    @property
    def failed(self) -> bool:
        return self._failed or self._events.failed or self._frames.broken

    def feed(self, data: bytes, now: float) -> bytes:
        """Take bytes read at `now` and return them. Usually they are one frame."""
        for frame in self._frames.take(data):
            self._show(frame, now)
        if self._frames.broken:
            self.has_event = True
        return data

    def finish(self) -> tuple[bytes, ErrorType | None]:
        """End the stream cleanly; return no bytes and the stream's error, if any."""
        if self._failed or self._events.failed:
            return b"", "provider_stream_error"
        if self._frames.broken or not self.has_event:
            return b"", "provider_malformed"
        return b"", None if self.done and not self._frames.within else "provider_truncated"

    def _show(self, frame: EventFrame, now: float) -> None:
        self.has_event = True
        if not frame.is_event:
            self._failed = True
            self.error = self.error or _said(frame)
            return
        events = self._events
        events.take(frame.name, frame.payload)
        if events.failed and not self.error:
            self.error = frame.payload[:ERROR_BOUND]
        if self.first_token_at is None and events.token:
            self.first_token_at = now


class _Exception(msgspec.Struct, gc=False):
    message: Any = None
    originalMessage: Any = None  # noqa: N815 - Amazon's name


_decode_exception = msgspec.json.Decoder(_Exception).decode


def _said(frame: EventFrame) -> bytes:
    """The exception as an error's body: its type, and the model's own words where they were passed on."""
    try:
        told = _decode_exception(frame.payload)
    except UNREADABLE:
        told = _Exception()
    message = str(told.originalMessage or told.message or "")[:ERROR_BOUND]
    return msgspec.json.encode({"type": frame.name.decode("utf-8", "replace"), "message": message})
