"""Relays one realtime session in both directions until either end is done, and reports its result once.

Both sides are streams of raw bytes; dialling and upgrading happen elsewhere. How a session ended, from the
side that ended it and its events:

| ended by                              | with                                    | the session             |
|---------------------------------------|-----------------------------------------|-------------------------|
| any side                              | an error as the provider's only event   | the error's type        |
| provider, close frame                 | after an error (not `session_expired`)  | `provider_stream_error` |
|                                       | 1000, 1001, no code                     | ended well              |
|                                       | 1002, 1003, 1007, 1008                  | `caller_rejected`       |
|                                       | 1009                                    | `caller_too_large`      |
|                                       | any other code                          | `provider_stream_error` |
| provider, no close frame              | FIN or RST                              | `provider_truncated`    |
|                                       | bytes that are not WebSocket frames     | `provider_malformed`    |
|                                       | no byte accepted for `write`            | `provider_timeout`      |
| caller, close frame or not            | a completed response                    | ended well              |
|                                       | close frame, no response in progress    | ended well              |
|                                       | else                                    | `aborted`               |
| neither: no byte for `idle`           | a response in progress                  | `provider_timeout`      |
|                                       | else                                    | as if the caller left   |

A message over 64 MiB ends a session whose caller's messages are searched (`SessionTexts`), as if the caller
left. "Ended well" becomes `provider_stream_error` when responses failed and none completed. Errors after
which a session continues do not count; OpenAI's reference says that most errors are recoverable.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Literal, Protocol

import msgspec
from msgspec.structs import replace

from common.text import UNREADABLE
from proxy.dialects.realtime import EXPIRED, SessionEvents
from proxy.network.upstream.response import UpstreamError
from proxy.network.websocket import (
    BINARY,
    CLOSE,
    NO_CODE,
    TEXT,
    FrameReader,
    Message,
    MessageCutter,
    WholeMessage,
    agreed,
    frame,
)
from proxy.providers.arm_texts import ArmTexts, Span
from proxy.providers.json_edit import TooIntricateJson, value_spans
from records.outcome import ErrorType, Usage

Side = Literal["provider", "caller", "neither"]

_REGULAR = frozenset([1000, 1001, NO_CODE])
_CALLERS_FAULT = frozenset([1002, 1003, 1007, 1008])
_TOO_LARGE = 1009
_SAYS_TOO_LARGE = frame(_TOO_LARGE.to_bytes(2, "big"), opcode=CLOSE, to_provider=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnd:
    """The end of a session. `side`: which side ended it. `code`: the code of that side's first close frame,
    None without one. `broke`: the error of the provider's connection, None for a FIN. `malformed`: the
    provider's bytes were not WebSocket frames."""

    side: Side
    code: int | None = None
    broke: ErrorType | None = None
    malformed: bool = False


def failure(end: SessionEnd, events: SessionEvents) -> ErrorType | None:
    """Return the session's error type; None when it ended well."""
    if events.refused is not None and events.received == 1:
        return events.refused
    if end.side == "provider":
        wrong = _by_provider(end, events)
    elif end.side == "neither" and events.under_way:
        wrong = "provider_timeout"
    else:
        wrong = _by_caller(end, events)
    if wrong is None and events.failed and not events.completed:
        return "provider_stream_error"
    return wrong


def _by_provider(end: SessionEnd, events: SessionEvents) -> ErrorType | None:
    if end.code is None:
        if end.malformed:
            return "provider_malformed"
        return "provider_timeout" if end.broke == "provider_timeout" else "provider_truncated"
    if events.last_error not in ("", EXPIRED):
        return "provider_stream_error"
    if end.code in _REGULAR:
        return None
    if end.code == _TOO_LARGE:
        return "caller_too_large"
    return "caller_rejected" if end.code in _CALLERS_FAULT else "provider_stream_error"


def _by_caller(end: SessionEnd, events: SessionEvents) -> ErrorType | None:
    if events.completed or (end.code is not None and not events.under_way):
        return None
    return "aborted"


GREETING_BOUND = 64 * 1024
"""Bytes of a candidate's first event that may be held back, as for a stream."""

GREETING_S = 2.0
"""How long to wait for the first event. A provider that lets the caller speak first sends none."""


