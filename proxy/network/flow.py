"""The flow of bytes through a transport, of a caller or a provider."""

import asyncio
import sys
from fcntl import ioctl
from termios import TIOCOUTQ


class TransportFlow:
    """Both directions of a transport. `write_paused`: the other side reads too slowly. `left`: bytes that it
    had not read at the last check. `progress_at`: when it last read some."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self.read_paused = False
        self.write_paused = False
        self.left = 0
        self.progress_at = 0.0
        self._loop = loop
        self._transport = transport
        self._drained: asyncio.Future[None] | None = None

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self.read_paused:
            self.read_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Called by the transport when its write buffer is too full."""
        self.write_paused = True
        self.left = 0

    def resume_writing(self) -> None:
        """Called when the write buffer has drained, or the connection is lost."""
        self.write_paused = False
        if self._drained is not None:
            self._drained.set_result(None)
            self._drained = None

    def stuck_s(self, now: float) -> float:
        """Return for how long the other side has read nothing of the backlog; 0 without a backlog."""
        left = self.backlog()
        if left < self.left or not self.left:
            self.progress_at = now
        self.left = left
        return now - self.progress_at if left else 0.0

    async def drain(self) -> None:
        """Wait until most of the written bytes have been read, or the connection is lost."""
        if self.write_paused:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)

    def backlog(self) -> int:
        """Return the bytes that the other side has not read; 0 when the transport's buffer is empty.

        Includes the kernel's buffer, which holds megabytes and becomes writable only when a third is free.
        With a slow reader that takes minutes.
        """
        held = self._transport.get_write_buffer_size()
        if not held:
            return 0
        sock = self._transport.get_extra_info("socket")
        return held + int.from_bytes(ioctl(sock.fileno(), TIOCOUTQ, bytes(4)), sys.byteorder)
