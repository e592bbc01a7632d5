"""What each kind of entry sends as its credential, and how tokens are renewed."""

import pickle
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.dialects.operation import Api
from proxy.providers.credentials import (
    LONGEST_PAUSE_S,
    LONGEST_PAUSE_WITHOUT_S,
    CloudToken,
    Credentials,
    NoCredential,
    TokenSource,
    UnsignedRequest,
    azure_token,
    google_token,
    pause,
    reason_of,
    renewal,
)
from proxy.providers.provider import Auth, Kind, Provider
from tests.servers.token_issuers import KubernetesIdentity, entra, service_account

KEY = "planted-own-key"
ANY = UnsignedRequest(method=b"POST", target=b"/", headers=[], body=b"{}")
HOUR_S = 3600


def entry(api: Api, kind: Kind = "plain", auth: Auth | None = None, key: str | None = KEY) -> Provider:
    return Provider(name="own", api=api, base_url="https://own.example", api_key=key, kind=kind, auth=auth)


def sent(provider: Provider) -> dict[bytes, bytes] | None:
    credential = Credentials().of(provider)
    return None if credential is None else dict(credential.headers(ANY))


BEARER = {b"authorization": b"Bearer planted-own-key"}
X_API_KEY = {b"x-api-key": b"planted-own-key"}
API_KEY = {b"api-key": b"planted-own-key"}
GOOGLE_KEY = {b"x-goog-api-key": b"planted-own-key"}


@pytest.mark.parametrize(
    ("kind", "api", "expected"),
    [
        ("plain", "openai", BEARER),
        ("plain", "anthropic", X_API_KEY),
        ("plain", "gemini", GOOGLE_KEY),
        ("azure", "openai", API_KEY),
        ("azure", "anthropic", API_KEY | X_API_KEY),
        ("bedrock", "openai", BEARER),
        ("bedrock", "anthropic", BEARER),
        ("vertex", "gemini", BEARER),
        ("vertex", "anthropic", BEARER),
    ],
)
def test_a_key_goes_into_the_header_that_its_provider_reads(
    kind: Kind, api: Api, expected: dict[bytes, bytes]
) -> None:
    assert sent(entry(api, kind)) == expected


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ("bearer", BEARER),
        ("x-api-key", X_API_KEY),
        ("api-key", API_KEY),
        ("x-goog-api-key", GOOGLE_KEY),
    ],
)
@pytest.mark.parametrize("kind", ["plain", "azure", "bedrock", "vertex"])
def test_auth_names_another_header(kind: Kind, auth: Auth, expected: dict[bytes, bytes]) -> None:
    assert sent(entry("anthropic", kind, auth)) == expected


@pytest.mark.parametrize(
    ("kind", "auth", "own"),
    [
        ("plain", None, None),
        ("azure", None, None),
        ("vertex", None, "google"),
        ("bedrock", None, "aws"),
        ("bedrock", "bearer", None),
        ("azure", "azure", "azure"),
        ("plain", "google", "google"),
    ],
)
def test_without_a_key_the_callers_is_sent_or_the_machines(
    kind: Kind, auth: Auth | None, own: Auth | None
) -> None:
    provider = entry("anthropic", kind, auth, key=None)
    assert (provider.own_auth, provider.has_credential) == (own, own is not None)


def test_a_changed_entry_is_another_credential() -> None:
    credentials, provider = Credentials(), entry("openai")
    assert credentials.of(provider) is credentials.of(provider)
    other = credentials.of(replace(provider, api_key="planted-next-key"))
    assert other is not None and other.headers(ANY) == [(b"authorization", b"Bearer planted-next-key")]


def test_an_entry_survives_the_pipe_to_a_worker() -> None:
    provider = entry("openai", "azure")
    assert pickle.loads(pickle.dumps(provider)) == provider
    assert pickle.loads(pickle.dumps(provider)).own_auth == "api-key"


def test_a_key_stands_in_no_repr() -> None:
    credentials, provider = Credentials(), entry("openai")
    shown = (
        f"{provider!r} {credentials.of(provider)!r} {credentials!r} {CloudToken([(b'a', KEY.encode())])!r}"
    )
    assert KEY not in shown


@pytest.mark.parametrize("draw", [0.0, 0.5, 0.999])
def test_a_token_is_renewed_with_a_fifth_of_its_life_left(draw: float) -> None:
    assert 0.7 * HOUR_S <= renewal(HOUR_S, draw) <= 0.8 * HOUR_S


def test_a_token_without_an_end_is_not_renewed_and_one_that_is_over_at_once() -> None:
    assert renewal(None, 0.5) > 365 * 24 * HOUR_S
    assert 0 < renewal(-5.0, 0.5) < 1


def test_pauses_between_failures_grow_to_a_bound_that_is_lower_without_a_token() -> None:
    grown = [pause(failures, has_token=True) for failures in range(1, 2000)]
    assert grown == sorted(grown) and grown[:3] == [0.5, 1.0, 2.0] and grown[-1] == LONGEST_PAUSE_S
    assert pause(2000, has_token=False) == LONGEST_PAUSE_WITHOUT_S


