"""Suggests the valid name nearest to a mistyped one: `; did you mean "share"?`."""

from collections.abc import Iterable
from difflib import get_close_matches

_CUTOFF = 0.6
"""Minimum difflib similarity for a suggestion; "shar" and "share" have .89."""


def nearest(wrong: str, right: Iterable[str]) -> str | None:
    """The most similar valid name, or None."""
    names = {name.lower(): name for name in right}
    found = get_close_matches(wrong.lower(), names, n=1, cutoff=_CUTOFF)
    return names[found[0]] if found else None


def suggestion(wrong: str, right: Iterable[str]) -> str:
    """Text to append to a message: the nearest name, else all names, else nothing."""
    names = list(right)
    found = nearest(wrong, names)
    if found is not None:
        return f'; did you mean "{found}"?'
    return f"; known names: {', '.join(names)}" if names else ""
