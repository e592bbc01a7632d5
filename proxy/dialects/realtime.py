"""OpenAI's realtime sessions: a GET that asks for a WebSocket, with the model in its query, and their events.

The events are those of OpenAI's realtime API reference, with the names of the beta (`response.audio.delta`)
and of the current API (`response.output_audio.delta`). Usage of transcribing the caller's speech belongs to
another model and is left out.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from common.text import UNREADABLE, readable
from proxy.dialects.operation import Count, Operation, total
from records.outcome import ErrorType, Usage

PATH = "/realtime"
REALTIME = Operation(name="realtime", model_in="query", streams=True)

_MODEL = re.compile(rb"(^|&)model=[^&]*")
_KEY = b"openai-insecure-api-key."
_CALLERS = (_KEY, b"openai-organization.", b"openai-project.")
"""Pseudo-subprotocols with which browsers, which cannot set headers, send their key and account."""


def parameter(query: bytes, name: str) -> str:
    """A parameter's first value, decoded; "" without one."""
    wanted = name.encode()
    parts = (part.partition(b"=") for part in query.split(b"&"))
    return next((unquote_plus(value.decode("latin-1")) for each, _, value in parts if each == wanted), "")


def with_model(query: bytes, model: bytes) -> bytes:
    """Replace the model in the query by `model`, already percent-encoded; every other byte stays."""
    return _MODEL.sub(lambda place: place[1] + b"model=" + model, query)


def key_among(protocols: bytes) -> bytes:
    """The caller's key in a `Sec-WebSocket-Protocol` value; b"" without one."""
    names = (name.strip() for name in protocols.split(b","))
    return next((name[len(_KEY) :] for name in names if name.startswith(_KEY)), b"")


def without_credentials(protocols: bytes) -> bytes:
    """Remove the caller's key and account from a `Sec-WebSocket-Protocol` value; b"" when nothing is left."""
    names = (name.strip() for name in protocols.split(b","))
    return b", ".join(name for name in names if name and not name.startswith(_CALLERS))


_TOKENS = frozenset(
    f"response.{prefix}{kind}.delta"
    for prefix in ("", "output_")
    for kind in ("text", "audio", "audio_transcript")
)  # fmt: skip
_CALLERS_TURN_ENDED = "input_audio_buffer.speech_stopped"
EXPIRED = "session_expired"
_BY_CODE: Mapping[str, ErrorType] = {
    "invalid_api_key": "caller_unauthorized",
    "model_not_found": "caller_not_found",
    "rate_limit_exceeded": "provider_throttled",
    "insufficient_quota": "provider_429",
}


class _Details(msgspec.Struct):
    cached_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None


class _Usage(msgspec.Struct):
    """`input_tokens` includes cached tokens."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    input_token_details: _Details | None = None
    output_token_details: _Details | None = None


class _Response(msgspec.Struct):
    status: str | None = None
    usage: msgspec.Raw = msgspec.Raw()


class _Error(msgspec.Struct):
    type: Any = None
    code: Any = None


class _Event(msgspec.Struct):
    type: str = ""
    response: _Response | None = None
    error: _Error | None = None


class _Asked(msgspec.Struct):
    type: str = ""


_decode_usage = msgspec.json.Decoder(_Usage | None).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_asked = msgspec.json.Decoder(_Asked).decode


class SessionEvents:
    """The events of one session. Callers pass times in CLOCK_MONOTONIC seconds.

    `ttft_s`: seconds to the first text or audio token from the last request for a response before that token,
    which is the caller's `response.create` or the detected end of the caller's speech.
    `usage`: sum over all responses. `partial`: some usage is missing.
    `spoke`: audio or images were counted, which have other prices than text.
    `completed`, `failed`, `under_way`: numbers of responses. `received`: number of the provider's events.
    `last_error`: code of the provider's last event if that was an error, else "".
    `refused`: error type of the provider's first event if that was an error.
    """

    def __init__(self) -> None:
        self.ttft_s: float | None = None
        self.usage: Usage | None = None
        self.partial = self.spoke = False
        self.completed = self.failed = self.under_way = 0
        self.received = 0
        self.last_error = ""
        self.refused: ErrorType | None = None
        self._asked_at: float | None = None

    def asked(self, text: bytes, now: float) -> None:
        """Read one event from the caller."""
        if self.ttft_s is not None:
            return
        try:
            if _decode_asked(text).type == "response.create":
                self._asked_at = now
        except UNREADABLE:
            return

    def take(self, text: bytes, now: float) -> None:
        """Read one event from the provider."""
        self.received += 1
        try:
            event = _decode_event(text)
        except UNREADABLE:
            self.last_error = ""
            return
        kind = event.type
        self.last_error = _code(event.error) if kind == "error" else ""
        if kind == "error" and self.received == 1:
            self.refused = _refusal(event.error)
        elif kind in _TOKENS:
            self._token(now)
        elif kind == _CALLERS_TURN_ENDED:
            self._asked_at = now
        elif kind == "response.created":
            self.under_way += 1
        elif kind == "response.done":
            self._done(event.response or _Response())

    def missed(self) -> None:
        """Note an unread event from the provider, which may have been a response with usage."""
        self.received += 1
        self.partial = True
        self.last_error = ""

    def _token(self, now: float) -> None:
        if self.ttft_s is None and self._asked_at is not None:
            self.ttft_s = now - self._asked_at

    def _done(self, response: _Response) -> None:
        self.under_way = max(0, self.under_way - 1)
        if response.status == "failed":
            self.failed += 1
        else:
            self.completed += 1
        usage = readable(_decode_usage, response.usage)
        if usage is not None:
            self._add(usage)
        elif response.status != "failed":
            self.partial = True

    def _add(self, counts: _Usage) -> None:
        into, out = counts.input_token_details or _Details(), counts.output_token_details or _Details()
        known = self.usage or Usage()
        self.usage = Usage(
            input_tokens=total(known.input_tokens, counts.input_tokens),
            cached_input_tokens=total(known.cached_input_tokens, into.cached_tokens),
            output_tokens=total(known.output_tokens, counts.output_tokens),
            reasoning_tokens=total(known.reasoning_tokens, out.reasoning_tokens),
        )
        self.spoke = self.spoke or any(
            [into.audio_tokens, into.image_tokens, out.audio_tokens, out.image_tokens]
        )


def _code(error: _Error | None) -> str:
    return str((error and (error.code or error.type)) or "unknown")


def _refusal(error: _Error | None) -> ErrorType:
    """Map an error that refuses a session to an error type. OpenAI refuses only after the handshake."""
    if error is None:
        return "provider_stream_error"
    refused = _BY_CODE.get(str(error.code)) or _BY_CODE.get(str(error.type))
    if refused is None and error.type == "invalid_request_error":
        refused = "caller_rejected"
    return refused or "provider_stream_error"
