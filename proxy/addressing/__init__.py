"""How the URLs of each kind of provider entry name operation and model, and how one is written as another."""

from collections.abc import Mapping

from proxy.addressing import azure, bedrock, plain, vertex
from proxy.addressing.form import HOLE, Addressing, Difference, Owner, Place, Written
from proxy.dialects import PASS_THROUGH
from proxy.provider import Api, Kind, Provider

_BY_KIND: Mapping[Kind, Addressing] = {
    "plain": plain,
    "azure": azure,
    "bedrock": bedrock,
    "vertex": vertex,
}


def owner(path: str) -> tuple[Kind, Owner] | None:
    """The kind and API of the entry to which a raw path of a cloud goes without an entry's name."""
    for kind, addressing in _BY_KIND.items():
        if (api := addressing.owner(path)) is not None:
            return kind, api
    return None


def read(kind: Kind, api: Api, method: str, path: str) -> Place:
    """The operation at a raw path behind the name of an entry of this kind and API."""
    return _BY_KIND[kind].read(api, method, path)


def write(provider: Provider, place: Place, *, model: str, stream: bool, home: bool) -> Written | None:
    """The operation as this entry takes it; None where it cannot. `model`: "" keeps the caller's. `home`: the
    caller called this entry."""
    if place.operation is PASS_THROUGH:
        return Written(target=place.target)
    return _BY_KIND[provider.kind].write(provider, place, model=model, stream=stream, home=home)


def takes_canaries(kind: Kind, api: Api, path: str) -> bool:
    """True when a canary may take requests to this path, as callers write it behind an entry's name."""
    return any(read(kind, api, method, path).operation.canary for method in ("POST", "GET"))


__all__ = ["HOLE", "Difference", "Owner", "Place", "Written", "owner", "read", "takes_canaries", "write"]
