"""The credentials of one process's provider entries: keys from the config, and the tokens of a cloud.

Tokens of Entra ID and Google's application default credentials come from these clouds' own libraries.
"""

import logging
from calendar import timegm
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

from proxy.providers.credentials import aws
from proxy.providers.credentials.tokens import (
    CloudToken,
    Credential,
    NoCredential,
    TokenSource,
    UnsignedRequest,
    until,
)
from proxy.providers.provider import CLOUD_AUTH, Auth, Provider

_NAMES: Mapping[Auth, bytes] = {
    "bearer": b"authorization",
    "x-api-key": b"x-api-key",
    "api-key": b"api-key",
    "x-goog-api-key": b"x-goog-api-key",
}


class Key:
    """A key from the config."""

    def __init__(self, provider: Provider, key: str) -> None:
        self._headers = [_header(scheme, key.encode()) for scheme in _schemes(provider)]

    def headers(self, request: UnsignedRequest) -> list[tuple[bytes, bytes]]:
        """The same headers for every request."""
        return list(self._headers)


def _header(scheme: Auth, key: bytes) -> tuple[bytes, bytes]:
    return _NAMES[scheme], b"Bearer " + key if scheme == "bearer" else key


def _schemes(provider: Provider) -> list[Auth]:
    """The entry's scheme. Foundry's Claude reads `api-key` or `x-api-key`: it gets both, as its SDK sends."""
    if provider.auth is None and provider.kind == "azure" and provider.api == "anthropic":
        return ["api-key", "x-api-key"]
    return [provider.own_auth] if provider.own_auth is not None else []


AZURE_SCOPE = "https://cognitiveservices.azure.com/.default"

AZURE_HELP = (
    "give this machine a managed or workload identity, set AZURE_TENANT_ID, AZURE_CLIENT_ID and "
    "AZURE_CLIENT_SECRET, or run `az login`"
)
_CONNECT_S, _READ_S = 5.0, 10.0
_SERVERS_OWN = {
    "EnvironmentCredential": "environment variables",
    "WorkloadIdentityCredential": "workload identity",
    "ManagedIdentityCredential": "managed identity",
}
_NOT_CONFIGURED = "authentication unavailable"


def azure_token() -> CloudToken[list[tuple[bytes, bytes]]]:
    """Fetch a new token, as the header that carries it. Blocks. Raises NoCredential.

    Every call begins anew, so a token is never the library's cached one, and changed files are read.
    """
    try:
        from azure.core.exceptions import AzureError
        from azure.identity import DefaultAzureCredential
    except ImportError as problem:
        raise NoCredential(
            "auth: azure needs a library: pip install 'WHEEL[azure]', or '.[azure]' in a checkout"
        ) from problem
    _silence()
    try:
        with DefaultAzureCredential(
            retry_total=0, connection_timeout=_CONNECT_S, read_timeout=_READ_S
        ) as credential:
            token = credential.get_token_info(AZURE_SCOPE)
    except AzureError as problem:
        raise NoCredential(_azure_said(str(problem))) from problem
    return CloudToken([(b"authorization", b"Bearer " + token.token.encode())], until(token.expires_on))


def _azure_said(text: str) -> str:
    """What the configured identities said; the library lists all that it tried, a line each."""
    tried = [line.strip().partition(": ") for line in text.splitlines() if line.startswith("\t")]
    found = [
        f"{_SERVERS_OWN[name]}: {said}"
        for name, _, said in tried
        if name in _SERVERS_OWN and _NOT_CONFIGURED not in said
    ]
    if found:
        return ", ".join(found)
    return "no Azure identity was found on this machine" if tried else text


