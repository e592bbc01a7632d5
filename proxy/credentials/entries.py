"""The credentials of one process's provider entries."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from proxy.credentials import aws, azure, google
from proxy.credentials.credential import Credential, NoCredential, UnsignedRequest
from proxy.credentials.keys import Key
from proxy.credentials.tokens import Token, TokenSource
from proxy.provider import CLOUD_AUTH, Auth, Provider

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

    fetch: Callable[[], Token[Any]]
    help: str
    credential: Callable[[Provider, TokenSource[Any]], Credential] = _TokenHeaders


_CLOUDS: Mapping[Auth, _Cloud] = {
    "aws": _Cloud(aws.aws_keys, aws.HELP, aws.AwsSignature),
    "azure": _Cloud(azure.azure_token, azure.HELP),
    "google": _Cloud(google.google_token, google.HELP),
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
