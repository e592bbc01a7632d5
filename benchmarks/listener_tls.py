"""What TLS on the traffic listener costs a worker: CPU of an exchange on a kept connection and on a new one.

`.venv/bin/python -m benchmarks.listener_tls`: one worker before a local provider, with `tls` and without. The
CPU is the worker's own, from /proc, the least of five rounds: other work adds less to it than to a latency.
"""

import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from benchmarks.processes import cpu_s
from demo.provider.server import LocalProvider
from tests.certificates import TLS, write_pair
from tests.e2e.stage import Stage, chat, on_stage, worker_pids
from tests.reliability.callers import receive, request

CONFIG = 'providers: {{openai: {{api: openai, base_url: "{url}/v1"}}}}\n'
EXCHANGES = 2000
HANDSHAKES = 300
ROUNDS = 5


@contextmanager
def serving(folder: Path, authority: trustme.CA, *, tls: bool) -> Iterator[Stage]:
    """One worker, with the authority's certificate or without TLS."""
    write_pair(folder / "tls", authority)
    lines = TLS.replace("{", "{{").replace("}", "}}") if tls else ""
    with on_stage(folder, CONFIG + lines, provider=LocalProvider(), workers=1) as stage:
        yield stage


@contextmanager
def dialled(stage: Stage, context: ssl.SSLContext | None) -> Iterator[socket.socket]:
    """A connection to the worker."""
    host, port = stage.server.traffic.partition("://")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=60) as line:
        if context is None:
            yield line
            return
        with context.wrap_socket(line, server_hostname=host) as wrapped:
            yield wrapped


def cpu_us(pid: int, work: Callable[[], None], times: int) -> float:
    """The process's microseconds of CPU for each of the `times` that `work` does something."""
    before = cpu_s(pid)
    work()
    return (cpu_s(pid) - before) / times * 1e6


def measured(stage: Stage, context: ssl.SSLContext | None) -> tuple[float, float]:
    """Microseconds of an exchange on a kept connection, and of one on a connection of its own."""
    (pid,) = worker_pids(stage.server)
    asked = request("http://127.0.0.1", chat("gpt-4o", "user-1"))

    def kept() -> None:
        with dialled(stage, context) as line:
            for _ in range(EXCHANGES):
                line.sendall(asked)
                assert receive(line).status == 200

    def anew() -> None:
        for _ in range(HANDSHAKES):
            with dialled(stage, context) as line:
                line.sendall(asked)
                assert receive(line).status == 200

    kept()
    return (
        min(cpu_us(pid, kept, EXCHANGES) for _ in range(ROUNDS)),
        min(cpu_us(pid, anew, HANDSHAKES) for _ in range(ROUNDS)),
    )


def main() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with tempfile.TemporaryDirectory() as folder:
        for tls in (False, True):
            with serving(Path(folder, str(tls)), authority, tls=tls) as stage:
                exchange, connection = measured(stage, context if tls else None)
            name = "with TLS" if tls else "without TLS"
            print(
                f"{name}: {exchange:.0f} µs an exchange, {connection:.0f} µs an exchange on a new connection"
            )


if __name__ == "__main__":
    main()
