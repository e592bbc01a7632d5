"""Rewrites one canary's name, arms and start in the config's text. Does not decide if that is allowed."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml

from control.settings import CanarySettings


def rewritten(text: str, before: CanarySettings, after: CanarySettings) -> str:
    """The config's text with one canary's name and arms changed, `start: manual` where it newly waits for a
    person, and every other byte the same."""
    for begin, end, value in sorted(_changes(text, before, after), reverse=True):
        text = text[:begin] + value + text[end:]
    return text


def _changes(text: str, before: CanarySettings, after: CanarySettings) -> Iterator[tuple[int, int, str]]:
    """Each part of the text that changes, from where to where, with what stands there then."""
    canaries = _in(yaml.compose(text, Loader=yaml.SafeLoader), "canaries")
    for entry in canaries.value if canaries is not None else ():
        name = _in(entry, "name")
        if name is None or name.value != before.canary.name:
            continue
        yield _instead(name, after.canary.name)
        if after.canary.start_by_hand and not before.canary.start_by_hand:
            yield _by_hand(entry)
        for arm in ("baseline", "candidate"):
            was, becomes = getattr(before.canary, arm), getattr(after.canary, arm)
            for key in ("provider", "model"):
                node = _in(_in(entry, arm), key)
                if node is not None and getattr(was, key) != getattr(becomes, key):
                    yield _instead(node, getattr(becomes, key))


def _instead(node: yaml.Node, value: str) -> tuple[int, int, str]:
    return node.start_mark.index, node.end_mark.index, json.dumps(value)


def _by_hand(entry: yaml.MappingNode) -> tuple[int, int, str]:
    """`start: manual`: in place of another value, else before the entry's first key."""
    start = _in(entry, "start")
    if start is not None:
        return start.start_mark.index, start.end_mark.index, "manual"
    first = entry.value[0][0].start_mark
    follows = ", " if entry.flow_style else f"\n{' ' * first.column}"
    return first.index, first.index, f"start: manual{follows}"


def _in(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def put(file: Path, text: str) -> None:
    """Replace the file atomically, because a server may be reading it. Keeps its mode and owner."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        shutil.copymode(file, beside)
        owner = file.stat()
        os.chown(beside, owner.st_uid, owner.st_gid)
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
