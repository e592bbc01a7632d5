"""How the URLs of each kind of provider entry name operation and model, and how one is written as another."""

from collections.abc import Mapping

from proxy.dialects import PASS_THROUGH
from proxy.dialects.operation import Api
from proxy.providers.body import adapted
from proxy.providers.provider import Kind, Provider
from proxy.providers.urls import azure, bedrock, plain, vertex
from proxy.providers.urls.form import HOLE, FormChange, KindUrls, Owner, Place, Written

_BY_KIND: Mapping[Kind, KindUrls] = {
    "plain": plain,
    "azure": azure,
    "bedrock": bedrock,
    "vertex": vertex,
}


def owner(path: str) -> tuple[Kind, Owner] | None:
    """The kind and API of the entry to which a raw path of a cloud goes without an entry's name."""
    for kind, urls in _BY_KIND.items():
        if (api := urls.owner(path)) is not None:
            return kind, api
    return None


def read(kind: Kind, api: Api, method: str, path: str) -> Place:
    """The operation at a raw path behind the name of an entry of this kind and API."""
    return _BY_KIND[kind].read(api, method, path)


def write(provider: Provider, place: Place, *, model: str, stream: bool, home: bool) -> Written | None:
    """The operation as this entry takes it; None where it cannot. `model`: "" keeps the caller's. `home`: the
    caller called this entry."""
    if place.operation is PASS_THROUGH:
        return Written(target=place.target.encode())
    return _BY_KIND[provider.kind].write(provider, place, model=model, stream=stream, home=home)


def addressed(provider: Provider, model: str, path: str, body: bytes) -> tuple[str, bytes]:
    """Path and body of a whole answer's request as this entry takes it, for a path below the API's own base
    URL; unchanged where the entry has no such operation."""
    written = write(provider, plain.read(provider.api, "POST", path), model=model, stream=False, home=False)
    if written is None:
        return path, body
    changes = None if written.change is None else written.change.changes
    return written.target.decode(), (adapted(body, changes) if changes else None) or body


def takes_canaries(kind: Kind, api: Api, path: str) -> bool:
    """True when a canary may take requests to this path, as callers write it behind an entry's name."""
    return any(read(kind, api, method, path).operation.canary for method in ("POST", "GET"))


def takes_from(home: Provider, other: Provider, path: str) -> bool:
    """True when another entry takes what a caller sends to this path behind an entry's name."""
    place = read(home.kind, home.api, "POST", path)
    return write(other, place, model="", stream=False, home=False) is not None


def below_entry(kind: Kind, api: Api) -> str:
    """What follows an entry's name in the base URL that the kind's SDKs are given."""
    return _BELOW_ENTRY.get((kind, api), "")


def nameless_paths(kind: Kind, api: Api) -> str | None:
    """The kind's own paths, which need no entry's name, as messages show them."""
    return _NAMELESS.get((kind, api))


_BELOW_ENTRY: Mapping[tuple[Kind, Api], str] = {
    ("plain", "openai"): "/v1",
    ("azure", "openai"): "/openai/v1",
    ("azure", "anthropic"): "/anthropic",
    ("bedrock", "openai"): "/openai/v1",
    ("bedrock", "anthropic"): "/anthropic",
}
_NAMELESS: Mapping[tuple[Kind, Api], str] = {
    ("azure", "openai"): "/openai/deployments/…",
    ("bedrock", "openai"): "/model/…",
    ("bedrock", "anthropic"): "/model/…",
}

__all__ = [
    "HOLE",
    "FormChange",
    "Owner",
    "Place",
    "Written",
    "addressed",
    "below_entry",
    "nameless_paths",
    "owner",
    "read",
    "takes_canaries",
    "takes_from",
    "write",
]
