"""Both ends of the wire around `canary serve`, in one thread: a test plays the provider and the caller.

Nothing here sleeps: each side waits, for a bounded time, until the other one's bytes are in. No HTTP library:
what is compared must not have been normalised.
"""

import re
import select
import socket
import struct
import time
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from tests.serving import WAIT_S

_READ = 1 << 20

Field = tuple[bytes, bytes]


def fields(head: bytes) -> list[Field]:
    """The header list of a head without its first line: names as sent, values without the space around."""
    pairs = (line.split(b":", 1) for line in head.split(b"\r\n") if line)
    return [(name, value.strip(b" \t")) for name, value in pairs]


class Chunks:
    """Undoes the chunked coding, in whatever pieces it comes (RFC 9112 §7.1). Strict: AssertionError."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.complete = False
        self.trailers: list[bytes] = []
        self._left = 0  # of this chunk
        self._line = bytearray()
        self._expects = "size"

    def feed(self, data: bytes) -> bytes:
        """Take bytes; return those after the end."""
        at = 0
        while at < len(data) and not self.complete:
            if self._expects == "data":
                taken = data[at : at + self._left]
                self.body += taken
                self._left -= len(taken)
                at += len(taken)
                if not self._left:
                    self._expects = "data end"
            else:
                self._line += data[at : at + 1]
                at += 1
                if self._line.endswith(b"\r\n"):
                    line, self._line = bytes(self._line[:-2]), bytearray()
                    self._take(line)
        return data[at:]

    def _take(self, line: bytes) -> None:
        if self._expects == "data end":
            assert line == b"", line
            self._expects = "size"
        elif self._expects == "size":
            assert re.fullmatch(rb"[0-9A-Fa-f]+", line), line
            self._left = int(line, 16)
            self._expects = "data" if self._left else "trailer"
        elif line:
            self.trailers.append(line)
        else:
            self.complete = True


@dataclass
class Asked:
    """A request as it reached the provider. `wire` is where it came from, and where its answer goes."""

    wire: "Wire"
    line: bytes
    headers: list[Field]
    body: bytes = b""

    def values(self, name: bytes) -> list[bytes]:
        """The values of a header, in their order."""
        return [value for each, value in self.headers if each.lower() == name]


class Wire:
    """The provider's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(WAIT_S)
        self.sock = sock
        self._read = b""

    def head(self) -> Asked:
        """Read a request's head."""
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        line, _, rest = head.partition(b"\r\n")
        return Asked(self, line, fields(rest))

    def body(self, asked: Asked) -> bytes:
        """Read the request's body to its end."""
        if asked.values(b"transfer-encoding") == [b"chunked"]:
            chunks = Chunks()
            self._read = chunks.feed(self._read)
            while not chunks.complete:
                self._more()
                self._read = chunks.feed(self._read)
            assert chunks.trailers == []
            return bytes(chunks.body)
        return self.read(int((asked.values(b"content-length") or [b"0"])[0]))

    def read(self, size: int) -> bytes:
        """Read so many bytes."""
        while len(self._read) < size:
            self._more()
        out, self._read = self._read[:size], self._read[size:]
        return out

    def write(self, data: bytes, caller: "Caller | None" = None) -> None:
        """One write (as many as the kernel wants, if it is long); `caller` reads on meanwhile."""
        left = memoryview(data)
        deadline = time.monotonic() + WAIT_S
        while left:
            reading = [caller.sock] if caller is not None and not caller.over else []
            readable, writable, _ = select.select(reading, [self.sock], [], WAIT_S)
            assert time.monotonic() < deadline, f"canary does not take {len(left)} bytes of the answer"
            if writable:
                left = left[self.sock.send(left, socket.MSG_DONTWAIT) :]
            if readable and caller is not None:
                caller.read()

    def close(self) -> None:
        """Close with a FIN."""
        self.sock.close()

    def reset(self) -> None:
        """Close with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def is_closed(self) -> bool:
        """Wait until canary has closed it, cleanly or not; False when more comes instead."""
        try:
            return self.sock.recv(_READ) == b""
        except ConnectionError:
            return True

    def _more(self) -> None:
        data = self.sock.recv(_READ)
        if not data:
            raise ConnectionError("canary closed the connection within its request")
        self._read += data


class RawProvider:
    """Listens. Kept connections stay open, and a request may come over any of them."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wires: list[Wire] = []

    @property
    def url(self) -> str:
        """Its address, without a trailing slash."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._listener, *(wire.sock for wire in self._wires)):
            sock.close()

    def head(self) -> Asked:
        """The next request's head, whichever connection it comes by."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            self._wires = [wire for wire in self._wires if wire.sock.fileno() >= 0]
            by_socket = {wire.sock: wire for wire in self._wires}
            for sock in select.select([self._listener, *by_socket], [], [], WAIT_S)[0]:
                if sock is self._listener:
                    self._wires.append(Wire(self._listener.accept()[0]))
                elif _has_closed(sock):
                    sock.close()
                else:
                    return by_socket[sock].head()
        raise AssertionError("no request reached the provider")

    def request(self) -> Asked:
        """The next request, whole."""
        asked = self.head()
        asked.body = asked.wire.body(asked)
        return asked


