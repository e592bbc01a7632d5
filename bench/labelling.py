"""What a person says of a proposed label: accept, edit, or ambiguous. Lines in, lines out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

LABEL = "label"
"""The tag that says how an example got its label."""

PROPOSED = "proposed"
Tier = Literal["full", "partial", "spot"]
FULL, PARTIAL = 200, 50

Line = Mapping[str, Any]


def tier(labelled: int) -> Tier:
    """What so many labels are good for: full from 200 on, partial (with its interval) from 50, else a spot
    check to be read, not counted."""
    return "full" if labelled >= FULL else "partial" if labelled >= PARTIAL else "spot"


def is_open(line: Line) -> bool:
    """True while nobody has looked at the proposal."""
    return bool(line.get("tags", {}).get(LABEL) == PROPOSED)


def accepted(line: Line) -> dict[str, Any]:
    """The proposal is right."""
    return _labelled(line, "accepted", line["expected"])


def edited(line: Line, expected: Any) -> dict[str, Any]:
    """Something else is right."""
    return _labelled(line, "edited", expected)


def ambiguous(line: Line) -> dict[str, Any]:
    """Nobody can say what is right: it stays in the file and is not asked."""
    return _labelled(line, "ambiguous", None)


def standing(lines: Sequence[Line]) -> Counter[str]:
    """How many lines have which label."""
    return Counter(str(line.get("tags", {}).get(LABEL, "none")) for line in lines)


def _labelled(line: Line, label: str, expected: Any) -> dict[str, Any]:
    return {**line, "expected": expected, "tags": {**line.get("tags", {}), LABEL: label}}
