"""Which headers are forwarded in each direction, and which credential the provider gets."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from urllib.parse import quote, unquote_to_bytes

from proxy.provider import Provider

Headers = Sequence[tuple[bytes, bytes]]

_OURS = b"x-canary-"
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_NEVER_FORWARDED = _HOP_BY_HOP | {b"host", b"expect"}
_NEVER_RELAYED = _HOP_BY_HOP | {
    b"content-length",
    b"set-cookie",
    b"alt-svc",
    b"strict-transport-security",
}
PROTOCOLS = b"sec-websocket-protocol"
_WHOSE = frozenset(
    {
        PROTOCOLS,
        b"openai-organization",
        b"openai-project",
        b"x-goog-user-project",
        b"ocp-apim-subscription-key",
        b"x-amz-date",
        b"x-amz-content-sha256",
    }
)
"""Headers that name the caller's account at a provider, carry a key under another name, or belong to the
caller's signature."""
_CREDENTIAL_ENDINGS = (b"authorization", b"api-key", b"cookie", b"-token", b"-secret", b"-auth")
_QUERY_CREDENTIALS = frozenset({b"key", b"access_token"})
_LENGTHS = frozenset(map(len, _QUERY_CREDENTIALS))


class _Travels(dict[bytes, bool]):
    """Cache of whether headers with a name are forwarded."""

    def __init__(self, dropped: AbstractSet[bytes], endings: tuple[bytes, ...] = ()) -> None:
        super().__init__()
        self._dropped = dropped
        self._endings = endings

    def __missing__(self, name: bytes) -> bool:
        travels = not (name in self._dropped or name.startswith(_OURS) or name.endswith(self._endings))
        if len(self) < _MOST_REMEMBERED and len(name) < _LONGEST_REMEMBERED:  # senders choose the names
            self[name] = travels
        return travels


_MOST_REMEMBERED, _LONGEST_REMEMBERED = 4096, 64
_RELAYED = _Travels(_NEVER_RELAYED)
_FORWARDED = {
    (own_key, identity): _Travels(
        _NEVER_FORWARDED | (_WHOSE if own_key else set()) | ({b"accept-encoding"} if identity else set()),
        _CREDENTIAL_ENDINGS if own_key else (),
    )
    for own_key in (False, True)
    for identity in (False, True)
}


def to_provider(headers: Headers, provider: Provider, *, identity: bool) -> list[tuple[bytes, bytes]]:
    """Return the headers for the provider.

    If the provider entry has its own credential, all credentials of the caller are removed, and
    `proxy.credentials` adds its own. `identity` asks for an uncompressed answer. The connection writes Host
    and the framing headers.
    """
    sent = _travelling(headers, _FORWARDED[provider.has_credential, identity])
    if identity:
        sent.append((b"accept-encoding", b"identity"))
    return sent


def to_caller(headers: Headers, ours: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the provider's headers for the caller, followed by `ours`. The server writes the framing."""
    sent = _travelling(headers, _RELAYED)
    sent.extend(ours)
    return sent


def credentials(headers: Headers, query: bytes) -> list[str]:
    """The caller's credentials, without the word that names their scheme."""
    values = [value for name, value in headers if name.endswith(_CREDENTIAL_ENDINGS)]
    parts = [part.partition(b"=") for part in query.split(b"&")] if query else []
    values += [unquote_to_bytes(value) for name, _, value in parts if name in _QUERY_CREDENTIALS]
    return [value.rpartition(b" ")[2].decode("latin-1") for value in values]


def without_key(query: bytes) -> bytes:
    """Remove Gemini's `key` and Google's `access_token` from a query string, in any percent-encoding."""
    return b"&".join([part for part in query.split(b"&") if not _is_credential(part)])


def without(query: bytes, names: AbstractSet[bytes]) -> bytes:
    """Remove parameters from a query string."""
    return b"&".join([part for part in query.split(b"&") if part.partition(b"=")[0] not in names])


def _is_credential(parameter: bytes) -> bool:
    name = parameter.partition(b"=")[0]
    # Decoding costs ten times as much as counting, and a query may have tens of thousands of parameters.
    return len(name) - 2 * name.count(b"%") in _LENGTHS and unquote_to_bytes(name) in _QUERY_CREDENTIALS


def quoted(model: str) -> str:
    """Quote a model for a path segment of a URL."""
    return quote(model, safe="")


def _travelling(headers: Headers, travels: _Travels) -> list[tuple[bytes, bytes]]:
    """Return the forwarded headers in order, without those that Connection names: they are hop-by-hop
    (RFC 9110 §7.6.1)."""
    sent = [header for header in headers if travels[header[0]]]
    listed = [value for name, value in headers if name == b"connection"]
    if listed and listed != [b"keep-alive"]:
        named = {token.strip().lower() for value in listed for token in value.split(b",")}
        sent = [header for header in sent if header[0] not in named]
    return sent
