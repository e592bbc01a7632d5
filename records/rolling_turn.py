"""What the admin process tells the program that rolls, and what it answers: a JSON object each."""

import msgspec


class RollingTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn: the store's URL, relative to the folder `data`; its `outcomes`, as in the config; and the UTC
    second `before` which they expire."""

    url: str
    data: str
    outcomes: str
    before: float

    def __repr__(self) -> str:
        return f"RollingTurn(data={self.data!r}, outcomes={self.outcomes!r})"  # the URL may have a password


class RollingResult(msgspec.Struct, frozen=True, kw_only=True):
    """How many outcomes went into how many segments, and how many expired. `problem`: why not all of it ("":
    nothing is left)."""

    rolled: int = 0
    segments: int = 0
    expired: int = 0
    problem: str = ""
