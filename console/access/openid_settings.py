"""Where people sign in by OpenID Connect, which groups may do what, and who somebody is by the claims."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from console.access.session import Person, Role


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


_NAME_BOUND = 200


class SignInFailed(Exception):
    """A sign-in that did not succeed. The message says why and what would be right."""

    def __init__(self, message: str, status: int = 403) -> None:
        super().__init__(message)
        self.status = status


def admitted(claims: Mapping[str, Any], settings: OidcSettings) -> Person:
    """The person by verified claims. Raises SignInFailed if none of the person's groups may sign in."""
    name, role = name_of(claims), settings.role(groups_of(claims))
    if role is None:
        rights = (("operators", settings.operators), ("viewers", settings.viewers))
        groups = "; ".join(f"{what}: {', '.join(names)}" for what, names in rights if names)
        raise SignInFailed(
            f"{name} is in none of the groups that may sign in here ({groups}). Ask for one of them, or log "
            "in with a token."
        )
    return Person(role=role, name=name)


def name_of(claims: Mapping[str, Any]) -> str:
    """The person's name for the audit log, with what tells people of one name apart: `Ann (ann@example.com)`.

    The claims `name` and `email`, else `sub`; one of them where there are no more.
    """
    name, email, sub = (" ".join(str(claims.get(each) or "").split()) for each in ("name", "email", "sub"))
    own = (email or sub)[:_NAME_BOUND]
    return f"{name[:_NAME_BOUND]} ({own})" if name and own and name != own else own or name[:_NAME_BOUND]


def groups_of(claims: Mapping[str, Any]) -> Sequence[str]:
    """The person's groups; the claim may be a list or one group."""
    groups = claims.get("groups")
    return [groups] if isinstance(groups, str) else [str(each) for each in groups or ()]
