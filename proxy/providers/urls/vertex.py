"""Vertex AI's URLs: project, region, publisher, model and method in the path.

https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import unquote

from proxy.dialects import operation
from proxy.dialects.anthropic import version_member as as_member
from proxy.dialects.gemini import MODEL_PATH
from proxy.dialects.operation import Api
from proxy.providers.headers import quoted
from proxy.providers.provider import Provider
from proxy.providers.urls import plain
from proxy.providers.urls.form import HOLE, FormChange, Owner, Place, Written, other
from routing.canary import RequestChanges

_PATH = re.compile(
    r"^/(?P<version>v1|v1beta1)/(?P<where>projects/[^/]+/locations/[^/]+/)?"
    r"publishers/(?P<publisher>google|anthropic)/models/(?P<model>[^/:]+):(?P<method>[A-Za-z]+)$"
)
_APIS: Mapping[str, Api] = {"google": "gemini", "anthropic": "anthropic"}
_GEMINI_METHODS = ("generateContent", "streamGenerateContent", "countTokens")
"""Gemini's methods whose bodies are alike on both. Embeddings are not: Vertex's have other members."""

_VERSIONS = {"v1": "v1", "v1beta1": "v1beta"}
_COUNTING = "count-tokens"
"""The model in the path under which Vertex counts tokens for Claude; the body names the model."""

_TO_VERTEX = RequestChanges(default=(("anthropic_version", as_member(None)),))
_FROM_VERTEX = RequestChanges(remove=("anthropic_version",))
_BETA = frozenset({b"beta"})
"""The parameter that Anthropic's SDK adds to its own URLs, and leaves away on Vertex."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Name:
    """The parts of a path on Vertex, as in the URL. `where`: project and region, with a final slash."""

    version: str
    where: str
    publisher: str
    model: str
    method: str

    @property
    def path(self) -> str:
        return f"/{self.version}/{self.where}publishers/{self.publisher}/models/{self.model}:{self.method}"


def owner(path: str) -> Owner | None:
    """The API of the path's publisher."""
    found = _PATH.match(path)
    return _APIS[found["publisher"]] if found else None


def read(api: Api, method: str, path: str) -> Place:
    """The operation at a path of Vertex, or at the API's own path."""
    found = _PATH.match(path)
    if found is None:
        return plain.read(api, method, path)
    if method != "POST" or _APIS[found["publisher"]] != api:
        return other(path)
    return _read_gemini(found, path) if api == "gemini" else _read_claude(found, path)


def _read_gemini(found: re.Match[str], path: str) -> Place:
    if found["method"] not in _GEMINI_METHODS:
        return other(path)
    own = f"/{_VERSIONS[found['version']]}/models/{found['model']}:{found['method']}"
    return replace(plain.read("gemini", "POST", own), form="vertex", target=path)


def _read_claude(found: re.Match[str], path: str) -> Place:
    if found["method"] not in ("rawPredict", "streamRawPredict"):
        return other(path)
    counts, streams = found["model"] == _COUNTING, found["method"] == "streamRawPredict"
    own = "/v1/messages/count_tokens" if counts else "/v1/messages"
    named = operation("anthropic", "POST", own)
    if not counts:
        named = replace(named, model_in="path", streams=True if streams else None)
    return Place(
        form="vertex",
        operation=named,
        target=path,
        plain=own,
        model="" if counts else unquote(found["model"]),
        changes=replace(_FROM_VERTEX, default=(("stream", "true"),)) if streams else _FROM_VERTEX,
        versioned=True,
    )


def write(provider: Provider, place: Place, *, model: str, stream: bool, home: bool) -> Written | None:
    """The operation on Vertex, with the entry's project and region unless the caller called this entry."""
    if place.form == "vertex":
        return _written_again(provider, place, model, home=home)
    if provider.api == "gemini":
        return _written_gemini(provider, place, model)
    return _written_claude(provider, place, model, stream=stream)


def _written_again(provider: Provider, place: Place, model: str, *, home: bool) -> Written | None:
    found = _PATH.match(place.target)
    assert found is not None  # the place was read here  # noqa: S101
    name = _Name(**{**found.groupdict(), "where": found["where"] or ""})
    if not home:
        name = replace(name, where=_where(provider))
    if model and place.model:
        name = replace(name, model=quoted(model))
    return Written(target=name.path.encode())


def _written_gemini(provider: Provider, place: Place, model: str) -> Written | None:
    found = MODEL_PATH.match(place.plain)
    if found is None or found["method"] not in _GEMINI_METHODS:
        return None
    name = _Name(
        version="v1" if place.plain.startswith("/v1/") else "v1beta1",
        where=_where(provider),
        publisher="google",
        model=quoted(model or place.model),
        method=found["method"],
    )
    return Written(target=name.path.encode())


def _written_claude(provider: Provider, place: Place, model: str, *, stream: bool) -> Written | None:
    counts = place.plain == "/v1/messages/count_tokens"
    if not counts and place.plain != "/v1/messages":
        return None
    name = _Name(
        version="v1",
        where=_where(provider),
        publisher="anthropic",
        model=_COUNTING if counts else quoted(model) or HOLE.decode(),
        method="streamRawPredict" if stream else "rawPredict",
    )
    changes = _TO_VERTEX if counts else replace(_TO_VERTEX, remove=("model",))
    wants = not (counts or model)
    change = FormChange(changes=changes, dropped=_BETA, version="member", wants_model=wants)
    return Written(target=name.path.encode(), change=change)


def _where(provider: Provider) -> str:
    return f"projects/{quoted(provider.project)}/locations/{quoted(provider.region or 'global')}/"
