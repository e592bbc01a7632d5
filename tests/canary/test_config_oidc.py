"""What a config may say of the sign-in by OpenID Connect, and what is wrong where it may not."""

import pytest

from canary.config import ConfigError, parse
from console.access.openid_settings import OidcSettings

TEXT = """\
providers:
  openai: {{api: openai, base_url: "https://api.openai.com/v1"}}
{admin_url}
oidc:
  issuer: "{issuer}"
  client_id: canary
  client_secret: {secret}
  {groups}
"""


def text(
    admin_url: str = "admin_url: https://canary.example.com/",
    issuer: str = "https://login.example.com/realms/company",
    secret: str = "${SECRET}",
    groups: str = "operators: [ops]",
) -> str:
    return TEXT.format(admin_url=admin_url, issuer=issuer, secret=secret, groups=groups)


def test_a_sign_in_and_where_the_provider_sends_people_back() -> None:
    read = parse(text(groups="{viewers: [a, b]}".strip("{}")), "canary.yaml", {"SECRET": "s3cret"})
    assert read.oidc == OidcSettings(
        issuer="https://login.example.com/realms/company",
        client_id="canary",
        client_secret="s3cret",
        redirect_uri="https://canary.example.com/oidc/callback",
        viewers=("a", "b"),
    )
    assert "s3cret" not in repr(read)
    assert read.warnings == ()


def test_on_this_machine_neither_needs_tls() -> None:
    written = text(admin_url="admin_url: http://127.0.0.1:8081", issuer="http://localhost:9000")
    read = parse(written, "canary.yaml", {"SECRET": "s"})
    assert read.oidc is not None
    assert read.oidc.redirect_uri == "http://127.0.0.1:8081/oidc/callback"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (text(admin_url=""), "oidc: needs `admin_url`, to which the provider sends people back"),
        (
            text(admin_url="admin_url: http://canary.example.com"),
            "admin_url: must begin with https://; http:// only works on this machine, and with `oidc` a",
        ),
        (
            text(issuer="http://login.example.com"),
            "oidc.issuer: must begin with https://; http:// only works",
        ),
        (text(issuer="login.example.com"), "oidc.issuer: must begin with https://"),
        (text(issuer="https://login.example.com/?a=b"), "oidc.issuer: must end with its path; remove ? or #"),
        (text(groups="operators: []"), "oidc: lets nobody in; name groups in `viewers` or `operators`"),
        (text(secret="${SECRET:-}"), "oidc.client_secret"),
        (text(groups="operator: [ops]"), "operators"),
    ],
)
def test_what_cannot_work_is_refused_with_what_would(written: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(written, "canary.yaml", {} if "${SECRET:-}" in written else {"SECRET": "s3cret"})
    assert message in str(refused.value)
    assert "s3cret" not in str(refused.value)
