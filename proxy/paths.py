"""Brings a caller's path into the one spelling that everything matches. What is sent is the caller's own.

    the caller writes                  matched as
    %63 for c, any unreserved          c (RFC 3986 §6.2.2.2)
    %3a                                %3A
    //                                 /
    a segment . or .., in whatever     nothing: refused with 400
    encoding, also before a `;`
    over 8 KiB                         nothing: refused with 414

Capitals are left as they are: they count in all of the APIs' own documents.
"""

import re
from urllib.parse import unquote

from proxy.errors import Refused

_ODD = re.compile(r"[%\\]|//|/\.")
"""Without one of these a path is in its normal spelling already."""

_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_CHAIN = re.compile(r"%(?:25)+")
_SLASHES = re.compile(r"//+")
_BETWEEN = re.compile(r"[/\\]")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_MOST_DECODINGS = 3
LONGEST = 8192
"""Bytes of a path. No provider's are longer, and many servers take no more (RFC 9110 §15.5.15)."""
_DOTS = (".", "..")


def normal(path: str) -> str:
    """The spelling of a raw path that is matched. Raises Refused (400, 414)."""
    if len(path) > LONGEST:
        raise Refused(414, f"the path is over {LONGEST} bytes", "caller_rejected")
    if not _ODD.search(path):
        return path
    if any(each.partition(";")[0].strip() in _DOTS for each in _BETWEEN.split(_decoded(path))):
        raise Refused(400, "paths with '.' or '..' segments are not forwarded", "caller_rejected")
    return _SLASHES.sub("/", _ENCODED.sub(_plain, path))


def spelt(target: str, path: str, raw: str) -> str:
    """`target` as its caller spells it: it was made of `path`, the normal spelling of `raw`, by leaving out
    its first segment or by putting a prefix before it."""
    if path.endswith(target):
        return behind_first(raw) if len(target) < len(path) else raw
    return target.removesuffix(path) + raw if target.endswith(path) else target


def behind_first(raw: str) -> str:
    """A raw path without its first segment, which may have several slashes before it."""
    _, slash, rest = raw.lstrip("/").partition("/")
    return slash + rest


def _decoded(path: str) -> str:
    """The path without any encoding, as the most obliging server would read it. Raises Refused (400)."""
    for _ in range(_MOST_DECODINGS):
        further = unquote(_CHAIN.sub("%", path))
        if further == path:
            return path
        path = further
    raise Refused(400, "this path is percent-encoded over and over", "caller_rejected")


def _plain(found: re.Match[str]) -> str:
    sign = chr(int(found[1], 16))
    return sign if sign in _UNRESERVED else found[0].upper()
