"""What is compared: no proxy, nginx, and canary, each a process tree on a core of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.bench.processes import command_line, family

CLIENT_CORE, PROXY_CORE = "0", "1"

NGINX = """
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_body_buffer_size 64k;
    keepalive_requests 10000000;
    upstream provider {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 10000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
        location = /readyz {{ return 200; }}
    }}
}}
"""

CANARY = """
providers:
  openai: {{api: openai, base_url: "http://127.0.0.1:{upstream}/v1"}}
canaries:
  - name: bench
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 10%
"""


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to the provider. `roles` are its processes by what they do; the direct way has none."""

    name: str
    port: int
    roles: dict[str, list[int]]


@contextmanager
def child(command: list[str], core: str, *, log: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process pinned to a core, ended with the block."""
    with (log or Path(os.devnull)).open("w") as errors:
        process = subprocess.Popen(
            ["taskset", "-c", core, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[Contender]:
    """nginx with one worker, unbuffered, connections to the provider kept alive."""
    port = free_port()
    user = "user root;" if os.getuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(user=user, folder=folder, upstream=upstream, port=port))
    command = ["nginx", "-p", str(folder), "-c", str(config), "-e", "stderr", "-g", "daemon off;"]
    with child(command, PROXY_CORE, log=folder / "nginx.log") as process:
        ready(process, port, folder / "nginx.log")
        yield Contender("nginx", port, {"worker": family(process.pid)})


@contextmanager
def canary(folder: Path, upstream: int) -> Iterator[Contender]:
    """`canary serve` with one worker and one canary at 10 %: cohort, splice, usage, records are all on."""
    port = free_port()
    config = folder / "canary.yaml"
    config.write_text(CANARY.format(upstream=upstream))
    command = [sys.executable, "-m", "canary", "serve", "--config", str(config), "--workers", "1"]
    command += ["--traffic", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0", "--data", str(folder / "data")]
    with child([*command, "--grace", "5s"], PROXY_CORE, log=folder / "canary.log") as process:
        ready(process, port, folder / "canary.log")
        yield Contender("canary", port, _roles(process.pid))


def _roles(supervisor: int) -> dict[str, list[int]]:
    roles: dict[str, list[int]] = {"worker": [], "admin": []}
    for pid in family(supervisor):
        role = "worker" if "canary.worker" in command_line(pid) else "admin"
        roles[role].append(pid)
    return roles


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ready(process: subprocess.Popen[str], port: int, log: Path, within_s: float = 20.0) -> None:
    """Wait until /readyz says 200; RuntimeError with the process's last words when it does not."""
    deadline = time.monotonic() + within_s
    while not answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} did not become ready:\n{log.read_text()[-3000:]}")
        time.sleep(0.05)


def answers(port: int) -> bool:
    """True when the traffic listener is ready."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, ConnectionError, TimeoutError):
        return False
