"""How a benchmark reaches a model: directly at its provider, or pinned through the running proxy."""

import ssl
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import partial

import httpx2

from bench.models.asker import NO_AUTH, Failure, Read, Target
from bench.models.wires import WIRES, chat_path, confidence_in
from proxy.answers.recorder import text_in
from proxy.dialects import operation, target_of
from proxy.dialects.operation import Api
from proxy.providers.credentials.entries import Credentials
from proxy.providers.credentials.tokens import Credential, NoCredential, UnsignedRequest
from proxy.providers.provider import Provider
from proxy.providers.urls import addressed, below_entry
from records.facts.prices import Prices
from routing.canary import NO_CHANGES, ArmName, RequestChanges

_KEYS: Mapping[Api, tuple[str, ...]] = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyRoute:
    """The running proxy: its URL, the model name that apps send, the baseline's provider, and the token that
    pins a request to an arm of this canary. `trust` verifies its certificate, where it has one."""

    canary: str
    traffic: str
    asked: str
    provider: Provider
    token: str
    trust: ssl.SSLContext | None = None


class NoKey(Exception):
    """A provider has no key; the message says where to set it."""


class EntryAuth(httpx2.Auth):
    """Adds the entry's own credential to each request as it is sent, so a renewed token is used. `close()`
    ends the renewals."""

    requires_request_body = True

    def __init__(self, credential: Credential, credentials: Credentials) -> None:
        self._credential = credential
        self.close = credentials.close

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Called by the client. Raises ConnectError when no credential can be had any more."""
        unsigned = UnsignedRequest(
            method=request.method.encode(),
            target=request.url.raw_path,
            headers=[(name.lower(), value) for name, value in request.headers.raw],
            body=request.content,
        )
        try:
            headers = self._credential.headers(unsigned)
        except NoCredential as problem:
            raise httpx2.ConnectError(str(problem), request=request) from problem
        for name, value in headers:
            request.headers[name.decode()] = value.decode("latin-1")
        yield request


def direct(
    provider: Provider,
    model: str,
    prices: Prices,
    environment: Mapping[str, str],
    request: RequestChanges = NO_CHANGES,
) -> Target:
    """The model, directly at its provider, with the changes of an arm's requests. Raises NoKey."""
    auth = entry_auth(provider)
    return Target(
        name=f"{provider.name}/{model}",
        model=model,
        url=provider.base_url,
        wire=WIRES[provider.api],
        headers=headers_for(provider, "" if auth is not None else key_of(provider, environment)),
        auth=auth or NO_AUTH,
        read=partial(read, provider.api),
        cost=partial(prices.cost, provider, model),
        timeout_s=provider.timeout.total_s,
        request=request,
        address=partial(addressed, provider, model),
    )


def root_of(provider: Provider) -> str:
    """The URL below which the entry has the API's own paths."""
    below_host = "" if provider.kind == "plain" else below_entry(provider.kind, provider.api)
    return provider.base_url + below_host


def headers_for(provider: Provider, key: str) -> Mapping[str, str]:
    """The headers that the API's SDK sends; without its credential when `key` is "", as with an EntryAuth."""
    headers = WIRES[provider.api].credential(key)
    return {name: value for name, value in headers.items() if key or name == "anthropic-version"}


def pinned(target: Target, route: ProxyRoute, arm: ArmName) -> Target:
    """The model as one arm of a canary, through the proxy.

    The proxy sets each arm's credential and changes its requests.
    """
    provider = route.provider
    root = f"{route.traffic}/{provider.name}{'/v1' if provider.api == 'openai' else ''}"
    return Target(
        name=target.name,
        model=route.asked,
        url=root,
        wire=WIRES[provider.api],
        headers={
            **target.headers,
            "x-canary-pin": arm,
            "x-canary-pin-token": route.token,
            "x-canary-name": route.canary,
        },
        read=target.read,
        cost=target.cost,
        timeout_s=target.timeout_s,
        arm=arm,
    )


def client_for(
    provider: Provider, *, at_once: int, trust: ssl.SSLContext | None = None
) -> httpx2.AsyncClient:
    """A client with the provider's CA file, or a proxy's `trust`. Each question has its own time limit."""
    context = trust or ssl.create_default_context(cafile=provider.ca_file)
    limits = httpx2.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    return httpx2.AsyncClient(verify=context, trust_env=False, timeout=None, limits=limits)


def entry_auth(provider: Provider) -> EntryAuth | None:
    """The entry's own credential, None without one. Waits for a cloud's first token. Raises NoKey."""
    credentials = Credentials.ready([provider])
    for trouble in credentials.troubles():
        credentials.close()
        raise NoKey(trouble)
    credential = credentials.of(provider)
    return None if credential is None else EntryAuth(credential, credentials)


def key_of(provider: Provider, environment: Mapping[str, str]) -> str:
    """The provider's configured key, or the key that its SDK reads from the environment. Raises NoKey."""
    names = _KEYS[provider.api]
    for key in (provider.api_key, *(environment.get(name) for name in names)):
        if key:
            return key
    raise NoKey(f"no key for {provider.name}: set {names[0]}, or api_key in the config")


def read(api: Api, body: bytes) -> Read:
    """Parse a whole answer of this API."""
    read_json = operation(api, "POST", target_of(api, chat_path(api))).read_json
    assert read_json is not None  # every chat operation has one  # noqa: S101
    found = read_json(body)
    failure: Failure | None = None if found.valid and not found.failed else "provider_malformed"
    return Read(text_in(body), found.usage, failure, confidence_in(api, body))
