"""When a stream of looks ends."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.responses import StreamingResponse

from console import page
from console.page import FigureStream


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "LOOK_EVERY_S", 0.001)


async def chunks_of(streams: FigureStream, look: Any, still_in: Any) -> list[bytes]:
    answer = streams.answer(look, still_in, {})
    assert isinstance(answer, StreamingResponse)
    found = []
    async for chunk in answer.body_iterator:
        assert streams.watchers == 1
        found.append(chunk)
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("ends", ["process", "session"])
def test_a_stream_ends_with_its_process_and_with_its_session(ends: str) -> None:
    turns = iter([True, True, False])
    goes_on = {"process": lambda: True, "session": lambda: next(turns)}
    streams = FigureStream(lambda: ends == "process" and not next(turns))

    def look() -> Mapping[str, Any]:
        return {"html": "…"}

    found = asyncio.run(chunks_of(streams, look, goes_on[ends]))
    assert found == [b'event: look\ndata: {"html":"\xe2\x80\xa6"}\n\n']  # twice the same is told once
    assert streams.watchers == 0


def test_a_stream_in_which_nothing_changes_shows_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "HEARTBEAT_S", 0.002)
    turns = iter([True] * 8 + [False])
    found = asyncio.run(chunks_of(FigureStream(lambda: False), dict, lambda: next(turns)))
    assert found[1:].count(b": still here\n\n") >= 2
