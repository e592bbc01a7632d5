"""The contenders of every run: no proxy, nginx, and canary."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from benchmarks.contender import (
    CLIENT_CORE,
    PROXY_CORE,
    Contender,
    accepts,
    says_ready,
    wait_for,
)
from benchmarks.processes import child, command_line, family
from tests.servers.ports import free_port

NGINX = """
{user}
worker_processes 1;
pid {folder}/{name}.pid;
error_log {folder}/{name}.error.log;
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
        listen 127.0.0.1:{port} {listen} backlog=4096;
        {tls}
        location / {{
            proxy_pass {scheme}://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
"""
SERVES_TLS = "ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;"
ASKS_TLS = """
        proxy_ssl_trusted_certificate {folder}/ca.pem;
        proxy_ssl_verify on;
        proxy_ssl_name localhost;
"""

CANARY = """
providers:
  openai: {{api: openai, base_url: "{url}/v1", ca_file: {ca}}}
canaries:
"""
ONE_CANARY = """
  - name: bench-{number}
    match: {{models: [{model}]}}
    baseline: {{provider: openai, model: {model}-2024-08-06}}
    candidate: {{provider: openai, model: {model}-2024-11-20}}
    share: 10%
"""


@dataclass(frozen=True, slots=True)
class Upstream:
    """The provider's loopback port, and whether it needs TLS. `folder` contains ca.pem."""

    port: int
    folder: Path
    tls: bool = False


@contextmanager
def direct(upstream: Upstream) -> Iterator[Contender]:
    """No proxy at all."""
    yield Contender(name="direct", port=upstream.port, roles={})


@contextmanager
def nginx(upstream: Upstream) -> Iterator[Contender]:
    """nginx with one worker, unbuffered, connections to the provider kept alive."""
    with _nginx(upstream, "nginx", PROXY_CORE) as (port, pids):
        yield Contender(name="nginx", port=port, roles={"worker": pids})


@contextmanager
def behind_tls(upstream: Upstream) -> Iterator[Upstream]:
    """The provider behind TLS, terminated by a separate nginx on the client's core."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(upstream.folder / "ca.pem")
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        upstream.folder / "server.pem"
    )
    with _nginx(upstream, "tls", CLIENT_CORE, serves_tls=True) as (port, _):
        yield Upstream(port, upstream.folder, tls=True)


@contextmanager
def _nginx(
    upstream: Upstream, name: str, core: str, *, serves_tls: bool = False
) -> Iterator[tuple[int, list[int]]]:
    folder, port = upstream.folder, free_port()
    tls = (SERVES_TLS if serves_tls else ASKS_TLS if upstream.tls else "").format(folder=folder)
    config, log = folder / f"{name}.conf", folder / f"{name}.log"
    config.write_text(
        NGINX.format(
            user="user root;" if os.getuid() == 0 else "",
            folder=folder,
            name=name,
            upstream=upstream.port,
            port=port,
            listen="ssl" if serves_tls else "",
            tls=tls,
            scheme="https" if upstream.tls else "http",
        )
    )
    command = ["nginx", "-p", str(folder), "-c", str(config), "-e", "stderr", "-g", "daemon off;"]
    with child(command, core, log=log) as process:
        wait_for(process, log, lambda: len(family(process.pid)) > 1 and accepts(port))
        yield port, family(process.pid)


@contextmanager
def canary(
    upstream: Upstream,
    *,
    name: str = "canary",
    canaries: int = 1,
    workers: int = 1,
    core: str = PROXY_CORE,
    compiled: Path | None = None,
) -> Iterator[Contender]:
    """`canary serve`, with each canary at 10 % for its own model. Cohort, splice, usage and records are on.

    `compiled`: an unpacked wheel to run instead of these sources. Raises RuntimeError if a process then runs
    without its libraries.
    """
    folder, port = upstream.folder / f"{name}-{free_port()}", free_port()
    folder.mkdir()
    url = f"{'https' if upstream.tls else 'http'}://127.0.0.1:{upstream.port}"
    config, log = folder / "canary.yaml", folder / "canary.log"
    config.write_text(
        CANARY.format(url=url, ca=upstream.folder / "ca.pem" if upstream.tls else "null")
        + "".join(
            ONE_CANARY.format(number=number, model="gpt-4o" if number == 0 else f"model-{number}")
            for number in range(canaries)
        )
    )
    command = [sys.executable, "-m", "canary", "serve", "--config", str(config), "--workers", str(workers)]
    command += ["--traffic", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0", "--data", str(folder / "data")]
    env = None if compiled is None else os.environ | {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(compiled)}
    with child([*command, "--grace", "5s"], core, log=log, env=env) as process:
        wait_for(process, log, lambda: says_ready(port))
        if compiled is not None:
            _check_compiled(process.pid, compiled)
        try:
            yield Contender(name=name, port=port, roles=_canary_roles(process.pid))
        except RuntimeError as exc:
            exc.add_note(f"canary's last words:\n{log.read_text()[-3000:]}")
            raise


def _check_compiled(supervisor: int, folder: Path) -> None:
    for pid in family(supervisor):
        program = command_line(pid)
        if "canary.programs." in program and f"{folder}/" not in _libraries(pid):
            raise RuntimeError(f"{program.split(' {')[0]} runs without the compiled libraries of {folder}")


def _libraries(pid: int) -> str:
    return "\n".join(line for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if ".so" in line)


def _canary_roles(supervisor: int) -> dict[str, list[int]]:
    roles: dict[str, list[int]] = {"worker": [], "admin": []}
    for pid in family(supervisor):
        role = "worker" if "canary.programs.worker" in command_line(pid) else "admin"
        roles[role].append(pid)
    return roles
