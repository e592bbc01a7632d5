"""A benchmark's questions in the URLs of each kind of entry, and signed where Bedrock wants that."""

import msgspec
import pytest

from bench.models.asker import Asker, EntryAuth, client_for, direct
from bench.models.wires import WIRES
from proxy.dialects.operation import Api
from proxy.providers.provider import Kind, Provider
from proxy.providers.urls import addressed
from records.captures.capture import CapturedMessage
from records.facts.prices import Prices
from tests.bench.asking import waited
from tests.servers.aws_issuers import NOWHERE
from tests.servers.bedrock import ACCESS_KEY, SECRET_KEY, LocalBedrock
from tests.servers.bedrock_answers import says

PLACE = "projects/p/locations/eu"
ASK = [CapturedMessage(role="user", content="hello")]


@pytest.mark.parametrize(
    ("kind", "api", "path", "model"),
    [
        ("plain", "openai", "/chat/completions", "m"),
        ("azure", "openai", "/openai/v1/chat/completions", "m"),
        ("azure", "anthropic", "/anthropic/v1/messages", "m"),
        ("bedrock", "openai", "/openai/v1/chat/completions", "m"),
        ("bedrock", "anthropic", "/anthropic/v1/messages", "m"),
        ("vertex", "gemini", f"/v1beta1/{PLACE}/publishers/google/models/m:generateContent", None),
        ("vertex", "anthropic", f"/v1/{PLACE}/publishers/anthropic/models/m:rawPredict", None),
    ],
)  # fmt: skip
def test_a_question_is_written_as_the_entrys_kind_takes_it(
    kind: Kind, api: Api, path: str, model: str | None
) -> None:
    provider = Provider(
        name="e", api=api, kind=kind, base_url="https://e.example", api_key="k", project="p", region="eu"
    )
    plain, question = WIRES[api].asks("m", ASK, {})
    asked, sent = addressed(provider, "m", plain, msgspec.json.encode(question))
    body = msgspec.json.decode(sent)
    assert (asked, body.get("model")) == (path, model)
    assert ("anthropic_version" in body) == (kind == "vertex" and api == "anthropic")


@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_a_benchmark_reaches_bedrock_with_the_machines_keys(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        NOWHERE | {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    ).items():
        monkeypatch.setenv(name, value)
    with LocalBedrock() as bedrock:
        provider = Provider(name="aws", api=api, kind="bedrock", base_url=bedrock.url, region="eu-west-1")
        target = direct(provider, "m", Prices({}), {})

        async def asked() -> str | None:
            async with client_for(provider, at_once=1) as client:
                return (await Asker(client, target).ask(ASK)).text

        assert waited(asked()) == says("m")
        assert isinstance(target.auth, EntryAuth)
        target.auth.close()
        assert [request.is_signed for request in bedrock.taken] == [True]
        assert bedrock.refused == []
