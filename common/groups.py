"""Things in groups, by what they have in common."""

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Thing = TypeVar("_Thing")


def grouped(things: Iterable[_Thing], by: Callable[[_Thing], _Key]) -> dict[_Key, list[_Thing]]:
    """The things by this key, both in the order in which they come."""
    groups: dict[_Key, list[_Thing]] = {}
    for each in things:
        groups.setdefault(by(each), []).append(each)
    return groups
