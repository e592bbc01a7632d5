"""Parses a connection's requests; llhttp parses the bytes, this checks them. No socket and no clock."""

import re
from functools import lru_cache
from typing import Any, Protocol

import httptools

from proxy.network.server.caller_request import STATUS_LINE, CallerRequest, Headers, RequestConnection

HEAD_LIMIT = 64 * 1024
FIELD_LIMIT = 200
HOST_LIMIT = 300
"""A name of 253 characters (RFC 1035) and a port; also what the cache of valid hosts holds of one."""
FRAMING = frozenset([b"host", b"transfer-encoding", b"content-length", b"expect", b"content-type"])
"""The fields that determine where a request ends, which host it is for, and how its body is read."""
METHODS = frozenset([b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"])

Fault = tuple[int, str]
"""The status and message of a refusal."""

_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_OTHER_PROTOCOL = re.compile(rb"(?:\A|\n)[A-Z]+ +[^ \r\n]+ +RTSP/")
"""llhttp reads RTSP as HTTP, and does not tell."""


def refusal(status: int, message: str) -> bytes:
    """Build a complete response, after which the connection closes."""
    body = message.encode("ascii")
    fields = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    allow = b"allow: %b\r\n" % b", ".join(sorted(METHODS)) if status == 405 else b""  # RFC 9110 §15.5.6
    return b"%b\r\n%b%b%b" % (STATUS_LINE[status], allow, fields % len(body), body)


def find_fault(method: bytes, version: str, framing: Headers, *, upgrade: bool) -> Fault | None:
    """Return why the request is refused, or None. `framing`: its fields named in FRAMING, and those with an
    underscore in their name.

    Host: RFC 9112 §3.2. Transfer codings: §6.1, which forbids forwarding a coding that is not understood.
    Servers behind that make `_` of `-` (CGI, WSGI) would take `content_length` for the field itself, and of
    two content types each reader takes another.
    """
    if version not in ("1.0", "1.1"):
        return 505, "Only HTTP/1.1 and HTTP/1.0 are supported."
    if method not in METHODS:
        return 405, "This method is not forwarded."
    hosts, types, codings = 0, 0, []
    for name, value in framing:
        if name == b"host":
            hosts += 1
            if len(value) > HOST_LIMIT or not _is_host(value):
                return 400, "The Host header is not a valid host."
        elif name == b"transfer-encoding":
            codings.append(value.lower())
        elif name == b"content-type":
            types += 1
        elif b"_" in name:
            return 400, "Header names with an underscore are not accepted; write a hyphen."
    if types > 1:
        return 400, "At most one Content-Type header is allowed."
    if hosts > 1 or (not hosts and version == "1.1"):
        return 400, "Exactly one Host header is required."
    if codings and (version == "1.0" or codings != [b"chunked"]):
        return 400, "The only supported transfer coding is chunked."
    if upgrade and (codings or any(name == b"content-length" for name, _ in framing)):
        return 400, "A request to upgrade must not have a body."
    return None


def is_other_protocol(data: bytes) -> bool:
    """True when a request line in these bytes is of another protocol than HTTP."""
    return _OTHER_PROTOCOL.search(data) is not None


@lru_cache(1024)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value.rstrip(b" \t")) is not None


def is_too_large(target: bytes, headers: Headers) -> bool:
    """True over 200 fields or 64 KiB."""
    if len(headers) > FIELD_LIMIT:
        return True
    return len(target) + sum(len(name) + len(value) + 4 for name, value in headers) > HEAD_LIMIT


def split(target: bytes) -> tuple[bytes, bytes]:
    """Split a target into raw path and query. Raises HttpParserInvalidURLError for an invalid target."""
    if target.startswith(b"/"):
        path, _, query = target.partition(b"#")[0].partition(b"?")
        return path, query
    url: Any = httptools.parse_url(target)  # the stubs omit None
    if url.schema is None:
        raise httptools.HttpParserInvalidURLError("the target is not a path")
    return url.path or b"/", url.query or b""


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
