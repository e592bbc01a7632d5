"""Where people sign in by OpenID Connect, and which groups may do what. A value of the config."""

from collections.abc import Collection
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import urlsplit

from console.access.session import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSettings:
    """The provider, this client at it, and the groups by role. `redirect_uri` is the admin listener's
    `/oidc/callback` as people's browsers reach it."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    viewers: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """A digest of all of it: a session lasts only while the config stays as it was."""
        parts = (
            *(self.issuer, self.client_id, self.client_secret, self.redirect_uri),
            *("viewers", *self.viewers, "operators", *self.operators),
        )
        return sha256("\0".join(parts).encode()).hexdigest()

    def role(self, groups: Collection[str]) -> Role | None:
        """The role of somebody in these groups; None for no role. An operator may all that a viewer may."""
        if not set(groups).isdisjoint(self.operators):
            return "operator"
        return "viewer" if not set(groups).isdisjoint(self.viewers) else None


def is_private(url: str) -> bool:
    """True if nobody on the way can read or change what is sent to this URL."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:  # a bad IPv6 host
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK))


_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
