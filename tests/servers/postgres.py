"""Real PostgreSQL on a free port of the loopback, as an unprivileged user: never a system service.

`postgres` is shared by a whole test session and gives each test a database of its own. `durable_postgres`
belongs to one test, and may be killed, frozen and started again. Both leave out fsync: what they confirmed
outlives a kill -9, for the kernel has it, but not a power cut. `Postgres(durable=True)` leaves out nothing.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import psycopg
import pytest

from tests.servers.ports import free_port

START_S = 60.0
_ROLE = "canary"
_QUICK = ("-c", "shared_buffers=32MB", "-c", "fsync=off", "-c", "full_page_writes=off")
_COMMON = ("-c", "max_connections=60", "-c", "logging_collector=off")


class Postgres:
    """One server. `durable` keeps every commit on disk, as one that serves people does."""

    def __init__(self, *, durable: bool = False) -> None:
        self._bin = _programs()
        self._folder = Path(
            tempfile.mkdtemp(prefix="canary-postgres-", dir="/tmp" if durable else _quick_folder())
        )
        self._data = self._folder / "data"
        self._options = _COMMON if durable else (*_COMMON, *_QUICK)
        self._serial = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        user = _unprivileged()
        shutil.chown(self._folder, user.pw_uid, user.pw_gid)
        self._as = () if os.getuid() == user.pw_uid else _becoming(user)
        self._initdb()
        self.start()

    @property
    def url(self) -> str:
        """The first database, as `store` in canary.yaml takes it."""
        return self._url("postgres")

    @property
    def pid(self) -> int:
        """The postmaster's."""
        assert self._process is not None, "PostgreSQL is not running"
        return self._process.pid

    def fresh(self, like: str = "") -> str:
        """The URL of a new database: empty, or a copy of the one at `like`, which nobody may be using."""
        name = f"test_{os.getpid()}_{next(self._serial)}"
        template = f" TEMPLATE {like.rpartition('/')[2]}" if like else ""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}{template}".encode())
        return self._url(name)

    def start(self) -> None:
        """Start, and return when it answers."""
        command = [*self._as, str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self._folder}"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self._options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        self._wait_until_it_answers()

    def stop(self) -> None:
        """An orderly, fast end: every session is cut."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """kill -9: the postmaster and every backend."""
        family = self._family()
        for pid in family:
            _signal(pid, signal.SIGKILL)
        self._reap()
        deadline = time.monotonic() + START_S
        while any(_lives(pid) for pid in family):  # their shared memory would keep a new one from starting
            assert time.monotonic() < deadline, "a killed backend lives on"
            time.sleep(0.01)

    def freeze(self) -> None:
        """SIGSTOP: it accepts connections and answers nothing, as behind a network that swallows packets."""
        for pid in self._family():
            _signal(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        for pid in self._family():
            _signal(pid, signal.SIGCONT)

    def restart(self) -> None:
        """Stop if it runs, and start over the same data."""
        if self._process is not None:
            self.stop()
        self.start()

    def close(self) -> None:
        """End it and delete its data."""
        if self._process is not None:
            self.thaw()
            self._end(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def cpu_s(self) -> float:
        """CPU seconds of all its processes that are there now."""
        ticks = 0
        for pid in self._family():
            with suppress(FileNotFoundError, ProcessLookupError):
                ticks += sum(
                    map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])
                )
        return ticks / os.sysconf("SC_CLK_TCK")

    def _url(self, database: str) -> str:
        return f"postgresql://{_ROLE}:secret@127.0.0.1:{self.port}/{database}"

    def _initdb(self) -> None:
        command = [*self._as, str(self._bin / "initdb"), "-D", str(self._data), "-U", _ROLE, "-A", "trust"]
        command += ["--encoding=UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, cwd="/", check=False)
        assert done.returncode == 0, done.stderr.decode()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
            except psycopg.OperationalError:
                log = (self._folder / "log").read_text(errors="replace")[-2000:]
                assert self._process is not None and self._process.poll() is None, log
                assert time.monotonic() < deadline, log
                time.sleep(0.02)
            else:
                return

    def _end(self, number: signal.Signals) -> None:
        _signal(self.pid, number)
        self._reap()

    def _reap(self) -> None:
        assert self._process is not None
        self._process.wait(START_S)
        self._process = None

    def _family(self) -> list[int]:
        """The postmaster first, then its children: each of them is a session of its own."""
        lists = Path(f"/proc/{self.pid}/task").glob("*/children")
        return [self.pid, *(int(pid) for each in lists for pid in each.read_text().split())]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The session's server. Take a database by `postgres.fresh()`, and leave the server alone."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def durable_postgres() -> Iterator[Postgres]:
    """This test's own server, to be killed, frozen and restarted at will."""
    server = Postgres()
    yield server
    server.close()


def _quick_folder() -> str:
    """Memory, where there is some: each database is three hundred files."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"


def _programs() -> Path:
    """The folder of the newest PostgreSQL that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    on_path = shutil.which("initdb")
    assert found or on_path, "PostgreSQL is not installed: `make test-programs`"
    return found[-1].parent if found else Path(str(on_path)).resolve().parent


def _unprivileged() -> pwd.struct_passwd:
    """Ourselves, or, since PostgreSQL refuses root, somebody who is not."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid())
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise AssertionError("no unprivileged user to run PostgreSQL as")


def _becoming(user: pwd.struct_passwd) -> tuple[str, ...]:
    # It goes with us, even when we are killed: nothing may outlive the tests.
    return (
        "setpriv",
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        "--pdeathsig=QUIT",
    )


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _lives(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
