"""Takes the config and its certificate to the processes: the supervisor reads the files, and sends what they
say to its children.

Validating a config takes up to a second and holds the GIL; unpickling the result takes a millisecond. The
result holds keys, so it goes through each child's stdin: one message at the start, and one for every change.
"""

import asyncio
import os
import pickle
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path

import structlog

from canary.config import Config, ConfigError, load
from canary.config.certificate import Certificate, certificate_of
from common.whole_file import Stamp, file_stamp


class WatchedCertificate:
    """The certificate of the config's `tls`, reread when a file changes. A bad pair keeps the old one.

    A certificate is renewed by replacing two files, one after the other, or by a link to both (Kubernetes).
    So the files must not have changed since the last look, and a bad pair is read again at each look.
    """

    def __init__(self, config: Config, file: Path) -> None:
        """Read it. `file` is the config's. Raises ConfigError."""
        self._file = file
        self._seen = self._stamp = _stamp(config)
        self.current = certificate_of(config, file, time.time())
        self.problem = ""

    def check(self, config: Config) -> bool:
        """Read the files again if they have changed. True if `current` or `problem` has changed.

        A server that has started without TLS does not begin with it, nor one with TLS end it.
        """
        stamp = _stamp(config)
        still, self._seen = stamp == self._seen, stamp
        if self.current is None or config.tls is None or not still:
            return False
        if stamp == self._stamp and not self.problem:
            return False
        self._stamp = stamp
        before = (self.current, self.problem)
        self._reread(config)
        return before != (self.current, self.problem)

    def _reread(self, config: Config) -> None:
        try:
            self.current, self.problem = certificate_of(config, self._file, time.time()), ""
        except ConfigError as error:
            if self.problem != str(error):
                log.error("certificate.refused", problem=str(error))
            self.problem = str(error)


def _stamp(config: Config) -> tuple[Stamp, ...]:
    """The state of both files, as links lead to them."""
    if config.tls is None:
        return ()
    return tuple(_state(config.folder / name) for name in (config.tls.cert_file, config.tls.key_file))


def _state(path: Path) -> Stamp:
    try:
        return file_stamp(path)
    except OSError:
        return ()


log = structlog.get_logger()

_SIZE_BYTES = 4
_FIXED = ("store", "outcomes", "shared")
"""Settings that take effect at the start of the server only, and in commands at once."""

_USES = "which still uses the old one, while commands use the new one"


@dataclass(frozen=True, slots=True)
class ConfigReading:
    """The config in force, and what is wrong with the file as it is now ("": nothing); the same of the
    listeners' certificate, None without TLS. `loads` counts how often the config has been read."""

    config: Config
    problem: str = ""
    certificate: Certificate | None = None
    certificate_problem: str = ""
    loads: int = 0

    def message(self) -> bytes:
        """The message that `FollowedConfig` reads."""
        data = pickle.dumps(self)
        return len(data).to_bytes(_SIZE_BYTES) + data


class WatchedConfig:
    """The config file and the certificate that it names, reread when they change. A bad file keeps the old
    config and is logged once."""

    def __init__(self, path: Path) -> None:
        """Read the files. Raises ConfigError."""
        self._path = path
        self._seen = self._stamp = self._now()
        config = load(path, os.environ)
        self._certificate = WatchedCertificate(config, path)
        self.reading = ConfigReading(config, certificate=self._certificate.current)

    def check(self, *, force: bool = False) -> bool:
        """Reread what has changed, and the config always with `force` (SIGHUP). True if there is a new
        `reading`."""
        reread = self._check_file(force=force)
        certificate = self._certificate
        if not certificate.check(self.reading.config):
            return reread
        self.reading = replace(
            self.reading, certificate=certificate.current, certificate_problem=certificate.problem
        )
        return True

    def _check_file(self, *, force: bool) -> bool:
        """Reread the config. Its file must not have changed since the last check: a half-written file can
        still parse, and a canary missing from it would be ended for good."""
        stamp = self._now()
        still, self._seen = stamp == self._seen, stamp
        if not force and (stamp == self._stamp or not still):
            return False
        self._stamp = stamp
        before = self.reading
        try:
            config = load(self._path, os.environ)
            self.reading = replace(before, config=config, problem="", loads=before.loads + 1)
        except (ConfigError, OSError) as error:
            self.reading = replace(before, problem=str(error), loads=before.loads + 1)
            log.error("config.refused", file=str(self._path), problem=self.reading.problem)
        return True

    def _now(self) -> Stamp:
        try:
            return file_stamp(self._path)
        except OSError:
            return ()


class FollowedConfig:
    """The config as the supervisor sends it through a pipe. `on_change(apply)` has a new one applied."""

    def __init__(self, source: FileIO) -> None:
        """Wait for the first message. Raises EOFError without one."""
        self._source = source
        reading = _reading(self._exactly(int.from_bytes(self._exactly(_SIZE_BYTES))))
        self.current, self.problem = reading.config, reading.problem
        self.certificate, self._certificate_problem = reading.certificate, reading.certificate_problem
        self._loads = reading.loads
        self._first = reading.config
        self._apply: Callable[[Config], Awaitable[None]] | None = None

    def on_change(self, apply: Callable[[Config], Awaitable[None]]) -> None:
        """Await `apply` with each new config from now on."""
        self._apply = apply

    def troubles(self) -> list[str]:
        """What is wrong with the file, and which of its changes need a restart."""
        bad = [f"the config file is bad, the old one stays: {self.problem}"] if self.problem else []
        changed = [name for name in _FIXED if getattr(self._first, name) != getattr(self.current, name)]
        said = [f"{name} changed in the config file: restart canary, {_USES}" for name in changed]
        return [*bad, *said, *self._certificate_troubles()]

    def _certificate_troubles(self) -> list[str]:
        if (self.certificate is None) != (self.current.tls is None):
            what = "added to" if self.certificate is None else "removed from"
            return [f"tls was {what} the config file: restart canary"]
        found = []
        if self._certificate_problem:
            found.append(f"the new certificate is bad, the old one stays: {self._certificate_problem}")
        if self.certificate is not None and (trouble := self.certificate.trouble(time.time())):
            found.append(trouble)
        return found

    async def follow(self) -> None:
        """Apply every message, until the supervisor is gone."""
        stream = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), self._source
        )
        with suppress(asyncio.IncompleteReadError):
            while True:
                size = int.from_bytes(await stream.readexactly(_SIZE_BYTES))
                await self._take(_reading(await stream.readexactly(size)))

    async def _take(self, reading: ConfigReading) -> None:
        self._certificate_problem = reading.certificate_problem
        if reading.certificate != self.certificate:
            self.certificate = reading.certificate
            log.info("certificate.reloaded")
        if reading.loads == self._loads:
            return
        self.problem, self._loads = reading.problem, reading.loads
        if not reading.problem:
            self.current = reading.config
            if self._apply is not None:
                await self._apply(reading.config)
            log.info("config.reloaded")

    def _exactly(self, size: int) -> bytes:
        """Read exactly `size` bytes; a buffered read would take bytes of the next message."""
        data = b""
        while len(data) < size:
            piece = self._source.read(size - len(data))
            if not piece:
                raise EOFError("no config on stdin: `canary serve` starts this program")
            data += piece
        return data


def _reading(data: bytes) -> ConfigReading:
    reading: ConfigReading = pickle.loads(data)  # noqa: S301 - written by our own parent
    return reading
