"""Keys of AWS behind the real server: renewed while it serves, missing, and signatures that are refused."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.servers.aws_issuers import NOWHERE, AwsIssuer, aws_issuer
from tests.servers.bedrock import LocalBedrock
from tests.servers.bedrock_answers import says
from tests.serving import Running, eventually

pytestmark = pytest.mark.more  # for one provider

CONFIG = """
providers:
  aws: {{api: anthropic, kind: bedrock, base_url: "{url}", region: eu-west-1}}
"""
CONVERSE = "/model/amazon.nova-lite-v1%3A0/converse"
BODY: dict[str, Any] = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}


@pytest.fixture
def issuer() -> Iterator[AwsIssuer]:
    with aws_issuer() as up:
        yield up


@pytest.fixture
def bedrock(issuer: AwsIssuer) -> Iterator[LocalBedrock]:
    with LocalBedrock("eu-west-1", secrets=issuer.secrets, tokens=issuer.tokens) as up:
        yield up


def ask(server: Running, path: str = CONVERSE, **options: Any) -> httpx2.Response:
    return httpx2.post(f"{server.traffic}{path}", timeout=30.0, trust_env=False, **({"json": BODY} | options))


def test_keys_are_renewed_while_requests_go_on(bedrock: LocalBedrock, issuer: AwsIssuer, serve: Any) -> None:
    issuer.life_s = 2.0
    server = serve(CONFIG.format(url=bedrock.url), workers=1, **issuer.container)

    def three_keys() -> bool:
        answer = ask(server)
        assert answer.status_code == 200
        assert answer.json()["output"]["message"]["content"] == [{"text": says("amazon.nova-lite-v1:0")}]
        return len({request.headers["x-amz-security-token"] for request in bedrock.taken}) >= 3

    eventually(three_keys)
    assert bedrock.refused == []


def test_without_keys_the_answer_says_what_helps(bedrock: LocalBedrock, serve: Any) -> None:
    server = serve(CONFIG.format(url=bedrock.url), workers=1, **NOWHERE)
    answer = eventually(lambda: found if "no AWS" in (found := ask(server)).text else None)
    assert (answer.status_code, answer.json()["__type"]) == (502, "proxy_no_credential")
    assert "no AWS credentials were found on this machine" in answer.json()["message"]
    assert "AWS_ACCESS_KEY_ID" in answer.json()["message"]
    assert "no AWS credentials" in httpx2.get(f"{server.traffic}/readyz", trust_env=False).text
    assert bedrock.taken == bedrock.refused == []


def test_bodies_of_any_kind_are_signed(bedrock: LocalBedrock, issuer: AwsIssuer, serve: Any) -> None:
    server = serve(CONFIG.format(url=bedrock.url), workers=1, **issuer.container)
    assert ask(server, "/guardrail/g/version/1/apply").status_code == 200
    pieces = iter([b'{"messages":', b"[]}"])
    streamed = ask(server, json=None, content=pieces, headers={"content-type": "application/octet-stream"})
    assert streamed.status_code == 200
    assert [request.body for request in bedrock.taken][-1] == b'{"messages":[]}'
    query = httpx2.get(f"{server.traffic}/async-invoke?b=2&a=1%2F", trust_env=False, timeout=30.0)
    assert query.status_code == 404
    assert bedrock.refused == []


def test_a_wrong_region_is_amazons_refusal(bedrock: LocalBedrock, issuer: AwsIssuer, serve: Any) -> None:
    config = CONFIG.format(url=bedrock.url).replace("eu-west-1", "us-east-1")
    answer = ask(serve(config, workers=1, **issuer.container))
    assert answer.status_code == 403
    assert answer.headers["x-amzn-errortype"].startswith("InvalidSignatureException")
    assert "scoped to a valid region" in answer.json()["message"]
