"""Checks request heads, whose syntax llhttp has checked already. Pure."""

import re
from functools import lru_cache
from typing import Any

import httptools

from proxy.network.server.caller_request import STATUS_LINE, Headers

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


_SPELT_SO = frozenset({b"session_id", b"conversation_id"})
"""Codex names its session so (0.80). Spelt with hyphens, the names mean nothing to a server."""


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
        elif b"_" in name and name not in _SPELT_SO:
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
