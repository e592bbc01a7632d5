"""Provider entries and their timeouts, from the config only, never from a request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the supervisor knows entries, and reads no answer
    from proxy.dialects.operation import Api

Kind = Literal["plain", "azure", "bedrock", "vertex"]
"""How an entry's URLs name operation and model. `plain`: as the API's own vendor does."""

Auth = Literal["bearer", "x-api-key", "api-key", "x-goog-api-key", "azure", "aws", "google"]
"""How an entry's own credential is sent. The last three are fetched from that cloud and refreshed."""

CLOUD_AUTH: frozenset[Auth | None] = frozenset({"azure", "aws", "google"})

_PLAIN: "Mapping[Api, Auth]" = {"openai": "bearer", "anthropic": "x-api-key", "gemini": "x-goog-api-key"}
_CLOUDS_KEYS: Mapping[Kind, Auth] = {"azure": "api-key", "bedrock": "bearer", "vertex": "bearer"}
"""How each cloud takes a key. Bedrock reads a Bearer key on all of its paths, `x-api-key` only on some."""

_MACHINES: Mapping[Kind, Auth] = {"bedrock": "aws", "vertex": "google"}
"""Whose credentials an entry without a key uses: those of the machine."""


def own_auth(*, api: "Api", kind: Kind, auth: Auth | None, api_key: str | None) -> Auth | None:
    """How an entry's own credential is sent; None when it has none, and the caller's is sent."""
    if auth in CLOUD_AUTH:
        return auth
    if api_key is None:
        return _MACHINES.get(kind) if auth is None else None
    return auth or _CLOUDS_KEYS.get(kind) or _PLAIN[api]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout:
    """Timeouts. `first_byte_s` applies to streams only, and `write_s` to a write without progress."""

    connect_s: float = 5.0
    write_s: float = 60.0
    first_byte_s: float = 60.0
    idle_s: float = 60.0
    total_s: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One provider entry. `base_url` has no trailing slash; it is the host's root for every kind but `plain`.

    Without a credential of its own (`has_credential`) the caller's is sent, with one never. `auth`: as the
    config has it, None for what the API and kind take; `own_auth` is what that comes to. `project`, `region`:
    of a cloud's entry, "" where the kind needs none. `asks_stream_usage`: False where the provider refuses
    `stream_options`. `forward_headers`: the callers' headers for other gateways that it gets (`x-portkey-*`).
    """

    name: str
    api: "Api"
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    timeout: Timeout = Timeout()
    ca_file: str | None = None
    kind: Kind = "plain"
    auth: Auth | None = None
    project: str = ""
    region: str = ""
    asks_stream_usage: bool = True
    forward_headers: tuple[str, ...] = ()
    own_auth: Auth | None = field(init=False)
    has_credential: bool = field(init=False)

    def __post_init__(self) -> None:
        own = own_auth(api=self.api, kind=self.kind, auth=self.auth, api_key=self.api_key)
        object.__setattr__(self, "own_auth", own)
        object.__setattr__(self, "has_credential", own is not None)
