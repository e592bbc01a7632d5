"""`; did you mean "share"?`: the right name nearest to a wrong one."""

from collections.abc import Iterable
from difflib import get_close_matches

_CUTOFF = 0.6
"""difflib's similarity from which two names look like one mistyped: "shar" and "share" have .89."""


def nearest(wrong: str, right: Iterable[str]) -> str | None:
    """The most similar of the right names, None when none is like it."""
    names = {name.lower(): name for name in right}
    found = get_close_matches(wrong.lower(), names, n=1, cutoff=_CUTOFF)
    return names[found[0]] if found else None


def suggestion(wrong: str, right: Iterable[str]) -> str:
    """What to append to a message: the nearest name, else all of them, else nothing."""
    names = list(right)
    found = nearest(wrong, names)
    if found is not None:
        return f'; did you mean "{found}"?'
    return f"; there are: {', '.join(names)}" if names else ""
