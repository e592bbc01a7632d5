"""What a dataset's labels are worth, in sentences."""

from collections.abc import Iterable

from bench.dataset.labels import LabelShare, Line, differing, kept


def worth(lines: Iterable[Line]) -> list[str]:
    """How often people keep a model's proposals, and how often two people differ."""
    known = list(lines)
    found = [f"{by}: people kept its proposals in {_hits(share)}" for by, share in kept(known).items()]
    apart = differing(known)
    return [*found, f"two people differ in {_hits(apart)}"] if apart is not None else found


def _hits(found: LabelShare) -> str:
    """41 of 50 (69% to 90%)."""
    low, high = found.interval
    return f"{found.hits} of {found.of} ({low:.0%} to {high:.0%})"
