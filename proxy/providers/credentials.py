"""The credentials of one process's provider entries: keys from the config, and the tokens of a cloud.

A cloud's own library gives its tokens. A thread fetches them and renews each one before it expires.

| state    | on                                        | becomes                                        |
|----------|-------------------------------------------|------------------------------------------------|
| none yet | a token / a failure                       | valid / missing                                |
| valid    | `RENEWED_AT` of its life has passed       | valid, with a new token                        |
| valid    | the renewal fails                         | valid, asked again after a pause, until it expires |
| valid    | it expires                                | missing                                        |
| missing  | a token                                   | valid                                          |
"""

import logging
import random
import threading
import time
from calendar import timegm
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec
import structlog

from proxy.providers.aws_signature import AwsKeys, AwsScope, signature
from proxy.providers.headers import Address
from proxy.providers.provider import CLOUD_AUTH, Auth, Provider
from records.captures.redaction import redacted

Headers = list[tuple[bytes, bytes]]


class UnsignedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that needs a credential, as it will be sent. `target`: raw path and query below the host.
    `headers`: without Host and framing. `body`: None when it is streamed."""

    method: bytes
    target: bytes
    headers: Headers
    body: bytes | None


class NoCredential(Exception):
    """No credential can be had; the message says why and what would help. It holds no secret."""


class Credential(Protocol):
    def headers(self, request: UnsignedRequest) -> Headers:
        """The headers that carry it. Never waits. Raises NoCredential."""
        ...


log = structlog.get_logger()

T = TypeVar("T")

RENEWED_AT = 0.8
"""The part of its life after which a token is renewed at the latest; workers spread over the tenth before."""

_SPREAD = 0.1
_SOONEST_S = 0.25
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
LONGEST_PAUSE_WITHOUT_S = 5.0
"""The longest pause between two tries while requests fail for want of a token."""

_QUOTED = 300


@dataclass(frozen=True, slots=True)
class CloudToken(Generic[T]):
    """What a cloud gave. `until`: when it expires, in CLOCK_MONOTONIC seconds; None without an end."""

    value: T = field(repr=False)
    until: float | None = None


class TokenSource(Generic[T]):
    """The tokens of one cloud in this process. `name` is the cloud's, as `auth:` has it.

    `fetch` may block, and raises NoCredential or whatever the cloud's library raises.
    """

    def __init__(
        self, name: str, fetch: Callable[[], CloudToken[T]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._clock = clock
        self._fetch = fetch
        self._token: CloudToken[T] | None = None
        self._problem = ""
        self._tried, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name} tokens", daemon=True)
        self._thread.start()

    def value(self) -> T:
        """The newest token. Never waits. Raises NoCredential when there is no valid one."""
        token = self._token
        if token is None or self._is_over(token):
            raise NoCredential(self._problem or f"the {'next' if token else 'first'} token has not come yet")
        return token.value

    @property
    def tried(self) -> bool:
        """True once the first token has come or could not be had."""
        return self._tried.is_set()

    def wait(self, within_s: float) -> None:
        """Wait until the first token has come or could not be had."""
        self._tried.wait(within_s)

    def close(self) -> None:
        """Fetch no more. Does not wait for a fetch under way."""
        self._closed.set()

    def _run(self) -> None:
        failures = 0
        while not self._closed.is_set():
            try:
                token = self._fetch()
            except Exception as problem:  # the libraries raise errors of many kinds
                failures += 1
                self._fail(problem)
                pause_s = pause(
                    failures, has_token=self._token is not None and not self._is_over(self._token)
                )
            else:
                failures = 0
                pause_s = self._keep(token)
            self._tried.set()
            self._closed.wait(pause_s)

    def _keep(self, token: CloudToken[T]) -> float:
        """Use the token from now on; return the seconds until it should be renewed."""
        life_s = None if token.until is None else token.until - self._clock()
        if self._problem:
            log.info("credential.fetched", auth=self.name)
        self._token = token
        self._problem = "" if life_s is None or life_s > 0 else "the token had expired when it came"
        return renewal(life_s, random.random())  # noqa: S311 - spreads the workers, is no secret

    def _fail(self, problem: Exception) -> None:
        reason = reason_of(problem)
        if reason != self._problem:
            log.warning("credential.not_fetched", auth=self.name, problem=reason)
        self._problem = reason

    def _is_over(self, token: CloudToken[T]) -> bool:
        return token.until is not None and self._clock() >= token.until


def renewal(life_s: float | None, draw: float) -> float:
    """Seconds until a token with this life left is renewed; `draw` in [0, 1)."""
    if life_s is None:
        return threading.TIMEOUT_MAX
    return max(_SOONEST_S, life_s * (RENEWED_AT - _SPREAD * draw))


def pause(failures: int, *, has_token: bool) -> float:
    """Seconds until the next try after so many failures in a row."""
    longest = LONGEST_PAUSE_S if has_token else LONGEST_PAUSE_WITHOUT_S
    return min(longest, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16))


def reason_of(problem: Exception) -> str:
    """Why no token came: one line without secrets, and without `; `, which divides what `/readyz` says."""
    said = " ".join(str(problem).split()).replace("; ", ", ") or type(problem).__name__
    return redacted(said)[:_QUOTED].rstrip(".")


def until(expires_at: float) -> float:
    """An end in Unix seconds as CLOCK_MONOTONIC seconds, which steps of the clock do not move."""
    return time.monotonic() + expires_at - time.time()


def _no_library(auth: Auth) -> NoCredential:
    message = f"auth: {auth} needs a library: pip install 'WHEEL[{auth}]', or '.[{auth}]' in a checkout"
    return NoCredential(message)


AWS_HELP = (
    "give this machine a role (of its instance, task or pod), set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or set api_key to a key for Bedrock"
)
_REREAD_S = 600.0
"""Keys without an end are read again after this time: another program may write new ones into a file."""

_MANTLE = "bedrock-mantle"


def aws_keys() -> CloudToken[AwsKeys]:
    """Fetch the machine's keys: from variables, a profile, SSO, a container or an instance. Blocks. Raises
    NoCredential.

    Every call begins anew, so changed files are read.
    """
    try:
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session
    except ImportError as problem:
        raise _no_library("aws") from problem
    logging.getLogger("botocore").setLevel(logging.CRITICAL)
    try:
        credentials: Any = Session().get_credentials()  # the library has no types
        keys = credentials.get_frozen_credentials() if credentials is not None else None
    except BotoCoreError as problem:
        raise NoCredential(str(problem)) from problem
    if keys is None or not keys.access_key or not keys.secret_key:
        raise NoCredential("no AWS credentials were found on this machine")
    return CloudToken(AwsKeys(keys.access_key, keys.secret_key, keys.token or ""), _aws_end(credentials))


def _aws_end(credentials: Any) -> float:
    """When the keys end, in CLOCK_MONOTONIC seconds. botocore shows no end of keys that it renews itself
    except by this attribute."""
    expires = getattr(credentials, "_expiry_time", None)
    return until(expires.timestamp()) if expires is not None else time.monotonic() + _REREAD_S


def _aws_headers(provider: Provider, keys: AwsKeys, request: UnsignedRequest) -> Headers:
    if request.body is None:
        raise NoCredential("a body that is streamed cannot be signed")
    prefix, scope = _aws_scope(provider.base_url, provider.region)
    return signature(
        keys,
        scope,
        method=request.method,
        target=prefix + request.target,
        headers=request.headers,
        body=request.body,
        at=time.time(),
    )


@lru_cache(64)
def _aws_scope(base_url: str, region: str) -> tuple[bytes, AwsScope]:
    """The path before all targets of an entry, and where its signatures are valid."""
    address = Address(base_url)
    service = _MANTLE if address.host.startswith(f"{_MANTLE}.") else "bedrock"
    prefix = urlsplit(base_url).path.rstrip("/").encode()
    return prefix, AwsScope(host=address.authority, region=region, service=service)


_NAMES: Mapping[Auth, bytes] = {
    "bearer": b"authorization",
    "x-api-key": b"x-api-key",
    "api-key": b"api-key",
    "x-goog-api-key": b"x-goog-api-key",
}


class ConfigKey:
    def __init__(self, provider: Provider, key: str) -> None:
        self._headers = [_header(scheme, key.encode()) for scheme in _schemes(provider)]

    def headers(self, request: UnsignedRequest) -> Headers:
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


def azure_token() -> CloudToken[Headers]:
    """Fetch a new token, as the header that carries it. Blocks. Raises NoCredential.

    Every call begins anew, so a token is never the library's cached one, and changed files are read.
    """
    try:
        from azure.core.exceptions import AzureError
        from azure.identity import DefaultAzureCredential
    except ImportError as problem:
        raise _no_library("azure") from problem
    for library in (
        "azure",
        "msal",
    ):  # they log each identity that they try; `TokenSource` logs what came of it
        logging.getLogger(library).setLevel(logging.CRITICAL)
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


GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"

GOOGLE_HELP = (
    "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account or a workload identity, use the "
    "machine's service account, or run `gcloud auth application-default login`"
)
_WITHIN_S = 10


def google_token() -> CloudToken[Headers]:
    """Fetch a new token, as the headers that carry it. Blocks. Raises NoCredential.

    Every call begins anew, so changed files are read.
    """
    try:
        import google.auth
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request
    except ImportError as problem:
        raise _no_library("google") from problem
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


def _token_headers(provider: Provider, token: Headers, request: UnsignedRequest) -> Headers:
    return list(token)


@dataclass(frozen=True, slots=True)
class _Cloud:
    """How to fetch what a cloud gives, what to do when there is none, and how an entry sends it."""

    fetch: Callable[[], CloudToken[Any]]
    help: str
    headers: Callable[[Provider, Any, UnsignedRequest], Headers] = _token_headers


_CLOUDS: Mapping[Auth, _Cloud] = {
    "aws": _Cloud(aws_keys, AWS_HELP, _aws_headers),
    "azure": _Cloud(azure_token, AZURE_HELP),
    "google": _Cloud(google_token, GOOGLE_HELP),
}


class _CloudCredential:
    """One entry's credential of a cloud, which says what helps when there is none."""

    def __init__(self, provider: Provider, source: TokenSource[Any], cloud: _Cloud) -> None:
        self._provider, self._source, self._cloud = provider, source, cloud

    def headers(self, request: UnsignedRequest) -> Headers:
        provider, help = self._provider, self._cloud.help
        try:
            return self._cloud.headers(provider, self._source.value(), request)
        except NoCredential as problem:
            raise NoCredential(
                f"no credential for the provider entry {provider.name} (auth: {provider.own_auth}): "
                f"{problem}. {help[0].upper()}{help[1:]}."
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
        self.keep_only(())

    def _made(self, provider: Provider) -> Credential | None:
        auth = provider.own_auth
        if auth is None:
            return None
        if auth not in CLOUD_AUTH:
            return ConfigKey(provider, provider.api_key or "")
        cloud = _CLOUDS[auth]
        if auth not in self._sources:
            self._sources[auth] = TokenSource(auth, cloud.fetch)
        return _CloudCredential(provider, self._sources[auth], cloud)


_ANY = UnsignedRequest(method=b"GET", target=b"/", headers=[], body=b"")


def _trouble(credential: Credential | None) -> str | None:
    try:
        if credential is not None:
            credential.headers(_ANY)
    except NoCredential as problem:
        return str(problem)
    return None
