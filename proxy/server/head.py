"""What a request's head must be, and a response's may be. Pure; llhttp has checked the syntax."""

import re
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import httptools

HEAD_LIMIT = 64 * 1024
FIELD_LIMIT = 200
FRAMING = frozenset([b"host", b"transfer-encoding", b"content-length", b"expect"])
"""The fields that decide where a request ends and whose it is."""

Headers = Sequence[tuple[bytes, bytes]]
Fault = tuple[int, str]
"""Status and words of a refusal."""

_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TEXT = bytes(byte for byte in range(256) if byte == 9 or (byte >= 32 and byte != 127))


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}".encode()


STATUS_LINE = {status: _status_line(status) for status in range(100, 600)}


def refusal(status: int, message: str) -> bytes:
    """A whole response of our own, after which the connection is closed."""
    body = message.encode("ascii")
    fields = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return b"%b\r\n%b%b" % (STATUS_LINE[status], fields % len(body), body)


def find_fault(version: str, framing: Headers, *, upgrade: bool) -> Fault | None:
    """Why the request is not to be served; None when it is. `framing`: its fields named in FRAMING.

    Host: RFC 9112 §3.2. Transfer codings: §6.1, where what is not understood must not be passed on.
    """
    if version not in ("1.0", "1.1"):
        return 505, "HTTP/1.1 is spoken here."
    hosts, codings = 0, []
    for name, value in framing:
        if name == b"host":
            hosts += 1
            if not _is_host(value):
                return 400, "The Host header is no host."
        elif name == b"transfer-encoding":
            codings.append(value.lower())
    if hosts > 1 or (not hosts and version == "1.1"):
        return 400, "Exactly one Host header is needed."
    if codings and (version == "1.0" or codings != [b"chunked"]):
        return 400, "No transfer coding but chunked is understood."
    if upgrade and (codings or any(name == b"content-length" for name, _ in framing)):
        return 400, "A request that upgrades has no body here."
    return None


@lru_cache(1024)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value.rstrip(b" \t")) is not None


def is_too_large(target: bytes, headers: Headers, received: int) -> bool:
    """True above 200 fields or 64 KiB. `received`: bytes read so far, at least the head's."""
    if len(headers) > FIELD_LIMIT:
        return True
    if received <= HEAD_LIMIT:
        return False
    return len(target) + sum(len(name) + len(value) + 4 for name, value in headers) > HEAD_LIMIT


def split(target: bytes) -> tuple[bytes, bytes]:
    """Path and query, raw. Raises HttpParserInvalidURLError for what is neither."""
    if target.startswith(b"/"):
        path, _, query = target.partition(b"#")[0].partition(b"?")
        return path, query
    url: Any = httptools.parse_url(target)  # its stubs know no None
    if url.schema is None:
        raise httptools.HttpParserInvalidURLError("the target is no path")
    return url.path or b"/", url.query or b""


def sendable(headers: Headers) -> bool:
    """True when every name is a token and every value field text (RFC 9110 §5.5, §5.6.2)."""
    if not headers:
        return True
    names, values = zip(*headers, strict=True)
    return (
        all(names)
        and not b"".join(names).translate(None, _TOKEN)
        and not b"".join(values).translate(None, _TEXT)
    )
