"""The credentials of one process's provider entries."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import monotonic

from proxy.credentials import azure, google
from proxy.credentials.credential import Credential, NoCredential, UnsignedRequest
from proxy.credentials.keys import Key
from proxy.credentials.tokens import Token, TokenSource
from proxy.provider import CLOUD_AUTH, Auth, Provider

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class _Cloud:
    """How to fetch a cloud's token, and what to do when there is none."""

    fetch: Callable[[], Token[Headers]]
    help: str


_CLOUDS: Mapping[Auth, _Cloud] = {
    "azure": _Cloud(azure.azure_token, azure.HELP),
    "google": _Cloud(google.google_token, google.HELP),
}


class _Fetched:
    """The token of a cloud, as one entry sends it."""

    def __init__(self, provider: Provider, source: TokenSource[Headers], help: str) -> None:
        self._name, self._source, self._help = provider.name, source, help

    def headers(self, request: UnsignedRequest) -> Headers:
        try:
            return list(self._source.value())
        except NoCredential as problem:
            raise NoCredential(
                f"no credential for the provider entry {self._name} (auth: {self._source.name}): "
                f"{problem}. {self._help[0].upper()}{self._help[1:]}."
            ) from problem


class _Missing:
    """The credential of an entry whose cloud canary cannot sign for."""

    def __init__(self, provider: Provider) -> None:
        self._says = f"canary cannot sign for the provider entry {provider.name} (auth: {provider.own_auth})"

    def headers(self, request: UnsignedRequest) -> Headers:
        raise NoCredential(self._says)


class Credentials:
    """The credentials of one process's provider entries, by the entry's name. Entries of one cloud share its
    tokens. Belongs to one thread."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Provider, Credential | None]] = {}
        self._sources: dict[Auth, TokenSource[Headers]] = {}

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
        if auth not in _CLOUDS:
            return _Missing(provider)
        if auth not in self._sources:
            self._sources[auth] = TokenSource(auth, _CLOUDS[auth].fetch)
        return _Fetched(provider, self._sources[auth], _CLOUDS[auth].help)


_ANY = UnsignedRequest(method=b"GET", target=b"/", headers=[], body=b"")


def _trouble(credential: Credential | None) -> str | None:
    try:
        if credential is not None:
            credential.headers(_ANY)
    except NoCredential as problem:
        return str(problem)
    return None
