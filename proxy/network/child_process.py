"""A process beside a worker, which gets messages (`pipe`) and may answer them.

The first message starts the process. When it has ended, a later one starts another, at most one a second.
Sending never blocks: what the process does not read waits here, and the sender bounds how much.
"""

import asyncio
import os
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from proxy.network.pipe import framed, unframed

log = structlog.get_logger()

RESTART_AFTER_S = 1.0
_PASSED = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TMPDIR")
"""The variables that the process gets: none of the worker's secrets."""


class ChildProcess:
    """One process at a time, of one `command`. Belongs to the running loop; `name` is for the log.

    `heard` takes each message of the process, whose stdout it then is. `died` is called when a process has
    ended by itself, with the number of messages that it had not read.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        died: Callable[[int], None],
        heard: Callable[[bytes], None] | None = None,
    ) -> None:
        self.started_at = float("-inf")
        self._name = name
        self._command = list(command)
        self._died = died
        self._heard = heard
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._unsent: deque[memoryview] = deque()
        self._received = bytearray()

    @property
    def pid(self) -> int | None:
        """The process's id; None without one."""
        return None if self._process is None else self._process.pid

    @property
    def unsent(self) -> int:
        """Bytes that the process has not taken yet."""
        return sum(map(len, self._unsent))

    def send(self, message: bytes) -> bool:
        """Send a message. False without a process, where it is too soon for another or none starts."""
        if self._socket is None:
            early = time.monotonic() - self.started_at < RESTART_AFTER_S
            if early or not self.start():
                return False
        self._unsent.append(memoryview(framed(message)))
        self._write()
        return True

    def start(self) -> bool:
        """Start a process. False when it cannot be started."""
        self.started_at = time.monotonic()
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=theirs.fileno(),
                stdout=None if self._heard is None else theirs.fileno(),
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if name in _PASSED},
            )
        except OSError as problem:
            log.error("child.not_started", child=self._name, problem=str(problem))
            ours.close()
            return False
        finally:
            theirs.close()
        ours.setblocking(False)
        self._socket = ours
        asyncio.get_running_loop().add_reader(ours, self._read)
        return True

    def kill(self) -> None:
        """End the process at once."""
        process, ours, _ = self._given_up()
        if process is not None and ours is not None:
            _finish(process, ours)

    async def close(self, within_s: float) -> None:
        """Send what is left and wait for the process to end with its input. One that hangs is killed."""
        process, ours, unsent = self._given_up()
        if process is not None and ours is not None:
            await asyncio.to_thread(_finish, process, ours, b"".join(unsent), within_s)

    def _write(self) -> None:
        """Write what the socket takes now; the loop calls again while something is left."""
        ours, loop = self._socket, asyncio.get_running_loop()
        if ours is None:
            return
        with suppress(OSError):  # it takes no more for now, or `_read` sees its end
            while self._unsent:
                rest = self._unsent[0][ours.send(self._unsent[0]) :]
                if rest:
                    self._unsent[0] = rest
                else:
                    self._unsent.popleft()
        if self._unsent:
            loop.add_writer(ours, self._write)
        else:
            loop.remove_writer(ours)

    def _read(self) -> None:
        ours = self._socket
        try:
            data = ours.recv(1 << 16) if ours is not None else b""
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
        elif self._heard is not None:
            self._received += data
            while (message := unframed(self._received)) is not None:
                self._heard(message)

    def _end(self) -> None:
        process, ours, unsent = self._given_up()
        if process is not None and ours is not None:
            _finish(process, ours)
            log.warning("child.ended", child=self._name, code=process.returncode, unsent=len(unsent))
            self._died(len(unsent))

    def _given_up(self) -> tuple[subprocess.Popen[bytes] | None, socket.socket | None, list[memoryview]]:
        """The process, its socket and what it has not read, none of which is ours any more."""
        given_up = self._process, self._socket, list(self._unsent)
        if self._socket is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
        self._process = self._socket = None
        self._unsent.clear()
        self._received.clear()
        return given_up


def _finish(
    process: subprocess.Popen[bytes], ours: socket.socket, rest: bytes = b"", within_s: float = 0.0
) -> None:
    """Send the rest, close the process's input, and wait for its end; kill it after `within_s`."""
    with ours, suppress(OSError):  # it has ended, or does not read
        if rest:
            ours.settimeout(within_s)
            ours.sendall(rest)
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
