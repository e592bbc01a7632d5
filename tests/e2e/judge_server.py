"""A judge of known taste on a free port of the loopback. It speaks OpenAI's chat completions, and keeps its
own book of what it was asked and what it charged.
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import TracebackType
from typing import Any

IN_USD, OUT_USD = 1.0 / 1e6, 2.0 / 1e6
PRICES = "prices: {the-judge: {input: 1, output: 2}}"
"""For the config: what the judge charges a token."""

_ANSWERS = re.compile(
    r"=== (?:ANSWER A|THE ANSWER|SESSION) ===\n(.*?)\n=== (?:ANSWER B ===\n(.*?)\n=== )?END", re.DOTALL
)
_NUMBER = re.compile(r"question (\d+)\.")


@dataclass(frozen=True, slots=True)
class Asked:
    """One question in the judge's book. `number` is that of the users' question; `text` is the whole."""

    number: int
    first: str
    second: str
    text: str
    charged_usd: float
    authorization: str


Taste = Callable[[Asked], str]
"""What the judge says to a question."""


def likes(good: str) -> Taste:
    """Prefers the answer that begins so in seven of ten questions and the other in the rest, but takes the
    first answer in every 17th, whichever it is, and says nothing readable to every 13th."""

    def said(asked: Asked) -> str:
        if asked.number % 13 == 0:
            return "I would rather not say."
        if asked.number % 17 == 0:
            return "The first one.\nBETTER: A"
        wanted = asked.first.startswith(good) == (asked.number % 10 < 7)
        return f"It says more.\nBETTER: {'A' if wanted else 'B'}"

    return said


class JudgeServer(ThreadingHTTPServer):
    """`broken` is the status that it answers with instead, None for none; `takes_s` is how long it thinks;
    `rejects` are the questions that it calls bad requests."""

    daemon_threads = True

    def __init__(self, taste: Taste, *, out_tokens: int = 20, takes_s: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.taste, self.out_tokens, self.takes_s = taste, out_tokens, takes_s
        self.broken: int | None = None
        self.rejects: set[int] = set()
        self.refused = 0
        self._lock = Lock()
        self._book: list[Asked] = []
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def book(self) -> list[Asked]:
        """What it was asked so far, and charged."""
        with self._lock:
            return list(self._book)

    @property
    def charged_usd(self) -> float:
        """All of it, also of answers that nobody waited for."""
        return sum(asked.charged_usd for asked in self.book)

    def note(self, text: str, authorization: str) -> Asked:
        """Write a question down, and charge for it: it will be answered."""
        found, number = _ANSWERS.search(text), _NUMBER.search(text)
        assert found is not None and number is not None, text
        cost = len(text) / 4 * IN_USD + self.out_tokens * OUT_USD
        asked = Asked(int(number[1]), found[1], found[2] or "", text, cost, authorization)
        with self._lock:
            self._book.append(asked)
        return asked

    def __enter__(self) -> "JudgeServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: JudgeServer

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.server.broken is not None:
            self.server.refused += 1
            error = {"error": {"code": "overloaded", "message": "come back later"}}
            return self._answer(self.server.broken, error)
        text = asked["messages"][-1]["content"]
        if (number := _NUMBER.search(text)) and int(number[1]) in self.server.rejects:
            self.server.refused += 1
            return self._answer(400, {"error": {"code": "too_long", "message": "shorten it"}})
        noted = self.server.note(text, self.headers["authorization"] or "")
        time.sleep(self.server.takes_s)
        message = {"role": "assistant", "content": self.server.taste(noted)}
        return self._answer(
            200,
            {
                "model": "the-judge",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {
                    "prompt_tokens": len(noted.text) // 4,
                    "completion_tokens": self.server.out_tokens,
                },
            },
        )

    def _answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("x-request-id", "req_judge")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...
