"""The worker's side of its checker process: sends jobs, in order, and waits for each within a bound.

A process that ends took too long for the first job that waits. What that job holds (its schemas, or its
text) is not sent again for FORGIVEN_AFTER_S; the jobs behind it are sent to the next process.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from proxy.attempts.checker_process import CheckJob, CheckResult
from proxy.network.child_process import RESTART_AFTER_S, ChildProcess

LONGEST_JOB = 1 << 20
CHECK_WITHIN_S = 0.05
START_WITHIN_S = 1.0
"""How long the first answer waits for a process that is starting."""
MOST_WAITING = 16
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
        self._child = ChildProcess("checker", command, heard=self._heard, died=self._died)
        self._within_s = within_s
        self._waiting: deque[_Waiting] = deque()
        self._fatal: dict[bytes, float] = {}
        self._again: asyncio.TimerHandle | None = None
        self._has_answered = False

    async def run(self, job: CheckJob) -> CheckResult | None:
        """Run one job. None when it went beyond the bounds."""
        waiting = self._send(job)
        result = await self._within(waiting) if waiting is not None else None
        self.not_done += result is None
        return result

    def close(self) -> None:
        if self._again is not None:
            self._again.cancel()
        self._child.kill()
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
        if any(map(self._is_fatal, parts)) or not (self._again or self._child.send(job)):
            return None
        waiting = _Waiting(job, parts, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        return waiting.result

    def _is_fatal(self, part: bytes) -> bool:
        at = self._fatal.get(part)
        return at is not None and time.monotonic() - at < FORGIVEN_AFTER_S

    def _died(self, unsent: int) -> None:
        """Give up the job that ended the process, and have the others done by the next one."""
        self._has_answered = False
        if not self._waiting:
            return
        for part in self._waiting[0].parts:
            self._fatal.pop(part, None)
            self._fatal[part] = time.monotonic()
        while len(self._fatal) > MOST_REMEMBERED:
            del self._fatal[next(iter(self._fatal))]
        self._resolve(None)
        if self._waiting and self._again is None:
            wait_s = max(0.0, self._child.started_at + RESTART_AFTER_S - time.monotonic())
            self._again = asyncio.get_running_loop().call_later(wait_s, self._send_again)

    def _send_again(self) -> None:
        """Send to a new process what the last one has not done and somebody waits for."""
        self._again = None
        fatal = [each for each in self._waiting if any(map(self._is_fatal, each.parts))]
        left = [each for each in self._waiting if each not in fatal and not each.result.done()]
        running = bool(left) and self._child.start()
        for each in [*fatal, *([] if running else left)]:
            if not each.result.done():
                each.result.set_result(None)
        self._waiting = deque(left if running else ())
        for each in self._waiting:
            self._child.send(each.job)

    def _heard(self, message: bytes) -> None:
        self._has_answered = True
        self._resolve(msgspec.msgpack.decode(message, type=CheckResult))

    def _resolve(self, result: CheckResult | None) -> None:
        waiting = self._waiting.popleft().result
        if not waiting.done():
            waiting.set_result(result)


def _parts(job: CheckJob) -> Iterator[bytes]:
    """The hashes of a job's schemas and of its text with the patterns."""
    for _, schema, _ in job.checks:
        yield blake2b(schema, digest_size=16).digest()
    if job.text:
        yield blake2b("\0".join([job.text, *job.patterns]).encode(), digest_size=16).digest()
