"""Which headers are forwarded in each direction, and the request heads that carry them, as bytes."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from urllib.parse import quote, unquote_to_bytes, urlsplit

from proxy.providers.provider import Provider

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
_QUERY_CREDENTIALS = frozenset(
    {
        b"key", b"api-key", b"api_key", b"apikey", b"x-api-key", b"x-goog-api-key", b"subscription-key",
        b"access_token", b"authorization", b"client_secret", b"sig", b"signature",
        b"x-amz-signature", b"x-amz-credential", b"x-amz-security-token", b"x-goog-signature",
    }
)  # fmt: skip
"""Query parameters that are credentials, in lower case: of Gemini, Azure, Azure's gateways and shared access
signatures, Google's tokens, and signed URLs."""
_LENGTHS = frozenset(map(len, _QUERY_CREDENTIALS))

STEERING_FAMILIES = ("x-portkey-", "helicone-", "x-litellm-", "cf-aig-", "x-bf-", "x-envoy-")
STEERING = frozenset(
    {
        "x-http-method-override", "x-http-method", "x-method-override",
        "x-original-url", "x-original-uri", "x-rewrite-url", "x-override-url",
        "azureml-model-deployment", "x-ms-model-mesh-model-name",
    }
)  # fmt: skip
"""Headers that tell a gateway where a request goes or what it is, which canary decides. They go on to
entries that list them, in `forward_headers`."""
_SESSION = b"x-litellm-session-id"
"""Of a steering family, and steers nothing: it only names a session."""


class _Travels(dict[bytes, bool]):
    """Cache of whether headers with a name are forwarded."""

    def __init__(
        self,
        dropped: AbstractSet[bytes],
        endings: tuple[bytes, ...] = (),
        beginnings: tuple[bytes, ...] = (),
        listed: AbstractSet[bytes] = frozenset(),
    ) -> None:
        super().__init__()
        self._dropped = dropped
        self._endings = endings
        self._beginnings = (_OURS, *beginnings)
        self._listed = listed

    def __missing__(self, name: bytes) -> bool:
        dropped = name in self._dropped or name.startswith(self._beginnings) or name.endswith(self._endings)
        travels = not dropped or name in self._listed
        if len(self) < _MOST_REMEMBERED and len(name) < _LONGEST_REMEMBERED:  # senders choose the names
            self[name] = travels
        return travels


_MOST_REMEMBERED, _LONGEST_REMEMBERED = 4096, 64
_RELAYED = _Travels(_NEVER_RELAYED)


class _Forwarded(dict[tuple[bool, bool, tuple[str, ...]], _Travels]):
    """What is forwarded to an entry: with a credential of its own or not, uncompressed or not, and with the
    steering headers that it lists. As many as the config has kinds of entries."""

    def __missing__(self, kind: tuple[bool, bool, tuple[str, ...]]) -> _Travels:
        own_key, identity, listed = kind
        names = {each.encode() for each in listed}
        self[kind] = travels = _Travels(
            _NEVER_FORWARDED
            | ({name.encode() for name in STEERING} - names)
            | (_WHOSE if own_key else set())
            | ({b"accept-encoding"} if identity else set()),
            _CREDENTIAL_ENDINGS if own_key else (),
            tuple(each.encode() for each in STEERING_FAMILIES if f"{each}*" not in listed),
            names | {_SESSION},
        )
        return travels


_FORWARDED = _Forwarded()


def steers(name: str) -> bool:
    """True for a header that goes only to entries that list it, in lower case, or a family of them."""
    return name in STEERING or name.startswith(STEERING_FAMILIES)


def to_provider(
    headers: Headers, provider: Provider, *, identity: bool, own_key: bool
) -> list[tuple[bytes, bytes]]:
    """Return the headers for the provider.

    With `own_key` all credentials of the caller are removed, and `credentials` adds the entry's own.
    `identity` asks for an uncompressed answer. The connection writes Host and the framing headers.
    """
    sent = _travelling(headers, _FORWARDED[own_key, identity, provider.forward_headers])
    if identity:
        sent.append((b"accept-encoding", b"identity"))
    return sent


def to_caller(headers: Headers, ours: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the provider's headers for the caller, followed by `ours`. The server writes the framing."""
    sent = _travelling(headers, _RELAYED)
    sent.extend(ours)
    return sent


_REQUEST_ID = b"x-request-id"
_OTHER_REQUEST_IDS = (
    b"request-id", b"x-amzn-requestid", b"apim-request-id", b"x-goog-request-id",
    b"x-ms-request-id", b"mistral-correlation-id", b"x-debug-trace-id",
)  # fmt: skip
"""The headers in which providers name a request, as their support asks for it."""
_ANY_REQUEST_ID = frozenset(_OTHER_REQUEST_IDS)
_LONGEST_ID = 128


def request_id_of(named: Mapping[bytes, bytes], sent: Mapping[bytes, bytes]) -> str:
    """The provider's id of a request, by its answer's headers; "" if it names none.

    The caller's own id, `sent` under the same name and echoed, is not the provider's.
    """
    if _REQUEST_ID not in named and _ANY_REQUEST_ID.isdisjoint(named):
        return ""  # found in C: most of an exchange's cost is Python's own
    for name in (_REQUEST_ID, *_OTHER_REQUEST_IDS):
        if name in named and sent.get(name) != named[name]:
            return str(named[name][:_LONGEST_ID], "ascii", "replace")
    return ""


def credentials(headers: Headers, query: bytes) -> list[str]:
    """The caller's credentials, without the word that names their scheme."""
    values = [value for name, value in headers if name.endswith(_CREDENTIAL_ENDINGS)]
    parts = [part for part in query.split(b"&") if _is_credential(part)] if query else []
    values += [unquote_to_bytes(part.partition(b"=")[2]) for part in parts]
    return [value.rpartition(b" ")[2].decode("latin-1") for value in values]


def without_key(query: bytes) -> bytes:
    """Remove the credentials from a query string, in whatever case and percent-encoding."""
    return b"&".join([part for part in query.split(b"&") if not _is_credential(part)])


def without(query: bytes, names: AbstractSet[bytes]) -> bytes:
    """Remove parameters from a query string."""
    return b"&".join([part for part in query.split(b"&") if part.partition(b"=")[0] not in names])


def _is_credential(parameter: bytes) -> bool:
    name = parameter.partition(b"=")[0]
    # Decoding costs ten times as much as counting, and a query may have tens of thousands of parameters.
    return (
        len(name) - 2 * name.count(b"%") in _LENGTHS and unquote_to_bytes(name).lower() in _QUERY_CREDENTIALS
    )


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
