"""What a credential is: the headers that it adds to one request."""

from typing import Protocol

import msgspec


class UnsignedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that needs a credential, as it will be sent. `target`: raw path and query below the host.
    `headers`: without Host and framing. `body`: None when it is streamed."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes | None


class NoCredential(Exception):
    """No credential can be had; the message says why and what would help. It holds no secret."""


class Credential(Protocol):
    """One entry's credential."""

    def headers(self, request: UnsignedRequest) -> list[tuple[bytes, bytes]]:
        """The headers that carry it. Never waits. Raises NoCredential."""
        ...
