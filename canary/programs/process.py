"""What every child process shares: its arguments, its start, its signals."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog
import uvloop
from structlog.tracebacks import ExceptionDictTransformer

from canary.programs.config_pipe import FollowedConfig
from common.text import visible
from records.shared.session_news import SessionNews, open_news

SIGINT_GRACE_S = 5.0
"""How long streams may drain after SIGINT. After SIGTERM they have the configured grace."""

THREADS = 32
"""Most of them wait for the store. Work that must not wait for the store must not need a thread."""

_TRACEBACKS = ExceptionDictTransformer(show_locals=False)
"""Tracebacks without local variables: on the request path these are prompts and keys."""


class WorkerArgs(msgspec.Struct, frozen=True, kw_only=True):
    """A child's command line. `fd` is its listening socket."""

    data: str
    fd: int
    slot: int
    grace_s: float
    workers: int
    host: str
    sessions_fd: int = -1
    """The file by which a machine's processes tell one another of sessions; below 0 for a process alone."""
    fleet: bool = False
    """True for an admin process that is one of several."""

    def session_news(self) -> SessionNews:
        """What this process tells and hears of sessions."""
        return SessionNews(open_news() if self.sessions_fd < 0 else self.sessions_fd)

    @property
    def folder(self) -> Path:
        """The data folder."""
        return Path(self.data)


Work = Callable[[WorkerArgs, FollowedConfig], Coroutine[Any, Any, None]]
"""What a child does, from its start to its end."""


def boot_id() -> str:
    """The id of this boot, as spool files name it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")


LogForm = Literal["text", "json"]

LOG = "CANARY_LOG"
"""The variable that says the form of the log, to this process and those that it starts."""


def log_form() -> LogForm:
    """As `CANARY_LOG` has it; else text where stderr is a terminal, and JSON where it is none."""
    usual = "text" if sys.stderr.isatty() else "json"
    return "text" if (os.environ.get(LOG) or usual) == "text" else "json"


def log_to_stderr() -> None:
    """Log a line per event to stderr: a JSON object, or words for a terminal. stdout belongs to commands."""
    as_json: list[Any] = [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(_TRACEBACKS),
        structlog.processors.JSONRenderer(),
    ]
    as_text: list[Any] = [
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        structlog.processors.format_exc_info,
        in_words,
    ]
    structlog.configure(
        processors=[structlog.processors.add_log_level, *(as_json if log_form() == "json" else as_text)],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def in_words(logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    """`10:31:02 Error: child ended (module canary.programs.worker, slot 0, code 1)`, then a traceback."""
    clock, level, name = event.pop("timestamp"), event.pop("level"), event.pop("event")
    trace = f"\n{event.pop('exception')}" if "exception" in event else ""
    words = str(name).replace(".", " ").replace("_", " ")
    about = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in event.items())
    said = words.capitalize() if level == "info" else f"{level.capitalize()}: {words}"
    return visible(f"{clock} {said}{f' ({about})' if about else ''}{trace}")


def run(work: Work) -> None:
    """Run a child program: arguments from the command line, the config from stdin."""
    log_to_stderr()
    args = msgspec.json.decode(sys.argv[1], type=WorkerArgs)
    config = FollowedConfig(FileIO(sys.stdin.fileno(), closefd=False))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.get_loop().set_default_executor(ThreadPoolExecutor(THREADS))
            runner.run(_started(work, args, config))
    except Exception as problem:
        if args.slot < 0:  # the supervisor says it to who asks for the page
            sys.stdout.write(f"{_cause(problem)}\n")
        raise


def _cause(problem: BaseException) -> str:
    """What broke a program, in a line."""
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return visible(f"{type(problem).__name__}: {problem}")


async def _started(work: Work, args: WorkerArgs, config: FollowedConfig) -> None:
    await work(args, config)  # called here, because it asks for the running loop


class ShutdownSignal:
    """Set when this process has to end: after SIGTERM or SIGINT, or when its supervisor is gone.

    `hasty` is True after SIGINT, which the supervisor passes on: children run in sessions of their own.
    SIGHUP is ignored; the supervisor handles it.
    """

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
        """Wait until the process has to end."""
        await self._event.wait()

    def check_parent(self) -> None:
        """End the process if the supervisor has died."""
        if os.getppid() != self._parent:
            self._event.set()

    @property
    def asked(self) -> bool:
        """True once the process has to end."""
        return self._event.is_set()
