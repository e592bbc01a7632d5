"""Who gets paged in the tests: a webhook of our own, and Debian's real Alertmanager."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2

from tests.servers.ports import free_port

ALERTMANAGER = Path("/usr/bin/prometheus-alertmanager")


class Hook:
    """A webhook: `bodies` is all it was sent, in order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bodies: list[dict[str, Any]] = []

    def events(self, canary: str, event: str | None = None) -> list[dict[str, Any]]:
        """What it was told about one canary, of one kind if that is given."""
        about = [body for body in self.bodies if body["canary"] == canary]
        return [body for body in about if event is None or body["event"] == event]


@contextmanager
def listening_hook() -> Iterator[Hook]:
    """A webhook up, on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hook.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook = Hook(f"http://127.0.0.1:{server.server_port}/page")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield hook
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def alertmanager(folder: Path, at: str | None = None) -> Iterator[str]:
    """A real Alertmanager's address, `at` HOST:PORT if that is given."""
    settings = folder / "alertmanager.yml"
    settings.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    address = at or f"127.0.0.1:{free_port()}"
    command = [str(ALERTMANAGER), f"--config.file={settings}", f"--storage.path={folder / 'kept'}"]
    listen = [f"--web.listen-address={address}", "--cluster.listen-address="]
    with subprocess.Popen([*command, *listen], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert any("Listening on" in line for line in process.stderr)
            yield f"http://{address}"
        finally:
            process.terminate()
            process.stderr.read()


def alerts_about(address: str, canary: str) -> list[dict[str, Any]]:
    """The alerts that an Alertmanager has about one canary; "" is for those about none."""
    alerts: list[dict[str, Any]] = httpx2.get(f"{address}/api/v2/alerts", trust_env=False).json()
    return [alert for alert in alerts if alert["labels"].get("canary", "") == canary]
