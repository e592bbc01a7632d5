"""The pipe to the capture process: what comes through, and what a dead or slow program does to its sender."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from records.capture_pipe import LONGEST_MESSAGE, MOST_BYTES, CapturePipe
from tests.serving import eventually

COPY = "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, open(sys.argv[1], 'ab'))"
DIE = "import sys; sys.stdin.buffer.read(1)"
NEVER_READ = "import time; time.sleep(60)"


@pytest.fixture
def sink(tmp_path: Path) -> Path:
    return tmp_path / "sink"


def running(code: str, sink: Path) -> CapturePipe:
    return CapturePipe([sys.executable, "-c", code, str(sink)])


def test_every_message_comes_through_in_order_behind_its_length(sink: Path) -> None:
    pipe = running(COPY, sink)
    messages = [bytes([n % 256]) * n for n in range(200)]
    assert all(pipe.send(message) for message in messages)
    pipe.close()
    assert sink.read_bytes() == b"".join(len(each).to_bytes(4, "big") + each for each in messages)
    assert pipe.dropped == 0


def test_without_a_message_no_program_is_started(sink: Path) -> None:
    running(COPY, sink).close()
    assert not sink.exists()


def test_a_program_that_does_not_read_costs_messages_and_never_a_wait(sink: Path) -> None:
    pipe = running(NEVER_READ, sink)
    message = b"x" * (1 << 20)
    sent = [pipe.send(message) for _ in range(20)]
    assert MOST_BYTES >> 20 <= sum(sent) <= (MOST_BYTES >> 20) + 1
    assert pipe.dropped == 20 - sum(sent)
    assert pipe._program is None or pipe._program.poll() is None
    _kill(pipe)


def test_a_program_that_dies_is_started_again(
    sink: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("records.capture_pipe.RESTART_AFTER_S", 0.0)
    script = tmp_path / "dies_once.py"
    script.write_text(
        "import pathlib, shutil, sys\n"
        "mark = pathlib.Path(sys.argv[1] + '.mark')\n"
        "if not mark.exists(): mark.touch(); sys.exit(3)\n"
        "out = open(sys.argv[1], 'ab', buffering=0)\n"
        "while data := sys.stdin.buffer.read1(): out.write(data)\n"
    )
    pipe = CapturePipe([sys.executable, str(script), str(sink)])
    pipe.send(b"lost")
    eventually(Path(f"{sink}.mark").exists)

    def arrives() -> bool:
        pipe.send(b"comes")
        return sink.exists() and b"comes" in sink.read_bytes()

    eventually(arrives)
    pipe.close()


def test_a_program_that_cannot_be_started_only_drops(sink: Path) -> None:
    pipe = CapturePipe([str(sink / "no such program")])
    assert pipe.send(b"x")
    eventually(lambda: pipe.dropped == 1)
    pipe.close()


def test_what_is_too_long_and_what_comes_after_the_end_is_dropped(sink: Path) -> None:
    pipe = running(COPY, sink)
    assert not pipe.send(b"x" * (LONGEST_MESSAGE + 1))
    pipe.close()
    assert not pipe.send(b"late")
    assert pipe.dropped == 2


def _kill(pipe: CapturePipe) -> None:
    """End a program that reads nothing, so that its sender's thread ends too."""
    program: Callable[[], object] = lambda: pipe._program  # noqa: E731
    eventually(program)
    assert pipe._program is not None
    pipe._program.kill()
    closing = threading.Thread(target=pipe.close)
    closing.start()
    closing.join(20.0)
    assert not closing.is_alive()
