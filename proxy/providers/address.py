"""Builds request heads as bytes. The provider's part is built once."""

from collections.abc import Sequence
from urllib.parse import urlsplit

OWN = frozenset([b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade"])
"""Fields that frame or route the request; the caller's are replaced (RFC 9112 §3.2, §6, §9.6)."""

BODILESS = frozenset([b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE"])
"""Methods without a content-length for an empty body (RFC 9110 §8.6)."""

DEFAULT_PORTS = {"http": 80, "https": 443}


class Address:
    """The address of a base URL: scheme, host, port, and the bytes common to all its request heads.
    `authority` is the Host header.

    Raises ValueError unless the base URL is an http or https URL with a host.
    """

    def __init__(self, base_url: str) -> None:
        url = urlsplit(base_url)
        if url.scheme not in DEFAULT_PORTS or not url.hostname:
            raise ValueError(f"base_url {base_url!r} needs http:// or https:// and a host")
        self.scheme = url.scheme
        self.host = url.hostname if url.hostname.isascii() else url.hostname.encode("idna").decode()
        self.port = url.port or DEFAULT_PORTS[url.scheme]
        name = f"[{self.host}]" if ":" in self.host else self.host
        authority = name if self.port == DEFAULT_PORTS[url.scheme] else f"{name}:{self.port}"
        self.authority = authority.encode("ascii")
        self._before_target = b" " + url.path.rstrip("/").encode("ascii")
        self._after_target = b" HTTP/1.1\r\nhost: " + self.authority

    def head(
        self, method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]], length: int | None
    ) -> bytes:
        """Build the request head. `target` follows the base URL's path unchanged; `length` None is chunked.

        Raises ValueError when a part contains a line break, which would split the request in two.
        """
        lines = [b"".join((method, self._before_target, target, self._after_target))]
        lines += [b": ".join(field) for field in headers if field[0] not in OWN]
        if length is None:
            lines.append(b"transfer-encoding: chunked\r\n\r\n")
        elif length or method not in BODILESS:
            lines.append(b"content-length: %d\r\n\r\n" % length)
        else:
            lines.append(b"\r\n")
        head = b"\r\n".join(lines)
        breaks = len(lines) + 1 + (len(lines[-1]) > 2)
        if head.count(b"\r") != breaks or head.count(b"\n") != breaks:
            raise ValueError("the target or a header contains a line break")
        return head


def declared_length(headers: Sequence[tuple[bytes, bytes]]) -> int | None:
    """Return the Content-Length of a streamed body, or None."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return None
