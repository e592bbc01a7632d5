"""A provider that takes only living tokens of its issuer, and no other credential beside them."""

import json
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any

from tests.servers.token_issuers import TokenIssuer

_CREDENTIALS = ("api-key", "x-api-key", "x-goog-api-key", "cookie")


class TokenProvider(ThreadingHTTPServer):
    """Speaks OpenAI's chat completions and list of models, and Gemini's generateContent.

    `served` counts answers by token, `paths` by path; `refused` has what was refused.
    """

    daemon_threads = True

    def __init__(self, issuer: TokenIssuer) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.issuer = issuer
        self.served: Counter[str] = Counter()
        self.paths: Counter[str] = Counter()
        self.refused: list[str] = []
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> "TokenProvider":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Asked(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: TokenProvider

    def do_GET(self) -> None:
        if self._token() is not None:
            self._answer(200, json.dumps({"data": [{"id": "gpt-new"}]}).encode())

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if (token := self._token()) is None:
            return
        self.server.served[token] += 1
        self.server.paths[self.path] += 1
        if asked.get("model") == "quotes":
            error = {"message": f"cannot do this for {token}", "code": "bad"}
            self._answer(400, json.dumps({"error": error}).encode())
        else:
            self._answer(200, json.dumps(_gemini() if "contents" in asked else _openai()).encode())

    def _token(self) -> str | None:
        """The living token that was sent; None when the request has been refused."""
        given = self.headers["authorization"] or ""
        token = given.removeprefix("Bearer ")
        others = [name for name in _CREDENTIALS if name in self.headers] + ["key"] * ("key=" in self.path)
        if others or not self.server.issuer.accepts(token):
            self.server.refused.append(f"{given} {others}")
            error = {"message": f"refused: {token}", "code": "unauthorized"}
            self._answer(401, json.dumps({"error": error}).encode())
            return None
        return token

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


def _openai() -> dict[str, Any]:
    message = {"role": "assistant", "content": "Hello"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {"id": "c-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]} | {
        "usage": usage
    }


def _gemini() -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finishReason": "STOP"}
    return {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1}}
