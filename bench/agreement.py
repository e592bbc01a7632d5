"""What labels are worth: how often people keep a model's proposals, and how often two people differ."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.labelling import PROPOSED, Line, history
from records.wilson import wilson


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelShare:
    """`hits` of `of` labels. Labels marked ambiguous are not among those of a proposer."""

    hits: int
    of: int

    @property
    def words(self) -> str:
        """The share with its interval, for example "41 of 50 (69% to 90%)"."""
        low, high = wilson(self.hits, self.of)
        return f"{self.hits} of {self.of} ({low:.0%} to {high:.0%})"

    def document(self) -> dict[str, Any]:
        """The share as JSON types, with Wilson's 95 % interval."""
        low, high = wilson(self.hits, self.of)
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


def words(lines: Iterable[Line]) -> list[str]:
    """Both as lines for a terminal."""
    known = list(lines)
    found = [f"{by}: people kept its proposals in {share.words}" for by, share in kept(known).items()]
    apart = differing(known)
    return [*found, f"two people differ in {apart.words}"] if apart is not None else found


def document(lines: Iterable[Line]) -> dict[str, Any]:
    """Both as JSON types."""
    known = list(lines)
    apart = differing(known)
    return {
        "kept": [{"by": by, **share.document()} for by, share in kept(known).items()],
        "differing": apart.document() if apart is not None else None,
    }
