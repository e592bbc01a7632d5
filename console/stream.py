"""Streams a canary's figures as server-sent events, once a second."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec
from starlette.responses import PlainTextResponse, Response, StreamingResponse

LOOK_EVERY_S = 1.0
HEARTBEAT_S = 15.0
WATCHERS = 32
"""The most open streams. Further pages get 503, poll instead, and try again."""

Look = Callable[[], Mapping[str, Any]]


class FigureStream:
    """The open streams of one admin process, at most WATCHERS."""

    def __init__(self, closing: Callable[[], bool]) -> None:
        """Every stream ends once `closing` is True."""
        self._closing = closing
        self.watchers = 0

    def answer(self, look: Look, still_in: Callable[[], bool], headers: Mapping[str, str]) -> Response:
        """Stream the values of `look` while `still_in` is True; 503 if there are too many streams."""
        if self.watchers >= WATCHERS:
            return PlainTextResponse("too many open streams", 503, {"retry-after": "5"})
        looks = self._looks(look, still_in)
        return StreamingResponse(looks, media_type="text/event-stream", headers=dict(headers))

    async def _looks(self, look: Look, still_in: Callable[[], bool]) -> AsyncIterator[bytes]:
        self.watchers += 1
        sent, silent_s = b"", 0.0
        try:
            while still_in() and not self._closing():
                seen = msgspec.json.encode(look())
                if seen != sent:
                    sent, silent_s = seen, 0.0
                    yield b"event: look\ndata: " + seen + b"\n\n"
                elif silent_s >= HEARTBEAT_S:
                    silent_s = 0.0
                    yield b": still here\n\n"
                await asyncio.sleep(LOOK_EVERY_S)
                silent_s += LOOK_EVERY_S
        finally:
            self.watchers -= 1
