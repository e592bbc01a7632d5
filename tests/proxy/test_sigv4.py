"""Signatures, compared with botocore's."""

import time
from datetime import UTC, datetime

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from proxy.providers.aws_signature import AwsKeys, AwsScope, Header, signature

HOST = "bedrock-runtime.eu-west-1.amazonaws.com"
SCOPE = AwsScope(host=HOST.encode(), region="eu-west-1", service="bedrock")
KEYS = AwsKeys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
SESSION = AwsKeys("ASIAEXAMPLE", "secret", "a/session+token==")
AT = 1_790_000_000.5


class _Signer(SigV4Auth):  # type: ignore[misc]
    """botocore's signer at a given time."""

    def add_auth(self, request: AWSRequest) -> None:
        request.context["timestamp"] = datetime.fromtimestamp(int(AT), UTC).strftime("%Y%m%dT%H%M%SZ")
        self._modify_request_before_signing(request)
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))


def botocores(
    keys: AwsKeys, method: str, target: str, headers: list[tuple[str, str]], body: bytes
) -> dict[str, str]:
    request = AWSRequest(method=method, url=f"https://{HOST}{target}", data=body)
    for name, value in headers:
        request.headers.add_header(name, value)
    credentials = Credentials(keys.access_key, keys.secret_key, keys.token or None)
    _Signer(credentials, SCOPE.service, SCOPE.region).add_auth(request)
    names = ("authorization", "x-amz-date", "x-amz-security-token")
    return {name: request.headers[name] for name in names if name in request.headers}


def ours(keys: AwsKeys, method: str, target: str, headers: list[Header], body: bytes) -> dict[str, str]:
    signed = signature(
        keys, SCOPE, method=method.encode(), target=target.encode(), headers=headers, body=body, at=AT
    )
    return {name.decode(): value.decode() for name, value in signed}


@pytest.mark.parametrize("keys", [KEYS, SESSION])
@pytest.mark.parametrize(
    "target",
    [
        "/model/amazon.nova-lite-v1%3A0/converse",
        "/model/anthropic.claude-sonnet-4-5-20250929-v1:0/invoke",
        "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ainference-profile%2Feu.x/converse-stream",
        "/openai/v1/chat/completions?b=2&a=1&a=0&c",
        "/async-invoke?statusEquals=Completed&nextToken=a%2Fb%3D",
        "/a//b/./c/",
        "/",
    ],
)
@pytest.mark.parametrize("body", [b"", b'{"messages": []}'])
def test_signatures_are_those_of_botocore(keys: AwsKeys, target: str, body: bytes) -> None:
    headers = [
        ("content-type", "application/json"),
        ("x-amz-target", "  two   words "),
        ("x-amz-target", "b"),
    ]
    sent = [(name.encode(), value.encode()) for name, value in headers]
    method = "POST" if body else "GET"
    assert ours(keys, method, target, sent, body) == botocores(keys, method, target, headers, body)


SEGMENT = st.text("abcXYZ019-._~:%!$&'()*+,;=@", min_size=1, max_size=12).filter(lambda s: ".." not in s)


@given(st.lists(SEGMENT, max_size=4), st.binary(max_size=100))
def test_whatever_the_path_and_the_body(segments: list[str], body: bytes) -> None:
    target = "/" + "/".join(segments)
    assert ours(KEYS, "POST", target, [], body) == botocores(KEYS, "POST", target, [], body)


def test_other_headers_are_not_signed() -> None:
    plain = ours(KEYS, "POST", "/", [], b"")
    more = [
        (b"user-agent", b"x"),
        (b"accept", b"*/*"),
        (b"host", b"other"),
        (b"x-amzn-trace-id", b"Root=1"),
        (b"amz-sdk-request", b"1"),
    ]
    assert ours(KEYS, "POST", "/", more, b"") == plain
    assert "SignedHeaders=host;x-amz-date," in plain["authorization"]


def test_keys_do_not_show_themselves() -> None:
    assert "secret" not in repr(SESSION)
    assert "token" not in str(SESSION)


def test_a_time_is_written_in_utc() -> None:
    signed = dict(signature(KEYS, SCOPE, method=b"GET", target=b"/", headers=[], body=b"", at=0.0))
    assert signed[b"x-amz-date"] == b"19700101T000000Z"
    assert time.gmtime(0).tm_hour == 0
