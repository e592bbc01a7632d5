"""How the URLs of each kind of provider entry name operation and model, and how one is written as another.

Plain ones are those of an API's own vendor, and of every server that copies them. Azure's are
`/openai/v1/…`, the older `/openai/deployments/DEPLOYMENT/…`, and Foundry's `/anthropic/…`. Bedrock's are
`/model/MODEL/METHOD`, `/openai/v1/…` and `/anthropic/v1/messages`. Vertex AI's have project, region,
publisher, model and method in the path.

https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html
https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple
from urllib.parse import quote, unquote, urlsplit

import msgspec

from proxy.dialects import anthropic, bedrock, gemini, openai, realtime
from proxy.dialects.anthropic import version_member
from proxy.dialects.bedrock import MODEL_PATH as BEDROCK_PATH
from proxy.dialects.gemini import MODEL_PATH
from proxy.dialects.operation import PASS_THROUGH, Api, Operation
from proxy.providers.headers import quoted
from proxy.providers.json_edit import adapted
from proxy.providers.provider import Kind, Provider
from routing.canary import NO_CHANGES, RequestChanges

HOLE = b"{model}"
Owner = Api | Literal["any"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerUrl:
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
class UrlFormChange:
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
class EntryUrl:
    """An operation as one entry takes it. `target`: the path below its base URL. `change`: None in the
    caller's own form."""

    target: bytes
    change: UrlFormChange | None = None


_BY_API = {"openai": openai.operation, "anthropic": anthropic.operation, "gemini": gemini.operation}


def operation(api: Api, method: str, path: str) -> Operation:
    """Return the operation of a provider's API at `path`, as the provider sees it, without query."""
    if method == "POST":
        return _BY_API[api](path)
    if method == "GET" and api == "openai" and path == realtime.PATH:
        return realtime.REALTIME
    return PASS_THROUGH


def target_of(api: Api, path: str) -> str:
    """The path below the base URL, for a path as callers write it (`/v1/…`)."""
    return path[3:] if api == "openai" and path.startswith("/v1/") else path


def other(target: str) -> CallerUrl:
    """A path without an operation, which only passes through."""
    return CallerUrl(form="other", operation=PASS_THROUGH, target=target)


def _below_prefix(prefix: str, place: CallerUrl, model: str) -> EntryUrl | None:
    """The operation in the API's own form, below a prefix; None for an operation that has none."""
    if not place.plain:
        return None
    target = (prefix + place.plain).encode()
    if place.form == "plain":
        return EntryUrl(target=target)
    changes = place.changes
    if place.model:
        name = msgspec.json.encode(model or place.model).decode()
        changes = replace(changes, set=(*changes.set, ("model", name)))
    change = UrlFormChange(
        changes=changes, dropped=place.only_here, version="header" if place.versioned else None
    )
    return EntryUrl(target=target, change=change)


def _read_plain(api: Api, method: str, path: str) -> CallerUrl:
    """The operation at a path as callers write it (`/v1/…`)."""
    target = target_of(api, path)
    found = operation(api, method, target)
    named = MODEL_PATH.match(target) if found.model_in == "path" else None
    return CallerUrl(
        form="plain",
        operation=found,
        target=target,
        plain=target,
        model=unquote(named["model"]) if named else "",
    )


def _write_plain(
    provider: Provider, place: CallerUrl, model: str, stream: bool, home: bool
) -> EntryUrl | None:
    """The operation in the API's own form."""
    if provider.api != "gemini" or not place.plain:
        return _below_prefix("", place, model)
    path = with_model(place.plain, model) if model else place.plain
    return EntryUrl(target=path.encode())


def with_model(path: str, model: str) -> str:
    return MODEL_PATH.sub(lambda place: f"{place['before']}{quoted(model)}:{place['method']}", path)


_DEPLOYMENT = re.compile(r"^/openai/deployments/(?P<model>[^/]+)(?P<operation>/.+)$")
_AZURE_PREFIX = {"openai": "/openai/v1", "anthropic": "/anthropic"}
_DATED = frozenset({b"api-version"})


