"""Where segments lie as files: a folder, or an object store as Arrow's file system, with the bounds of every
call and what its errors mean.

    s3://BUCKET/PREFIX?region=…&endpoint_override=HOST:PORT&scheme=http
    gs://BUCKET/PREFIX?endpoint_override=HOST:PORT&scheme=http
    az://CONTAINER/PREFIX?account=NAME&endpoint_override=HOST:PORT&scheme=http

Credentials come from the environment or the machine, never from the URL.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from common.whole_file import sync_folder, write_whole
from records.errors import StoreDown

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


IN_STORE: Final = "store"
"""In place of a folder: the database itself keeps the segments, for replicas that share nothing else."""

OUTCOMES: Final = "outcomes"
"""The folder where the config names none, relative to the data folder."""

FOLDER: Final = "segment_folder"
"""The execution option of a store's connections that has its SegmentFolder, or None."""

OBJECT_STORES = ("s3://", "gs://", "az://")

_DAMAGE = re.compile(r"[Pp]arquet|thrift|decompress|[Cc]orrupt")
_PROBE = "canary-doctor"


class SegmentFolder:
    """One folder of segments. Paths are relative to it, with "/" between their parts.

    Arrow is loaded with the first use. Every method may raise StoreDown.
    """

    def __init__(self, place: str) -> None:
        """`place` is an absolute path, or a URL as in `object_store`. Raises ValueError for others."""
        self.place = place
        self._store = ObjectStore.at(place) if place.startswith(OBJECT_STORES) else None
        self._system: Any = None

    @classmethod
    def at(cls, outcomes: str, data: Path) -> "SegmentFolder | None":
        """The folder of the config's `outcomes`, a relative one in `data`; None for the database itself."""
        if outcomes == IN_STORE:
            return None
        return cls(outcomes if outcomes.startswith(OBJECT_STORES) else str(data.absolute() / outcomes))

    @property
    def is_local(self) -> bool:
        """True for a folder of this machine's file system."""
        return self._store is None

    def write(self, path: str, content: Any) -> None:
        """Write a file as a whole, durably: it appears under its name when all of it is there."""
        with self._working(path, "written"):
            if self._store is None:
                _write_local(Path(self.place), path, content)
                return
            with self._files().open_output_stream(self._named(path)) as file:
                file.write(content)

    @contextmanager
    def open(self, path: str) -> Iterator[Any]:
        """Open a file for reading in the block, as Arrow does."""
        with self._working(path, "read"), self._opened(path) as file, sound(path, self.place):
            yield file

    def delete(self, path: str) -> None:
        """Delete a file, and nothing if it is gone."""
        with self._working(path, "deleted"), suppress(FileNotFoundError):
            if self._store is None:
                _delete_local(Path(self.place), path)
                return
            self._files().delete_file(self._named(path))

    def trouble(self) -> tuple[str, str] | None:
        """Write an empty object into the object store and delete it: what is wrong, and what to do ("" if the
        first says it); None if it works, and for a local folder."""
        if self._store is None:
            return None
        try:
            with self._files().open_output_stream(self._named(_PROBE)):
                pass
            self._files().delete_file(self._named(_PROBE))
        except (OSError, ValueError) as problem:
            return self._store.explained(problem), self._store.remedy(problem)
        return None

    def _opened(self, path: str) -> Any:
        try:
            return self._files().open_input_file(self._named(path))
        except FileNotFoundError:
            raise StoreDown(
                f"the segment {path} is missing in {self.place}: name the place that has it as `outcomes`, "
                "or restore it from a backup"
            ) from None

    def _named(self, path: str) -> str:
        return f"{self.place if self._store is None else self._store.folder}/{path}"

    def _files(self) -> Any:
        """The file system."""
        if self._system is None:
            from pyarrow.fs import LocalFileSystem

            self._system = LocalFileSystem() if self._store is None else self._store.file_system()
        return self._system

    @contextmanager
    def _working(self, path: str, done: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as problem:
            said = one_line(problem) if self._store is None else self._store.explained(problem)
            raise StoreDown(f"the segment {path} cannot be {done} in {self.place}: {said}") from problem


@contextmanager
def sound(path: str, place: str) -> Iterator[None]:
    """Wraps code that reads the content of a segment. Raises StoreDown if that is no Parquet."""
    try:
        yield
    except (OSError, ValueError) as problem:
        if not (isinstance(problem, ValueError) or _DAMAGE.search(str(problem))):
            raise
        raise StoreDown(
            f"the segment {path} in {place} is damaged: restore it from a backup, or give up its outcomes as "
            f"docs/operations.md says ({one_line(problem)})"
        ) from problem


def one_line(problem: Exception) -> str:
    """The message of an error, without the line breaks and control characters that Arrow's have."""
    return " ".join("".join(each if each.isprintable() else " " for each in str(problem)).split())


def _write_local(top: Path, path: str, content: Any) -> None:
    whole = top / path
    _create(whole.parent)
    write_whole(whole, content)


def _create(folder: Path) -> None:
    """Create the folder and those above it, durably, for the server alone."""
    if not folder.is_dir():
        _create(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)


def _delete_local(top: Path, path: str) -> None:
    """Delete the file, what a crash left of one half written, and the folders that are empty then."""
    folder = (top / path).parent
    for file in folder.glob(f"*{Path(path).name}*"):
        file.unlink(missing_ok=True)
    with suppress(OSError):
        while folder != top:
            folder.rmdir()
            folder = folder.parent
