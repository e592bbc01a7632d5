"""Messages between a worker and a process beside it, each behind its length (u32, big-endian)."""

import os
import select
from collections.abc import Iterator

HEAD_BYTES = 4
_READ = 1 << 16


def framed(message: bytes) -> bytes:
    """A message behind its length."""
    return len(message).to_bytes(HEAD_BYTES, "big") + message


def unframed(received: bytearray) -> bytes | None:
    """Take the next whole message from what has been received; None before it is there."""
    end = HEAD_BYTES + int.from_bytes(received[:HEAD_BYTES], "big")
    if len(received) < max(end, HEAD_BYTES):
        return None
    message = bytes(received[HEAD_BYTES:end])
    del received[:end]
    return message


def messages(fd: int, pause_s: float | None = None) -> Iterator[bytes | None]:
    """The messages that come in until the other end closes; None after each pause of this length."""
    received = bytearray()
    while True:
        if not select.select([fd], [], [], pause_s)[0]:
            yield None
            continue
        data = os.read(fd, _READ)
        if not data:
            return
        received += data
        while (message := unframed(received)) is not None:
            yield message


def send(fd: int, message: bytes) -> None:
    """Write one message. Blocks."""
    rest = memoryview(framed(message))
    while rest:
        rest = rest[os.write(fd, rest) :]
