"""The config's way into the processes: the supervisor reads the file, its children take what it has read.

Reading and validating takes a second of CPU and the GIL with it, unpickling what came of that a millisecond.
It goes through each child's stdin, for it holds keys: one message for the start, and one for every change.
"""

import asyncio
import os
import pickle
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import structlog

from canary.config import Config, ConfigError, load
from records.whole_file import Stamp, file_stamp

log = structlog.get_logger()

_SIZE_BYTES = 4


@dataclass(frozen=True, slots=True)
class ConfigReading:
    """The config in force, and what is wrong with its file as that stands now ("": nothing)."""

    config: Config
    problem: str = ""

    def message(self) -> bytes:
        """What `FollowedConfig` takes."""
        data = pickle.dumps(self)
        return len(data).to_bytes(_SIZE_BYTES) + data


class WatchedConfig:
    """The config file, reread when it changes. A bad file keeps the old config and says so once."""

    def __init__(self, path: Path) -> None:
        """Read the file: raises ConfigError when that fails."""
        self._path = path
        self._seen = self._stamp = self._now()
        self.reading = ConfigReading(load(path, os.environ))

    def check(self, *, force: bool = False) -> bool:
        """Reread if the file has changed and stands still since the last look, or always with
        `force` (SIGHUP); True when there is a new `reading`. A file that is still being written may be a good
        one, without a canary that would end for good by that."""
        stamp = self._now()
        still, self._seen = stamp == self._seen, stamp
        if not force and (stamp == self._stamp or not still):
            return False
        self._stamp = stamp
        try:
            self.reading = ConfigReading(load(self._path, os.environ))
        except (ConfigError, OSError) as error:
            self.reading = ConfigReading(self.reading.config, str(error))
            log.error("config.refused", file=str(self._path), problem=self.reading.problem)
        return True

    def _now(self) -> Stamp:
        try:
            return file_stamp(self._path)
        except OSError:
            return ()


class FollowedConfig:
    """The config as the supervisor hands it over by a pipe. `on_change` brings a new one into force."""

    on_change: Callable[[Config], Awaitable[None]] | None = None

    def __init__(self, source: FileIO) -> None:
        """Wait for the first message. EOFError when there is none."""
        self._source = source
        reading = _reading(self._exactly(int.from_bytes(self._exactly(_SIZE_BYTES))))
        self.current, self.problem = reading.config, reading.problem

    async def follow(self) -> None:
        """Take every message, until the supervisor is gone."""
        stream = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), self._source
        )
        with suppress(asyncio.IncompleteReadError):
            while True:
                size = int.from_bytes(await stream.readexactly(_SIZE_BYTES))
                await self._take(_reading(await stream.readexactly(size)))

    async def _take(self, reading: ConfigReading) -> None:
        self.problem = reading.problem
        if not reading.problem:
            self.current = reading.config
            if self.on_change is not None:
                await self.on_change(reading.config)
            log.info("config.reloaded")

    def _exactly(self, size: int) -> bytes:
        """So many bytes and none of the next message, which a buffered read would take as well."""
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
