"""What every child process shares: its orders from the supervisor, the config as it changes, its signals."""

import asyncio
import os
import pickle
import signal
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvloop
from structlog.tracebacks import ExceptionDictTransformer

from canary.config import Config, ConfigError, load
from records.whole_file import Stamp, file_stamp

log = structlog.get_logger()

SIGINT_GRACE_S = 5.0
"""What an interrupted server leaves its streams; SIGTERM leaves them the configured grace."""

THREADS = 32
"""They wait for the store, mostly; what needs none of it must not wait for one of them."""

_TRACEBACKS = ExceptionDictTransformer(show_locals=False)
"""Where an exception came from. Not the variables there: on the request path they are prompts and keys."""


class WorkerArgs(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor tells a child on its command line. `fd` is its listening socket."""

    config: str
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


@dataclass(frozen=True, slots=True)
class ConfigReading:
    """A config in force, the state of its file when it was looked at last, and what is wrong with that file
    ("": nothing)."""

    config: Config
    stamp: Stamp
    problem: str = ""


def handed_over() -> ConfigReading | None:
    """The supervisor's reading of the config, from stdin; None when nothing stands there."""
    data = sys.stdin.buffer.read()  # written by our own parent, so that unpickling it is safe
    reading: ConfigReading | None = pickle.loads(data) if data else None  # noqa: S301
    return reading


def run(work: Callable[[WorkerArgs, ConfigReading | None], Coroutine[Any, Any, None]]) -> None:
    """A child program's life: orders from the command line, the config from stdin, its work until the end."""
    log_to_stderr()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_default_executor(ThreadPoolExecutor(THREADS))
        runner.run(work(msgspec.json.decode(sys.argv[1], type=WorkerArgs), handed_over()))


class WatchedConfig:
    """The config file, reread when it changes. A bad file keeps the old config and says so once."""

    def __init__(
        self, path: Path, on_change: Callable[[Config], None], reading: ConfigReading | None = None
    ) -> None:
        """Begin with `reading`, or read the file: raises ConfigError when that fails."""
        self._path = path
        self._on_change = on_change
        if reading is None:
            stamp = self._now()
            reading = ConfigReading(load(path, os.environ), stamp)
        self.current, self._stamp, self.problem = reading.config, reading.stamp, reading.problem
        self._seen = self._stamp

    def reading(self) -> bytes:
        """What `handed_over` takes: a new process needs no good file, and no time to read it."""
        return pickle.dumps(ConfigReading(self.current, self._stamp, self.problem))

    def check(self, *, force: bool = False) -> None:
        """Reread if the file has changed and stands still since the last look, or always with
        `force` (SIGHUP): half a file may be a good one, without a canary that would end for good by that."""
        stamp = self._now()
        still, self._seen = stamp == self._seen, stamp
        if not force and (stamp == self._stamp or not still):
            return
        self._stamp = stamp
        try:
            self.current = load(self._path, os.environ)
        except (ConfigError, OSError) as error:
            self.problem = str(error)
            log.error("config.refused", file=str(self._path), problem=self.problem)
            return
        self.problem = ""
        log.info("config.reloaded", file=str(self._path))
        self._on_change(self.current)

    def _now(self) -> Stamp:
        try:
            return file_stamp(self._path)
        except OSError:
            return ()


class ShutdownSignal:
    """Set when this process is to end: SIGTERM, SIGINT, or its supervisor is gone. `hasty` after a SIGINT,
    which the supervisor passes on: children stand in sessions of their own, out of a terminal's reach."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_hangup: Callable[[], None]) -> None:
        self._event = asyncio.Event()
        self.hasty = False
        self._parent = os.getppid()
        loop.add_signal_handler(signal.SIGTERM, self._event.set)
        loop.add_signal_handler(signal.SIGHUP, on_hangup)
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
