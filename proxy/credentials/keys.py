"""Keys from the config, and the header that each provider reads them from."""

from collections.abc import Mapping

from proxy.credentials.credential import UnsignedRequest
from proxy.provider import Auth, Provider

_NAMES: Mapping[Auth, bytes] = {
    "bearer": b"authorization",
    "x-api-key": b"x-api-key",
    "api-key": b"api-key",
    "x-goog-api-key": b"x-goog-api-key",
}


class Key:
    """A key from the config."""

    def __init__(self, provider: Provider, key: str) -> None:
        self._headers = [_header(scheme, key.encode()) for scheme in _schemes(provider)]

    def headers(self, request: UnsignedRequest) -> list[tuple[bytes, bytes]]:
        """The same headers for every request."""
        return list(self._headers)


def _header(scheme: Auth, key: bytes) -> tuple[bytes, bytes]:
    return _NAMES[scheme], b"Bearer " + key if scheme == "bearer" else key


def _schemes(provider: Provider) -> list[Auth]:
    """The entry's scheme. Foundry's Claude reads `api-key` or `x-api-key`: it gets both, as its SDK sends."""
    if provider.auth is None and provider.kind == "azure" and provider.api == "anthropic":
        return ["api-key", "x-api-key"]
    return [provider.own_auth] if provider.own_auth is not None else []
