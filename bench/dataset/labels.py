"""The labels of a dataset's lines: proposed by a model; accepted, edited or marked ambiguous by people.

Lines in, lines out. A line keeps every label with who gave it and when. What labels are worth is told by how
often people keep a model's proposals, and how often two people differ.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from common.clock import rfc3339
from common.interval import wilson

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
    """Every label that the line had, oldest first: {"by", "at", "label", "expected"}."""
    return list(line.get("labels") or ())


def _labelled(line: Line, label: str, expected: Any, by: str, at: float) -> dict[str, Any]:
    entry = {"by": by, "at": rfc3339(at), "label": label, "expected": expected}
    tags = {**line.get("tags", {}), LABEL: label}
    return {**line, "expected": expected, "tags": tags, "labels": [*history(line), entry]}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelShare:
    """`hits` of `of` labels. Labels marked ambiguous are not among those of a proposer."""

    hits: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share."""
        return wilson(self.hits, self.of)

    def document(self) -> dict[str, Any]:
        """The share as JSON types."""
        low, high = self.interval
        share = {"low": low, "estimate": self.hits / self.of, "high": high}
        return {"hits": self.hits, "of": self.of, "share": share}


def kept(lines: Iterable[Line]) -> dict[str, LabelShare]:
    """How many proposals of each model people kept, of those that they reviewed."""
    counts: dict[str, list[bool]] = {}
    for line in lines:
        found = history(line)
        proposal = next((each for each in reversed(found) if each["label"] == PROPOSED), None)
        person = next((each for each in reversed(found) if each["label"] != PROPOSED), None)
        if proposal and proposal["by"] and person and person["expected"] is not None:
            counts.setdefault(proposal["by"], []).append(person["expected"] == proposal["expected"])
    return {by: LabelShare(hits=sum(each), of=len(each)) for by, each in sorted(counts.items())}


def differing(lines: Iterable[Line]) -> LabelShare | None:
    """In how many of the examples that two people or more labelled they differ; None without such examples.
    Each person's newest label counts."""
    pairs = [list(each) for each in map(_of_people, lines)]
    several = [each for each in pairs if len(each) > 1]
    if not several:
        return None
    return LabelShare(hits=sum(any(each != some[0] for each in some) for some in several), of=len(several))


def _of_people(line: Line) -> Iterator[Any]:
    newest: Mapping[str, Any] = {
        each["by"]: each["expected"] for each in history(line) if each["label"] != PROPOSED and each["by"]
    }
    yield from newest.values()


def document(lines: Iterable[Line]) -> dict[str, Any]:
    """Kept proposals and differing labels as JSON types."""
    known = list(lines)
    apart = differing(known)
    return {
        "kept": [{"by": by, **share.document()} for by, share in kept(known).items()],
        "differing": apart.document() if apart is not None else None,
    }
