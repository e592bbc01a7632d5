"""A lane: the part of the units that belongs to one of several canaries which match the same requests."""

from dataclasses import dataclass

from routing.canary import Arm, Canary, Match
from routing.cohort import SPACE, hmac_sha256

Span = tuple[int, int]
"""Places from the first, up to and without the second, in [0, 2³²]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The places of one canary's units. `match` and `baseline` are the canary's: once it has ended, its users
    get that baseline for the same requests."""

    spans: tuple[Span, ...]
    match: Match
    baseline: Arm

    @property
    def size(self) -> float:
        """The lane's part of all units, in [0, 1]."""
        return sum(end - start for start, end in self.spans) / SPACE

    @property
    def part(self) -> float:
        """The size as people are shown it, with 9 digits."""
        return round(self.size, 9)

    def has(self, place: int) -> bool:
        """True when the units at this place belong to the lane."""
        return any(start <= place < end for start, end in self.spans)

    def meets(self, canary: Canary) -> bool:
        """True when one request could be taken by the lane's canary and by this one."""
        return self.baseline.provider == canary.baseline.provider and self.match.overlaps(canary.match)


def lane_place(assignment_key: bytes, unit: str) -> int:
    """Hash a unit to [0, 2³²) for lanes: the first 4 bytes, big-endian, of HMAC-SHA-256(assignment key,
    \\x00 lane \\x00 unit). No canary's name is empty, so it is independent of every arm's hash."""
    return int.from_bytes(hmac_sha256(assignment_key, f"\0lane\0{unit}".encode())[:4], "big")