def _owner_azure(path: str) -> Owner | None:
    """The older paths name no entry: the Azure SDK writes them below the host's root."""
    return "openai" if _DEPLOYMENT.match(path) else None


def _read_azure(api: Api, method: str, path: str) -> CallerUrl:
    """The operation at a path of either kind, or at the API's own path."""
    if api == "anthropic":
        return _azure_below("/anthropic", api, method, path)
    if found := _DEPLOYMENT.match(path):
        return CallerUrl(
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
        return CallerUrl(form="dated", operation=named, target=path, plain=rest, only_here=_DATED)
    return _azure_below("/openai", api, method, path)


def _azure_below(prefix: str, api: Api, method: str, path: str) -> CallerUrl:
    """The API's own path (`/v1/…`), with or without the prefix that Azure gives it."""
    rest = path.removeprefix(prefix)
    if not rest.startswith("/v1/"):
        return other(path)
    return replace(_read_plain(api, method, rest), target=prefix + rest)


def _write_azure(
    provider: Provider, place: CallerUrl, model: str, stream: bool, home: bool
) -> EntryUrl | None:
    """The caller's form if it is one of Azure's, else the one without `api-version`."""
    if place.form == "deployment" and model:
        return EntryUrl(target=f"/openai/deployments/{quoted(model)}{place.plain}".encode())
    if place.form in ("deployment", "dated"):
        return EntryUrl(target=place.target.encode())
    return _below_prefix(_AZURE_PREFIX[provider.api], place, model) if provider.api in _AZURE_PREFIX else None


_BEDROCK_OWN = re.compile(r"^/(?:model|guardrail|async-invoke)(?:/|$)")
_BEDROCK_FORMS: dict[str, Api] = {"/openai/v1/": "openai", "/anthropic/v1/": "anthropic"}
_MANTLE = "bedrock-mantle."
"""Begins the host whose paths of OpenAI's form have no prefix."""


def _owner_bedrock(path: str) -> Owner | None:
    """Bedrock's own operations go to an entry of any API."""
    return "any" if _BEDROCK_OWN.match(path) else None


def _read_bedrock(api: Api, method: str, path: str) -> CallerUrl:
    """The operation at one of Bedrock's own paths, or at a path of OpenAI's or Anthropic's form."""
    if found := BEDROCK_PATH.match(path):
        named = bedrock.operation(path) if method == "POST" else PASS_THROUGH
        if named is PASS_THROUGH:
            return other(path)
        return CallerUrl(form="bedrock", operation=named, target=path, model=unquote(found["model"]))
    for prefix, form in _BEDROCK_FORMS.items():
        if path.startswith(prefix):
            place = replace(_read_plain(form, method, path[len(f"/{form}") :]), target=path)
            return place if form == api else replace(place, form="beside", plain="")
    if path.startswith("/v1/"):
        return replace(_read_plain(api, method, path), target=path)
    return other(path)


def _write_bedrock(
    provider: Provider, place: CallerUrl, model: str, stream: bool, home: bool
) -> EntryUrl | None:
    """The caller's form where it is Bedrock's own, else the form of the entry's API."""
    if place.form == "bedrock":
        path = _with_bedrock_model(place.target, model) if model else place.target
        return EntryUrl(target=path.encode())
    if place.form == "beside":
        return EntryUrl(target=place.target.encode())
    prefix = _bedrock_prefix(provider)
    return _below_prefix(prefix, place, model) if prefix is not None else None


def _with_bedrock_model(path: str, model: str) -> str:
    """The path with another model, whose `:` and `/` are quoted if the caller quotes them."""
    found = BEDROCK_PATH.match(path)
    assert found is not None  # the place was read here  # noqa: S101
    bare = "".join(sign for sign in ":/" if sign in found["model"])
    return f"{found['before']}{quote(model, safe=bare)}/{found['method']}"


def _bedrock_prefix(provider: Provider) -> str | None:
    """What stands before the operations of the entry's API; None for an API that Bedrock does not have."""
    if provider.api == "anthropic":
        return "/anthropic"
    is_mantle = (urlsplit(provider.base_url).hostname or "").startswith(_MANTLE)
    return ("/v1" if is_mantle else "/openai/v1") if provider.api == "openai" else None


_VERTEX_PATH = re.compile(
    r"^/(?P<version>v1|v1beta1)/(?P<where>projects/[^/]+/locations/[^/]+/)?"
    r"publishers/(?P<publisher>google|anthropic)/models/(?P<model>[^/:]+):(?P<method>[A-Za-z]+)$"
)
_VERTEX_APIS: Mapping[str, Api] = {"google": "gemini", "anthropic": "anthropic"}
_GEMINI_METHODS = ("generateContent", "streamGenerateContent", "countTokens")
"""Gemini's methods whose bodies are alike on both. Embeddings are not: Vertex's have other members."""

_VERTEX_VERSIONS = {"v1": "v1", "v1beta1": "v1beta"}
_COUNTING = "count-tokens"
"""The model in the path under which Vertex counts tokens for Claude; the body names the model."""

_TO_VERTEX = RequestChanges(default=(("anthropic_version", version_member(None)),))
_FROM_VERTEX = RequestChanges(remove=("anthropic_version",))
_BETA = frozenset({b"beta"})
"""The parameter that Anthropic's SDK adds to its own URLs, and leaves away on Vertex."""


def _vertex_path(*, version: str, where: str, publisher: str, model: str, method: str) -> bytes:
    """A path on Vertex. `where`: project and region, with a final slash."""
    return f"/{version}/{where}publishers/{publisher}/models/{model}:{method}".encode()


def _owner_vertex(path: str) -> Owner | None:
    """The API of the path's publisher."""
    found = _VERTEX_PATH.match(path)
    return _VERTEX_APIS[found["publisher"]] if found else None


def _read_vertex(api: Api, method: str, path: str) -> CallerUrl:
    """The operation at a path of Vertex, or at the API's own path."""
    found = _VERTEX_PATH.match(path)
    if found is None:
        return _read_plain(api, method, path)
    if method != "POST" or _VERTEX_APIS[found["publisher"]] != api:
        return other(path)
    return _read_gemini(found, path) if api == "gemini" else _read_claude(found, path)


def _read_gemini(found: re.Match[str], path: str) -> CallerUrl:
    if found["method"] not in _GEMINI_METHODS:
        return other(path)
    own = f"/{_VERTEX_VERSIONS[found['version']]}/models/{found['model']}:{found['method']}"
    return replace(_read_plain("gemini", "POST", own), form="vertex", target=path)


def _read_claude(found: re.Match[str], path: str) -> CallerUrl:
    if found["method"] not in ("rawPredict", "streamRawPredict"):
        return other(path)
    counts, streams = found["model"] == _COUNTING, found["method"] == "streamRawPredict"
    own = "/v1/messages/count_tokens" if counts else "/v1/messages"
    named = operation("anthropic", "POST", own)
    if not counts:
        named = replace(named, model_in="path", streams=True if streams else None)
    return CallerUrl(
        form="vertex",
        operation=named,
        target=path,
        plain=own,
        model="" if counts else unquote(found["model"]),
        changes=replace(_FROM_VERTEX, default=(("stream", "true"),)) if streams else _FROM_VERTEX,
        versioned=True,
    )


def _write_vertex(
    provider: Provider, place: CallerUrl, model: str, stream: bool, home: bool
) -> EntryUrl | None:
    """The operation on Vertex, with the entry's project and region unless the caller called this entry."""
    if place.form == "vertex":
        return _written_again(provider, place, model, home=home)
    if provider.api == "gemini":
        return _written_gemini(provider, place, model)
    return _written_claude(provider, place, model, stream=stream)


def _written_again(provider: Provider, place: CallerUrl, model: str, *, home: bool) -> EntryUrl | None:
    found = _VERTEX_PATH.match(place.target)
    assert found is not None  # the place was read here  # noqa: S101
    where = found["where"] or "" if home else _where(provider)
    named = quoted(model) if model and place.model else found["model"]
    return EntryUrl(target=_vertex_path(**{**found.groupdict(), "where": where, "model": named}))


def _written_gemini(provider: Provider, place: CallerUrl, model: str) -> EntryUrl | None:
    found = MODEL_PATH.match(place.plain)
    if found is None or found["method"] not in _GEMINI_METHODS:
        return None
    path = _vertex_path(
        version="v1" if place.plain.startswith("/v1/") else "v1beta1",
        where=_where(provider),
        publisher="google",
        model=quoted(model or place.model),
        method=found["method"],
    )
    return EntryUrl(target=path)


def _written_claude(provider: Provider, place: CallerUrl, model: str, *, stream: bool) -> EntryUrl | None:
    counts = place.plain == "/v1/messages/count_tokens"
    if not counts and place.plain != "/v1/messages":
        return None
    path = _vertex_path(
        version="v1",
        where=_where(provider),
        publisher="anthropic",
        model=_COUNTING if counts else quoted(model) or HOLE.decode(),
        method="streamRawPredict" if stream else "rawPredict",
    )
    changes = _TO_VERTEX if counts else replace(_TO_VERTEX, remove=("model",))
    wants = not (counts or model)
    change = UrlFormChange(changes=changes, dropped=_BETA, version="member", wants_model=wants)
    return EntryUrl(target=path, change=change)


def _where(provider: Provider) -> str:
    return f"projects/{quoted(provider.project)}/locations/{quoted(provider.region or 'global')}/"


class _Kind(NamedTuple):
    """How the URLs of one kind of entry name operation and model.

    `read`: the operation at a raw path behind the entry's name; PASS_THROUGH for a path it does not know.
    `write`: the operation as this entry takes it; None where it cannot. `owner`: the API of a raw path that
    belongs to this kind without an entry's name. Plain paths have none: they are told apart by API.
    """

    read: Callable[[Api, str, str], CallerUrl]
    write: Callable[[Provider, CallerUrl, str, bool, bool], EntryUrl | None]
    owner: Callable[[str], Owner | None] = lambda _: None


_BY_KIND: Mapping[Kind, _Kind] = {
    "plain": _Kind(_read_plain, _write_plain),
    "azure": _Kind(_read_azure, _write_azure, _owner_azure),
    "bedrock": _Kind(_read_bedrock, _write_bedrock, _owner_bedrock),
    "vertex": _Kind(_read_vertex, _write_vertex, _owner_vertex),
}


def owner(path: str) -> tuple[Kind, Owner] | None:
    """The kind and API of the entry to which a raw path of a cloud goes without an entry's name."""
    for kind, urls in _BY_KIND.items():
        if (api := urls.owner(path)) is not None:
            return kind, api
    return None


def read(kind: Kind, api: Api, method: str, path: str) -> CallerUrl:
    """The operation at a raw path behind the name of an entry of this kind and API."""
    return _BY_KIND[kind].read(api, method, path)


def write(provider: Provider, place: CallerUrl, *, model: str, stream: bool, home: bool) -> EntryUrl | None:
    """The operation as this entry takes it; None where it cannot. `model`: "" keeps the caller's. `home`: the
    caller called this entry."""
    if place.operation is PASS_THROUGH:
        return EntryUrl(target=place.target.encode())
    return _BY_KIND[provider.kind].write(provider, place, model, stream, home)


def addressed(provider: Provider, model: str, path: str, body: bytes) -> tuple[str, bytes]:
    """Path and body of a whole answer's request as this entry takes it, for a path below the API's own base
    URL; unchanged where the entry has no such operation."""
    written = write(provider, _read_plain(provider.api, "POST", path), model=model, stream=False, home=False)
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