def test_a_reason_has_one_line_and_no_secret() -> None:
    assertion = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJjYW5hcnkifQ.c2lnbmF0dXJl"
    said = reason_of(ValueError(f"refused:\n\tclient_secret=hunter2hunter2; and {assertion}."))
    assert said == "refused: client_secret=[secret], and [secret]"


class Cloud:
    """Its fetches wait for what a test lays out; the token's clock is the test's, too."""

    def __init__(self) -> None:
        self.now = 0.0
        self._next: CloudToken[str] | Exception = ValueError()
        self._laid_out, self._asked = threading.Semaphore(0), threading.Semaphore(0)
        self.source = TokenSource("test", self._fetch, clock=lambda: self.now)
        self._wait_for_fetch()

    def gives(self, what: CloudToken[str] | Exception) -> None:
        """Answer the fetch that waits. The answer is in use when the next fetch begins."""
        self.end(what)
        self._wait_for_fetch()

    def end(self, what: CloudToken[str] | Exception) -> None:
        """Answer the fetch that waits."""
        self._next = what
        self._laid_out.release()

    def _fetch(self) -> CloudToken[str]:
        self._asked.release()
        self._laid_out.acquire()
        if isinstance(self._next, Exception):
            raise self._next
        return self._next

    def _wait_for_fetch(self) -> None:
        assert self._asked.acquire(timeout=60.0)


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    cloud = Cloud()
    yield cloud
    cloud.source.close()
    cloud.end(ValueError())


SHORT = 0.3
"""A life after which the renewal begins at once."""


def test_a_token_is_used_until_it_expires_although_its_renewal_fails(cloud: Cloud) -> None:
    cloud.gives(CloudToken("first", SHORT))
    cloud.gives(ValueError("the token server is away"))
    assert cloud.source.value() == "first"
    cloud.now = SHORT
    with pytest.raises(NoCredential, match="the token server is away"):
        cloud.source.value()
    cloud.gives(CloudToken("second", 2 * SHORT))
    assert cloud.source.value() == "second"


def test_a_renewed_token_is_used_before_the_old_one_expires(cloud: Cloud) -> None:
    cloud.gives(CloudToken("first", SHORT))
    cloud.gives(CloudToken("second", 2 * SHORT))
    assert cloud.source.value() == "second"


def test_nobody_waits_for_the_first_token(cloud: Cloud) -> None:
    with pytest.raises(NoCredential, match="the first token has not come yet"):
        cloud.source.value()
    assert not cloud.source.tried
    cloud.gives(ValueError("no identity"))
    assert cloud.source.tried


def test_a_token_that_comes_too_late_is_none(cloud: Cloud) -> None:
    cloud.now = 1.0
    cloud.gives(CloudToken("old", SHORT))
    with pytest.raises(NoCredential, match="the token had expired when it came"):
        cloud.source.value()


def test_azures_token_is_fetched_as_managed_identities_are(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer, environment = entra()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with issuer:
        token = azure_token()
        assert issuer.wrong == []
        assert token.value == [(b"authorization", b"Bearer planted-token-1")]
        assert token.until is not None
        assert azure_token().value == [(b"authorization", b"Bearer planted-token-2")]  # not a cached one


def test_azures_token_is_fetched_as_pods_do_with_the_newest_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    identity = KubernetesIdentity(tmp_path)
    for name, value in identity.environment.items():
        monkeypatch.setenv(name, value)
    with identity.issuer as issuer:
        for number, assertion in enumerate(("planted-first-assertion", "planted-second-assertion"), 1):
            identity.mounts(assertion)
            assert azure_token().value == [(b"authorization", b"Bearer planted-token-%d" % number)]
        assert issuer.wrong == []
        identity.mounts("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJvbGQifQ.c2lnbmF0dXJl", is_valid=False)
        with pytest.raises(NoCredential) as raised:
            azure_token()
    said = reason_of(raised.value)
    assert (
        said.startswith("workload identity: ")
        and "AADSTS700024: the assertion is not valid: [secret]" in said
    )


def test_googles_token_is_fetched_as_service_accounts_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    issuer, environment = service_account(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with issuer:
        token = google_token()
        assert issuer.wrong == []
        assert token.value == [(b"authorization", b"Bearer planted-token-1")]
        assert token.until is not None


def test_a_machine_without_an_identity_is_told_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    provider = entry("openai", "azure", "azure", key=None)
    credentials = Credentials.ready([provider], 60.0)
    assert credentials.troubles() == [
        "no credential for the provider entry own (auth: azure): no Azure identity was found on this "
        "machine. Give this machine a managed or workload identity, set AZURE_TENANT_ID, AZURE_CLIENT_ID and "
        "AZURE_CLIENT_SECRET, or run `az login`."
    ]
    credentials.keep_only([])
    assert credentials.troubles() == []


def test_a_missing_service_account_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(NoCredential, match=r"none\.json was not found"):
        google_token()


def test_entries_of_one_cloud_share_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer, environment = entra()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with issuer:
        one = entry("openai", "azure", "azure", key=None)
        two = replace(one, name="two", api="anthropic")
        credentials = Credentials.ready([one, two], 60.0)
        sent = [credential.headers(ANY) for each in (one, two) if (credential := credentials.of(each))]
        credentials.close()
    assert sent == [[(b"authorization", b"Bearer planted-token-1")]] * 2
    assert len(issuer.issued) == 1
