"""Redacts a captured request so that it can be sent again: the same members, in the same order. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from records.capture import WireRequest

REMOVED = "[unit]"
_IDENTITIES = frozenset({"user", "safety_identifier", "prompt_cache_key", "user_id"})
"""Members that name a person where they stand at the top or in `metadata`."""

Clean = Callable[[str], str]


def redacted_request(path: str, headers: Mapping[str, str], body: bytes, clean: Clean) -> WireRequest | None:
    """The request with every text and every name redacted by `clean`; None if its body is not an object.

    A number is 0 where its digits would be redacted in a text. The units' identities are replaced whole.
    """
    try:
        members = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(members, dict):
        return None
    without = {name: _without_identity(name, value) for name, value in members.items()}
    return WireRequest(
        path=clean(path),
        headers={name: clean(value) for name, value in headers.items()},
        body=msgspec.json.encode(_redacted(without, clean)).decode(),
    )


def _without_identity(name: str, value: Any) -> Any:
    if name == "metadata" and isinstance(value, dict):
        return {inner: REMOVED if inner in _IDENTITIES else each for inner, each in value.items()}
    named = isinstance(value, str | int) and not isinstance(value, bool)
    return REMOVED if name in _IDENTITIES and named else value


def _redacted(value: Any, clean: Clean) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_redacted(each, clean) for each in value]
    if isinstance(value, dict):
        return {clean(name): _redacted(each, clean) for name, each in value.items()}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value if clean(str(value)) == str(value) else 0
    return value
