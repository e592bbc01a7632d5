"""What every child process shares: its orders from the supervisor, its start, its signals."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvloop
from structlog.tracebacks import ExceptionDictTransformer

from canary.programs.config_pipe import FollowedConfig

SIGINT_GRACE_S = 5.0
"""What an interrupted server leaves its streams; SIGTERM leaves them the configured grace."""

THREADS = 32
"""They wait for the store, mostly; what needs none of it must not wait for one of them."""

_TRACEBACKS = ExceptionDictTransformer(show_locals=False)
"""Where an exception came from. Not the variables there: on the request path they are prompts and keys."""


class WorkerArgs(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor tells a child on its command line. `fd` is its listening socket."""

    data: str
    fd: int
    slot: int
    grace_s: float
    workers: int
    host: str
    fleet: bool = False
    """True for an admin process that is one of several."""

    @property
    def folder(self) -> Path:
        """The data folder."""
        return Path(self.data)


def boot_id() -> str:
    """This boot of this machine, as spool files name it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")


def log_to_stderr() -> None:
    """One JSON object a line, to stderr: stdout belongs to commands."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(_TRACEBACKS),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def run(work: Callable[[WorkerArgs, FollowedConfig], Coroutine[Any, Any, None]]) -> None:
    """A child program's life: orders from the command line, the config from stdin, its work until the end."""
    log_to_stderr()
    args = msgspec.json.decode(sys.argv[1], type=WorkerArgs)
    config = FollowedConfig(FileIO(sys.stdin.fileno(), closefd=False))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_default_executor(ThreadPoolExecutor(THREADS))
        runner.run(work(args, config))


class ShutdownSignal:
    """Set when this process is to end: SIGTERM, SIGINT, or its supervisor is gone. `hasty` after a SIGINT,
    which the supervisor passes on: children stand in sessions of their own, out of a terminal's reach. A
    SIGHUP is the supervisor's alone."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._event = asyncio.Event()
        self.hasty = False
        self._parent = os.getppid()
        loop.add_signal_handler(signal.SIGTERM, self._event.set)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        loop.add_signal_handler(signal.SIGINT, self._interrupted)

    def _interrupted(self) -> None:
        self.hasty = True
        self._event.set()

    async def wait(self) -> None:
        """Return when the process is to end."""
        await self._event.wait()

    def check_parent(self) -> None:
        """End when the supervisor died without telling."""
        if os.getppid() != self._parent:
            self._event.set()

    @property
    def asked(self) -> bool:
        """True once the process is to end."""
        return self._event.is_set()
