"""The pipe to the capture process: what comes through, and what a dead or slow program does to its sender."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.attempts.capture import LONGEST_MESSAGE, MOST_BYTES, CapturePipe

Run = Callable[[Any], Any]
COPY = """
import sys
with open(sys.argv[1], "ab", buffering=0) as out:
    while data := sys.stdin.buffer.read1():
        out.write(data)
"""
NEVER_READ = "import time; time.sleep(60)"
WITHIN_S = 30.0


@pytest.fixture
def sink(tmp_path: Path) -> Path:
    return tmp_path / "sink"


def scene(run: Run, code: str, sink: Path, story: Callable[[CapturePipe], Awaitable[None]]) -> CapturePipe:
    async def play() -> CapturePipe:
        pipe = CapturePipe([sys.executable, "-c", code, str(sink)])
        await story(pipe)
        await pipe.close()
        return pipe

    return run(play())


async def becomes(true: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not true():  # noqa: ASYNC110 - another process tells by a file
            await asyncio.sleep(0.01)


def test_every_message_comes_through_in_order_behind_its_length(run: Run, sink: Path) -> None:
    messages = [bytes([n % 256]) * n for n in range(200)]

    async def story(pipe: CapturePipe) -> None:
        assert all(pipe.send(message) for message in messages)

    pipe = scene(run, COPY, sink, story)
    assert sink.read_bytes() == b"".join(len(each).to_bytes(4, "big") + each for each in messages)
    assert pipe.dropped == 0


def test_messages_over_what_the_socket_takes_at_once_come_through(run: Run, sink: Path) -> None:
    async def story(pipe: CapturePipe) -> None:
        assert pipe.send(b"x" * LONGEST_MESSAGE)
        await becomes(lambda: sink.exists() and sink.stat().st_size == 4 + LONGEST_MESSAGE)
        assert pipe.send(b"y" * LONGEST_MESSAGE)

    pipe = scene(run, COPY, sink, story)
    assert (sink.stat().st_size, pipe.dropped) == (2 * (4 + LONGEST_MESSAGE), 0)


def test_without_a_message_no_program_is_started(run: Run, sink: Path) -> None:
    async def story(pipe: CapturePipe) -> None:
        pass

    scene(run, COPY, sink, story)
    assert not sink.exists()


def test_a_program_that_does_not_read_costs_messages_and_never_a_wait(
    run: Run, sink: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.attempts.capture.END_WITHIN_S", 0.1)
    sent: list[bool] = []

    async def story(pipe: CapturePipe) -> None:
        sent.extend(pipe.send(b"x" * (1 << 20)) for _ in range(20))

    pipe = scene(run, NEVER_READ, sink, story)
    assert MOST_BYTES >> 20 <= sum(sent) <= (MOST_BYTES >> 20) + 1
    assert pipe.dropped == 20 - sum(sent)


def test_a_program_that_dies_is_started_again(
    run: Run, sink: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.network.child_process.RESTART_AFTER_S", 0.0)
    program = (
        "import pathlib, sys\n"
        "mark = pathlib.Path(sys.argv[1] + '.mark')\n"
        "if not mark.exists(): mark.touch(); sys.exit(3)\n"
        "out = open(sys.argv[1], 'ab', buffering=0)\n"
        "while data := sys.stdin.buffer.read1(): out.write(data)\n"
    )

    async def story(pipe: CapturePipe) -> None:
        pipe.send(b"lost")
        await becomes(Path(f"{sink}.mark").exists)

        def arrives() -> bool:
            pipe.send(b"comes")
            return sink.exists() and b"comes" in sink.read_bytes()

        await becomes(arrives)

    scene(run, program, sink, story)


def test_a_program_that_cannot_be_started_only_drops(run: Run, sink: Path) -> None:
    async def play() -> int:
        pipe = CapturePipe([str(sink / "no such program")])
        assert not pipe.send(b"x")
        await pipe.close()
        return pipe.dropped

    assert run(play()) == 1


def test_what_is_too_long_and_what_comes_after_the_end_is_dropped(run: Run, sink: Path) -> None:
    async def story(pipe: CapturePipe) -> None:
        assert not pipe.send(b"x" * (LONGEST_MESSAGE + 1))

    async def late(pipe: CapturePipe) -> bool:
        return pipe.send(b"late")

    pipe = scene(run, COPY, sink, story)
    assert not run(late(pipe))
    assert pipe.dropped == 2
