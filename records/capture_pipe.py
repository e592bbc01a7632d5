"""The pipe from a worker to its capture process. Bounded; senders never block; messages are opaque bytes.

Regex matching holds the GIL, and a user's pattern may run for hours. In its own process it stalls no answer
and can be killed.
"""

import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import structlog

log = structlog.get_logger()

MOST_BYTES = 4 << 20
LONGEST_MESSAGE = 2 << 20
RESTART_AFTER_S = 1.0
END_WITHIN_S = 5.0
TELL_EVERY_S = 60.0
HEAD_BYTES = 4


class CapturePipe:
    """Sends messages to a program's stdin, each preceded by its length (u32, big-endian).

    The first message starts the program; if the program dies, the next message restarts it. `dropped` counts
    messages lost because the queue was full or the program was not running.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.dropped = 0
        self._command = list(command)
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._started_at = self._told_at = float("-inf")
        self._program: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def send(self, message: bytes) -> bool:
        """Queue one message without blocking. False when the queue is full; the message counts as dropped."""
        with self._changed:
            if self._closing or len(message) > LONGEST_MESSAGE or self._bytes + len(message) > MOST_BYTES:
                self._drop()
                return False
            self._waiting.append(message)
            self._bytes += len(message)
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="capture-pipe", daemon=True)
            self._thread.start()
        return True

    def close(self) -> None:
        """Send the queued messages and wait for the program to end. A program that hangs is killed."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(END_WITHIN_S)
            self._end(END_WITHIN_S)

    def _run(self) -> None:
        while (message := self._next()) is not None:
            if not self._write(message):
                self._drop()

    def _drop(self) -> None:
        """Count a dropped message; log the count at most once a minute."""
        self.dropped += 1
        now = time.monotonic()
        if now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            log.warning("capture.dropped", count=self.dropped)

    def _next(self) -> bytes | None:
        """Wait for the oldest message; None after `close`, once the queue is empty."""
        with self._changed:
            while not self._waiting:
                if self._closing:
                    return None
                self._changed.wait()
            message = self._waiting.popleft()
            self._bytes -= len(message)
            return message

    def _write(self, message: bytes) -> bool:
        program = self._running()
        if program is None or program.stdin is None:
            return False
        try:
            _write_all(program.stdin.fileno(), len(message).to_bytes(HEAD_BYTES, "big") + message)
        except OSError:
            log.error("capture.process_ended", code=program.poll())
            self._end(END_WITHIN_S)
            return False
        return True

    def _running(self) -> subprocess.Popen[bytes] | None:
        """Return the running program, starting it if necessary; None within 1 s of the last start."""
        if self._program is not None and self._program.poll() is None:
            return self._program
        self._end(END_WITHIN_S)
        now = time.monotonic()
        if now - self._started_at < RESTART_AFTER_S:
            return None
        self._started_at = now
        try:
            self._program = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, bufsize=0, start_new_session=True
            )
        except OSError as problem:
            log.error("capture.process_not_started", problem=str(problem))
            self._program = None
        return self._program

    def _end(self, within_s: float) -> None:
        program, self._program = self._program, None
        if program is None or program.stdin is None:
            return
        with suppress(OSError):  # the program has died
            program.stdin.close()
        try:
            program.wait(within_s)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
