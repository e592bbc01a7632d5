"""The worker's side of its checker process: sends jobs, in order, and waits for each within a bound."""

import asyncio
import os
import socket
import subprocess
import time
from collections import deque
from collections.abc import Sequence

import msgspec
import structlog

from proxy.check_job import HEAD_BYTES, CheckJob, CheckResult

log = structlog.get_logger()

LONGEST_JOB = 1 << 20
CHECK_WITHIN_S = 0.05
START_WITHIN_S = 1.0
"""How long the first answer waits for a process that is starting."""
RESTART_AFTER_S = 1.0
MOST_WAITING = 16
END_WITHIN_S = 1.0


class Checker:
    """Runs jobs in a process of its own, which is started with the first job and again after it has died.

    `not_done` counts jobs without a result: too long, too late, or ended with their process.
    """

    def __init__(self, command: Sequence[str], *, within_s: float = CHECK_WITHIN_S) -> None:
        self.not_done = 0
        self._command = list(command)
        self._within_s = within_s
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._unsent = bytearray()
        self._received = bytearray()
        self._waiting: deque[asyncio.Future[CheckResult | None]] = deque()
        self._started_at = float("-inf")
        self._has_answered = False

    async def run(self, job: CheckJob) -> CheckResult | None:
        """Run one job. None when it went beyond the bounds."""
        waiting = self._send(msgspec.msgpack.encode(job))
        result = await self._within(waiting) if waiting is not None else None
        self.not_done += result is None
        return result

    def close(self) -> None:
        """End the process."""
        self._end()

    async def _within(self, waiting: "asyncio.Future[CheckResult | None]") -> CheckResult | None:
        patience = self._within_s if self._has_answered else START_WITHIN_S
        await asyncio.wait([waiting], timeout=patience)
        if not waiting.done():
            await asyncio.sleep(0)  # a busy loop sees the clock before it sees what has arrived
        return waiting.result() if waiting.done() else None

    def _send(self, job: bytes) -> "asyncio.Future[CheckResult | None] | None":
        """Queue a job; None when it is too long or no process takes it."""
        if len(job) > LONGEST_JOB or len(self._waiting) >= MOST_WAITING or not self._is_running():
            return None
        self._unsent += len(job).to_bytes(HEAD_BYTES, "big") + job
        waiting: asyncio.Future[CheckResult | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._write()
        return waiting

    def _is_running(self) -> bool:
        """True with a process, which is started if necessary, at most once a second."""
        if self._socket is not None:
            return True
        now = time.monotonic()
        if now - self._started_at < RESTART_AFTER_S:
            return False
        self._started_at = now
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                start_new_session=True,
                env=_environment(),
            )
        except OSError as problem:
            log.error("checker.not_started", problem=str(problem))
            ours.close()
            return False
        finally:
            theirs.close()
        ours.setblocking(False)
        self._socket = ours
        asyncio.get_running_loop().add_reader(ours, self._read)
        return True

    def _write(self) -> None:
        """Write what the socket takes now; the loop calls again while something is left."""
        ours, loop = self._socket, asyncio.get_running_loop()
        if ours is None:
            return
        try:
            del self._unsent[: ours.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._end()
            return
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
            log.warning("checker.ended", jobs=len(self._waiting))
            self._end()
            return
        self._has_answered = True
        self._received += data
        while (message := self._message()) is not None:
            self._resolve(msgspec.msgpack.decode(message, type=CheckResult))

    def _message(self) -> bytes | None:
        """Take the next whole message that has been received."""
        end = HEAD_BYTES + int.from_bytes(self._received[:HEAD_BYTES], "big")
        if len(self._received) < max(end, HEAD_BYTES):
            return None
        message = bytes(self._received[HEAD_BYTES:end])
        del self._received[:end]
        return message

    def _resolve(self, result: CheckResult | None) -> None:
        waiting = self._waiting.popleft()
        if not waiting.done():
            waiting.set_result(result)

    def _end(self) -> None:
        """Close the socket and reap the process. Jobs under way have no result."""
        ours, self._socket = self._socket, None
        process, self._process = self._process, None
        if ours is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(ours)
            loop.remove_writer(ours)
            ours.close()
        self._unsent.clear()
        self._received.clear()
        while self._waiting:
            self._resolve(None)
        if process is not None:
            _reap(process)


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Take the exit status of a process that has ended, or ends now that its input has."""
    process.kill()
    process.wait(END_WITHIN_S)


def _environment() -> dict[str, str]:
    """The worker's environment without its secrets."""
    return {name: value for name, value in os.environ.items() if name in _PASSED}


_PASSED = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TMPDIR")
