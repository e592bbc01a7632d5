"""The labels of a dataset's lines: proposed by a model; accepted, edited or marked ambiguous by people.

Lines in, lines out. A line keeps every label with who gave it and when.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
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


def proposed(line: Line, expected: Any, *, by: str, at: float) -> dict[str, Any]:
    """The line with a proposed label. `by` is a model, as provider/model; `at` in UTC seconds."""
    return _labelled(line, PROPOSED, expected, by, at)


def accepted(line: Line, *, by: str, at: float) -> dict[str, Any]:
    """The line with its present label accepted by a person."""
    return _labelled(line, "accepted", line["expected"], by, at)


def edited(line: Line, expected: Any, *, by: str, at: float) -> dict[str, Any]:
    """The line with a person's own expected answer."""
    return _labelled(line, "edited", expected, by, at)


def ambiguous(line: Line, *, by: str, at: float) -> dict[str, Any]:
    """The line marked ambiguous: it stays in the file and is not asked."""
    return _labelled(line, "ambiguous", None, by, at)


def people(line: Line) -> list[str]:
    """Who labelled the line, in order; models that proposed are left out."""
    return list(dict.fromkeys(each["by"] for each in history(line) if each["label"] != PROPOSED))


def waiting(lines: Sequence[Line], who: str) -> list[Line]:
    """The lines that this person may label: unreviewed proposals, then those that one other person labelled,
    for a second opinion."""
    second = [
        line for line in lines if not is_open(line) and len(them := people(line)) == 1 and who not in them
    ]
    return [*filter(is_open, lines), *second]


def standing(lines: Sequence[Line]) -> Counter[str]:
    """The number of lines by label."""
    return Counter(str(line.get("tags", {}).get(LABEL, "none")) for line in lines)


def history(line: Line) -> list[dict[str, Any]]:
    """Every label that the line had, oldest first: {"by", "at", "label", "expected"}. A line of an earlier
    version has one, of nobody known."""
    given = line.get("labels")
    if given:
        return list(given)
    label = line.get("tags", {}).get(LABEL)
    return [{"by": "", "at": "", "label": label, "expected": line.get("expected")}] if label else []


def _labelled(line: Line, label: str, expected: Any, by: str, at: float) -> dict[str, Any]:
    entry = {"by": by, "at": rfc3339(at), "label": label, "expected": expected}
    tags = {**line.get("tags", {}), LABEL: label}
    return {**line, "expected": expected, "tags": tags, "labels": [*history(line), entry]}


def rfc3339(at: float) -> str:
    """UTC seconds as text, for example 2026-11-26T09:00:00Z."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
