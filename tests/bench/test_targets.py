"""How benchmarks and the watcher reach an entry whose credential is a cloud's token."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import NoKey
from bench.models.asker import Asker, client_for, direct
from control.jobs.watcher import ReleaseWatcher, WatchSettings
from proxy.providers.provider import Provider
from records.captures.capture import CapturedMessage
from records.facts.prices import Prices
from tests.bench.asking import waited
from tests.servers.token_issuers import TokenIssuer, entra
from tests.servers.token_provider import TokenProvider

ASK = [CapturedMessage(role="user", content="hello")]


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[TokenIssuer, TokenProvider]]:
    issuer, environment = entra()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with issuer, TokenProvider(issuer) as provider:
        yield issuer, provider


def entry(provider: TokenProvider) -> Provider:
    return Provider(name="cloud", api="openai", base_url=f"{provider.url}/v1", auth="azure")


def test_a_benchmark_sends_the_machines_token_and_no_key(cloud: tuple[TokenIssuer, TokenProvider]) -> None:
    issuer, provider = cloud
    target = direct(entry(provider), "new", Prices({}), {"OPENAI_API_KEY": "not-for-this-entry"})

    async def asked() -> str | None:
        async with client_for(entry(provider), at_once=1) as client:
            return (await Asker(client, target).ask(ASK)).text

    assert waited(asked()) == "Hello"
    assert provider.refused == []
    assert provider.served.keys() == issuer.issued.keys()
    assert "planted-token" not in repr(target)


def test_without_a_token_no_benchmark_begins(cloud: tuple[TokenIssuer, TokenProvider]) -> None:
    issuer, provider = cloud
    issuer.down = True
    with pytest.raises(NoKey, match=r"no credential for the provider entry cloud \(auth: azure\)"):
        direct(entry(provider), "new", Prices({}), {})


def test_the_watcher_lists_models_with_the_token_and_names_the_kinds_that_it_cannot_list(
    cloud: tuple[TokenIssuer, TokenProvider], tmp_path: Path
) -> None:
    _, provider = cloud
    azure = replace(entry(provider), name="azure", kind="azure")
    settings = WatchSettings(providers=[entry(provider), azure])
    watcher = ReleaseWatcher(settings=settings, data=tmp_path, environment={})
    found = watcher.look()
    assert found.listed == {"cloud": 1, "azure": None}
    assert found.troubles == ("azure: the models of a `kind: azure` cannot be listed",)
