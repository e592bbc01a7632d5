"""Parses a connection's requests and validates their heads. No socket and no clock.

llhttp parses the bytes; this module adds the bounds and the checks of head.py.
"""

from typing import Protocol

import httptools

from proxy.network.server.caller_request import CallerRequest, RequestConnection
from proxy.network.server.head import (
    FIELD_LIMIT,
    FRAMING,
    HEAD_LIMIT,
    find_fault,
    is_other_protocol,
    is_too_large,
    split,
)


class RequestReceiver(RequestConnection, Protocol):
    """Receives the parser's events."""

    refused: bool

    def began(self) -> None:
        """The first byte of a request has arrived."""

    def headed(self, incoming: CallerRequest) -> None:
        """The head is complete and valid."""

    def body(self, body: bytes) -> None:
        """Body bytes have arrived."""

    def whole(self) -> None:
        """The last byte of the request has arrived."""

    def refuse(self, status: int, message: str) -> None:
        """The request is invalid."""


class Requests:
    """The parser of one connection. Once the connection has refused a request, further bytes are ignored."""

    __deletable__ = ("_connection", "_parser", "on_message_begin")  # mypyc allows `del` only for these

    def __init__(self, connection: RequestReceiver) -> None:
        self._connection = connection
        self.on_message_begin = connection.began
        self._parser = httptools.HttpRequestParser(self)
        self._fed = 0  # bytes since the last request's end or body byte
        self._data = b""  # these bytes, while a head is under way in them
        self._heads = 0  # that ended in these bytes
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []

    @property
    def overfed(self) -> bool:
        """True when too many bytes outside a body have arrived."""
        return self._fed > HEAD_LIMIT

    def feed(self, data: bytes) -> bytes | None:
        """Parse bytes. Returns the bytes after a request to upgrade; None without one."""
        self._data = self._data + data
        self._heads = 0
        self._fed += len(data)
        beyond: bytes | None = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            beyond = data[upgrade.args[0] :]
        except httptools.HttpParserError:
            self._connection.refuse(400, "Invalid HTTP request received.")
        if not self._fed:
            self._data = b""
        return beyond

    def close(self) -> None:
        """Release the parser after the last bytes."""
        del self._parser, self._connection, self.on_message_begin  # breaks the reference cycles

    # llhttp's callbacks

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        connection, parser = self._connection, self._parser
        if connection.refused:
            return
        version, method = parser.get_http_version(), parser.get_method()
        # Later calls of `on_header` are trailers, which must not be taken for fields of the head.
        url, headers, self._headers = self._url, self._headers, []
        framing = [field for field in headers if field[0] in FRAMING or b"_" in field[0]]
        upgrade = parser.should_upgrade()
        fault = find_fault(method, version, framing, upgrade=upgrade)
        self._heads += 1
        end = self._data.find(b"\r\n")
        plain = self._heads == 1 and end > 8 and self._data[end - 9 : end - 3] == b" HTTP/"
        if not plain and is_other_protocol(self._data):
            fault = (400, "Only HTTP is spoken here.")
        if (self._fed > HEAD_LIMIT or len(headers) > FIELD_LIMIT) and is_too_large(url, headers):
            fault = (431, "The request head is too large.")
        if fault is not None:
            connection.refuse(*fault)
            return
        path, query = split(url)
        self._fed = 0
        connection.headed(
            CallerRequest(
                connection,
                method.decode("ascii"),
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
        self._connection.body(body)

    def on_message_complete(self) -> None:
        self._fed = 0
        self._url = b""
        self._headers = []
        self._connection.whole()
