"""One session: bytes both ways until either end is done, read from a copy. What it came to is told once.

The two sides are streams of raw bytes; who dialled them and who upgraded them is not known here.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol

from msgspec.structs import replace

from proxy.realtime.ending import End, Who, failure
from proxy.realtime.events import SessionEvents
from proxy.realtime.frames import BINARY, TEXT, Frames, Message
from proxy.realtime.inflate import agreed
from proxy.upstream.errors import UpstreamError
from records.outcome import ErrorType, Usage

GREETING_BOUND = 64 * 1024
"""Bytes of a candidate's first event that may be kept back, as of a stream's."""

GREETING_S = 2.0
"""How long that event is waited for: a provider that lets the caller speak first sends none."""


class SessionStream(Protocol):
    """Raw bytes of one side."""

    async def read(self) -> bytes:
        """The next bytes as they came; b"" at the end. The provider's raises UpstreamError when it broke."""
        ...

    def write(self, data: bytes) -> None:
        """Send bytes; nothing happens when the side has gone."""
        ...

    async def drain(self) -> None:
        """Return once the side has taken most of what was written, or has gone."""
        ...

    def close(self) -> None:
        """Send what was written, then close."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...


class Session:
    """A session that the provider has agreed to: `greeted`, if its first event is to be held, then `run`."""

    def __init__(
        self, provider: SessionStream, handshake: Sequence[tuple[bytes, bytes]], *, idle_s: float
    ) -> None:
        """`handshake`: the headers of the provider's 101. `idle_s` without a byte either way end it."""
        callers, providers = agreed(handshake)
        self.events = SessionEvents()
        self.handshake = handshake
        self._from_caller = Frames(callers)
        self._from_provider = Frames(providers)
        self._provider = provider
        self._idle_s = idle_s
        self._active_at = monotonic()
        self._greeting: list[bytes] = []
        self._broke: ErrorType | None = None
        self._ended_by: Who | None = None
        self._closed_by: Who | None = None  # who sent the first close frame
        self._tell: Callable[[ErrorType | None], None] | None = None

    @property
    def usage(self) -> Usage | None:
        """The tokens of all responses so far; `estimated` where some may be missing from them."""
        events = self.events
        short = events.partial or events.under_way > 0 or self._from_provider.lost
        return replace(events.usage, estimated=True) if events.usage is not None and short else events.usage

    async def greeted(self) -> ErrorType | None:
        """Keep back the provider's first event (bounded), to see whether it refuses after all: OpenAI answers
        a bad key or model with a 101, an `error` event and a close frame. Why it failed, or None."""
        try:
            async with asyncio.timeout(GREETING_S):
                ended = await self._hold()
        except TimeoutError:
            return None
        except UpstreamError as broken:
            return broken.error_type
        wrong = failure(self._end("provider"), self.events) if ended else None
        return self.events.refused or wrong or ("provider_truncated" if ended else None)

    async def run(self, caller: SessionStream, tell: Callable[[ErrorType | None], None]) -> None:
        """Relay until either side is done, then close both; cancelled, close both at once.

        `tell` is called once, with what was wrong (None: nothing), and before the bytes that tell the caller
        of the end.
        """
        self._tell = tell
        try:
            await self._relay(caller)
        except asyncio.CancelledError:
            self._finish("caller")  # stopped by us: no side is to blame
            self._provider.abort()
            caller.abort()
            raise
        self._finish(self._ended_by or "nobody")
        self._provider.close()
        caller.close()

    def abort(self) -> None:
        """Nobody wants it."""
        self._provider.abort()

    # The bytes

    async def _hold(self) -> bool:
        """Read until the first event; True when the session is over with it."""
        size, frames = 0, self._from_provider
        while size < GREETING_BOUND and not (self.events.heard or frames.lost or self._closed_by):
            data = await self._provider.read()
            if not data:
                return True
            size += len(data)
            self._greeting.append(data)
            self._show_providers(data)
        return frames.lost or self._closed_by is not None

    async def _relay(self, caller: SessionStream) -> None:
        async with asyncio.TaskGroup() as group:
            ways = [
                group.create_task(self._upward(caller)),
                group.create_task(self._downward(caller)),
                group.create_task(self._silence()),
            ]
            for way in ways:  # the first to be done ends the others
                way.add_done_callback(lambda _: [each.cancel() for each in ways])

    async def _upward(self, caller: SessionStream) -> None:
        while data := await caller.read():
            self._show_callers(data)
            self._provider.write(data)
            await self._provider.drain()
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
        """Return after `idle_s` without a byte either way."""
        quiet_s = 0.0
        while quiet_s < self._idle_s:
            await asyncio.sleep(self._idle_s - quiet_s)
            quiet_s = monotonic() - self._active_at
        self._over("nobody")

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

    def _over(self, who: Who) -> None:
        if self._ended_by is None:
            self._ended_by = who

    def _end(self, who: Who) -> End:
        """A close frame says more of who ended it than the connections do."""
        who = self._closed_by or who
        frames = self._from_caller if who == "caller" else self._from_provider
        return End(who=who, code=frames.close_code, broke=self._broke, malformed=self._from_provider.lost)

    def _finish(self, who: Who) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(failure(self._end(who), self.events))
