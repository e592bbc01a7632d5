"""The listeners' certificate: what is refused, what is warned of, and that its key is never shown."""

import json
import ssl
import time
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from typer.testing import CliRunner

from canary.cli import app
from canary.config import Config, ConfigError, load
from canary.config.certificate import SOON_S, Certificate, certificate_of, pinned_context, server_context
from tests.certificates import TLS, write_pair

CONFIG = 'providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}\n'
DAY_S = 86400.0


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def pair(tmp_path: Path, authority: trustme.CA) -> Path:
    """The folder of a good pair, and the config beside it."""
    (tmp_path / "canary.yaml").write_text(CONFIG + TLS)
    write_pair(tmp_path / "tls", authority)
    return tmp_path / "tls"


def read(pair: Path, now: float | None = None) -> Certificate | None:
    file = pair.parent / "canary.yaml"
    return certificate_of(load(file, {}), file, time.time() if now is None else now)


def refusal(pair: Path, now: float | None = None) -> str:
    with pytest.raises(ConfigError) as refused:
        read(pair, now)
    return str(refused.value).removeprefix(f"{pair.parent / 'canary.yaml'}: ")


def test_a_good_pair_is_read_from_beside_the_config_wherever_canary_runs(pair: Path) -> None:
    certificate = read(pair)
    assert certificate is not None
    assert certificate.not_after - certificate.not_before == pytest.approx(91 * DAY_S, abs=DAY_S)
    assert certificate.trouble(time.time()) == ""
    assert certificate.leaf().encode() == (pair / "tls.crt").read_bytes().strip()


def test_without_tls_there_is_none(tmp_path: Path) -> None:
    assert certificate_of(Config(providers={}, canaries={}, metrics={}, server=None), tmp_path, 0.0) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("one", ["cert_file", "key_file"])
def test_both_files_are_wanted(tmp_path: Path, one: str) -> None:
    (tmp_path / "canary.yaml").write_text(f"{CONFIG}tls: {{{one}: a}}\n")
    with pytest.raises(ConfigError, match="is missing"):
        load(tmp_path / "canary.yaml", {})


@pytest.mark.parametrize(("name", "key"), [("tls.crt", "cert_file"), ("tls.key", "key_file")])
def test_a_file_that_cannot_be_read_is_named_with_its_place(pair: Path, name: str, key: str) -> None:
    (pair / name).unlink()
    assert refusal(pair) == f"tls.{key}: {pair / name} cannot be read: No such file or directory"
    (pair / name).mkdir()
    assert refusal(pair) == f"tls.{key}: {pair / name} cannot be read: Is a directory"
    (pair / name).rmdir()
    (pair / name).write_text("")
    what = "certificate" if key == "cert_file" else "private key"
    assert refusal(pair) == f"tls.{key}: {pair / name} has no {what} (PEM)"


