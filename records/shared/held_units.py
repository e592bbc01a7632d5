"""Which units each hold keeps (`routing.holds`), in a file beside the states (`plan.held`). One writer.

A hold that is in the states but not here keeps every unit at its places: whichever of both files is older or
missing, no user is moved in the middle of something.
"""

from array import array
from bisect import bisect_left
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from common.text import readable
from common.whole_file import FileWatch, write_whole
from routing.states import States

NAME = "plan.held"
_WIDTH = 8

Sets = Mapping[str, Mapping[int, bytes]]
"""By canary and phase that is kept: the units' numbers, rising, as 8 bytes each."""


class HeldUnits(msgspec.Struct, frozen=True, kw_only=True):
    """The held units as of UTC second `at`."""

    at: float = 0.0
    sets: Sets = {}

    def keeps(self, canary: str, phase: int, unit: str) -> bool:
        """True when the unit, by its hash, keeps the state of this phase."""
        kept = self.sets.get(canary, {}).get(phase)
        if kept is None:
            return True
        numbers, number = memoryview(kept).cast("Q"), number_of(unit)
        at = bisect_left(numbers, number)
        return at < len(numbers) and numbers[at] == number

    def knows(self, canary: str, phase: int) -> bool:
        """True when it is known which units keep the state of this phase."""
        return phase in self.sets.get(canary, {})


def has_unknown_holds(states: States, units: HeldUnits) -> bool:
    """True while some share has changed and it is not known which units keep the state before."""
    return any(
        not units.knows(name, hold.before.phase)
        for name, state in states.states.items()
        for hold in state.holds
    )


NOBODY_KNOWN = HeldUnits()
_ENCODER, _DECODER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(HeldUnits)


def number_of(unit: str) -> int:
    """The first 8 bytes of a unit's hash, which tell a million units apart."""
    return int(unit[: 2 * _WIDTH], 16)


def packed(numbers: Collection[int]) -> bytes:
    """These units as a set."""
    return array("Q", sorted(numbers)).tobytes()


def count(kept: bytes) -> int:
    """The number of units in a set."""
    return len(kept) // _WIDTH


def encode(units: HeldUnits) -> bytes:
    """The held units as bytes."""
    return _ENCODER.encode(units)


def decode(data: bytes | None) -> HeldUnits | None:
    """The held units again; None for none, or for bytes of another version."""
    return readable(_DECODER.decode, data or b"")


def write(path: Path, units: HeldUnits) -> None:
    """Replace the file atomically, without fsync: after a power cut every unit is kept until it is written
    again."""
    write_whole(path, encode(units), durable=False)


def read(path: Path) -> HeldUnits | None:
    """Read the file; None when it is missing or unreadable."""
    return FileWatch(path, decode).replacement()
