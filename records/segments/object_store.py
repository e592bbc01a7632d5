"""Object stores as Arrow's file systems: what a URL names, the bounds of every call, and what errors mean.

    s3://BUCKET/PREFIX?region=…&endpoint_override=HOST:PORT&scheme=http
    gs://BUCKET/PREFIX?endpoint_override=HOST:PORT&scheme=http
    az://CONTAINER/PREFIX?account=NAME&endpoint_override=HOST:PORT&scheme=http

Credentials come from the environment or the machine, never from the URL.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

CONNECT_S, SILENCE_S, ATTEMPTS = 5.0, 10.0, 3
"""Of a call to S3: seconds to connect, seconds without a byte, and how often it is tried. Google's library
takes the second as its time for retries, beside 120 s for a silent server; Azure's has its own: 250 s."""

_PARAMETERS: Mapping[str, frozenset[str]] = {
    "s3": frozenset({"region", "endpoint_override", "scheme"}),
    "gs": frozenset({"endpoint_override", "scheme"}),
    "az": frozenset({"account", "endpoint_override", "scheme"}),
}
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the machine's role",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or the machine's service account",
    "az": "AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN, or the machine's identity",
}
_ANONYMOUS = "anonymous"
_QUERY = re.compile(r"\?[^\s'\"]*")
_NO_BUCKET = re.compile(r"NO_SUCH_BUCKET|ContainerNotFound|404.{0,400}CreateResumableUpload", re.DOTALL)
_REFUSED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID|EXPIRED_TOKEN"
    r"|UNRECOGNIZED_CLIENT|PERMISSION_DENIED|UNAUTHENTICATED|\b40[13]\b|Credential|credentials"
)
_SILENT = re.compile(
    r"NETWORK_CONNECTION|UNAVAILABLE|REQUEST_TIMEOUT|SLOW_DOWN|Fail to get a new connection|[Tt]imeout"
)


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A prefix in an object store, as its URL says. `options` are the URL's parameters."""

    kind: str
    bucket: str
    prefix: str
    options: Mapping[str, str]
    anonymous: bool = False

    @classmethod
    def at(cls, url: str) -> "ObjectStore":
        """What the URL names. Raises ValueError that says what would be right."""
        parts = urlsplit(url)
        kind, user = parts.scheme, parts.netloc.rpartition("@")[0]
        bucket = parts.netloc.rpartition("@")[2]
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if (user and (kind, user) != ("gs", _ANONYMOUS)) or _secret(options):
            raise ValueError(f"credentials do not belong in a URL: use {_CREDENTIALS[kind]}")
        if unknown := sorted(options.keys() - _PARAMETERS[kind]):
            known = ", ".join(sorted(_PARAMETERS[kind]))
            raise ValueError(f'"{unknown[0]}" is no parameter of {kind}://; there are: {known}')
        if not bucket:
            raise ValueError(f"{kind}:// needs a bucket: write {kind}://BUCKET/PREFIX")
        if kind == "az" and not options.get("account"):
            raise ValueError(f"az:// needs its account: write az://{bucket}{parts.path}?account=NAME")
        return cls(kind, bucket, parts.path.strip("/"), options, bool(user))

    @property
    def folder(self) -> str:
        """The bucket and the prefix, as a file system's path."""
        return f"{self.bucket}/{self.prefix}".rstrip("/")

    def file_system(self) -> Any:
        """The file system that has the bucket."""
        return {"s3": self._s3, "gs": self._gcs, "az": self._azure}[self.kind]()

    def explained(self, problem: Exception) -> str:
        """An error of the file system in words: what is wrong, and what would be right."""
        said = _QUERY.sub("", " ".join(str(problem).split()))
        if _NO_BUCKET.search(said):
            return f"there is no bucket {self.bucket}: create it, or correct `outcomes`"
        if _SILENT.search(said):
            return f"{self._host} does not answer: {said}"
        if _REFUSED.search(said):
            return (
                f"the credentials may not read, write and delete in the bucket {self.bucket}, or there are "
                f"none: use {_CREDENTIALS[self.kind]} ({said})"
            )
        return said

    def remedy(self, problem: Exception) -> str:
        """What to do about an error; "" where its explanation says it."""
        said = str(problem)
        if _SILENT.search(said) and not _NO_BUCKET.search(said):
            return "start it, open the network to it, or correct `outcomes`; outcomes wait in the database"
        known = _NO_BUCKET.search(said) or _REFUSED.search(said)
        return "" if known else "correct `outcomes`; outcomes wait in the database"

    @property
    def _host(self) -> str:
        return self.options.get("endpoint_override") or f"{self.kind}://{self.bucket}"

    def _s3(self) -> Any:
        from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

        retrying = AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS)
        return S3FileSystem(
            **self.options, connect_timeout=CONNECT_S, request_timeout=SILENCE_S, retry_strategy=retrying
        )

    def _gcs(self) -> Any:
        from pyarrow.fs import GcsFileSystem

        within = timedelta(seconds=SILENCE_S)
        return GcsFileSystem(anonymous=self.anonymous, retry_time_limit=within, **self.options)

    def _azure(self) -> Any:
        from pyarrow.fs import AzureFileSystem

        options = dict(self.options)
        hosts = {}
        for service in ("blob", "dfs"):
            if host := options.get("endpoint_override"):
                hosts[f"{service}_storage_authority"] = host
            if scheme := options.get("scheme"):
                hosts[f"{service}_storage_scheme"] = scheme
        key = os.environ.get("AZURE_STORAGE_KEY")
        token = None if key else os.environ.get("AZURE_STORAGE_SAS_TOKEN")
        return AzureFileSystem(options["account"], account_key=key, sas_token=token, **hosts)


def _secret(options: Mapping[str, str]) -> bool:
    return any(re.search(r"key|secret|token|sig", name) for name in options)
