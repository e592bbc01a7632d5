"""Receivers of pages that ail, each in its way, until somebody mends them. Real HTTP servers on loopback."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal

from tests.servers.ports import free_port

Ailment = Literal["away", "hangs", "fails", "throttles"]
RETRY_AFTER_S = 2
LONGEST_HANG_S = 900.0


class AilingReceiver:
    """`taken` are the bodies that it answered with a 2xx, in order; `refused` counts what it did not take,
    but for connections to one that is away."""

    def __init__(self, ailment: Ailment) -> None:
        self.ailment: Ailment | None = ailment
        self.taken: list[Any] = []
        self.refused = 0
        self.too_soon = 0
        self._mended = threading.Event()
        self._asked_to_wait_until = 0.0
        self._port = free_port()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it is, or will be."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> "AilingReceiver":
        if self.ailment != "away":
            self._listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mended.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def mend(self) -> None:
        """Take everything from now on; what hangs is cut."""
        self.ailment = None
        self._mended.set()
        if self._server is None:
            self._listen()

    def _listen(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                receiver._answer(self, body)

            def log_message(self, format: str, *args: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def _answer(self, request: BaseHTTPRequestHandler, body: Any) -> None:
        ailment = self.ailment
        if ailment is None:
            self.taken.append(body)
            request.send_response(202)
        elif ailment == "hangs":
            self.refused += 1
            self._mended.wait(LONGEST_HANG_S)
            request.close_connection = True
            return
        else:
            self.refused += 1
            request.send_response(429 if ailment == "throttles" else 503)
            if ailment == "throttles":
                self._throttle(request)
        request.send_header("content-length", "0")
        request.end_headers()

    def _throttle(self, request: BaseHTTPRequestHandler) -> None:
        now = time.monotonic()
        self.too_soon += now < self._asked_to_wait_until
        self._asked_to_wait_until = now + RETRY_AFTER_S - 0.1
        request.send_header("retry-after", str(RETRY_AFTER_S))
