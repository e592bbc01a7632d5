"""One way from the client to the provider, as a process tree on its own core."""

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from benchmarks.request import HEADERS, RequestDialect

CLIENT_CORE, PROXY_CORE, BOTH_CORES = "0", "1", "0,1"

OPENAI = RequestDialect()


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A running way to the provider. `roles` are its processes by role; the direct way has none.

    exact: its JSON answers must be the provider's bytes. streams: the number of concurrent streams.
    """

    name: str
    port: int
    roles: dict[str, list[int]]
    dialect: RequestDialect = OPENAI
    exact: bool = True
    streams: int = 300


@dataclass(frozen=True, slots=True)
class Way:
    """A contender that is not running; `start` starts it for one turn.

    optional: if it does not start, or answers wrongly, the run records that and continues.
    remark: what a reader of its figures must know.
    """

    name: str
    start: Callable[[], AbstractContextManager[Contender]]
    optional: bool = False
    remark: str = ""


def wait_for(
    process: subprocess.Popen[str], log: Path, ready: Callable[[], bool], within_s: float = 30.0
) -> None:
    """Wait until a contender is ready. Raises RuntimeError with the end of its log at the timeout."""
    deadline = time.monotonic() + within_s
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            words = log.read_text(errors="replace")[-1500:]
            raise RuntimeError(f"did not become ready within {within_s:g} s:\n{words}")
        time.sleep(0.05)


def accepts(port: int) -> bool:
    """True if a process listens on the port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
    except OSError:
        return False


def says_ready(port: int) -> bool:
    """True if /readyz answers 200."""
    return _status(port, "GET", "/readyz", b"", {}) == 200


def answers_chat(port: int, dialect: RequestDialect = OPENAI) -> bool:
    """True if a chat completion answers 200."""
    headers = dict(header.split(": ", 1) for header in (*HEADERS, *dialect.headers))
    return _status(port, "POST", dialect.path, dialect.body(), headers) == 200


def _status(port: int, method: str, path: str, body: bytes, headers: dict[str, str]) -> int | None:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, body, headers)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
