"""Brings the body of one form into that of another. The members that stay keep their bytes."""

import msgspec

from proxy.dialects.operation import UNREADABLE
from routing.request_changes import RequestChanges

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def changed(body: bytes, changes: RequestChanges) -> bytes:
    """The body with these changes; unchanged if it is no JSON object, which the provider will refuse."""
    if not changes:
        return body
    try:
        members = _decode(body)
    except UNREADABLE:
        return body
    for name in changes.remove:
        members.pop(name, None)
    members.update((name, msgspec.Raw(value.encode())) for name, value in changes.set)
    for name, value in changes.default:
        members.setdefault(name, msgspec.Raw(value.encode()))
    return msgspec.json.encode(members)
