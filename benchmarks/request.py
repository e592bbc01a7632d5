"""The load client's requests: a chat completion of about a kilobyte, like an SDK's."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEADERS = (
    "host: 127.0.0.1",
    "authorization: Bearer sk-bench",
    "accept: application/json",
    "content-type: application/json",
    "user-agent: OpenAI/Python 3.57.0",
    "x-stainless-lang: python",
    "x-stainless-retry-count: 0",
    "x-stainless-runtime: CPython",
)
CHAT = [
    {"role": "system", "content": "You answer customers of a shop. Be brief and kind. " * 8},
    {"role": "user", "content": "My parcel came damaged and I would like my money back. " * 6},
]


@dataclass(frozen=True, slots=True)
class RequestDialect:
    """A contender's form of the request."""

    path: str = "/v1/chat/completions"
    model: str = "gpt-4o"
    headers: tuple[str, ...] = ()

    def body(self, **fields: Any) -> bytes:
        """The JSON body; the load client replaces user-0000 by one of 2,000 users."""
        whole = {"model": self.model, "messages": CHAT, "user": "user-0000", "temperature": 0.2, **fields}
        return json.dumps(whole, separators=(",", ":")).encode()

    def write(self, path: Path, **fields: Any) -> Path:
        """Write a whole request into a file."""
        body = self.body(**fields)
        head = [f"POST {self.path} HTTP/1.1", *HEADERS, *self.headers, f"content-length: {len(body)}"]
        path.write_bytes("\r\n".join([*head, "", ""]).encode() + body)
        return path