def test_a_half_written_certificate_is_refused(pair: Path) -> None:
    whole = (pair / "tls.crt").read_bytes()
    (pair / "tls.crt").write_bytes(whole[: len(whole) // 2])
    assert refusal(pair) == f"tls.cert_file: {pair / 'tls.crt'} has no certificate (PEM)"
    (pair / "tls.crt").write_bytes(whole.replace(b"\nM", b"\nX", 1))
    assert refusal(pair).startswith("tls.cert_file: cannot be used with key_file: ")


def test_the_key_of_another_certificate_is_refused(pair: Path, authority: trustme.CA) -> None:
    write_pair(pair / "other", authority)
    (pair / "other" / "tls.key").replace(pair / "tls.key")
    assert refusal(pair) == "tls.key_file: is not the key of the certificate in cert_file"


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(pair: Path) -> None:
    key = load_pem_private_key((pair / "tls.key").read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (pair / "tls.key").write_bytes(locked)
    assert refusal(pair) == "tls.key_file: is encrypted; write the key without a passphrase"


def test_an_expired_certificate_and_one_of_the_future_are_refused(pair: Path) -> None:
    certificate = read(pair)
    assert certificate is not None
    why = f"tls.cert_file: the certificate in {pair / 'tls.crt'}"
    assert refusal(pair, certificate.not_after + 1) == f"{why} expired on {certificate.last_day}; renew it"
    assert refusal(pair, certificate.not_before - 1).startswith(f"{why} is not valid before ")


def test_one_that_expires_within_14_days_is_warned_of(pair: Path) -> None:
    certificate = read(pair)
    assert certificate is not None
    assert certificate.warnings(certificate.not_after - SOON_S - 1) == []
    soon = certificate.not_after - 9.2 * DAY_S
    assert certificate.warnings(soon) == [
        f"the certificate of the listeners expires on {certificate.last_day}, in 9 days: renew it"
    ]
    assert certificate.trouble(soon) == ""  # it works
    assert certificate.trouble(certificate.not_after + 1) == (
        f"the certificate of the listeners expired on {certificate.last_day}; renew it: callers refuse to "
        "connect"
    )


def test_one_without_a_hosts_name_is_warned_of(pair: Path, authority: trustme.CA) -> None:
    write_pair(pair, authority, common_name="canary.example.com")
    named = ["--config", str(pair.parent / "canary.yaml")]
    done = CliRunner().invoke(app, ["check", *named])
    says = "the certificate of the listeners has no subjectAltName with a host's name or address"
    assert (done.exit_code, done.stderr.startswith(f"{named[1]}: {says}")) == (0, True)
    found = json.loads(CliRunner().invoke(app, ["doctor", "-o", "json", *named]).stdout)["findings"]
    ((state, told),) = [(each["state"], each["says"]) for each in found if each["check"] == "tls"]
    assert (state, told.startswith(says)) == ("warning", True)


def test_no_message_and_no_repr_shows_the_key(pair: Path, authority: trustme.CA) -> None:
    certificate = read(pair)
    secret = (pair / "tls.key").read_text().splitlines()[1]
    assert secret not in repr(certificate)
    write_pair(pair / "other", authority)
    (pair / "other" / "tls.crt").replace(pair / "tls.crt")
    assert secret not in refusal(pair)


def test_a_client_that_is_pinned_to_a_certificate_takes_it_after_its_end_and_no_other(
    pair: Path, authority: trustme.CA
) -> None:
    ended = write_pair(pair, authority, ends_in_days=-0.5)
    chain, key = (pair / "tls.crt").read_bytes(), (pair / "tls.key").read_bytes()
    other = write_pair(pair, authority)
    for pinned, taken in [(ended, True), (other, False)]:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = server_context(chain, key).wrap_bio(to_server, to_client, server_side=True)
        trusting = pinned_context(pinned.cert_chain_pems[0].bytes().decode())
        client = trusting.wrap_bio(to_client, to_server)
        for end in (client, server):
            with pytest.raises(ssl.SSLWantReadError):
                end.do_handshake()
        if taken:
            client.do_handshake()
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                client.do_handshake()


def test_check_and_doctor_warn_of_its_last_days_and_refuse_it_after_them(
    pair: Path, authority: trustme.CA
) -> None:
    named = ["--config", str(pair.parent / "canary.yaml")]

    def checked() -> tuple[int, str]:
        done = CliRunner().invoke(app, ["check", *named])
        return done.exit_code, done.stderr

    def examined() -> list[tuple[str, str]]:
        done = CliRunner().invoke(app, ["doctor", "-o", "json", *named])
        found = json.loads(done.stdout)["findings"]
        return [(each["state"], each["says"]) for each in found if each["check"] == "tls"]

    ((state, says),) = examined()
    assert (state, says.startswith("the certificate is valid until ")) == ("ok", True)
    assert checked() == (0, "")
    write_pair(pair, authority, ends_in_days=5.5)
    ((state, says),) = examined()
    assert (state, says.endswith("in 5 days: renew it")) == ("warning", True)
    assert checked() == (0, f"{named[1]}: {says}\n")
    write_pair(pair, authority, starts_in_days=-9, ends_in_days=-1)
    ((state, says),) = examined()
    assert (state, "expired on" in says) == ("broken", True)
    assert checked() == (2, f"{says}\n")
