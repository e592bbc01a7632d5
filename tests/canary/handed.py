"""The supervisor's side of a child's config, for tests that start no supervisor."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO

from canary.config import parse
from canary.programs.config_pipe import ConfigReading, FollowedConfig


class Hand:
    """Writes into the pipe that a child reads its config from."""

    def __init__(self, text: str, first: ConfigReading | None = None) -> None:
        """The child begins with a config's text, or with the reading `first`."""
        read_end, write_end = os.pipe()
        self._read_end, self._write_end = FileIO(read_end), FileIO(write_end, "w")
        self._given = 0
        if first is None:
            self.give(text)
        else:
            self.give_reading(first)
        self.config = FollowedConfig(self._read_end)

    def give(self, text: str, problem: str = "") -> None:
        """The config in force, and what is wrong with its file."""
        self._given += 1
        self.give_reading(ConfigReading(parse(text, "canary.yaml", {}), problem, loads=self._given))

    def give_reading(self, reading: ConfigReading) -> None:
        """What the supervisor hands over."""
        self._write_end.write(reading.message())

    def let_go(self) -> None:
        """The supervisor ends."""
        self._write_end.close()

    def close(self) -> None:
        """Nothing is left of the pipe."""
        self._write_end.close()
        self._read_end.close()


@contextmanager
def handed(text: str) -> Iterator[FollowedConfig]:
    """A config that does not change."""
    hand = Hand(text)
    try:
        yield hand.config
    finally:
        hand.close()
