"""The version of Anthropic's API: a header on its own paths, a member of the body on Vertex."""

from typing import Any

import msgspec

from proxy.dialects.operation import UNREADABLE

HEADER = b"anthropic-version"
_FIRST_HEADER = b"2023-06-01"
_FIRST_MEMBER = "vertex-2023-10-16"
"""The first version under its two names; every later one has one name."""


class _Named(msgspec.Struct):
    anthropic_version: Any = None


_decode = msgspec.json.Decoder(_Named).decode


def as_member(header: bytes | None) -> str:
    """The member's value as JSON text, for the header of a caller."""
    version = _FIRST_MEMBER if header in (None, _FIRST_HEADER) else header.decode("latin-1")
    return msgspec.json.encode(version).decode()


def as_header(body: bytes) -> bytes:
    """The header's value, for the member of a caller's body."""
    try:
        version = _decode(body).anthropic_version
    except UNREADABLE:
        version = None
    if not isinstance(version, str) or not version[:4].isdigit() or not version.isascii():
        return _FIRST_HEADER
    return version.encode()
