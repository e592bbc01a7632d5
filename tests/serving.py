"""The real server and the demo provider as things a test can start, ask and stop."""

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TypeVar

import httpx2
import msgspec
import uvloop

from canary.config.certificate import CERTIFICATE, pinned_context
from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider, RequestLog
from records.store import Store

Found = TypeVar("Found")

TRUSTED = ssl.create_default_context()
"""One for all clients: each takes the processor as long as ten requests to make."""
WAIT_S = 120.0
"""How long something may take on a machine that is busy with other tests; no test passes or fails by less."""


MOST_LOG = 20_000
"""Characters of a server's log that a failed test prints: a traceback and what led to it."""


def eventually(condition: Callable[[], Found | None], within_s: float = WAIT_S) -> Found:
    """The condition's first true value, asked for every 20 ms at first, every 100 ms later; AssertionError
    after `within_s`."""
    deadline, pause_s = time.monotonic() + within_s, 0.02
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not true within {within_s:g} s: {condition}"
        time.sleep(pause_s)
        pause_s = min(1.2 * pause_s, 0.1)
    return found


class HandClock:
    """UTC for the programs that are started with `env`, as the test sets it. Their timers run on as ever."""

    _LIBRARY = "*/faketime/libfaketimeMT.so.1"
    """In /usr/lib; of Debian's libfaketime, which `make test-programs` installs."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self._library = next(Path("/usr/lib").glob(self._LIBRARY))
        ours = os.environ.get("FAKETIME_TIMESTAMP_FILE")  # `make test-later` sets our own clock by it
        self._ours_s = int(Path(ours).read_text()) if ours else 0
        self.set(0)

    @property
    def env(self) -> Mapping[str, str]:
        """The environment of a program with this clock."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # it would slow every wait for Python's lock down tenfold
            "NO_FAKE_STAT": "1",
        }

    def set(self, ahead_s: int) -> None:
        """Let it be so many seconds ahead of ours from now on."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{self._ours_s + ahead_s:+d}\n")
        fresh.replace(self._file)


class ProviderThread:
    """A demo provider on a thread of its own, so that tests without a loop of their own can use it."""

    def __init__(self, provider: LocalProvider) -> None:
        self._provider = provider
        self._loop = uvloop.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-provider")

    @property
    def url(self) -> str:
        """Its address, without a trailing slash."""
        return self._provider.url

    @property
    def log(self) -> RequestLog:
        """What reached it."""
        return self._provider.log

    def behave(self, model: str, behaviour: Behaviour) -> None:
        """Change one model's behaviour from the next request on."""
        self._provider.behave(model, behaviour)

    def retire(self, model: str) -> None:
        """Have no such model from the next request on."""
        self._provider.retire(model)

    def settled(self, within_s: float = WAIT_S) -> None:
        """Wait until every answer has ended."""
        asyncio.run_coroutine_threadsafe(self._provider.settled(), self._loop).result(within_s)

    def __enter__(self) -> "ProviderThread":
        self._thread.start()
        assert self._ready.wait(WAIT_S), "the demo provider did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT_S)
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        async with self._provider:
            self._ready.set()
            await self._stop.wait()


@cache
def empty_store() -> bytes:
    """A database as a server's first start makes it, which takes a tenth of that start."""
    with TemporaryDirectory() as folder:
        with closing(Store.open("sqlite:///canary.db", Path(folder))) as store:
            store.migrate()
        return (Path(folder) / "canary.db").read_bytes()


