"""The supervisor: binds, starts the children, keeps them alive, drains them. It serves no request itself.

It holds one SO_REUSEPORT socket per worker slot, so that a replacement takes over the same socket and no
connection is refused while it starts. Children are separate programs (no fork of a running loop).
"""

import asyncio
import fcntl
import html
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import astuple, dataclass
from pathlib import Path

import msgspec
import structlog
import uvloop

from canary.config import ServerSettings
from canary.config.certificate import CERTIFICATE, server_context
from canary.config.quantity import is_loopback
from canary.config.server import Role
from canary.programs.config_pipe import WatchedConfig
from canary.programs.greeting import say_canaries, sign_posts, tell
from canary.programs.process import SIGINT_GRACE_S, WorkerArgs, log_form, log_to_stderr
from canary.python_path import environment, program
from canary.secrets import OPTIONAL, BadSecret, Secret, SecretKeys, admin_token
from common.whole_file import write_whole
from proxy.network.file_descriptors import raise_limit
from proxy.network.server.listeners import LOCK, listeners, url
from records.shared.session_news import open_news

log = structlog.get_logger()

WORKER = "canary.programs.worker"


@dataclass(frozen=True, slots=True)
class Companion:
    """The program that runs beside the workers, behind the admin listener; `missed`: what does not happen
    without it."""

    module: str
    name: str
    missed: str


_CONTROLLER = Companion(
    "canary.programs.controller", "admin process", "no guardrail watches, and no order is taken"
)
_AGENT = Companion(
    "canary.programs.agent", "agent", "records wait in the spool, and no order reaches the workers"
)
COMPANION: Mapping[Role, Companion] = {"all": _CONTROLLER, "traffic": _AGENT, "admin": _CONTROLLER}

WIND_UP_S = 2.0
"""What a worker gets beyond the grace: it ends then what is left by itself, and records how that ended."""

ADMIN_GRACE_S = 20.0
_SOON_S = 10.0
"""Longer than a child takes to start."""

_REASON_BYTES, _SAID_WITHIN_S = 4096, 0.5
_ASKED_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.5
_LONGEST_WAIT_S = 5.0
_WHY_SHARED = (
    "CANARY_SECRET is not set; replicas must share one, or each would assign users differently; "
    "`openssl rand -hex 32` makes one"
)


class FolderInUse(Exception):
    """The data folder belongs to another running server."""


def prepare_folder(data: Path) -> int:
    """Create the data folder (0700) and lock it for as long as the returned descriptor is open."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        data.chmod(0o700)
    except OSError as error:
        raise OSError(
            f"{data} cannot be the data folder: {error.strerror}; name another with --data"
        ) from error
    lock = os.open(data / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(lock, 20).decode().strip() or "unknown"
        os.close(lock)
        raise FolderInUse(
            f"{data} is in use by another canary (pid {holder}); give this one its own --data"
        ) from error
    os.truncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def show_certificate(data: Path, config: WatchedConfig) -> None:
    """Leave the certificate in the data folder: commands that find the server there trust exactly it."""
    if config.reading.certificate is not None:
        shown = config.reading.certificate.leaf().encode()
        write_whole(data / CERTIFICATE, shown, durable=False)  # a start writes it anew


class ChildProgram:
    """One child program on one socket, started again whenever it ends by itself."""

    def __init__(
        self,
        module: str,
        listener: socket.socket,
        args: WorkerArgs,
        config: WatchedConfig,
        *,
        answered: Companion | None = None,
    ) -> None:
        """Where it cannot start, and it is `answered` for, callers hear why instead of waiting."""
        self.module = module
        self._answered = answered
        self.config = config
        self.listener = listener
        self.args = args
        self._process: asyncio.subprocess.Process | None = None
        self._asked: signal.Signals | None = None
        self._stopping = asyncio.Event()
        self._soon = 0

    async def keep(self) -> None:
        """Run until told to stop."""
        while not self._stopping.is_set():
            began, about = time.monotonic(), {"module": self.module, "slot": self.args.slot}
            try:
                code, why = await self._live()
            except OSError as problem:  # no process or memory left: its slot's callers wait until there is
                why = str(problem)
                log.error("child.not_started", **about, problem=why)
            else:
                if not self._stopping.is_set():
                    log.error("child.ended", **about, code=code)
            await self._wait_a_little(time.monotonic() - began, why)

    async def _live(self) -> tuple[int, str]:
        """Start it and see it end; its exit code, and what broke it where that is to be answered. OSError
        where it cannot be started."""
        self._process = await asyncio.create_subprocess_exec(
            *program(self.module, msgspec.json.encode(self.args).decode()),
            env=environment(),
            pass_fds=[fd for fd in (self.listener.fileno(), self.args.sessions_fd) if fd >= 0],
            start_new_session=True,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE if self._answered else None,
        )
        self.hand_over()
        if self._asked is not None:  # while it was being started
            self.signal(self._asked)
        code, why = await self._process.wait(), b""
        if self._process.stdout is not None:
            with suppress(TimeoutError):  # what it started may hold the pipe open
                why = await asyncio.wait_for(self._process.stdout.read(_REASON_BYTES), _SAID_WITHIN_S)
        return code, why.decode(errors="replace").strip()

    def hand_over(self) -> None:
        """Give it the config in force, if it runs. By a pipe: the config holds keys."""
        process = self._process
        if process is not None and process.returncode is None and process.stdin is not None:
            process.stdin.write(self.config.reading.message())

    async def _wait_a_little(self, lived_s: float, why: str) -> None:
        """A child that dies at once is started again at growing intervals."""
        self._soon = self._soon + 1 if lived_s < _SOON_S else 0
        wait_s = min(0.05 * 2 ** min(self._soon, 10), _LONGEST_WAIT_S) if self._soon else 0.0
        async with self._instead(why):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait_s)

    def _instead(self, why: str) -> AbstractAsyncContextManager[None]:
        """What answers while it does not run: nothing, unless it cannot start and is not told to stop."""
        unable = self._soon > 1 or (self._soon and why)
        if self._answered is None or not unable or self._stopping.is_set():
            return nullcontext()
        shown = why if is_loopback(self.args.host) else ""
        return StandIn(self.listener, self.config, self._answered, shown)

    def stop(self, number: signal.Signals) -> None:
        """Ask it to drain and end, as long as the signal leaves it."""
        self._asked = number
        self._stopping.set()
        self.signal(number)

    def signal(self, number: signal.Signals) -> None:
        """Pass a signal on, if it runs."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


