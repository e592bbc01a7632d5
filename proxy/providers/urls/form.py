"""An operation in a caller's URL, and the same operation written for the entry of an arm. Pure values."""

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import msgspec

from proxy.dialects import PASS_THROUGH, Operation
from proxy.dialects.operation import Api
from proxy.providers.provider import Provider
from routing.canary import NO_CHANGES, RequestChanges

HOLE = b"{model}"
Owner = Api | Literal["any"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the operation of a request stands in the caller's URL.

    `form`: the way in which the URL is written. `target`: path below the entry's base URL, if the entry takes
    this form. `plain`: the path below the base URL in the API's own form, "" for an operation that no other
    form has. `model`: the model in the path, decoded, "" where body or query name it. The others bring a
    request into the API's own form: `changes` its body, `only_here` are query parameters of this form only.
    `versioned`: the body names the version of Anthropic's API, which is a header there.
    """

    form: str
    operation: Operation
    target: str
    plain: str = ""
    model: str = ""
    changes: RequestChanges = NO_CHANGES
    only_here: frozenset[bytes] = frozenset()
    versioned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FormChange:
    """What changes between the form of the caller and that of an entry, beside target and model.

    `changes` of the body, query parameters that are `dropped`. `version`: where the version of Anthropic's
    API is to be written, if it is not there. `wants_model`: the target has a HOLE for the model, which only
    the request's body names.
    """

    changes: RequestChanges = NO_CHANGES
    dropped: frozenset[bytes] = frozenset()
    version: Literal["header", "member"] | None = None
    wants_model: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """An operation as one entry takes it. `target`: the path below its base URL. `change`: None in the
    caller's own form."""

    target: bytes
    change: FormChange | None = None


class KindUrls(Protocol):
    """How the URLs of one kind of entry name operation and model."""

    def owner(self, path: str) -> Owner | None:
        """The API of a raw path that belongs to this kind without an entry's name; None for other paths."""
        ...

    def read(self, api: Api, method: str, path: str) -> Place:
        """The operation at a raw path behind the entry's name; PASS_THROUGH for a path it does not know."""
        ...

    def write(
        self, provider: Provider, place: Place, *, model: str, stream: bool, home: bool
    ) -> Written | None:
        """The operation as this entry takes it; None where it cannot. `model`: "" keeps the caller's. `home`:
        the caller called this entry."""
        ...


def other(target: str) -> Place:
    """A path without an operation, which only passes through."""
    return Place(form="other", operation=PASS_THROUGH, target=target)


def below(prefix: str, place: Place, model: str) -> Written | None:
    """The operation in the API's own form, below a prefix; None for an operation that has none."""
    if not place.plain:
        return None
    target = (prefix + place.plain).encode()
    if place.form == "plain":
        return Written(target=target)
    changes = place.changes
    if place.model:
        name = msgspec.json.encode(model or place.model).decode()
        changes = replace(changes, set=(*changes.set, ("model", name)))
    change = FormChange(
        changes=changes, dropped=place.only_here, version="header" if place.versioned else None
    )
    return Written(target=target, change=change)
