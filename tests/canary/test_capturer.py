"""The capture process: what it keeps of an exchange, and that a wild pattern stops nothing else."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from canary.programs import capturer
from canary.programs.capturer import Capturer, captured
from proxy.attempts.capture import CapturePipe
from records.captures.capture import Capture, CapturedMessage, CaptureInfo, RawCapture, unstored

KEY = "sk-proj-abcdefghijklmnopqrst"


def taken(
    *,
    messages: list[Any] | None = None,
    answer: str = "It is blue.",
    truncated: bool = False,
    redact: tuple[str, ...] = (),
    serial: int = 1,
) -> RawCapture:
    about = CaptureInfo(
        exchange_id=f"e-{serial}",
        at=1000.0,
        expires_at=2000.0,
        canary="support",
        run=1,
        phase=0,
        arm="candidate",
        kept="rate",
    )
    said = [{"role": "user", "content": "Why?"}] if messages is None else messages
    request = json.dumps({"model": "m", "messages": said}).encode()
    return RawCapture(about=about, request=request, answer=answer, truncated=truncated, redact=redact)


def encoded(*found: RawCapture) -> bytes:
    messages = [msgspec.msgpack.encode(each) for each in found]
    return b"".join(len(each).to_bytes(4, "big") + each for each in messages)


def test_messages_and_answer_are_kept_redacted() -> None:
    found = captured(
        taken(
            messages=[
                {"role": "system", "content": f"the key is {KEY}"},
                {"role": "user", "content": "I am K-17, anna@example.com"},
            ],
            answer="Hello K-17",
            redact=(r"K-\d+",),
        )
    )
    assert found is not None
    assert found.messages == (
        CapturedMessage("system", "the key is [secret]"),
        CapturedMessage("user", "I am [redacted], [email]"),
    )
    assert (found.answer, found.truncated, found.about.exchange_id) == ("Hello [redacted]", False, "e-1")


def test_a_secret_that_came_in_pieces_is_one_secret() -> None:
    split = [{"type": "text", "text": "see"}, {"type": "text", "text": KEY}]
    found = captured(taken(messages=[{"role": "user", "content": split}], answer=KEY))
    assert found is not None and KEY not in repr(found)


def test_half_a_key_at_a_cut_goes_too() -> None:
    answer = "word " * 100 + KEY[:14]
    found = captured(taken(answer=answer, truncated=True))
    assert found is not None and found.truncated and "sk-" not in found.answer


def test_no_database_meets_a_zero_byte_or_half_a_character() -> None:
    found = captured(taken(messages=[{"role": "user", "content": "a\0b"}], answer="\ufffd\0x"))
    assert found is not None
    assert (found.messages[0].content, found.answer) == ("ab", "\ufffdx")


@pytest.mark.parametrize(
    "without",
    [
        taken(messages=[]),
        taken(messages=[{"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "?"}]}]),
        taken(answer=""),
    ],
)
def test_what_text_does_not_say_whole_is_not_kept(without: RawCapture) -> None:
    assert captured(without) is None


def test_a_pattern_that_goes_wild_costs_its_own_exchange_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capturer, "REDACT_WITHIN_S", 0.2)
    wild = taken(answer="a" * 40 + "!", redact=(r"(a+)+$",), serial=1)
    here, there = _pipe(encoded(wild, taken(serial=2)))
    Capturer(tmp_path / "captures").run(here)
    there.close()
    assert [each.about.exchange_id for each in _kept(tmp_path / "captures")] == ["e-2"]


def test_the_real_process_writes_what_the_pipe_sends_and_ends_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "captures"

    async def story() -> None:
        pipe = CapturePipe([sys.executable, "-m", "canary.programs.capturer", str(folder)])
        for serial in range(100):
            assert pipe.send(msgspec.msgpack.encode(taken(answer=f"{serial} {KEY}", serial=serial)))
        assert pipe.send(b"no message of ours")
        await pipe.close()

    asyncio.run(story())
    assert [each.answer for each in _kept(folder)] == [f"{serial} [secret]" for serial in range(100)]
    assert all(KEY.encode() not in path.read_bytes() for path in folder.iterdir())


def _kept(folder: Path) -> list[Capture]:
    return [each for file in unstored(folder) for each in file.captures]


def _pipe(data: bytes) -> tuple[int, Any]:
    """A descriptor from which this can be read to its end, and what holds it open."""
    program = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdout.buffer.write(bytes.fromhex(sys.stdin.read()))"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert program.stdin is not None and program.stdout is not None
    program.stdin.write(data.hex().encode())
    program.stdin.close()
    program.wait(10)
    return program.stdout.fileno(), program.stdout
