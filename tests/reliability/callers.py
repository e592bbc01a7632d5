"""Callers of bare sockets, who read what the proxy answers strictly and notice how it ended."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from tests.reliability.strict_http import Message, Reader
from tests.serving import WAIT_S

Ending = Literal["clean", "cut", "reset"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as its caller saw it. `cut`: a FIN before the message's end; `reset`: a RST."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    ending: Ending

    def first(self, name: str) -> str:
        """The first field of that name; "" when there is none."""
        return next((value.decode() for key, value in self.fields if key == name.encode()), "")


def request(
    address: str,
    document: Mapping[str, Any] | bytes,
    headers: Mapping[str, str] | None = None,
    *,
    path: str = "/v1/chat/completions",
    version: str = "1.1",
) -> bytes:
    """A POST's bytes."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    fields = {"host": address.removeprefix("http://"), "authorization": "Bearer sk-caller"}
    fields |= {"content-type": "application/json", "content-length": str(len(body))} | dict(headers or {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/{version}\r\n{lines}\r\n".encode() + body


@contextmanager
def connected(address: str) -> Iterator[socket.socket]:
    """A connection to the proxy."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield line


def receive(line: socket.socket) -> Answer:
    """The next final response on a connection. Raises Ambiguous for what is not strictly HTTP/1.1."""
    reader = Reader(responses=True)
    ending: Ending = "clean"
    while True:
        try:
            data = line.recv(1 << 16)
        except ConnectionResetError:
            ending = "reset"
            break
        if not data:
            last = reader.end()
            if last is not None:
                return _answer(last, "clean")
            ending = "cut"
            break
        final = [each for each in reader.feed(data) if each.status >= 200]
        if final:
            return _answer(final[0], "clean")
    left = reader.under_way
    return _answer(left, ending) if left is not None else Answer(0, (), b"", ending)


def ask(address: str, document: Mapping[str, Any] | bytes, **more: Any) -> Answer:
    """One request on a connection of its own, and its answer."""
    with connected(address) as line:
        line.sendall(request(address, document, **more))
        return receive(line)


def reset_on_close(line: socket.socket) -> None:
    """Let the close be a RST."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def _answer(message: Message, ending: Ending) -> Answer:
    return Answer(message.status, tuple(message.fields), bytes(message.body), ending)
