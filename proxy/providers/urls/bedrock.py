"""Bedrock's URLs: `/model/MODEL/METHOD`, `/openai/v1/…` and `/anthropic/v1/messages`.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html
"""

import re
from dataclasses import replace
from urllib.parse import quote, unquote, urlsplit

from proxy.dialects import PASS_THROUGH
from proxy.dialects.bedrock import MODEL_PATH
from proxy.dialects.bedrock import operation as own_operation
from proxy.dialects.operation import Api
from proxy.providers.provider import Provider
from proxy.providers.urls import plain
from proxy.providers.urls.form import Owner, Place, Written, below, other

_OWN = re.compile(r"^/(?:model|guardrail|async-invoke)(?:/|$)")
_FORMS: dict[str, Api] = {"/openai/v1/": "openai", "/anthropic/v1/": "anthropic"}
_MANTLE = "bedrock-mantle."
"""Begins the host whose paths of OpenAI's form have no prefix."""


def owner(path: str) -> Owner | None:
    """Bedrock's own operations go to an entry of any API."""
    return "any" if _OWN.match(path) else None


def read(api: Api, method: str, path: str) -> Place:
    """The operation at one of Bedrock's own paths, or at a path of OpenAI's or Anthropic's form."""
    if found := MODEL_PATH.match(path):
        named = own_operation(path) if method == "POST" else PASS_THROUGH
        if named is PASS_THROUGH:
            return other(path)
        return Place(form="bedrock", operation=named, target=path, model=unquote(found["model"]))
    for prefix, form in _FORMS.items():
        if path.startswith(prefix):
            place = replace(plain.read(form, method, path[len(f"/{form}") :]), target=path)
            return place if form == api else replace(place, form="beside", plain="")
    if path.startswith("/v1/"):
        return replace(plain.read(api, method, path), target=path)
    return other(path)


def write(provider: Provider, place: Place, *, model: str, stream: bool, home: bool) -> Written | None:
    """The caller's form where it is Bedrock's own, else the form of the entry's API."""
    if place.form == "bedrock":
        path = _with_model(place.target, model) if model else place.target
        return Written(target=path.encode())
    if place.form == "beside":
        return Written(target=place.target.encode())
    prefix = _prefix(provider)
    return below(prefix, place, model) if prefix is not None else None


def _with_model(path: str, model: str) -> str:
    """The path with another model, whose `:` and `/` are quoted if the caller quotes them."""
    found = MODEL_PATH.match(path)
    assert found is not None  # the place was read here  # noqa: S101
    bare = "".join(sign for sign in ":/" if sign in found["model"])
    return f"{found['before']}{quote(model, safe=bare)}/{found['method']}"


def _prefix(provider: Provider) -> str | None:
    """What stands before the operations of the entry's API; None for an API that Bedrock does not have."""
    if provider.api == "anthropic":
        return "/anthropic"
    is_mantle = (urlsplit(provider.base_url).hostname or "").startswith(_MANTLE)
    return ("/v1" if is_mantle else "/openai/v1") if provider.api == "openai" else None