class SessionStream(Protocol):
    """The raw bytes of one side."""

    async def read(self) -> bytes:
        """Return the next bytes; b"" at the end. The provider's side raises UpstreamError when it breaks."""
        ...

    def write(self, data: bytes) -> None:
        """Send bytes; does nothing when the side has gone."""
        ...

    async def drain(self) -> None:
        """Wait until the side has taken most of the written bytes, or has gone."""
        ...

    def close(self) -> None:
        """Send the written bytes, then close."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...


async def silence(idle_s: float, active_at: Callable[[], float]) -> None:
    """Return after `idle_s` without a byte; `active_at` returns the monotonic second of the newest one."""
    quiet_s = 0.0
    while quiet_s < idle_s:
        await asyncio.sleep(idle_s - quiet_s)
        quiet_s = monotonic() - active_at()


_AS_IT_IS, _AS_A_ROW = (b"", b""), (b'{"input":[', b"]}")
_SEARCHED = {
    "session.update": ("session", _AS_IT_IS),
    "response.create": ("response", _AS_IT_IS),
    "conversation.item.create": ("item", _AS_A_ROW),
}
"""Of a caller's event by its type: the object that may have an arm's texts, and what makes a body of it."""
_OBJECT = ord("{")


class _Asked(msgspec.Struct):
    type: str = ""


_decode = msgspec.json.Decoder(_Asked).decode


def _searched(text: bytes) -> tuple[Span, tuple[bytes, bytes]] | None:
    """Where a caller's event has settings of its session or of one response, or a message of a conversation,
    and what makes a body of that; None without."""
    try:
        if (known := _SEARCHED.get(_decode(text).type)) is None:
            return None
        found = value_spans(text, known[0])
    except (*UNREADABLE, TooIntricateJson):
        return None
    return (found[-1], known[1]) if found and text[found[-1][0]] == _OBJECT else None


def _instructs(body: bytes) -> bool:
    try:
        return bool(value_spans(body, "instructions"))
    except TooIntricateJson:
        return False


class SessionTexts:
    """An arm's texts in the settings and system messages that a session's caller sends, uncompressed.

    `changed`: a message had them. `instructed`: instructions came. `lost`: a message is over the bound, or
    the bytes are no frames.
    """

    def __init__(self, own: ArmTexts | None, prompts: Sequence[ArmTexts]) -> None:
        """`own`: the texts of the arm that serves; `prompts`: those of all arms that have a prompt."""
        self.changed = self.instructed = False
        self._own = own
        self._unseen = list(prompts)
        self._cutter = MessageCutter()

    @property
    def lost(self) -> bool:
        return self._cutter.lost

    @property
    def misses_prompt(self) -> bool:
        """True until all texts have come in whose place an arm has its own prompt."""
        return bool(self._unseen)

    def written(self, data: bytes) -> bytes:
        """Take bytes and return the messages that they complete, as the arm has them."""
        return b"".join([self._written(piece) for piece in self._cutter.feed(data)])

    def _written(self, piece: WholeMessage) -> bytes:
        data = piece.data
        found = _searched(data) if piece.opcode == TEXT else None
        if found is None:
            return piece.raw
        ((start, end), (before, after)), own = found, self._own
        body = before + data[start:end] + after
        self.instructed = self.instructed or _instructs(body)
        self._unseen = [each for each in self._unseen if not each.places(body)]
        edited = own.edited(body, own.places(body)) if own is not None else None
        if edited is None:
            return piece.raw
        self.changed = True
        edited = edited[len(before) : len(edited) - len(after)]
        return frame(data[:start] + edited + data[end:], to_provider=True)


class RealtimeSession:
    """A session that the provider has accepted. Call `greeted` to hold its first event, then `run`."""

    def __init__(
        self, provider: SessionStream, handshake: Sequence[tuple[bytes, bytes]], *, idle_s: float
    ) -> None:
        """`handshake`: headers of the provider's 101. `idle_s`: time without a byte that ends the session."""
        callers, providers = agreed(handshake)
        self.events = SessionEvents()
        self.handshake = handshake
        self._from_caller = FrameReader(callers)
        self._from_provider = FrameReader(providers)
        self._provider = provider
        self._idle_s = idle_s
        self._active_at = monotonic()
        self._greeting: list[bytes] = []
        self._broke: ErrorType | None = None
        self._ended_by: Side | None = None
        self._closed_by: Side | None = None  # the sender of the first close frame
        self._on_end: Callable[[ErrorType | None], None] | None = None
        self._texts: SessionTexts | None = None

    @property
    def provider(self) -> SessionStream:
        """The provider's side, for another relay than `run`."""
        return self._provider

    @property
    def usage(self) -> Usage | None:
        """The tokens of all responses so far; `estimated` when some may be missing."""
        events = self.events
        short = events.partial or events.under_way > 0 or self._from_provider.lost
        return replace(events.usage, estimated=True) if events.usage is not None and short else events.usage

    @property
    def adapted(self) -> bool:
        """True when the arm's texts changed a message."""
        return self._texts is not None and self._texts.changed

    @property
    def misses_prompt(self) -> bool:
        """True when the session's instructions have not the text in whose place an arm has its own prompt. Of
        a session that ended before instructions and an answer nobody knows."""
        texts = self._texts
        if texts is None or not texts.misses_prompt:
            return False
        return texts.instructed or self.events.completed > 0

    async def greeted(self) -> ErrorType | None:
        """Hold back the provider's first event and return its error type, or None.

        OpenAI answers a bad key or model with a 101, an `error` event and a close frame.
        """
        try:
            async with asyncio.timeout(GREETING_S):
                ended = await self._hold()
        except TimeoutError:
            return None
        except UpstreamError as broken:
            return broken.error_type
        wrong = failure(self._end("provider"), self.events) if ended else None
        return self.events.refused or wrong or ("provider_truncated" if ended else None)

    async def run(
        self,
        caller: SessionStream,
        on_end: Callable[[ErrorType | None], None],
        texts: SessionTexts | None = None,
    ) -> None:
        """Relay until either side is done, then close both; on cancellation, abort both.

        `on_end` is called once with the error type (None: no error), before the caller sees the end. `texts`:
        those of the arm, where the canary has any.
        """
        self._on_end, self._texts = on_end, texts
        try:
            await self._relay(caller)
        except asyncio.CancelledError:
            self._finish("caller")  # stopped by the proxy: no side is to blame
            self._provider.abort()
            caller.abort()
            raise
        self._finish(self._ended_by or "neither")
        self._provider.close()
        caller.close()

    def abort(self) -> None:
        """Abort the provider's side of a session that will not run."""
        self._provider.abort()

    # The bytes

    async def _hold(self) -> bool:
        """Read until the first event; True when the session ended with it."""
        size, frames = 0, self._from_provider
        while size < GREETING_BOUND and not (self.events.received or frames.lost or self._closed_by):
            data = await self._provider.read()
            if not data:
                return True
            size += len(data)
            self._greeting.append(data)
            self._show_providers(data)
        return frames.lost or self._closed_by is not None

    async def _relay(self, caller: SessionStream) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._upward(caller)),
                group.create_task(self._downward(caller)),
                group.create_task(self._silence()),
            ]
            for task in tasks:  # the first to end cancels the others
                task.add_done_callback(lambda _: [other.cancel() for other in tasks])

    async def _upward(self, caller: SessionStream) -> None:
        while data := await caller.read():
            self._show_callers(data)
            if self._texts is not None:
                data = self._texts.written(data)
            self._provider.write(data)
            await self._provider.drain()
            if self._texts is not None and self._texts.lost:
                caller.write(_SAYS_TOO_LARGE)
                break
        self._over("caller")

    async def _downward(self, caller: SessionStream) -> None:
        held, self._greeting = b"".join(self._greeting), []
        if held:
            caller.write(held)
        try:
            while data := await self._provider.read():
                self._show_providers(data)
                if self._from_provider.close_code is not None:
                    self._finish("provider")
                caller.write(data)
                await caller.drain()
        except UpstreamError as broken:
            self._broke = broken.error_type
        self._over("provider")

    async def _silence(self) -> None:
        await silence(self._idle_s, lambda: self._active_at)
        self._over("neither")

    # The copies

    def _show_callers(self, data: bytes) -> None:
        now = self._active_at = monotonic()
        for message in self._from_caller.feed(data):
            if message.opcode == TEXT and message.data is not None:
                self.events.asked(message.data, now)
        if self._closed_by is None and self._from_caller.close_code is not None:
            self._closed_by = "caller"

    def _show_providers(self, data: bytes) -> None:
        now = self._active_at = monotonic()
        for message in self._from_provider.feed(data):
            self._take(message, now)
        if self._closed_by is None and self._from_provider.close_code is not None:
            self._closed_by = "provider"

    def _take(self, message: Message, now: float) -> None:
        if message.opcode not in (TEXT, BINARY):
            return
        if message.data is None:
            self.events.missed()
        else:
            self.events.take(message.data, now)

    # The end

    def _over(self, side: Side) -> None:
        if self._ended_by is None:
            self._ended_by = side

    def _end(self, side: Side) -> SessionEnd:
        """The end of the session. The sender of the first close frame ended it, else the side `side`."""
        side = self._closed_by or side
        frames = self._from_caller if side == "caller" else self._from_provider
        return SessionEnd(
            side=side, code=frames.close_code, broke=self._broke, malformed=self._from_provider.lost
        )

    def _finish(self, side: Side) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(failure(self._end(side), self.events))