def _silence() -> None:
    """The library logs each identity that it tries; `TokenSource` logs what came of it."""
    for name in ("azure", "msal"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"

GOOGLE_HELP = (
    "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account or a workload identity, use the "
    "machine's service account, or run `gcloud auth application-default login`"
)
_WITHIN_S = 10


def google_token() -> CloudToken[list[tuple[bytes, bytes]]]:
    """Fetch a new token, as the headers that carry it. Blocks. Raises NoCredential.

    Every call begins anew, so changed files are read.
    """
    try:
        import google.auth
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request
    except ImportError as problem:
        raise NoCredential(
            "auth: google needs a library: pip install 'WHEEL[google]', or '.[google]' in a checkout"
        ) from problem
    logging.getLogger("google.auth").setLevel(logging.CRITICAL)
    credentials: Any  # the library has no types
    try:
        credentials, _ = google.auth.default(scopes=[GOOGLE_SCOPE])
        credentials.refresh(partial(Request(), timeout=_WITHIN_S))
    except GoogleAuthError as problem:
        raise NoCredential(_google_said(problem)) from problem
    headers: dict[str, str] = {}
    credentials.apply(headers)  # with x-goog-user-project where the file names a quota project
    ends = None if credentials.expiry is None else until(timegm(credentials.expiry.utctimetuple()))
    return CloudToken([(name.encode(), value.encode()) for name, value in headers.items()], ends)


def _google_said(problem: Exception) -> str:
    """The library's words, without the token server's whole answer that may follow them."""
    return str(problem.args[0]) if problem.args else type(problem).__name__


Headers = list[tuple[bytes, bytes]]


class _TokenHeaders:
    """A cloud's token, sent as it is."""

    def __init__(self, provider: Provider, source: TokenSource[Headers]) -> None:
        self._source = source

    def headers(self, request: UnsignedRequest) -> Headers:
        return list(self._source.value())


@dataclass(frozen=True, slots=True)
class _Cloud:
    """How to fetch what a cloud gives, how an entry sends it, and what to do when there is none."""

    fetch: Callable[[], CloudToken[Any]]
    help: str
    credential: Callable[[Provider, TokenSource[Any]], Credential] = _TokenHeaders


_CLOUDS: Mapping[Auth, _Cloud] = {
    "aws": _Cloud(aws.aws_keys, aws.HELP, aws.AwsSignature),
    "azure": _Cloud(azure_token, AZURE_HELP),
    "google": _Cloud(google_token, GOOGLE_HELP),
}


class _OfEntry:
    """One entry's credential of a cloud, which says what helps when there is none."""

    def __init__(self, provider: Provider, credential: Credential, help: str) -> None:
        self._name, self._auth = provider.name, provider.own_auth
        self._credential, self._help = credential, help

    def headers(self, request: UnsignedRequest) -> Headers:
        try:
            return self._credential.headers(request)
        except NoCredential as problem:
            raise NoCredential(
                f"no credential for the provider entry {self._name} (auth: {self._auth}): "
                f"{problem}. {self._help[0].upper()}{self._help[1:]}."
            ) from problem


class Credentials:
    """The credentials of one process's provider entries, by the entry's name. Entries of one cloud share its
    tokens. Belongs to one thread."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Provider, Credential | None]] = {}
        self._sources: dict[Auth, TokenSource[Any]] = {}

    @classmethod
    def ready(cls, providers: Iterable[Provider], within_s: float = 30.0) -> "Credentials":
        """Credentials whose first tokens have come or could not be had. For commands: blocks."""
        credentials = cls()
        credentials.prepare(providers)
        credentials.wait(within_s)
        return credentials

    def of(self, provider: Provider) -> Credential | None:
        """Return the entry's credential; None when the caller's is sent."""
        known = self._known.get(provider.name)
        if known is None or known[0] is not provider:
            known = self._known[provider.name] = (provider, self._made(provider))
        return known[1]

    def prepare(self, providers: Iterable[Provider]) -> None:
        """Begin to fetch the tokens that these entries need."""
        for provider in providers:
            self.of(provider)

    @property
    def waits(self) -> bool:
        """True while a cloud has neither given a first token nor refused one."""
        return any(not source.tried for source in self._sources.values())

    def wait(self, within_s: float) -> None:
        """Wait until each cloud has given a token or refused one. Blocks."""
        deadline = monotonic() + within_s
        for source in list(self._sources.values()):
            source.wait(max(0.0, deadline - monotonic()))

    def keep_only(self, providers: Iterable[Provider]) -> None:
        """Forget the other entries, and stop fetching tokens that none of these needs."""
        kept = list(providers)
        names, clouds = {each.name for each in kept}, {each.own_auth for each in kept}
        self._known = {name: known for name, known in self._known.items() if name in names}
        for auth in self._sources.keys() - clouds:
            self._sources.pop(auth).close()

    def troubles(self) -> list[str]:
        """Each entry whose credential cannot be had at the moment, and why."""
        return [trouble for _, credential in self._known.values() if (trouble := _trouble(credential))]

    def close(self) -> None:
        """Fetch no more tokens."""
        self.keep_only(())

    def _made(self, provider: Provider) -> Credential | None:
        auth = provider.own_auth
        if auth is None:
            return None
        if auth not in CLOUD_AUTH:
            return Key(provider, provider.api_key or "")
        cloud = _CLOUDS[auth]
        if auth not in self._sources:
            self._sources[auth] = TokenSource(auth, cloud.fetch)
        return _OfEntry(provider, cloud.credential(provider, self._sources[auth]), cloud.help)


_ANY = UnsignedRequest(method=b"GET", target=b"/", headers=[], body=b"")


def _trouble(credential: Credential | None) -> str | None:
    try:
        if credential is not None:
            credential.headers(_ANY)
    except NoCredential as problem:
        return str(problem)
    return None
