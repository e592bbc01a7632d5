"""AWS's keys from the places where a machine has them, and what is signed with them."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.providers.aws_signature import AwsKeys
from proxy.providers.credentials import Credentials, NoCredential, UnsignedRequest, aws_keys
from proxy.providers.provider import Provider
from tests.servers.aws_issuers import NOWHERE, AwsIssuer, aws_issuer

REQUEST = UnsignedRequest(method=b"POST", target=b"/model/m%3A0/converse", headers=[], body=b"{}")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def issuer() -> Iterator[AwsIssuer]:
    with aws_issuer() as up:
        yield up


def entry(
    url: str = "https://bedrock-runtime.eu-west-1.amazonaws.com", region: str = "eu-west-1"
) -> Provider:
    return Provider(name="aws", api="anthropic", kind="bedrock", base_url=url, region=region)


def test_keys_come_from_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env secret")
    assert aws_keys().value == AwsKeys("AKIAENV", "env secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    assert aws_keys().value == AwsKeys("AKIAENV", "env secret", "session")


def test_keys_in_a_file_are_read_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "bedrock")
    for key in ("AKIAONE", "AKIATWO"):
        file.write_text(f"[bedrock]\naws_access_key_id = {key}\naws_secret_access_key = s\n")
        token = aws_keys()
        assert token.value == AwsKeys(key, "s")
        assert token.until is not None
        assert 0 < token.until - time.monotonic() <= 600


@pytest.mark.parametrize("place", ["container", "instance"])
def test_keys_of_a_role_have_an_end(place: str, issuer: AwsIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (issuer.container if place == "container" else issuer.instance).items():
        monkeypatch.setenv(name, value)
    token = aws_keys()
    assert issuer.secrets[token.value.access_key] == token.value.secret_key
    assert issuer.tokens[token.value.access_key] == token.value.token
    assert token.until is not None
    assert 3000 < token.until - time.monotonic() <= 3600
    assert aws_keys().value != token.value


def test_a_machine_without_keys_says_what_helps() -> None:
    credentials = Credentials.ready([entry()], 20.0)
    try:
        (trouble,) = credentials.troubles()
        assert "the provider entry aws (auth: aws)" in trouble
        assert "no AWS credentials were found on this machine" in trouble
        assert "AWS_ACCESS_KEY_ID" in trouble
    finally:
        credentials.close()


def test_the_librarys_own_reason_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "missing")
    with pytest.raises(NoCredential, match="missing"):
        aws_keys()


@pytest.mark.parametrize(
    ("url", "region", "scope"),
    [
        ("https://bedrock-runtime.eu-west-1.amazonaws.com", "eu-west-1", "eu-west-1/bedrock"),
        ("https://bedrock-mantle.us-east-1.api.aws", "us-east-1", "us-east-1/bedrock-mantle"),
        ("https://vpce-1.bedrock-runtime.eu-west-1.vpce.amazonaws.com", "eu-west-1", "eu-west-1/bedrock"),
        ("http://127.0.0.1:9", "eu-west-3", "eu-west-3/bedrock"),
    ],
)
def test_region_and_service_are_the_entrys(
    url: str, region: str, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"/{scope}/aws4_request" in signed(entry(url, region), monkeypatch)[b"authorization"].decode()


def signed(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> dict[bytes, bytes]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env secret")
    credentials = Credentials.ready([provider], 20.0)
    try:
        credential = credentials.of(provider)
        assert credential is not None
        return dict(credential.headers(REQUEST))
    finally:
        credentials.close()


def test_a_key_for_bedrock_is_sent_as_it_is() -> None:
    provider = Provider(
        name="aws", api="anthropic", kind="bedrock", base_url="https://gateway.example", api_key="ABSK"
    )
    credential = Credentials().of(provider)
    assert credential is not None
    assert credential.headers(REQUEST) == [(b"authorization", b"Bearer ABSK")]
