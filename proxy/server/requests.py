"""Takes a caller's requests apart, one after another, and judges their heads. No socket and no clock.

llhttp answers what a byte means; what it lets through (head.py) and any bound are kept here.
"""

from typing import Protocol

import httptools

from proxy.server.head import FRAMING, HEAD_LIMIT, find_fault, is_too_large, split
from proxy.server.incoming import Incoming, RequestConnection


class RequestReceiver(RequestConnection, Protocol):
    """Who is told, while bytes are fed."""

    refused: bool

    def began(self) -> None:
        """A request's first byte has come."""

    def headed(self, incoming: Incoming) -> None:
        """Its head is whole, and nothing is wrong with it."""

    def body(self, body: bytes) -> None:
        """Body bytes."""

    def whole(self) -> None:
        """It has come to its last byte."""

    def refuse(self, status: int, message: str) -> None:
        """It is not to be served."""


class Requests:
    """What one connection brings. Where its line is `refused`, the rest is nobody's."""

    __deletable__ = ("_line", "_parser")  # mypyc's word for what `del` may take

    def __init__(self, line: RequestReceiver) -> None:
        self._line = line
        self._parser = httptools.HttpRequestParser(self)
        self._fed = 0  # since the last request's end or body byte
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []

    @property
    def overfed(self) -> bool:
        """Too much has come that is no body."""
        return self._fed > HEAD_LIMIT

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes as they came. Returns what is another protocol's; None: none was asked for."""
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return data[upgrade.args[0] :]
        except httptools.HttpParserError:
            self._line.refuse(400, "Invalid HTTP request received.")
        return None

    def close(self) -> None:
        """Nothing more is fed."""
        del self._parser, self._line  # they hold us: without them no cycle is left to collect

    # llhttp's callbacks

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._line.began()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        line, parser = self._line, self._parser
        if line.refused:
            return
        version = parser.get_http_version()
        # What `on_header` still gets are trailers: they must not pass for fields of the head.
        headers, self._headers = self._headers, []
        framing = [field for field in headers if field[0] in FRAMING]
        upgrade = parser.should_upgrade()
        fault = find_fault(version, framing, upgrade=upgrade)
        if is_too_large(self._url, headers, self._fed):
            fault = (431, "The request's head is too large.")
        if fault is not None:
            line.refuse(*fault)
            return
        path, query = split(self._url)
        self._fed = 0
        line.headed(
            Incoming(
                line,
                parser.get_method().decode("ascii"),
                path.decode("ascii"),
                query,
                headers,
                old=version == "1.0",
                keep_alive=version == "1.1" and not upgrade and parser.should_keep_alive(),
                continues=dict(framing).get(b"expect", b"").lower() == b"100-continue",
                upgrades=upgrade,
            )
        )

    def on_body(self, body: bytes) -> None:
        self._fed = 0
        self._line.body(body)

    def on_message_complete(self) -> None:
        self._fed = 0
        self._line.whole()
