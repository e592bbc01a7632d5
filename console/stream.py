"""A canary's figures as server-sent events: one look a second while somebody watches. Draws nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec
from starlette.responses import PlainTextResponse, Response, StreamingResponse

LOOK_EVERY_S = 1.0
HEARTBEAT_S = 15.0
WATCHERS = 32
"""More than this many at once are sent away, and ask again themselves: their pages poll then."""

Look = Callable[[], Mapping[str, Any]]


class FigureStream:
    """The open streams of one admin process, at most WATCHERS."""

    def __init__(self, closing: Callable[[], bool]) -> None:
        """`closing` is True once the process is to end: then every stream does."""
        self._closing = closing
        self.watchers = 0

    def answer(self, look: Look, still_in: Callable[[], bool], headers: Mapping[str, str]) -> Response:
        """A stream of what `look` sees, for as long as `still_in`; 503 when there are too many."""
        if self.watchers >= WATCHERS:
            return PlainTextResponse("too many watch already", 503, {"retry-after": "5"})
        looks = self._looks(look, still_in)
        return StreamingResponse(looks, media_type="text/event-stream", headers=dict(headers))

    async def _looks(self, look: Look, still_in: Callable[[], bool]) -> AsyncIterator[bytes]:
        self.watchers += 1
        told, silent_s = b"", 0.0
        try:
            while still_in() and not self._closing():
                seen = msgspec.json.encode(look())
                if seen != told:
                    told, silent_s = seen, 0.0
                    yield b"event: look\ndata: " + seen + b"\n\n"
                elif silent_s >= HEARTBEAT_S:
                    silent_s = 0.0
                    yield b": still here\n\n"
                await asyncio.sleep(LOOK_EVERY_S)
                silent_s += LOOK_EVERY_S
        finally:
            self.watchers -= 1