class StandIn:
    """Answers at a listener in place of a program that cannot start: what, why and what to do. Who waited in
    its queue is answered first."""

    def __init__(self, listener: socket.socket, config: WatchedConfig, stopped: Companion, why: str) -> None:
        """`why` may be "": the log says it."""
        self._config = config
        self._listener = listener
        self._server: asyncio.Server | None = None
        self._says = (
            f"canary's {stopped.name} cannot start.",
            f"Why: {why or 'see the log'}",
            f"Users get answers: the workers go on as they last were told. But {stopped.missed}.",
            "What to do: read the log of `canary serve` (its stderr), and mend what it names. The process is "
            f"started again every {_LONGEST_WAIT_S:g} s.",
        )

    async def __aenter__(self) -> None:
        """Listen; without a descriptor left, callers wait as they would without us."""
        with suppress(OSError):  # an SSLError, too
            pair = self._config.reading.certificate
            tls = None if pair is None else server_context(pair.chain, pair.key)
            self._server = await asyncio.start_server(self._answer, sock=self._listener.dup(), ssl=tls)

    async def __aexit__(self, *raised: object) -> None:
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            asked = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _ASKED_WITHIN_S)
            kind, body = self._body(asked.partition(b" ")[2].startswith(b"/api/"))
            head = (
                "HTTP/1.1 503 Service Unavailable",
                f"content-type: {kind}; charset=utf-8",
                f"content-length: {len(body)}",
                "content-security-policy: default-src 'none'",
                "cache-control: no-store",
                "connection: close",
            )
            writer.write("\r\n".join([*head, "", ""]).encode() + body)
            await writer.drain()
        writer.close()

    def _body(self, is_api: bool) -> tuple[str, bytes]:
        if is_api:
            return "application/json", json.dumps({"error": " ".join(self._says)}).encode()
        title, *others = (html.escape(each, quote=False) for each in self._says)
        told = "".join(f"<p>{each}</p>" for each in others)
        again = f'<meta http-equiv="refresh" content="{_LONGEST_WAIT_S:g}">'
        head = f'<!doctype html><html lang="en"><meta charset="utf-8">{again}<title>{title}</title>'
        return "text/html", f"{head}<h1>{title}</h1>{told}".encode()


