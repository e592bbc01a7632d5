"""What a realtime session's events say: usage, first token, errors. Reads JSON texts; decides nothing.

Server and client events: OpenAI's realtime API reference. Names of the beta (`response.audio.delta`) and of
the general API (`response.output_audio.delta`) are both read. What a transcription of the caller's own speech
used is another model's and is left out.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from proxy.dialects.operation import UNREADABLE, Count
from records.outcome import ErrorType, Usage

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
    "rate_limit_exceeded": "provider_429",
    "insufficient_quota": "provider_429",
}


class _Details(msgspec.Struct):
    cached_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None


class _Usage(msgspec.Struct):
    """`input_tokens` includes cached ones."""

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
    """One session's. Times are CLOCK_MONOTONIC seconds, passed in.

    `ttft_s`: from the session's last request for a response before its first text or audio token (the
    caller's `response.create`, or the end of the caller's speech where the provider listens for it) to that
    token. The time that people think or speak is not in it. `usage` is the sum over all responses; `partial`
    says that some is missing from it. `spoke`: audio or images were counted, which cost more than text.
    `completed`, `failed` and `under_way` count responses. `last_error` is the code of the error that was the
    provider's last event, "" when that was another; `refused` what the very first event refused, if it did.
    """

    __slots__ = (
        "_asked_at", "completed", "failed", "heard", "last_error", "partial", "refused", "spoke", "ttft_s",
        "under_way", "usage",
    )  # fmt: skip

    def __init__(self) -> None:
        self.ttft_s: float | None = None
        self.usage: Usage | None = None
        self.partial = self.spoke = False
        self.completed = self.failed = self.under_way = 0
        self.heard = 0
        self.last_error = ""
        self.refused: ErrorType | None = None
        self._asked_at: float | None = None

    def asked(self, text: bytes, now: float) -> None:
        """One event of the caller's."""
        if self.ttft_s is not None:
            return
        try:
            if _decode_asked(text).type == "response.create":
                self._asked_at = now
        except UNREADABLE:
            return

    def take(self, text: bytes, now: float) -> None:
        """One event of the provider's."""
        self.heard += 1
        try:
            event = _decode_event(text)
        except UNREADABLE:
            self.last_error = ""
            return
        kind = event.type
        self.last_error = _code(event.error) if kind == "error" else ""
        if kind == "error" and self.heard == 1:
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
        """An event of the provider's passed unread: it may have been a counted response."""
        self.heard += 1
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
        usage = _counts(response.usage)
        if usage is not None:
            self._add(usage)
        elif response.status != "failed":
            self.partial = True

    def _add(self, counts: _Usage) -> None:
        into, out = counts.input_token_details or _Details(), counts.output_token_details or _Details()
        known = self.usage or Usage()
        self.usage = Usage(
            input_tokens=_sum(known.input_tokens, counts.input_tokens),
            cached_input_tokens=_sum(known.cached_input_tokens, into.cached_tokens),
            output_tokens=_sum(known.output_tokens, counts.output_tokens),
            reasoning_tokens=_sum(known.reasoning_tokens, out.reasoning_tokens),
        )
        self.spoke = self.spoke or any(
            [into.audio_tokens, into.image_tokens, out.audio_tokens, out.image_tokens]
        )


def _counts(raw: msgspec.Raw) -> _Usage | None:
    """None where there are no counts, or some of another shape: unknown, and no fault of the answer."""
    try:
        return _decode_usage(raw) if raw else None
    except UNREADABLE:
        return None


def _sum(known: int | None, more: int | None) -> int | None:
    return known if more is None else (known or 0) + more


def _code(error: _Error | None) -> str:
    return str((error and (error.code or error.type)) or "unknown")


def _refusal(error: _Error | None) -> ErrorType:
    """What an error says that comes in place of a session, as a status would have: OpenAI accepts the
    handshake first and refuses then."""
    if error is None:
        return "provider_stream_error"
    refused = _BY_CODE.get(str(error.code)) or _BY_CODE.get(str(error.type))
    if refused is None and error.type == "invalid_request_error":
        refused = "caller_rejected"
    return refused or "provider_stream_error"
