"""Sockets that say and keep bare bytes: whether these are WebSocket frames is not their business."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

AGREED = (
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-accept: x\r\nx-odd:  two  words\r\n\r\n"
)


class ByteServer:
    """Agrees to one upgrade at a time, sends what it is given, and keeps what comes: bare bytes."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def close(self) -> None:
        self._listener.close()

    def serve(self, out: bytes, expected: int, into: list[bytes]) -> None:
        """`into` gets the request's head and the first `expected` bytes behind it."""
        line, _ = self._listener.accept()
        head = got = b""
        with line:
            while b"\r\n\r\n" not in head:
                head += line.recv(65536)
            head, _, got = head.partition(b"\r\n\r\n")
            line.sendall(AGREED + out[:10])
            with sending(line, out[10:]):
                into += [head, drawn(line, got, expected)]


@contextmanager
def sending(line: socket.socket, data: bytes) -> Iterator[None]:
    """Send while the body of the `with` reads."""
    sender = threading.Thread(target=line.sendall, args=(data,))
    sender.start()
    yield
    sender.join()


def drawn(line: socket.socket, got: bytes, size: int) -> bytes:
    parts = [got]
    while size > len(got) and (data := line.recv(1 << 20)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)
