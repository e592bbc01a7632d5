"""The worker's side of its checker process: sends jobs, in order, and waits for each within a bound.

A process that ends took too long for the first job that waits. What that job holds (its schemas, or its
text) is not sent again for FORGIVEN_AFTER_S; the jobs behind it are sent to the next process.
"""

import asyncio
import os
import socket
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec
import structlog

from proxy.attempts.check_job import HEAD_BYTES, CheckJob, CheckResult

log = structlog.get_logger()

LONGEST_JOB = 1 << 20
CHECK_WITHIN_S = 0.05
START_WITHIN_S = 1.0
"""How long the first answer waits for a process that is starting."""
RESTART_AFTER_S = 1.0
MOST_WAITING = 16
END_WITHIN_S = 1.0
FORGIVEN_AFTER_S = 600.0
MOST_REMEMBERED = 256
"""Hashes of what has ended a process."""


class _Waiting(NamedTuple):
    """A job that was sent. `parts` are the hashes of what may be to blame if it ends its process."""

    job: bytes
    parts: Sequence[bytes]
    result: "asyncio.Future[CheckResult | None]"


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
        self._waiting: deque[_Waiting] = deque()
        self._fatal: dict[bytes, float] = {}
        self._again: asyncio.TimerHandle | None = None
        self._started_at = float("-inf")
        self._has_answered = False

    async def run(self, job: CheckJob) -> CheckResult | None:
        """Run one job. None when it went beyond the bounds."""
        waiting = self._send(job)
        result = await self._within(waiting) if waiting is not None else None
        self.not_done += result is None
        return result

    def close(self) -> None:
        """End the process."""
        if self._again is not None:
            self._again.cancel()
        self._end()
        while self._waiting:
            self._resolve(None)

    async def _within(self, waiting: "asyncio.Future[CheckResult | None]") -> CheckResult | None:
        patience = self._within_s if self._has_answered else START_WITHIN_S
        await asyncio.wait([waiting], timeout=patience)
        if not waiting.done():
            await asyncio.sleep(0)  # a busy loop sees the clock before it sees what has arrived
        if not waiting.done() and not self._has_answered:  # its process ended for another's job
            await asyncio.wait([waiting], timeout=RESTART_AFTER_S + START_WITHIN_S)
        return waiting.result() if waiting.done() else None

    def _send(self, asked: CheckJob) -> "asyncio.Future[CheckResult | None] | None":
        """Queue a job; None when it is too long, has ended a process before, or no process takes it."""
        job = msgspec.msgpack.encode(asked)
        if len(job) > LONGEST_JOB or len(self._waiting) >= MOST_WAITING:
            return None
        parts = tuple(_parts(asked))
        if any(self._is_fatal(part) for part in parts) or not (self._again or self._is_running()):
            return None
        waiting = _Waiting(job, parts, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._again is None:
            self._unsent += len(job).to_bytes(HEAD_BYTES, "big") + job
            self._write()
        return waiting.result

    def _is_fatal(self, part: bytes) -> bool:
        at = self._fatal.get(part)
        return at is not None and time.monotonic() - at < FORGIVEN_AFTER_S

    def _died(self) -> None:
        """Give up the job that ended the process, and have the others done by the next one."""
        log.warning("checker.ended", jobs=len(self._waiting))
        self._end()
        if not self._waiting:
            return
        for part in self._waiting[0].parts:
            self._fatal.pop(part, None)
            self._fatal[part] = time.monotonic()
        while len(self._fatal) > MOST_REMEMBERED:
            del self._fatal[next(iter(self._fatal))]
        self._resolve(None)
        if self._waiting and self._again is None:
            wait_s = max(0.0, self._started_at + RESTART_AFTER_S - time.monotonic())
            self._again = asyncio.get_running_loop().call_later(wait_s, self._send_again)

    def _send_again(self) -> None:
        """Send to a new process what the last one has not done and somebody waits for."""
        self._again = None
        fatal = [each for each in self._waiting if any(map(self._is_fatal, each.parts))]
        left = [each for each in self._waiting if each not in fatal and not each.result.done()]
        running = bool(left) and self._start()
        for each in [*fatal, *([] if running else left)]:
            if not each.result.done():
                each.result.set_result(None)
        self._waiting = deque(left if running else ())
        for each in self._waiting:
            self._unsent += len(each.job).to_bytes(HEAD_BYTES, "big") + each.job
        self._write()

    def _is_running(self) -> bool:
        """True with a process, which is started if necessary, at most once a second."""
        if self._socket is not None:
            return True
        return time.monotonic() - self._started_at >= RESTART_AFTER_S and self._start()

    def _start(self) -> bool:
        self._started_at = time.monotonic()
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
            self._died()
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
            self._died()
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
        waiting = self._waiting.popleft().result
        if not waiting.done():
            waiting.set_result(result)

    def _end(self) -> None:
        """Close the socket and reap the process."""
        ours, self._socket = self._socket, None
        process, self._process = self._process, None
        if ours is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(ours)
            loop.remove_writer(ours)
            ours.close()
        self._unsent.clear()
        self._received.clear()
        self._has_answered = False
        if process is not None:
            _reap(process)


def _parts(job: CheckJob) -> Iterator[bytes]:
    """The hashes of a job's schemas and of its text with the patterns."""
    for _, schema, _ in job.checks:
        yield blake2b(schema, digest_size=16).digest()
    if job.text:
        yield blake2b("\0".join([job.text, *job.patterns]).encode(), digest_size=16).digest()


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Take the exit status of a process that has ended, or ends now that its input has."""
    process.kill()
    process.wait(END_WITHIN_S)


def _environment() -> dict[str, str]:
    """The worker's environment without its secrets."""
    return {name: value for name, value in os.environ.items() if name in _PASSED}


_PASSED = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TMPDIR")