def _has_closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except ConnectionError:
        return True


class Caller:
    """The caller's end. Reads one response at a time; `closed` says how the connection ended, if it did."""

    def __init__(self, address: str) -> None:
        url = urlsplit(address)
        self.sock = socket.create_connection((url.hostname, url.port), timeout=WAIT_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.closed: str | None = None
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def _begin(self) -> None:
        self.line = b""
        self.headers: list[Field] = []
        self.complete = False
        self.after = b""
        self._head = bytearray()
        self._plain = bytearray()
        self._chunks: Chunks | None = None
        self._length: int | None = None
        self._bodiless = False

    @property
    def body(self) -> bytes:
        """The response's body as far as it has come, without its framing."""
        return bytes(self._plain if self._chunks is None else self._chunks.body)

    @property
    def size(self) -> int:
        """The length of `body`."""
        return len(self._plain if self._chunks is None else self._chunks.body)

    def part(self, start: int) -> bytes:
        """The body from there on."""
        return bytes((self._plain if self._chunks is None else self._chunks.body)[start:])

    @property
    def over(self) -> bool:
        """Nothing more will come."""
        return self.complete or self.closed is not None

    @property
    def status(self) -> int:
        return int(self.line.split(b" ")[1])

    def values(self, name: bytes) -> list[bytes]:
        """The values of a header, in their order."""
        return [value for each, value in self.headers if each.lower() == name]

    def send(self, request: bytes) -> None:
        """Send a whole request; its response is the next that is read."""
        self._begin()
        self._bodiless = request.startswith(b"HEAD ")
        self.sock.sendall(request)

    def until(self, size: int) -> None:
        """Wait until so many body bytes have come; TimeoutError when they are held back."""
        while self.size < size and not self.over:
            self.read()

    def until_over(self) -> None:
        """Wait for the response's end, good or bad."""
        while not self.over:
            self.read()

    def read(self) -> None:
        """Read what is there, waiting for it if need be."""
        try:
            data = self.sock.recv(_READ)
        except ConnectionResetError:
            self.closed = "reset"
            return
        if not data:
            self.closed = "end"
            self.complete = bool(self.line) and self._chunks is None and self._length is None
        elif self.line:
            self._feed(data)
        else:
            self._head += data
            if b"\r\n\r\n" in self._head:
                head, _, rest = bytes(self._head).partition(b"\r\n\r\n")
                self._take_head(head)
                self._feed(rest)

    def _take_head(self, head: bytes) -> None:
        self.line, _, rest = head.partition(b"\r\n")
        self.headers = fields(rest)
        codings, lengths = self.values(b"transfer-encoding"), self.values(b"content-length")
        assert len(codings) + len(lengths) <= 1, head
        self._bodiless = self._bodiless or self.status in (204, 304)
        if codings and not self._bodiless:
            assert codings == [b"chunked"]
            self._chunks = Chunks()
        elif lengths or self._bodiless:
            self._length = 0 if self._bodiless else int(lengths[0])

    def _feed(self, data: bytes) -> None:
        if self._chunks is not None:
            self.after += self._chunks.feed(data)
            self.complete = self._chunks.complete
            assert self._chunks.trailers == []
        elif self._length is not None:
            room = self._length - len(self._plain)
            self._plain += data[:room]
            self.after += data[room:]
            self.complete = len(self._plain) == self._length
        else:
            self._plain += data