class Supervisor:
    """All children of one `canary serve`."""

    def __init__(
        self,
        workers: Sequence[ChildProgram],
        admin: ChildProgram,
        grace_s: float,
        config: WatchedConfig,
        data: Path,
    ) -> None:
        self.workers = workers
        self.config = config
        self.data = data
        self.admin = admin
        self.grace_s = grace_s
        self._asked = signal.SIGTERM
        self._stop = asyncio.Event()
        self._hung_up = asyncio.Event()

    async def run(self) -> None:
        """Keep the children until SIGTERM (drains for the grace period) or SIGINT (5 s)."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_signal_handler(signal.SIGINT, self._interrupted)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up.set)
        async with asyncio.TaskGroup() as keeping:
            working = [keeping.create_task(child.keep()) for child in self.workers]
            admin = keeping.create_task(self.admin.keep())
            beside = [keeping.create_task(self._watch_config())]
            if log_form() == "text":
                beside.append(keeping.create_task(say_canaries(self.config.reading.config, self.data)))
            await self._stop.wait()
            for each in beside:
                each.cancel()
            if log_form() == "json":
                log.info("serve.draining", grace_s=self.grace_s)
            else:
                tell(f"Ending. What is under way has up to {self.grace_s:g} s.")
            await _end(self.workers, working, self.grace_s + WIND_UP_S, self._asked)
            # Last, for it ships what the workers left.
            await _end([self.admin], [admin], ADMIN_GRACE_S, signal.SIGTERM)

    async def _watch_config(self) -> None:
        """Read the file when it changes, and hand it to the children; at once after a SIGHUP."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hung_up.wait(), _LOOK_EVERY_S)
            force = self._hung_up.is_set()
            self._hung_up.clear()
            if await asyncio.to_thread(self.config.check, force=force):  # children may end meanwhile
                for child in (*self.workers, self.admin):
                    child.hand_over()
                with suppress(OSError):  # the disk is full: commands trust the old one until the next change
                    show_certificate(self.data, self.config)

    def _interrupted(self) -> None:
        self.grace_s = min(self.grace_s, SIGINT_GRACE_S)
        self._asked = signal.SIGINT
        self._stop.set()


async def _end(
    children: Sequence[ChildProgram],
    tasks: Sequence[asyncio.Task[None]],
    grace_s: float,
    asked: signal.Signals,
) -> None:
    for child in children:
        child.listener.close()
        child.stop(asked)
    _, left = await asyncio.wait(tasks, timeout=grace_s) if tasks else ((), ())
    for child in children if left else ():
        child.signal(signal.SIGKILL)
    await asyncio.gather(*tasks)


def serve(config: Path, settings: ServerSettings, *, take_over: bool = False) -> None:
    """Run everything one machine needs, until a signal ends it. Raises FolderInUse, BadSecret, OSError.

    `take_over` shares the ports with the canary that holds them."""
    log_to_stderr()
    descriptors = raise_limit()
    data = Path(settings.data).resolve()
    lock = prepare_folder(data)
    try:
        if settings.role != "all" and Secret("CANARY_SECRET", os.environ).value() is None:
            raise BadSecret(_WHY_SHARED)
        SecretKeys(os.environ, data)  # made here, before several children would
        for name in OPTIONAL:
            Secret(name, os.environ).value()  # a file that is named must be there
        admin_token(os.environ, data, loopback=is_loopback(settings.admin.host))
        watched = WatchedConfig(config, data, ask_store=settings.role != "all")
        by_flag = watched.reading.config.assigned_outside
        if by_flag and Secret("CANARY_PIN_TOKEN", os.environ).value() is None:
            log.warning("serve.no_pin_token", canaries=by_flag, effect="no arm of a flag system is taken")
        workers_here = settings.workers if settings.role != "admin" else 0
        wanted = [(astuple(settings.traffic), workers_here), (astuple(settings.admin), 1)]
        traffic, admin = listeners(wanted, take_over=take_over)
        tls = watched.reading.certificate is not None
        addresses = {"traffic": url(traffic[0], tls=tls)} if traffic else {}
        addresses["admin"] = url(admin[0], tls=tls)
        show_certificate(data, watched)
        write_whole(data / "server.json", msgspec.json.encode({**addresses, "pid": os.getpid()}))
        news = open_news()
        workers = [
            ChildProgram(WORKER, listener, _worker_args(data, settings, listener, slot, news), watched)
            for slot, listener in enumerate(traffic)
        ]
        args = _worker_args(data, settings, admin[0], -1, news)
        companion = COMPANION[settings.role]
        admin_child = ChildProgram(companion.module, admin[0], args, watched, answered=companion)
        if log_form() == "json" or not sys.stderr.isatty():
            about = {"role": settings.role, "workers": len(workers), "descriptors": descriptors}
            log.info("serve.listening", **addresses, **about)
        else:
            for line in sign_posts(addresses, settings, watched.reading.config, data):
                tell(line)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Supervisor(workers, admin_child, settings.grace_s, watched, data).run())
    finally:
        os.close(lock)


def _worker_args(
    data: Path, settings: ServerSettings, listener: socket.socket, slot: int, news: int
) -> WorkerArgs:
    return WorkerArgs(
        data=str(data),
        fd=listener.fileno(),
        slot=slot,
        grace_s=settings.grace_s,
        workers=settings.workers,
        host=settings.admin.host if slot < 0 else settings.traffic.host,
        sessions_fd=news,
        fleet=settings.role == "admin",
    )
