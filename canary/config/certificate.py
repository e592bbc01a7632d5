"""The listeners' certificate: reads it, checks that callers can accept it, and makes its TLS contexts.

No message and no repr has a byte of the private key.
"""

import os
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from canary.config.config import Config, TlsFiles
from canary.config.errors import ConfigError, ConfigProblem

CERTIFICATE = "certificate.pem"
"""The file in the data folder with the certificate that the listeners show. It has no key."""

SOON_S = 14 * 86400.0
"""How long before its end a certificate is warned of."""

_NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which `ssl` has no name for."""

_OURS = "the certificate of the listeners"

_LEAF = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate chain and its key, both PEM, that fit each other. The times are Unix seconds. `named`: it
    has a host's name or address as subjectAltName."""

    chain: bytes
    key: bytes = field(repr=False)
    not_before: float
    not_after: float
    named: bool

    def useless(self, now: float) -> str:
        """Why callers refuse it at the time `now`; "" if they do not."""
        if now > self.not_after:
            return f"expired on {_day(self.not_after)}; renew it"
        if now < self.not_before:
            return f"is not valid before {_day(self.not_before)}; check this machine's clock"
        return ""

    def trouble(self, now: float) -> str:
        """Why callers do not connect to listeners that use it, in a sentence; "" if they do."""
        wrong = self.useless(now)
        return f"{_OURS} {wrong}: callers refuse to connect" if wrong else ""

    def warnings(self, now: float) -> list[str]:
        """What is to be done about it, though it is of use: it ends within 14 days, or names no host."""
        left_s = self.not_after - now
        ends = f"{_OURS} expires on {self.last_day}, in {left_s / 86400:.0f} days: renew it"
        nameless = (
            f"{_OURS} has no subjectAltName with a host's name or address, and clients no longer look at the "
            "common name: most refuse it; issue it anew with the names that callers use"
        )
        return [ends] * (left_s <= SOON_S) + [nameless] * (not self.named)

    @property
    def last_day(self) -> str:
        """The day on which it ends, as YYYY-MM-DD (UTC)."""
        return _day(self.not_after)

    def leaf(self) -> str:
        """The certificate itself, without its chain, as PEM."""
        return _leaf(self.chain)


class _Unusable(Exception):
    """A pair that cannot serve: the key of `tls` that is wrong, and why."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(why)
        self.key = key


class _HasPassphrase(Exception):
    """The private key is encrypted."""


def certificate_of(config: Config, file: Path, now: float) -> Certificate | None:
    """The certificate of a config, None without `tls`. Raises ConfigError: the files cannot be read, do not
    fit each other, or callers would refuse the certificate at the time `now`. `file` is the config's."""
    if config.tls is None:
        return None
    try:
        return _read(config.tls, config.folder, now)
    except _Unusable as problem:
        found = ConfigProblem(file=str(file), path=f"tls.{problem.key}", line=None, message=str(problem))
        raise ConfigError([found]) from problem


def server_context(chain: bytes, key: bytes) -> ssl.SSLContext:
    """A listener's context: TLS from 1.2, HTTP/1.1 only. Raises SSLError for a pair that cannot serve."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    with _in_memory(key + b"\n" + chain) as path:  # the key first: a chain file may have another one
        context.load_cert_chain(path, password=_no_passphrase)
    return context


def pinned_context(certificate: str) -> ssl.SSLContext:
    """A client's context that trusts exactly this certificate (PEM), by whatever name and after its end: an
    operator must be able to roll back when it has expired."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    return context


def _read(files: TlsFiles, folder: Path, now: float) -> Certificate:
    chain = _content("cert_file", folder / files.cert_file)
    key = _content("key_file", folder / files.key_file)
    if b"PRIVATE KEY-----" not in key:
        raise _Unusable("key_file", f"{folder / files.key_file} has no private key (PEM)")
    if not _LEAF.search(chain):
        raise _Unusable("cert_file", f"{folder / files.cert_file} has no certificate (PEM)")
    certificate = _checked(chain, key)
    if wrong := certificate.useless(now):
        raise _Unusable("cert_file", f"the certificate in {folder / files.cert_file} {wrong}")
    return certificate


def _content(key: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _Unusable(key, f"{path} cannot be read: {error.strerror}") from error


def _checked(chain: bytes, key: bytes) -> Certificate:
    """The pair, after a handshake with itself."""
    try:
        context = server_context(chain, key)
    except ssl.SSLError as problem:
        if problem.reason == "KEY_VALUES_MISMATCH":
            raise _Unusable("key_file", "is not the key of the certificate in cert_file") from problem
        why = problem.reason or "not a valid PEM file"
        raise _Unusable(
            "cert_file", f"cannot be used with key_file: {why.replace('_', ' ').lower()}"
        ) from problem
    except _HasPassphrase as problem:
        raise _Unusable("key_file", "is encrypted; write the key without a passphrase") from problem
    try:
        seen = _presented(context, _leaf(chain))
    except ssl.SSLError as problem:
        why = getattr(problem, "verify_message", None) or problem.reason
        raise _Unusable("cert_file", f"is of no use to callers: {why}") from problem
    return Certificate(
        chain=chain,
        key=key,
        not_before=ssl.cert_time_to_seconds(seen["notBefore"]),
        not_after=ssl.cert_time_to_seconds(seen["notAfter"]),
        named=any(kind in ("DNS", "IP Address") for kind, _ in seen.get("subjectAltName", ())),
    )


def _leaf(chain: bytes) -> str:
    found = _LEAF.search(chain)
    return found[0].decode("ascii") if found else ""


def _presented(context: ssl.SSLContext, leaf: str) -> Mapping[str, Any]:
    """The certificate as a client sees it, which trusts exactly it. Raises SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = pinned_context(leaf).wrap_bio(to_client, to_server)
    for end in (client, server, client):
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return client.getpeercert() or {}


@contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """A file without a place on a disk: `ssl` reads keys from files only, and these are in memory already."""
    fd = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(fd, data)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _no_passphrase() -> str:
    raise _HasPassphrase


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
