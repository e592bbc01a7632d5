"""Back-pressure on one connection: when the socket is left alone, and when a writer has to wait."""

import asyncio
import sys
from fcntl import ioctl
from termios import TIOCOUTQ


class Flow:
    """Both directions of a transport. `write_paused` is True while the other side is behind in reading,
    `left` what it had still to take when that was looked at last, `progress_at` when it last took some."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self.read_paused = False
        self.write_paused = False
        self.left = 0
        self.progress_at = 0.0
        self._loop = loop
        self._transport = transport
        self._drained: asyncio.Future[None] | None = None

    def pause_reading(self) -> None:
        """Leave the socket alone for now."""
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self.read_paused:
            self.read_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def pause_writing(self) -> None:
        """The transport holds more than it should."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """The transport has got rid of it, or of its connection."""
        self.write_paused = False
        if self._drained is not None:
            self._drained.set_result(None)
            self._drained = None

    def stuck_s(self, now: float) -> float:
        """How long the other side has taken nothing of what there is for it; 0 while there is nothing."""
        left = self.backlog()
        if left < self.left or not self.left:
            self.progress_at = now
        self.left = left
        return now - self.progress_at if left else 0.0

    async def drain(self) -> None:
        """Return once most of what was written has been taken, or nobody will."""
        if self.write_paused:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)

    def backlog(self) -> int:
        """Bytes that the other side has still to take; 0 where the transport holds none of them.

        The kernel's count too: it has megabytes, and asks for more when a third has gone. That takes a
        slow reader minutes.
        """
        held = self._transport.get_write_buffer_size()
        if not held:
            return 0
        sock = self._transport.get_extra_info("socket")
        return held + int.from_bytes(ioctl(sock.fileno(), TIOCOUTQ, bytes(4)), sys.byteorder)
