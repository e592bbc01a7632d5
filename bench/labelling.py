"""A person's review of a proposed label: accepted, edited, or ambiguous. Lines in, lines out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

LABEL = "label"
"""The tag with the origin of an example's label."""

PROPOSED = "proposed"
Tier = Literal["full", "partial", "spot"]
FULL, PARTIAL = 200, 50

Line = Mapping[str, Any]


def tier(labelled: int) -> Tier:
    """The use of so many labels: full from 200 on, partial (with an interval) from 50 on, else a spot check,
    to read and not to count."""
    return "full" if labelled >= FULL else "partial" if labelled >= PARTIAL else "spot"


def is_open(line: Line) -> bool:
    """True while the label is an unreviewed proposal."""
    return bool(line.get("tags", {}).get(LABEL) == PROPOSED)


def accepted(line: Line) -> dict[str, Any]:
    """The line with its proposal accepted."""
    return _labelled(line, "accepted", line["expected"])


def edited(line: Line, expected: Any) -> dict[str, Any]:
    """The line with another expected answer."""
    return _labelled(line, "edited", expected)


def ambiguous(line: Line) -> dict[str, Any]:
    """The line marked ambiguous: it stays in the file and is not asked."""
    return _labelled(line, "ambiguous", None)


def standing(lines: Sequence[Line]) -> Counter[str]:
    """The number of lines by label."""
    return Counter(str(line.get("tags", {}).get(LABEL, "none")) for line in lines)


def _labelled(line: Line, label: str, expected: Any) -> dict[str, Any]:
    return {**line, "expected": expected, "tags": {**line.get("tags", {}), LABEL: label}}