class Running:
    """A real `canary serve` on free ports, ready. `data` is its folder, `log_file` what it said on stderr."""

    def __init__(
        self,
        folder: Path,
        config_text: str,
        *,
        workers: int,
        grace_s: float,
        env: Mapping[str, str],
        traffic: str = "127.0.0.1:0",
        wrapper: Sequence[str] = (),
        options: Sequence[str] = (),
        program: Sequence[str] = (sys.executable, "-m", "canary"),
    ) -> None:
        """`wrapper` is a command that runs the server's (`program`), as `unshare -m`, keeping its pid;
        `options` are more flags."""
        folder.mkdir(parents=True, exist_ok=True)
        self.data = folder / "data"
        self.config = folder / "canary.yaml"
        self.config.write_text(config_text)
        if "\nstore:" not in config_text and not (self.data / "canary.db").exists():
            self.data.mkdir(mode=0o700, exist_ok=True)
            (self.data / "canary.db").write_bytes(empty_store())
        self.log_file = folder / "serve.log"
        command = [*wrapper, *program, "serve", "--config", str(self.config)]
        command += ["--traffic", traffic, "--admin", "127.0.0.1:0", "--data", str(self.data)]
        command += ["--workers", str(workers), "--grace", f"{grace_s:g}s", *options]
        self._workers = workers
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **env}
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    @property
    def token(self) -> str:
        """The generated admin token."""
        return (self.data / "admin.token").read_text().strip()

    @property
    def verify(self) -> ssl.SSLContext:
        """For httpx2: trusts exactly the certificate in the data folder, if there is one."""
        shown = self.data / CERTIFICATE
        return pinned_context(shown.read_text()) if shown.exists() else TRUSTED

    def children(self) -> list[int]:
        """The pids of workers and admin process."""
        return list(child_processes(self.process.pid))

    def children_of(self, program: str) -> list[int]:
        """The pids of those that run this program, for example `canary.programs.worker`."""
        return [pid for pid, command in child_processes(self.process.pid).items() if program in command]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal the supervisor and wait for its end: its exit code. A minute later the rest is killed."""
        left = self.children() if self.process.poll() is None else []
        self.process.send_signal(number)
        try:
            return self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            _kill(left)
            self._must_not_have_crashed()

    def kill(self) -> None:
        """kill -9: the supervisor, then its children. How a test ends a server whose end it does not test."""
        if self.process.poll() is None:
            left = self.children()
            self.process.kill()
            self.process.wait()
            _kill(left)
        self._must_not_have_crashed()

    def _wait_until_ready(self) -> None:
        addresses = eventually(self._addresses)
        self.traffic = str(addresses["traffic"])
        self.admin = str(addresses["admin"])
        with httpx2.Client(timeout=WAIT_S, verify=self.verify) as http:
            eventually(partial(self._ready, http, self.traffic))
            eventually(partial(self._ready, http, self.admin))
            eventually(partial(self._all_asked, http))
            eventually(partial(self._all_follow, http))

    def _addresses(self) -> dict[str, str | int] | None:
        self._must_live()
        try:
            return msgspec.json.decode((self.data / "server.json").read_bytes(), type=dict[str, str | int])
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _ready(self, http: httpx2.Client, url: str) -> bool:
        self._must_live()
        try:
            return http.get(f"{url}/readyz").status_code == 200
        except httpx2.TransportError:
            return False

    def _all_asked(self, http: httpx2.Client) -> bool:
        """True when no candidate is being asked whether it takes what the baseline takes."""
        self._must_live()
        status = http.get(f"{self.admin}/api/status", headers={"authorization": f"Bearer {self.token}"})
        canaries, degraded = status.json()["canaries"], status.json()["degraded"]
        known = bool(degraded) or all(each["run"] for each in canaries)
        return known and not any(each["reason"].startswith("preflight:") for each in canaries)

    def _all_follow(self, http: httpx2.Client) -> bool:
        """True when every worker follows the newest plan; a caller may meet any of them."""
        self._must_live()
        status = http.get(f"{self.admin}/api/status", headers={"authorization": f"Bearer {self.token}"})
        return bool(status.json()["workers"] == {"alive": self._workers, "confirmed": self._workers})

    def _must_not_have_crashed(self) -> None:
        """The supervisor starts a child again that a defect ended, so that no answer tells of it."""
        log = self.log_file.read_text(errors="replace")
        assert "Traceback (most recent call last)" not in log, (
            f"canary serve logged a crash:\n{log[-MOST_LOG:]}"
        )

    def _must_live(self) -> None:
        code = self.process.poll()
        assert code is None, f"canary serve ended with {code}:\n{self.log_file.read_text()[-4000:]}"


def child_processes(pid: int) -> dict[int, str]:
    """The command lines, by pid, of the processes that this one has started and that run at this moment."""
    found: dict[int, str] = {}
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            found |= {int(each): command_line(int(each)) for each in task.read_text().split()}
    return {each: command for each, command in found.items() if command}


def command_line(pid: int) -> str:
    """A process's command line, its words separated by spaces; "" once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _kill(pids: list[int]) -> None:
    """Kill the children that outlived their supervisor, each known to be ours by its command line."""
    for pid in pids:
        with suppress(ProcessLookupError):
            if "canary." in command_line(pid):
                os.kill(pid, signal.SIGKILL)
