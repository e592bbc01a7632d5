"""The URLs of an API's own vendor, and of every server that copies them."""

from urllib.parse import unquote

from proxy.dialects import operation, target_of
from proxy.dialects.gemini import MODEL_PATH
from proxy.dialects.operation import Api
from proxy.providers.headers import quoted
from proxy.providers.provider import Provider
from proxy.providers.urls.form import Owner, Place, Written, below


def owner(path: str) -> Owner | None:
    """None: plain paths are told apart by API, not by kind."""
    return None


def read(api: Api, method: str, path: str) -> Place:
    """The operation at a path as callers write it (`/v1/…`)."""
    target = target_of(api, path)
    found = operation(api, method, target)
    named = MODEL_PATH.match(target) if found.model_in == "path" else None
    return Place(
        form="plain",
        operation=found,
        target=target,
        plain=target,
        model=unquote(named["model"]) if named else "",
    )


def write(provider: Provider, place: Place, *, model: str, stream: bool, home: bool) -> Written | None:
    """The operation in the API's own form."""
    if provider.api != "gemini" or not place.plain:
        return below("", place, model)
    path = with_model(place.plain, model) if model else place.plain
    return Written(target=path.encode())


def with_model(path: str, model: str) -> str:
    """Gemini's path with another model."""
    return MODEL_PATH.sub(lambda place: f"{place['before']}{quoted(model)}:{place['method']}", path)
