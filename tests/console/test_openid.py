"""What is believed of an ID token, and what is made of its claims."""

import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey, RSAKey

from console.access.openid import ProviderMetadata, verified
from console.access.openid_settings import (
    OidcSettings,
    SignInFailed,
    admitted,
    groups_of,
    is_private,
    name_of,
)
from console.access.session import Person

ISSUER = "https://idp.example.com"
SETTINGS = OidcSettings(
    issuer=ISSUER,
    client_id="canary",
    client_secret="a-secret-of-thirty-two-characters",
    redirect_uri="https://canary.example.com/oidc/callback",
    viewers=("readers", "all"),
    operators=("ops",),
)
KEY = RSAKey.generate_key(2048, {"kid": "one"})
KEYS = {"keys": [KEY.as_dict(private=False)]}


def metadata(*algorithms: str) -> ProviderMetadata:
    return ProviderMetadata(
        issuer=ISSUER,
        authorization_endpoint=f"{ISSUER}/auth",
        token_endpoint=f"{ISSUER}/token",
        jwks_uri=f"{ISSUER}/jwks",
        id_token_signing_alg_values_supported=algorithms or ("RS256", "HS256", "none"),
    )


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    known = {"iss": ISSUER, "aud": "canary", "sub": "ann", "iat": now, "exp": now + 300, "nonce": "n"}
    return {name: value for name, value in {**known, **changed}.items() if value is not None}


def token(key: Any = KEY, algorithm: str = "RS256", **changed: Any) -> dict[str, str]:
    header = {"alg": algorithm, "kid": "one"}
    text = jwt.encode(header, claims(**changed), key, algorithms=[algorithm])
    return {"id_token": text, "access_token": "opaque"}


def test_an_id_token_of_this_sign_in_is_believed() -> None:
    found = verified(token(name="Ann"), KEYS, SETTINGS, metadata(), nonce="n")
    assert (found["sub"], found["name"]) == ("ann", "Ann")
    assert verified(token(aud=["canary"]), KEYS, SETTINGS, metadata(), nonce="n")["sub"] == "ann"


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://evil.example.com"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"aud": "another", "azp": "canary"},
        {"aud": ["canary", "another"], "azp": "another"},
        {"iat": 1_700_000_000, "exp": 1_700_000_300},
        {"exp": None},
        {"nonce": "of another sign-in"},
        {"nonce": None},
        {"sub": None},
        {"at_hash": "of another access token"},
    ],
    ids=str,
)
def test_an_id_token_of_anything_else_is_not(changed: dict[str, Any]) -> None:
    with pytest.raises((JoseError, ValueError, KeyError)):
        verified(token(**changed), KEYS, SETTINGS, metadata(), nonce="n")


def test_another_key_s_signature_is_not_believed() -> None:
    forged = token(RSAKey.generate_key(2048, {"kid": "one"}))
    with pytest.raises((JoseError, ValueError)):
        verified(forged, KEYS, SETTINGS, metadata(), nonce="n")


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_a_token_without_a_public_key_s_signature_is_not_believed_whatever_the_provider_lists(
    algorithm: str,
) -> None:
    secret = OctKey.import_key(SETTINGS.client_secret, {"kid": "one"})
    forged = token(secret, algorithm)
    with pytest.raises((JoseError, ValueError)):
        verified(forged, KEYS, SETTINGS, metadata(), nonce="n")
    with pytest.raises((JoseError, ValueError)):
        verified(forged, {"keys": [secret.as_dict()]}, SETTINGS, metadata(algorithm), nonce="n")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"name": "Ann  Operator", "email": "a@example.com", "sub": "1"}, "Ann Operator (a@example.com)"),
        ({"name": "", "email": "a@example.com", "sub": "1"}, "a@example.com"),
        ({"name": None, "sub": "1"}, "1"),
        ({"name": "x" * 500, "sub": "1"}, f"{'x' * 200} (1)"),
    ],
)
def test_the_name_is_the_claim_name_else_email_else_sub(given: dict[str, Any], name: str) -> None:
    assert name_of(given) == name


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (["ops"], "operator"),
        ("ops", "operator"),
        (["all", "ops"], "operator"),
        (["all"], "viewer"),
        ("readers", "viewer"),
    ],
)
def test_the_groups_give_the_role_and_operators_come_first(groups: Any, role: Any) -> None:
    assert admitted({"sub": "1", "groups": groups}, SETTINGS) == Person(role=role, name="1")


@pytest.mark.parametrize("groups", [None, [], "", "op", ["opsa", "ALL"], "all readers"])
def test_somebody_in_no_group_is_told_which_would_do(groups: Any) -> None:
    with pytest.raises(SignInFailed, match=r"operators: ops; viewers: readers, all") as failed:
        admitted({"sub": "1", "name": "Cleo", "groups": groups}, SETTINGS)
    assert failed.value.status == 403
    assert groups_of({}) == []


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("https://idp.example.com/realms/x", True),
        ("http://127.0.0.1:9/", True),
        ("http://localhost:9/", True),
        ("http://[::1]:9/", True),
        ("http://idp.example.com/", False),
        ("http://127.evil.example/", False),
        ("ftp://localhost/", False),
        ("https:///x", False),
        ("http://[::1/", False),
    ],
)
def test_only_https_and_this_machine_are_private(url: str, private: bool) -> None:
    assert is_private(url) is private
