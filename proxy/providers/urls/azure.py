"""Azure's URLs: `/openai/v1/…`, the older `/openai/deployments/DEPLOYMENT/…`, and Foundry's `/anthropic/…`.

https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
"""

import re
from dataclasses import replace
from urllib.parse import unquote

from proxy.dialects import operation
from proxy.dialects.operation import Api
from proxy.providers.headers import quoted
from proxy.providers.provider import Provider
from proxy.providers.urls import plain
from proxy.providers.urls.form import Owner, Place, Written, below, other

_DEPLOYMENT = re.compile(r"^/openai/deployments/(?P<model>[^/]+)(?P<operation>/.+)$")
_PREFIX = {"openai": "/openai/v1", "anthropic": "/anthropic"}
_DATED = frozenset({b"api-version"})


def owner(path: str) -> Owner | None:
    """The older paths name no entry: the Azure SDK writes them below the host's root."""
    return "openai" if _DEPLOYMENT.match(path) else None


def read(api: Api, method: str, path: str) -> Place:
    """The operation at a path of either kind, or at the API's own path."""
    if api == "anthropic":
        return _below("/anthropic", api, method, path)
    if found := _DEPLOYMENT.match(path):
        return Place(
            form="deployment",
            operation=operation(api, method, found["operation"]),
            target=path,
            plain=found["operation"],
            model=unquote(found["model"]),
            only_here=_DATED,
        )
    if path.startswith("/openai/") and not path.startswith("/openai/v1/"):
        rest = path.removeprefix("/openai")
        named = operation(api, method, rest)
        return Place(form="dated", operation=named, target=path, plain=rest, only_here=_DATED)
    return _below("/openai", api, method, path)


def _below(prefix: str, api: Api, method: str, path: str) -> Place:
    """The API's own path (`/v1/…`), with or without the prefix that Azure gives it."""
    rest = path.removeprefix(prefix)
    if not rest.startswith("/v1/"):
        return other(path)
    return replace(plain.read(api, method, rest), target=prefix + rest)


def write(provider: Provider, place: Place, *, model: str, stream: bool, home: bool) -> Written | None:
    """The caller's form if it is one of Azure's, else the one without `api-version`."""
    if place.form == "deployment" and model:
        return Written(target=f"/openai/deployments/{quoted(model)}{place.plain}".encode())
    if place.form in ("deployment", "dated"):
        return Written(target=place.target.encode())
    return below(_PREFIX[provider.api], place, model) if provider.api in _PREFIX else None
