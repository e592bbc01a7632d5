"""The local Bedrock refuses what the real one refuses."""

import time
from collections.abc import Iterator

import httpx2
import pytest

from proxy.providers.aws_signature import AwsKeys, AwsScope, signature
from tests.servers.bedrock import ACCESS_KEY, BEARER_KEY, SECRET_KEY, LocalBedrock

PATH, BODY = "/model/m%3A0/converse", b'{"messages": []}'
KEYS = AwsKeys(ACCESS_KEY, SECRET_KEY)


@pytest.fixture
def bedrock() -> Iterator[LocalBedrock]:
    with LocalBedrock() as up:
        yield up


def ask(
    bedrock: LocalBedrock,
    *,
    keys: AwsKeys = KEYS,
    region: str = "eu-west-1",
    service: str = "bedrock",
    age_s: float = 0.0,
    path: str = PATH,
    body: bytes = BODY,
    **more: str,
) -> str:
    """Ask with a signature for PATH and BODY; the kind of the refusal, "" for an answer."""
    scope = AwsScope(bedrock.url.removeprefix("http://").encode(), region, service)
    signed = signature(
        keys, scope, method=b"POST", target=PATH.encode(), headers=[], body=BODY, at=time.time() - age_s
    )
    headers = {name.decode(): value.decode() for name, value in signed}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    return kind(httpx2.post(bedrock.url + path, content=body, headers=headers, trust_env=False))


def kind(answer: httpx2.Response) -> str:
    return answer.headers.get("x-amzn-errortype", "").partition(":")[0]


def test_a_good_signature_is_taken(bedrock: LocalBedrock) -> None:
    assert ask(bedrock) == ""
    assert ask(bedrock, age_s=290) == ""
    assert len(bedrock.taken) == 2


def test_a_bad_one_is_refused(bedrock: LocalBedrock) -> None:
    wrong = "InvalidSignatureException"
    assert ask(bedrock, keys=AwsKeys(ACCESS_KEY, "another secret")) == wrong
    assert ask(bedrock, region="us-east-1") == wrong
    assert ask(bedrock, service="bedrock-mantle") == wrong
    assert ask(bedrock, age_s=310) == wrong
    assert ask(bedrock, path="/model/n%3A0/converse") == wrong
    assert ask(bedrock, body=BODY + b" ") == wrong
    assert ask(bedrock, x_amz_target="unsigned") == wrong
    assert ask(bedrock, keys=AwsKeys("AKIAOTHER", SECRET_KEY)) == "UnrecognizedClientException"
    assert ask(bedrock, keys=AwsKeys(ACCESS_KEY, SECRET_KEY, "session")) == "UnrecognizedClientException"
    assert ask(bedrock, authorization="AWS4-HMAC-SHA256 x") == "IncompleteSignatureException"
    assert bedrock.taken == []


def test_keys_are_read_from_their_headers(bedrock: LocalBedrock) -> None:
    for headers, expected in (
        ({"authorization": f"Bearer {BEARER_KEY}"}, ""),
        ({"x-api-key": BEARER_KEY}, ""),
        ({"authorization": "Bearer other"}, "AccessDeniedException"),
        ({}, "MissingAuthenticationTokenException"),
    ):
        answer = httpx2.post(bedrock.url + PATH, content=BODY, headers=headers, trust_env=False)
        assert kind(answer) == expected
