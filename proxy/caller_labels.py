"""What a caller's headers say about a request beside it: its session, its labels and its retries."""

from collections.abc import Mapping

import msgspec

LABEL_BOUND = 64
"""Characters of a label."""

DISTINCT = ("utf-8", "backslashreplace")
"""Keeps different identities different even when they are not valid UTF-8."""

_SESSION, _CATEGORY, _REQUEST_ID = b"x-canary-session", b"x-canary-category", b"x-canary-request-id"
_TRACEPARENT, _RETRIES = b"traceparent", b"x-stainless-retry-count"
_NAMES = frozenset({_SESSION, _CATEGORY, _REQUEST_ID, _TRACEPARENT, _RETRIES})


class CallerLabels(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The labels; "" and 0 where the caller gave none. `session` is not hashed and not cut, the other texts
    are cut to the length of a label."""

    session: str = ""
    category: str = ""
    request_id: str = ""
    traceparent: str = ""
    retries: int = 0


NO_LABELS = CallerLabels()


def labels_of(named: Mapping[bytes, bytes]) -> CallerLabels:
    """Read the labels from a request's headers."""
    if named.keys().isdisjoint(_NAMES):
        return NO_LABELS
    session, retries = named.get(_SESSION), named.get(_RETRIES, b"")
    return CallerLabels(
        session=session.decode(*DISTINCT).strip() if session else "",
        category=_cut(text) if (text := named.get(_CATEGORY)) else "",
        request_id=_cut(text) if (text := named.get(_REQUEST_ID)) else "",
        traceparent=_cut(text) if (text := named.get(_TRACEPARENT)) else "",
        retries=int(retries) if retries.isdigit() and len(retries) < 4 else 0,
    )


def _cut(text: bytes) -> str:
    return text.decode("utf-8", "replace")[:LABEL_BOUND]
