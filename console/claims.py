"""Who somebody is by the claims of an OpenID provider. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from console.oidc_settings import OidcSettings
from console.session import Person

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
