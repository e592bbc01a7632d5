"""The credential that a provider entry sends instead of the caller's."""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from proxy.provider import Api, Auth, Provider


class UnsignedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that needs a credential, as it will be sent. `target`: raw path and query below the host.
    `headers`: without Host and framing. `body`: None when it is streamed."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes | None


class NoCredential(Exception):
    """No credential can be had; the message says why and what would help."""


class Credential(Protocol):
    """One entry's credential."""

    def headers(self, request: UnsignedRequest) -> list[tuple[bytes, bytes]]:
        """The headers that carry it. Never waits. Raises NoCredential."""
        ...


class Key:
    """A key from the config, in one header."""

    def __init__(self, auth: Auth, key: str) -> None:
        self._headers = [_SCHEMES[auth](key)]

    def headers(self, request: UnsignedRequest) -> list[tuple[bytes, bytes]]:
        return list(self._headers)


class Credentials:
    """The credentials of one process's provider entries, by the entry's name."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Provider, Credential]] = {}

    def of(self, provider: Provider) -> Credential | None:
        """Return the entry's credential; None when the caller's is sent."""
        known = self._known.get(provider.name)
        if known is not None and known[0] is provider:
            return known[1]
        if provider.api_key is None:
            return None
        credential = Key(provider.auth or _USUAL[provider.api], provider.api_key)
        self._known[provider.name] = (provider, credential)
        return credential


_USUAL: Mapping[Api, Auth] = {"openai": "bearer", "anthropic": "x-api-key", "gemini": "x-goog-api-key"}
_SCHEMES: Mapping[Auth, Callable[[str], tuple[bytes, bytes]]] = {
    "bearer": lambda key: (b"authorization", b"Bearer " + key.encode()),
    "x-api-key": lambda key: (b"x-api-key", key.encode()),
    "api-key": lambda key: (b"api-key", key.encode()),
    "x-goog-api-key": lambda key: (b"x-goog-api-key", key.encode()),
}
