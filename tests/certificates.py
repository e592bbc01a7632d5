"""Real certificates of the tests' own authority, as the two files that `tls:` names."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

TLS = "tls: {cert_file: tls/tls.crt, key_file: tls/tls.key}\n"
"""The config's lines; the files are in `tls/` beside it."""

NAME = "canary.example.com"
"""A name that no test can resolve, as that of a real server would be from its own machine."""


def write_pair(
    folder: Path,
    authority: trustme.CA,
    *names: str,
    common_name: str | None = None,
    starts_in_days: float = -1,
    ends_in_days: float = 90,
) -> trustme.LeafCert:
    """A fresh certificate, whole files in their places at once, each by a rename. With a `common_name` and no
    `names` it has that only, as certificates once did."""
    now = datetime.now(UTC)
    leaf = authority.issue_cert(
        *(names if names or common_name else (NAME, "127.0.0.1")),
        common_name=common_name,
        not_before=now + timedelta(days=starts_in_days),
        not_after=now + timedelta(days=ends_in_days),
    )
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "tls.key", leaf.private_key_pem.bytes())
    _replace(folder / "tls.crt", b"".join(each.bytes() for each in leaf.cert_chain_pems))
    return leaf


def _replace(path: Path, data: bytes) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_bytes(data)
    fresh.replace(path)
