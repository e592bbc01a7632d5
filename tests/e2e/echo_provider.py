"""A provider that says what it is told: the request's last message, word for word, whole or as a stream. It
keeps what it was sent.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any


class EchoProvider(ThreadingHTTPServer):
    """Speaks OpenAI's chat completions on a free port of the loopback."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Echo)
        self.received: list[str] = []
        """Each request's line, headers and body."""
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> "EchoProvider":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: EchoProvider

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append(f"{self.requestline}\n{self.headers}{body.decode()}")
        asked = json.loads(body)
        text = f"You said: {asked['messages'][-1]['content']}"
        if asked.get("stream"):
            body = b"".join(map(_event, _pieces(text))) + b"data: [DONE]\n\n"
            return self._answer("text/event-stream", body)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return self._answer("application/json", json.dumps({"model": "m", "choices": [choice]}).encode())

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


def _pieces(text: str) -> list[dict[str, Any]]:
    """Three characters a piece: no secret comes in one."""
    said = [{"delta": {"content": text[at : at + 3]}} for at in range(0, len(text), 3)]
    return [{"index": 0, **each} for each in (*said, {"delta": {}, "finish_reason": "stop"})]


def _event(choice: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode()
