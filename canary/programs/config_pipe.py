"""Takes the config and its certificate to the processes: the supervisor reads the files, and sends what they
say to its children.

Validating a config takes up to a second and holds the GIL; unpickling the result takes a millisecond. The
result holds keys, so it goes through each child's stdin: one message at the start, and one for every change.
"""

import asyncio
import os
import pickle
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path

import structlog

from canary.config import Config, ConfigError, load
from canary.config.certificate import Certificate, certificate_of
from canary.config.load import TAKEN, read_text, refusals, taken_in
from common.whole_file import Stamp, file_stamp, read_document, write_whole
from records.facts.arm_texts import FILE as TEXTS
from records.facts.standing import FILE, Standing
from routing.states import NO_STATES, States

log = structlog.get_logger()

_SIZE_BYTES = 4
_FIXED = ("store", "outcomes", "shared")
"""Settings that take effect at the start of the server only, and in commands at once."""

PLAN = "plan.json"
"""In the data folder: the states in force."""

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


class _Files:
    """Files whose change counts once they are as they were at the last look: a half-written one can still
    parse, and a certificate is renewed by replacing two files, one after the other, or a link to both."""

    def __init__(self, *paths: Path) -> None:
        self._seen = self._read = _stamps(paths)

    def changed(self, *paths: Path, again: bool = False, force: bool = False) -> bool:
        """True if they are to be read: they have changed, or are to be read `again`, and are still; or
        `force`."""
        stamps = _stamps(paths)
        still, self._seen = stamps == self._seen, stamps
        if not force and not (still and (again or stamps != self._read)):
            return False
        self._read = stamps
        return True


def _stamps(paths: Sequence[Path]) -> tuple[Stamp, ...]:
    """The state of the files, as links lead to them."""
    found: list[Stamp] = []
    for path in paths:
        try:
            found.append(file_stamp(path))
        except OSError:
            found.append(())
    return tuple(found)


class WatchedConfig:
    """The config file, the files of its arms' texts, what was begun of its standing canaries, the texts of
    those that started, and the certificate that it names, reread when they change. A bad file, or a bad pair,
    keeps the old one and is logged once; a bad pair is read again at each look."""

    def __init__(self, path: Path, data: Path | None = None, *, ask_store: bool = False) -> None:
        """Read the files. `data` is the folder with the trials of standing canaries; at the start a replica
        asks the store for them. Raises ConfigError."""
        self._path, self._data = path, data
        self._file = _Files(path)
        self._trials = () if data is None else _stamps([data / FILE, data / TEXTS])
        config, problem = self._first(anew=data is not None and ask_store)
        self._texts = _Files(*config.text_files)
        self._pair = _Files(*_pair(config))
        certificate = certificate_of(config, path, time.time())
        self.reading = ConfigReading(config, problem, certificate=certificate)

    def check(self, *, force: bool = False) -> bool:
        """Reread what has changed, and the config always with `force` (SIGHUP). True if there is a new
        `reading`."""
        before = self.reading
        texts = self._texts.changed(*before.config.text_files)
        if self._file.changed(self._path, force=force) or self._has_trials() or texts:
            self._reread_config()
        files, bad = _pair(self.reading.config), bool(self.reading.certificate_problem)
        changed = self._pair.changed(*files, again=bad)
        # A server that has started without TLS does not begin with it, nor one with TLS end it.
        if changed and files and self.reading.certificate is not None:
            self._reread_certificate()
        return self.reading is not before

    def _has_trials(self) -> bool:
        """True if something was begun, started, promoted or taken back. The files are never half-written."""
        before, config = self._trials, self.reading.config
        if self._data is not None and (config.standing or config.text_files):
            self._trials = _stamps([self._data / FILE, self._data / TEXTS])
        return self._trials != before

    def _first(self, *, anew: bool) -> tuple[Config, str]:
        """The config to start with, and why it is not the file's ("": it is): where that would change what
        users have, the last one that was taken. Where there is none, the workers serve the baselines of the
        canaries that changed. Raises ConfigError."""
        text = read_text(self._path)
        config = load(self._path, os.environ, self._data, anew=anew, text=text)
        before = None if self._data is None else taken_in(self._path, os.environ, self._data, anew=anew)
        problem = self._refused(config, before)
        if not problem:
            self._keep(text)
            return config, ""
        log.error("config.refused", file=str(self._path), problem=problem)
        # Without one, status and page say whom the workers serve the baseline.
        return (config, "") if before is None else (before, problem)

    def _reread_config(self) -> None:
        """A canary missing from a half-written file would be ended for good."""
        loads = self.reading.loads + 1
        try:
            text = read_text(self._path)
            config = load(self._path, os.environ, self._data, text=text)
            problem = self._refused(config, self.reading.config)
            self.reading = replace(
                self.reading, config=self.reading.config if problem else config, problem=problem, loads=loads
            )
            if not problem:
                self._keep(text)
        except (ConfigError, OSError) as error:
            self.reading = replace(self.reading, problem=str(error), loads=loads)
        if self.reading.problem:
            log.error("config.refused", file=str(self._path), problem=self.reading.problem)

    def _refused(self, config: Config, before: Config | None) -> str:
        """Why the states that this machine has forbid this config in place of `before`; "" if they do not."""
        if self._data is None:
            return ""
        known = read_document(self._data / PLAN, States) or NO_STATES
        begun = read_document(self._data / FILE, dict[str, Standing]) or {}
        return "\n".join(f"{self._path}: {each}" for each in refusals(config, known.states, begun, before))

    def _keep(self, text: str) -> None:
        """Keep the text of the file that was taken, for a start with one that cannot be."""
        if self._data is not None:
            with suppress(OSError):  # a full disk: the older one stays
                write_whole(self._data / TAKEN, text.encode(), durable=False)

    def _reread_certificate(self) -> None:
        before = self.reading
        certificate, problem = before.certificate, ""
        try:
            certificate = certificate_of(before.config, self._path, time.time())
        except ConfigError as error:
            problem = str(error)
            if problem != before.certificate_problem:
                log.error("certificate.refused", problem=problem)
        if (certificate, problem) != (before.certificate, before.certificate_problem):
            self.reading = replace(before, certificate=certificate, certificate_problem=problem)


def _pair(config: Config) -> tuple[Path, ...]:
    """The files of the listeners' certificate and its key."""
    if config.tls is None:
        return ()
    return tuple(config.folder / name for name in (config.tls.cert_file, config.tls.key_file))


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
