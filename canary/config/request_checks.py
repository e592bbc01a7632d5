"""Checks of an arm's `request:`: members that may change, each changed in one way."""

import json
from collections.abc import Iterator, Sequence

from canary.config.errors import Path
from canary.config.salvage import Salvage
from canary.config.sections import RequestSection

_ELSEWHERE = {
    "model": "the arm's `model` says which model is asked",
    "stream": "the caller decides about streaming",
}
"""Members that have their own place, and which that is."""

_Names = Sequence[tuple[Path, str]]
"""Members' names with their places in the file."""


def check_request(section: RequestSection, path: Path, found: Salvage) -> None:
    """Record every problem of one arm's `request:`."""
    for place, name in _every_name(section, path):
        if problem := _wrong_with_name(name):
            found.complain(place, problem)
    for check in (_undecided, _without_effect, _wrong_with_renames):
        for place, problem in check(section, path):
            found.complain(place, problem)
    for key, given in (("set", section.set), ("default", section.default)):
        for name, value in given.items():
            if not _is_sendable(json.dumps(value, ensure_ascii=False)):
                found.complain((*path, key, name), "has a character that is not valid in UTF-8")


def _every_name(section: RequestSection, path: Path) -> _Names:
    return [
        *(((*path, "rename", name), each) for name, new in section.rename.items() for each in (name, new)),
        *(((*path, "remove", index), name) for index, name in enumerate(section.remove)),
        *(((*path, key, name), name) for key in ("set", "default") for name in getattr(section, key)),
    ]


def _wrong_with_name(name: str) -> str | None:
    parts = name.split(".")
    if "" in parts:
        return f'"{name}" has an empty part; write "OUTER.MEMBER", for example "text.verbosity"'
    if len(parts) > 2:
        right = ".".join(parts[:2])
        return f'"{name}" has more than one dot; members are top-level or one level down, so write "{right}"'
    if parts[0] in _ELSEWHERE:
        return f'"{parts[0]}" cannot be changed here, because {_ELSEWHERE[parts[0]]}; remove it'
    return None


def _is_sendable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _undecided(section: RequestSection, path: Path) -> Iterator[tuple[Path, str]]:
    """Members that would be changed in two ways at once."""
    for index, name in enumerate(section.remove):
        place = (*path, "remove", index)
        if name in section.set:
            yield place, f'"{name}" is also set; keep one of the two (`set` replaces what the caller sent)'
        if name in section.remove[:index]:
            yield place, f'"{name}" is listed twice'
    for key in ("set", "default"):
        names = getattr(section, key)
        for name in names:
            outer, dot, inner = name.partition(".")
            if dot and outer in names:
                yield (*path, key, name), f'"{outer}" is given as a whole; write {inner} inside its value'


def _without_effect(section: RequestSection, path: Path) -> Iterator[tuple[Path, str]]:
    """Members whose change another change of the same arm always undoes or forestalls."""
    for index, name in enumerate(section.remove):
        place = (*path, "remove", index)
        if name in section.rename:
            yield place, f'"{name}" is also renamed, so nothing is left to remove; keep one of the two'
        elif name in section.rename.values():
            yield place, f'another member is renamed to "{name}", and would be removed; keep one of the two'
    for name in section.default:
        if name in section.set:
            yield (*path, "default", name), f'"{name}" is also set, so the default never applies; remove it'


def _wrong_with_renames(section: RequestSection, path: Path) -> Iterator[tuple[Path, str]]:
    """Renames whose result would depend on their order, which a mapping does not have."""
    targets: dict[str, str] = {}
    for name, new in section.rename.items():
        place = (*path, "rename", name)
        if new == name:
            yield place, f'"{name}" is renamed to itself; remove it'
        elif new in section.rename:
            yield place, f'"{new}" is renamed as well; write the final name of each'
        elif new in targets:
            yield place, f'"{targets[new]}" is also renamed to "{new}", and only one can be; remove the other'
        targets.setdefault(new, name)
