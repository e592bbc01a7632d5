"""Which headers travel, which way, and whose credential goes along."""

from collections.abc import Iterable, Sequence
from urllib.parse import quote

from proxy.provider import Provider

Headers = Sequence[tuple[bytes, bytes]]

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
_NEVER_RELAYED = _HOP_BY_HOP | {b"set-cookie", b"alt-svc", b"strict-transport-security"}
_NOT_RELAYED_RESIZED = _NEVER_RELAYED | {b"content-length"}
_WHOSE = frozenset(
    {
        b"openai-organization",
        b"openai-project",
        b"x-goog-user-project",
        b"ocp-apim-subscription-key",
    }
)
"""Name the caller's account at a provider, or are a key without being called one."""
_CREDENTIAL_ENDINGS = (b"authorization", b"api-key", b"cookie", b"-token", b"-secret", b"-auth")
_QUERY_CREDENTIALS = (b"key=", b"access_token=")
_OURS = b"x-canary-"


def _never_forwarded(*, own_key: bool, identity: bool) -> frozenset[bytes]:
    return _NEVER_FORWARDED | (_WHOSE if own_key else set()) | ({b"accept-encoding"} if identity else set())


_FORWARD_DROPS = {
    (own_key, identity): _never_forwarded(own_key=own_key, identity=identity)
    for own_key in (False, True)
    for identity in (False, True)
}


def to_provider(headers: Headers, provider: Provider, *, identity: bool) -> list[tuple[bytes, bytes]]:
    """The caller's headers as the provider gets them.

    Where the provider entry has a key of its own, every credential of the caller is left out. `identity` asks
    for an uncompressed answer. Host and the framing are the connection's to write.
    """
    key = provider.api_key
    sent = _travelling(headers, _FORWARD_DROPS[key is not None, identity])
    if key is not None:
        sent = [header for header in sent if not header[0].endswith(_CREDENTIAL_ENDINGS)]
        sent.append(_credential(provider, key))
    if identity:
        sent.append((b"accept-encoding", b"identity"))
    return sent


def to_caller(
    headers: Headers, ours: Iterable[tuple[bytes, bytes]], *, resized: bool
) -> list[tuple[bytes, bytes]]:
    """The provider's headers as the caller gets them, then ours; `resized` drops a length no longer true."""
    sent = _travelling(headers, _NOT_RELAYED_RESIZED if resized else _NEVER_RELAYED)
    sent.extend(ours)
    return sent


def without_key(query: bytes) -> bytes:
    """The query string without Gemini's `key` (or Google's `access_token`) parameter."""
    return b"&".join(part for part in query.split(b"&") if not part.startswith(_QUERY_CREDENTIALS))


def quoted(model: str) -> str:
    """A model value as it stands in a URL's path segment."""
    return quote(model, safe="")


def _travelling(headers: Headers, dropped: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    """Those headers, in their order, that are not dropped, not named by Connection, not the proxy's own."""
    if named := _named_by_connection(headers):
        dropped = dropped | named
    return [header for header in headers if (name := header[0]) not in dropped and not name.startswith(_OURS)]


def _named_by_connection(headers: Headers) -> set[bytes]:
    """Names that `Connection` lists are hop-by-hop too (RFC 9110, 7.6.1); keep-alive is one anyway."""
    named = [value for name, value in headers if name == b"connection"]
    if not named or named == [b"keep-alive"]:
        return set()
    return {token.strip().lower() for value in named for token in value.split(b",")}


def _credential(provider: Provider, key: str) -> tuple[bytes, bytes]:
    if provider.api == "anthropic":
        return b"x-api-key", key.encode()
    if provider.api == "gemini":
        return b"x-goog-api-key", key.encode()
    return b"authorization", b"Bearer " + key.encode()
