"""Checks of a response head beyond llhttp's, and the framing of its body. Pure."""

from collections.abc import Sequence

HEAD_LIMIT = 64 * 1024
"""Bytes of one head, including interim responses, or of trailers."""

FIELD_LIMIT = 200

Headers = Sequence[tuple[bytes, bytes]]


def find_fault(status: int, headers: Headers, received: int) -> str:
    """Return why the head cannot be relayed, or "". `received`: bytes read, at least those of the head."""
    if not 200 <= status <= 599:
        return f"not an HTTP status: {status}"
    if len(headers) > FIELD_LIMIT:
        return f"over {FIELD_LIMIT} header fields"
    if received > HEAD_LIMIT and _size(headers) > HEAD_LIMIT:
        return f"over {HEAD_LIMIT} bytes of header fields"
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings and (len(codings) > 1 or codings[0].lower() != b"chunked"):
        return "an unexpected transfer coding"
    return ""


def ends_with_input(headers: Headers) -> bool:
    """True when only the end of input ends the body (RFC 9112 §6.3, last case)."""
    return all(name not in (b"content-length", b"transfer-encoding") for name, _ in headers)


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers)
